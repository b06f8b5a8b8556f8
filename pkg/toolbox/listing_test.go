package toolbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"agentcore-mcp-auth/pkg/toolbox"
)

func tool(name string) string {
	quoted, _ := json.Marshal(name)
	return fmt.Sprintf(`{"name":%s,"inputSchema":{"type":"object"}}`, quoted)
}

func list(names ...string) string {
	var tools []string
	for _, name := range names {
		tools = append(tools, tool(name))
	}
	return "[" + strings.Join(tools, ",") + "]"
}

// pages lists tools by cursor.
func pages(page func(cursor string) (tools, next string)) *fake {
	return &fake{on: map[string]func(*exchange) bool{"tools/list": func(x *exchange) bool {
		tools, next := page(x.params.Cursor)
		quoted, _ := json.Marshal(next)
		x.result(fmt.Sprintf(`{"tools":%s,"nextCursor":%s}`, tools, quoted))
		return true
	}}}
}

// case 61
func TestListing(t *testing.T) {
	f := pages(func(cursor string) (string, string) {
		return map[string]string{"": list("c", "a"), `2 "x"`: list("b", "a"), "3": list("d", "", strings.Repeat("n", 600))}[cursor],
			map[string]string{"": `2 "x"`, `2 "x"`: "3"}[cursor]
	})
	var log bytes.Buffer
	b := open(t, toolbox.Options{Logger: textLogger(&log)}, at("calc", f.serve(t), nil))
	if got, want := toolNames(mustTools(t, b)), "a b c d"; got != want {
		t.Errorf("tools %q, want %q", got, want)
	}
	var got []string
	for _, d := range b.Dropped() {
		got = append(got, fmt.Sprintf("%.3s: %s", d.Tool, d.Reason))
		if !strings.Contains(log.String(), d.Reason) {
			t.Errorf("the log lacks %q", d.Reason)
		}
	}
	want := "a: the server lists it more than once; : it has no name; nnn: its name is over 512 bytes"
	if strings.Join(got, "; ") != want {
		t.Errorf("dropped %q, want %q", strings.Join(got, "; "), want)
	}
}

// case 61
func TestListing_endless(t *testing.T) {
	n := 0
	for name, page := range map[string]func(string) (string, string){
		"of tools repeat":  func(c string) (string, string) { return list(), map[string]string{"": "a", "a": "b", "b": "a"}[c] },
		"more than 100":    func(string) (string, string) { n++; return list(), fmt.Sprint(n) },
		"more than 1000":   func(string) (string, string) { n++; return manyTools(n, 300), fmt.Sprint(n) },
		"more than 1000 t": func(string) (string, string) { return manyTools(0, 10_000), "" },
		"over 8 MiB of tools": func(string) (string, string) {
			n++
			return strings.ReplaceAll(manyTools(n, 100), `{"type":"object"}`, `{"type":"object","title":"`+strings.Repeat("a", 60<<10)+`"}`), fmt.Sprint(n)
		},
		"not a list":        func(string) (string, string) { return `{"x":1}`, "" },
		"more than 1000 to": func(string) (string, string) { return list(slices.Repeat([]string{"same"}, 2000)...), "" },
	} {
		t.Run(name, func(t *testing.T) {
			f := pages(page)
			_, _, err := open(t, toolbox.Options{}, at("calc", f.serve(t), nil)).Tools(t.Context())
			if !errors.As(err, new(*toolbox.AnswerError)) || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if n := len(f.requests("tools/list")); n > 100 {
				t.Errorf("%d pages were asked for", n)
			}
		})
	}
	// What an allow list leaves out does not count.
	s := at("calc", pages(func(string) (string, string) { return manyTools(0, 10_000), "" }).serve(t), nil)
	s.Allow = []string{"t0_77*"}
	if n := len(mustTools(t, open(t, toolbox.Options{}, s))); n != 111 {
		t.Errorf("%d tools, want 111", n)
	}
}

