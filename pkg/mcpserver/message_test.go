package mcpserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		body string
		want message // without the place of the arguments and the number of values
		args string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, message{id: json.RawMessage(`1`), method: "ping"}, ""},
		// case 118: AgentCore's health check
		{`{"jsonrpc":"2.0","id":"h","method":"ping","params":null}`, message{id: json.RawMessage(`"h"`), method: "ping"}, ""},
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, message{method: "notifications/initialized"}, ""},
		{` {"params":{"arguments":{"a":[1,{"b":2}]},"name":"x"},"method":"tools/call","id":-7,"jsonrpc":"2.0"} `, message{id: json.RawMessage(`-7`), method: "tools/call", tool: "x"}, `{"a":[1,{"b":2}]}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"\u0078","arguments":null}}`, message{id: json.RawMessage(`1`), method: "tools/call", tool: "x"}, `null`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1e400}}}`, message{id: json.RawMessage(`1`), method: "tools/call", tool: "x", wide: [][2]int{{84, 89}}}, `{"a":1e400}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1e999999999}}}`, message{id: json.RawMessage(`1`), method: "tools/call", tool: "x", wide: [][2]int{{84, 95}}, huge: true}, `{"a":1e999999999}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"Name":1,"name":2}}}`, message{id: json.RawMessage(`1`), method: "tools/call", tool: "x"}, `{"Name":1,"name":2}`},
		{`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","Name":1}}}`, message{id: json.RawMessage(`1`), method: "server/discover", era: "2026-07-28"}, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","task":{"ttl":1}}}`, message{id: json.RawMessage(`1`), method: "tools/call", tool: "x", task: true}, ""},
		{`{"jsonrpc":"2.0","id":"é😀\ud83d\ude00\"","method":"x","params":{"custom":[],"_meta":null}}`, message{id: json.RawMessage(`"é😀\ud83d\ude00\""`), method: "x"}, ""},
	} {
		got, refused := parse([]byte(tc.body))
		if refused != nil {
			t.Errorf("%s: got %v", tc.body, refused)
			continue
		}
		if args := tc.body[got.argsFrom:got.argsTo]; args != tc.args {
			t.Errorf("%s: got arguments %s, want %s", tc.body, args, tc.args)
		}
		got.argsFrom, got.argsTo, got.values = 0, 0, 0
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.body, got, tc.want)
		}
	}
}

// case 113, case 116
func TestParse_refuses(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	call := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
	}
	many := "{"
	for i := range 40 {
		many += fmt.Sprintf(`"k%d":0,`, i)
	}
	for _, tc := range []struct {
		body string
		code int
		id   string
	}{
		{``, mcp.PARSE_ERROR, ""},
		{"\ufeff" + `{"jsonrpc":"2.0","id":1,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`[]`, mcp.INVALID_REQUEST, ""},
		{`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, mcp.INVALID_REQUEST, ""},
		{`"ping"`, mcp.INVALID_REQUEST, ""},
		{`{}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":1}`, mcp.INVALID_REQUEST, "1"},
		{`{"id":1,"method":"ping"}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"1.0","id":1,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":2.0,"id":1,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":1,"method":""}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":5}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 129) + `"}`, mcp.INVALID_REQUEST, "1"},

		{`{"jsonrpc":"2.0","id":null,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":{},"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":[1],"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":true,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":1e3,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 300) + `","method":"ping"}`, mcp.INVALID_REQUEST, ""},

		{`{"JSONRPC":"2.0","id":1,"method":"ping"}`, mcp.INVALID_REQUEST, ""},
		{`{"jsonrpc":"2.0","id":1,"Method":"ping"}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/list"}`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"result":{}}`, mcp.INVALID_REQUEST, "1"},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}`, mcp.INVALID_REQUEST, "1"},
		{call(`{"Name":"x"}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","ARGUMENTS":{}}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","argument\u017f":{}}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","to\u212Aen":{},"ta\u017f\u212A":1}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","name":"y"}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":1,"a":2}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":` + many + `"k7":1}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":[{"b":1,"\u0062":2}]}}`), mcp.PARSE_ERROR, "1"},

		{call(`[]`), mcp.INVALID_REQUEST, "1"},
		{call(`"x"`), mcp.INVALID_REQUEST, "1"},
		{call(`{}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":5}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"` + strings.Repeat("n", 129) + `"}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","arguments":[]}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","arguments":"{}"}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","_meta":[]}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","_meta":{"n":1e400}}`), mcp.INVALID_PARAMS, "1"},
		{call(`{"name":"x","arguments":{"a":1e400},"cursor":1e309}`), mcp.INVALID_PARAMS, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"x","arguments":{"a":1e400}}}`, mcp.INVALID_PARAMS, "1"},

		{call(`{"name":"x","arguments":{"a":` + nested(9000) + `}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":` + strings.Repeat("[", 1<<20)), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":[` + strings.Repeat("0,", 100_000) + `0]}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":NaN}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":01}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":1.}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":.5}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":+1}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":1e}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":1,}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{a:1}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":tru}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\x"}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\ud800"}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\udc00\ud800"}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\ud800\u0041"}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\ud800\u00"}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":"\u00G1"}}`), mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping\u00`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping\`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":"\x","method":"ping"}`, mcp.PARSE_ERROR, ""},
		{call(`{"name":"x","arguments":{"a" 1}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":{"a":[1 2]}}`), mcp.PARSE_ERROR, "1"},
		{call(`{"name":"x","arguments":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64) + "}"), mcp.PARSE_ERROR, "1"},
		{call("{\"name\":\"x\",\"arguments\":{\"a\":\"\n\"}}"), mcp.PARSE_ERROR, "1"},
		{call("{\"name\":\"x\",\"arguments\":{\"a\":\"\xff\"}}"), mcp.PARSE_ERROR, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}{}`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping`, mcp.PARSE_ERROR, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\x00", mcp.PARSE_ERROR, "1"},
	} {
		_, got := parse([]byte(tc.body))
		if got == nil {
			t.Errorf("%.120s: accepted", tc.body)
			continue
		}
		if got.code != tc.code || string(got.id) != tc.id {
			t.Errorf("%.120s: got code %d, id %s (%s), want %d, %s", tc.body, got.code, got.id, got.reason, tc.code, tc.id)
		}
		if strings.Contains(got.reason, "goroutine") || got.reason == "" {
			t.Errorf("%.120s: got reason %q", tc.body, got.reason)
		}
	}
}

// What parse accepts, encoding/json reads in the same way, and no number that
// is not marked overflows there.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1e400,"b":[null,true,"\ud83d\ude00"]}}}`,
		`{"jsonrpc":"2.0","id":"a","method":"ping","params":null}`,
		`{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}},"method":"m","jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"x"}`,
		`{"jsonrpc":"2.0","method":"x","params":{"arguments":{"":0,"\u0000":-0.0e-0}}}`,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, refused := parse(body)
		if refused != nil {
			return
		}
		var want struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Method  string          `json:"method"`
			Params  struct {
				Name      any             `json:"name"`
				Arguments json.RawMessage `json:"arguments"`
				Meta      map[string]any  `json:"_meta"`
			} `json:"params"`
		}
		if err := json.Unmarshal(got.decodable(body), new(any)); err != nil {
			t.Fatalf("%q: accepted, but encoding/json says %v", body, err)
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q: accepted, but encoding/json says %v", body, err)
		}
		if !bytes.Equal(got.id, want.ID) || got.method != want.Method {
			t.Fatalf("%q: got id %s, method %q, want %s, %q", body, got.id, got.method, want.ID, want.Method)
		}
		if want.JSONRPC != "2.0" {
			t.Fatalf("%q: accepted with jsonrpc %q", body, want.JSONRPC)
		}
		if args := body[got.argsFrom:got.argsTo]; !bytes.Equal(args, want.Params.Arguments) {
			t.Fatalf("%q: got arguments %s, want %s", body, args, want.Params.Arguments)
		}
		if name, _ := want.Params.Name.(string); got.method == "tools/call" && got.tool != name {
			t.Fatalf("%q: got tool %q, want %q", body, got.tool, name)
		}
		if era, _ := want.Params.Meta[mcp.MetaKeyProtocolVersion].(string); got.era != era {
			t.Fatalf("%q: got era %q, want %q", body, got.era, era)
		}
		// Each member once: the text written anew has as many.
		if n, m := bytes.Count(compact(t, body), []byte(`":`)), bytes.Count(rewritten(t, body), []byte(`":`)); n != m && !bytes.Contains(body, []byte(`\`)) {
			t.Fatalf("%q: accepted with %d members, but encoding/json keeps %d", body, n, m)
		}
	})
}

func compact(t *testing.T, body []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func rewritten(t *testing.T, body []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The flat form of a schema accepts nothing that the validator refuses.
func FuzzFlat(f *testing.F) {
	source := []byte(`{"type":"object","properties":{"s":{"type":"string","minLength":1,"maxLength":3},"i":{"type":"integer"},"n":{"type":"number"},"b":{"type":"boolean"}},"required":["s"],"additionalProperties":false}`)
	schema, err := compile(source)
	if err != nil {
		f.Fatal(err)
	}
	flat := flatten(source)
	for _, s := range []string{`{"s":"é"}`, `{"s":"abcd"}`, `{"s":"","i":1.0}`, `{"s":"a","i":-0,"n":1e5,"b":true}`, `{"i":1}`, `{"s":"x","y":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		body := append(append([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":`), raw...), "}}"...)
		msg, refused := parse(body)
		if refused != nil || msg.huge {
			return
		}
		args := body[msg.argsFrom:msg.argsTo]
		checked := compiledSchema{schema: schema}
		if wrong := checked.check(args); wrong != "" && flat.accepts(args) {
			t.Fatalf("%s: accepted, but the validator says %s", args, wrong)
		}
	})
}

// Schemas with anything that the flat form cannot say have none.
func TestFlatten(t *testing.T) {
	for source, want := range map[string]bool{
		`{"type":"object","properties":{"a":{"type":"integer","description":"x"}},"required":["a"],"additionalProperties":false}`: true,
		`{"type":"object","properties":{}}`: true,
		`{"type":"object"}`:                 true,
		`{"type":"object","properties":{"a":{"type":"integer","minimum":0}}}`:              false,
		`{"type":"object","properties":{"a":{"type":["integer","null"]}}}`:                 false,
		`{"type":"object","properties":{"a":{"enum":["x"]}}}`:                              false,
		`{"type":"object","properties":{"a":{"type":"string","pattern":"x"}}}`:             false,
		`{"type":"object","properties":{"a":true}}`:                                        false,
		`{"type":"object","properties":{"a":{"type":"object"}}}`:                           false,
		`{"type":"object","required":["a"]}`:                                               false,
		`{"type":"object","additionalProperties":{"type":"string"}}`:                       false,
		`{"type":"object","properties":{"a":{"type":"string"}},"anyOf":[{"required":[]}]}`: false,
		`{"$ref":"#/x"}`: false,
		`true`:           false,
	} {
		if got := flatten([]byte(source)) != nil; got != want {
			t.Errorf("%s: got %v, want %v", source, got, want)
		}
	}
}