func manyTools(page, n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("t%d_%d", page, i))
	}
	return list(names...)
}

// case 62: what is hostile about a schema leaves out its tool, with the reason,
// and no other. Nothing is fetched.
func TestSchema(t *testing.T) {
	fetched := 0
	trap := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched++ })
	url := (&fake{on: map[string]func(*exchange) bool{"GET": func(x *exchange) bool { trap(x, x.r); return true }}}).serve(t)
	deep := strings.Repeat(`{"type":"object","properties":{"a":`, 200) + `{"type":"object"}` + strings.Repeat(`}}`, 200)
	for _, tt := range []struct{ name, schema, want string }{
		{"plain", `{"type":"object","properties":{"a":{"type":"number"}}}`, ""},
		{"local reference", `{"type":"object","$defs":{"n":{"type":"number"}},"properties":{"a":{"$ref":"#/$defs/n"}}}`, ""},
		{"recursion", `{"type":"object","properties":{"next":{"$ref":"#"}}}`, ""},
		{"a property named $ref", `{"type":"object","properties":{"$ref":{"type":"string","description":"http://x"}}}`, ""},
		{"$schema", `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}`, ""},
		{"expression bomb", `{"type":"object","properties":{"a":{"type":"string","pattern":"(((((a+)+)+)+)+)+$"}}}`, ""},
		{"missing", ``, "is not an object"},
		{"null", `null`, "is not an object"},
		{"true", `true`, "is not an object"},
		{"text", `"object"`, "is not an object"},
		{"list", `[]`, "is not an object"},
		{"no type", `{"properties":{}}`, `does not have the type "object"`},
		{"no type but one like it", `{"Type":"object"}`, `does not have the type "object"`},
		{"a type hidden behind one like it", `{"type":"array","TYPE":"object"}`, `does not have the type "object"`},
		{"another type", `{"type":"array"}`, `does not have the type "object"`},
		{"two types", `{"type":["object","null"]}`, `does not have the type "object"`},
		{"remote reference", `{"type":"object","properties":{"a":{"$ref":"` + url + `/schema.json"}}}`, "refers to"},
		{"remote reference deep down", `{"type":"object","properties":{"a":{"allOf":[{"not":{"$dynamicRef":"//evil.test/x"}}]}}}`, "refers to"},
		{"escaped reference", `{"type":"object","\u0024ref":"file:///etc/passwd"}`, "refers to"},
		{"relative reference", `{"type":"object","properties":{"a":{"$ref":"other.json#/x"}}}`, "refers to"},
		{"too deep", deep, "nests more than 64 levels deep"},
		{"too large", `{"type":"object","description":"` + strings.Repeat("a", 5<<20) + `"}`, "bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			schema := ""
			if tt.schema != "" {
				schema = `,"inputSchema":` + tt.schema
			}
			b := connect(t, &fake{tools: `[{"name":"it"` + schema + `},` + tool("other") + `]`})
			if _, ok := b.Lookup("other"); !ok {
				t.Error("the other tool is gone")
			}
			got, ok := b.Lookup("it")
			switch dropped := b.Dropped(); {
			case tt.want == "" && (!ok || len(dropped) > 0):
				t.Errorf("dropped: %v", dropped)
			case tt.want != "" && (ok || len(dropped) != 1 || dropped[0].Tool != "it" || !strings.Contains(dropped[0].Reason, tt.want)):
				t.Errorf("dropped %v, want for %q", dropped, tt.want)
			case ok && string(got.InputSchema) != tt.schema:
				t.Errorf("got schema %s, want %s", got.InputSchema, tt.schema)
			}
		})
	}
	if fetched > 0 {
		t.Errorf("%d schemas were fetched", fetched)
	}
}

// case 63: every keyword, digit and blank stays.
func TestSchema_raw(t *testing.T) {
	const schema = `{ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
		"allOf": [{"if": {"properties": {"a": {"const": 1.0}}}, "then": {"required": ["b"]}, "else": false}],
		"properties": {"b": {"maximum": 12345678901234567890.0, "type": "integer"}}, "x-vendor": {"é": "\u00e9"}, "additionalProperties": false }`
	b := connect(t, &fake{tools: `[{"name":"it","inputSchema":` + schema + `}]`})
	if got := mustTools(t, b)[0].InputSchema; string(got) != schema {
		t.Errorf("got  %s\nwant %s", got, schema)
	}
}

func TestListing_description(t *testing.T) {
	long := strings.Repeat("é", 6000)
	b := connect(t, &fake{tools: `[{"name":"it","description":"` + long + `","inputSchema":{"type":"object"}}]`})
	if got := mustTools(t, b)[0].Description; len(got) > 8200 || !utf8.ValidString(got) || !strings.HasSuffix(got, "é…") {
		t.Errorf("got %d bytes, valid %t", len(got), utf8.ValidString(got))
	}
}

// case 68: the catalogue is kept, renewed in the background when its time is
// up, and kept on when that fails.
func TestCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{tools: list("a"), on: map[string]func(*exchange) bool{"tools/list": func(x *exchange) bool {
			if x.n == 2 {
				x.raw(500, "", "")
			}
			return x.n == 2
		}}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		for _, step := range []struct {
			wait  time.Duration
			tools string // of the server, from now on
			want  string // of the catalogue
			lists int
		}{
			{0, list("a"), "a", 1},
			{9 * time.Minute, list("a", "b"), "a", 1},
			{2 * time.Minute, list("a", "b"), "a", 1}, // past its time: used once more, and renewed
			{time.Second, list("a", "b"), "a b", 2},
			{11 * time.Minute, list("b"), "a b", 2},
			{time.Second, list("b"), "a b", 3}, // that listing failed
			{31 * time.Second, list("b"), "a b", 3},
			{time.Second, list("b"), "b", 4},
		} {
			time.Sleep(step.wait)
			f.setTools(step.tools)
			synctest.Wait()
			if n := len(f.requests("tools/list")); n != step.lists && step.lists > 1 {
				t.Errorf("%d listings, want %d", n, step.lists)
			}
			if got := toolNames(mustTools(t, b)); got != step.want {
				t.Errorf("tools %q, want %q", got, step.want)
			}
			synctest.Wait()
		}
		b.Close(context.Background())
	})
}

// case 68: many who find the listing past its time have it renewed once, and wait
// for nothing.
func TestCatalogue_renewedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{on: map[string]func(*exchange) bool{"tools/list": func(x *exchange) bool {
			if x.n > 0 {
				time.Sleep(time.Second)
			}
			return false
		}}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		mustTools(t, b)
		time.Sleep(11 * time.Minute)
		for start := time.Now(); time.Since(start) < 100*time.Millisecond; time.Sleep(time.Millisecond) {
			at := time.Now()
			if mustTools(t, b); time.Since(at) > 0 {
				t.Errorf("a caller waited %s", time.Since(at))
			}
		}
		if n := len(f.requests("tools/list")); n != 2 {
			t.Errorf("%d listings, want 2", n)
		}
		time.Sleep(time.Second)
		b.Close(context.Background())
	})
}

// case 52: a session that is found gone when the tools are listed again is opened
// anew by the next use.
func TestCatalogue_sessionGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{sessions: true, tools: list("a")}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		mustTools(t, b)
		f.mu.Lock()
		f.alive = ""
		f.mu.Unlock()
		f.setTools(list("b"))
		time.Sleep(11 * time.Minute)
		mustTools(t, b) // lists again in the background
		synctest.Wait()
		if got, n := toolNames(mustTools(t, b)), len(f.requests("initialize")); got != "b" || n != 2 {
			t.Errorf("got tools %q after %d handshakes, want b after 2", got, n)
		}
		b.Close(context.Background())
	})
}

// The newer era's servers say how long a listing holds.
func TestCatalogue_ttl(t *testing.T) {
	for ttl, want := range map[string]time.Duration{"60000": time.Minute, "0": 30 * time.Second, "-5": 30 * time.Second, "-9223372036855": 30 * time.Second, "999999999999999": time.Hour, "null": 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/list": func(x *exchange) bool {
				x.result(`{"tools":` + addTool + `,"ttlMs":` + ttl + `}`)
				return true
			}}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			mustTools(t, b)
			for _, tt := range []struct {
				wait  time.Duration
				lists int
			}{{want - time.Second, 1}, {2 * time.Second, 2}} {
				time.Sleep(tt.wait)
				mustTools(t, b)
				synctest.Wait()
				if n := len(f.requests("tools/list")); n != tt.lists {
					t.Errorf("ttl %s: %d listings, want %d", ttl, n, tt.lists)
				}
			}
			b.Close(context.Background())
		})
	}
}

// case 68: an answer that the tool is unknown has the tools listed once, not
// for each of many such answers; a notice that they changed has, too.
func TestCatalogue_unknownTool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{tools: list("old"), on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
			if x.params.Name == "old" {
				x.refuse(-32602, "unknown tool")
				return true
			}
			x.raw(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":"+string(x.id)+",\"result\":"+ok+"}\n\n")
			return true
		}}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		mustTools(t, b)
		time.Sleep(time.Minute)
		f.setTools(list("new"))
		for range 20 {
			if _, err := b.Call(t.Context(), "old", nil); platformError(err) == nil {
				t.Errorf("got %v", err)
			}
			synctest.Wait()
		}
		if n := len(f.requests("tools/list")); n != 2 {
			t.Errorf("%d listings, want 2", n)
		}
		if got := toolNames(mustTools(t, b)); got != "new" {
			t.Errorf("tools %q, want new", got)
		}
		f.setTools(list("new", "newer"))
		if _, err := b.Call(t.Context(), "new", nil); err != nil {
			t.Error(err)
		}
		mustTools(t, b)
		synctest.Wait()
		if got := toolNames(mustTools(t, b)); got != "new newer" {
			t.Errorf("tools %q, want new newer", got)
		}
		b.Close(context.Background())
	})
}

// A notice that the tools changed which comes while they are being listed is not
// lost with that listing.
func TestCatalogue_changedMeanwhile(t *testing.T) { // case 68
	synctest.Test(t, func(t *testing.T) {
		f := &fake{tools: list("old")}
		f.on = map[string]func(*exchange) bool{
			"tools/list": func(x *exchange) bool {
				if x.n != 1 {
					return false
				}
				x.result(`{"tools":` + f.list() + `}`)
				x.flush()
				time.Sleep(time.Second) // on its way
				return true
			},
			"tools/call": func(x *exchange) bool {
				x.raw(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":"+string(x.id)+",\"result\":"+ok+"}\n\n")
				return true
			},
		}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		mustTools(t, b)
		time.Sleep(11 * time.Minute)
		mustTools(t, b) // lists again in the background
		synctest.Wait()
		f.setTools(list("old", "new"))
		if _, err := b.Call(t.Context(), "old", nil); err != nil {
			t.Error(err)
		}
		time.Sleep(32 * time.Second)
		mustTools(t, b)
		synctest.Wait()
		if got := toolNames(mustTools(t, b)); got != "new old" {
			t.Errorf("tools %q, want new old", got)
		}
		b.Close(context.Background())
	})
}

var bedrockName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// case 61
func TestNames(t *testing.T) {
	a := &fake{tools: list("add", "get.it", strings.Repeat("x", 65), "a__b", "größe")}
	b := &fake{tools: list("add", "only_b")}
	aURL, bURL := a.serve(t), b.serve(t)
	box := open(t, toolbox.Options{}, at("a", aURL, nil), at("b", bURL, nil))
	want := map[string]string{
		"a__add": "a add", "b__add": "b add", "only_b": "b only_b", "a__b": "a a__b",
		"get_it_" + hash("get.it"): "a get.it", "gr__e_" + hash("größe"): "a größe", strings.Repeat("x", 55) + "_" + hash(strings.Repeat("x", 65)): "a " + strings.Repeat("x", 65),
	}
	tools := mustTools(t, box)
	for _, tool := range tools {
		if got := tool.Server + " " + tool.Tool; want[tool.Name] != got {
			t.Errorf("%s stands for %s, want %q", tool.Name, got, want[tool.Name])
		}
	}
	if len(tools) != len(want) {
		t.Errorf("%d tools, want %d", len(tools), len(want))
	}

	always := open(t, toolbox.Options{AlwaysPrefix: true}, at("b", bURL, nil))
	if got, want := toolNames(mustTools(t, always)), "b__add b__only_b"; got != want {
		t.Errorf("with a prefix always: %q, want %q", got, want)
	}
}

// A name keeps its meaning when another server comes up with the same tool, and
// when that one is all that is left of it.
func TestNames_stay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := map[string]int{}
		server := func(name string) *fake {
			return &fake{tools: list("add"), on: map[string]func(*exchange) bool{"tools/call": func(*exchange) bool { calls[name]++; return false }}}
		}
		a, b := server("a"), server("b")
		b.setTools(list("other"))
		box := open(t, toolbox.Options{}, inMemory("a", a), inMemory("b", b))
		change := func(aTools, bTools, want string) {
			t.Helper()
			a.setTools(aTools)
			b.setTools(bTools)
			time.Sleep(11 * time.Minute)
			mustTools(t, box)
			synctest.Wait()
			if got := toolNames(mustTools(t, box)); got != want {
				t.Errorf("tools %q, want %q", got, want)
			}
		}
		if got := toolNames(mustTools(t, box)); got != "add other" {
			t.Errorf("tools %q", got)
		}
		change(list("add"), list("add"), "a__add b__add")
		if _, err := box.Call(t.Context(), "add", nil); err != nil || calls["a"] != 1 || calls["b"] != 0 {
			t.Errorf("the old name: %v, calls %v; want one of a", err, calls)
		}
		change(list("x"), list("add"), "x b__add")
		if _, err := box.Call(t.Context(), "add", nil); err != nil || calls["b"] != 0 {
			t.Errorf("the old name: %v, calls %v; want none of b", err, calls)
		}
		box.Close(context.Background())
	})
}

// Names are one to one, fit Bedrock's rule, and lead back to exactly one tool,
// whatever servers call theirs.
func FuzzNames(f *testing.F) {
	f.Add("add", "add", "a__add", "b__add", false)
	f.Add("a.b", "a_b", "a b", "a/b", true)
	f.Add(strings.Repeat("x", 64), strings.Repeat("x", 65), "ü", "", false)
	f.Add("add", "a__add", "a__add", "add", false)
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string, always bool) {
		box := open(t, toolbox.Options{AlwaysPrefix: always}, inMemory("a", &fake{tools: list(a1, a2)}), inMemory("b", &fake{tools: list(b1, b2)}))
		tools := mustTools(t, box)
		if len(tools)+len(box.Dropped()) != 4 {
			t.Errorf("%d tools and %d dropped of 4", len(tools), len(box.Dropped()))
		}
		seen := map[string]bool{}
		for _, tool := range tools {
			if seen[tool.Name] || !bedrockName.MatchString(tool.Name) {
				t.Errorf("name %q is taken or unfit", tool.Name)
			}
			seen[tool.Name] = true
			if back, ok := box.Lookup(tool.Name); !ok || back.Server != tool.Server || back.Tool != tool.Tool {
				t.Errorf("%s leads to %s %s, want %s %s", tool.Name, back.Server, back.Tool, tool.Server, tool.Tool)
			}
		}
		box.Close(context.Background())
	})
}
