// The cases of the MCP client and the tests that hold them:
//
//	51  TestRefusals, TestRefusals_platform
//	52  TestSessionGone, TestUnknownOutcome, TestRestart
//	53  TestSessionGone_storm
//	54  TestColdStart, TestCallBudget
//	55  TestEra, TestEra_slow
//	56  TestAnswer_unusable
//	57  TestAnswer_tooLarge, TestAnswer_stalls
//	58  TestStream_cut, TestStream_resumed
//	59  TestDeadConnection, TestUnknownOutcome
//	60  TestCancel
//	61  TestListing, TestListing_endless, TestNames, FuzzNames
//	62  TestSchema
//	63  TestSchema_raw
//	64  TestServerRequests
//	65  TestResult
//	66  TestClose
//	67  TestServersApart
//	68  TestCatalogue, TestCatalogue_unknownTool
//	69  TestInvocationURL of package agentcore
//	70  TestConnects_flat
package toolbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/toolbox"
)

// Real servers: mcp-go's, stateless as on AgentCore and with sessions, in both
// eras.
func TestServer_real(t *testing.T) {
	for _, tt := range []struct {
		name   string
		option server.StreamableHTTPOption
		era    string
		steady bool
	}{
		{"stateless", server.WithStateLess(true), "", false},
		{"stateless, steady id", server.WithStateLess(true), toolbox.Era2025, true},
		{"sessions", nil, "", false},
		{"stateful", server.WithStateful(true), "", false},
		{"2026-07-28", server.WithStateLess(true), toolbox.Era2026, false},
		{"2026-07-28, steady id", server.WithStateLess(true), toolbox.Era2026, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := server.NewMCPServer("real", "1")
			s.AddTool(mcp.NewTool("greet", mcp.WithDestructiveHintAnnotation(false), mcp.WithString("name", mcp.Required())), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return mcp.NewToolResultText("Hello, " + r.GetString("name", "nobody")), nil
			})
			s.AddTool(mcp.NewTool("fail", mcp.WithDestructiveHintAnnotation(false)), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return mcp.NewToolResultError("no luck"), nil
			})
			var options []server.StreamableHTTPOption
			if tt.option != nil {
				options = append(options, tt.option)
			}
			recorded := &recorder{next: server.NewStreamableHTTPServer(s, options...)}
			h := httptest.NewServer(recorded)
			defer h.Close()
			b := open(t, toolbox.Options{}, toolbox.Server{Name: "real", Era: tt.era, Resolve: func(context.Context) (toolbox.Endpoint, error) {
				return toolbox.Endpoint{URL: h.URL + "/mcp", Client: h.Client(), SteadySession: tt.steady}, nil
			}})
			if got, want := toolNames(mustTools(t, b)), "fail greet"; got != want {
				t.Fatalf("tools %q, want %q", got, want)
			}
			for tool, want := range map[string]toolbox.Result{"greet": {Text: "Hello, Ann"}, "fail": {Text: "no luck", IsError: true}} {
				if got, err := b.Call(t.Context(), tool, json.RawMessage(`{"name":"Ann"}`)); err != nil || got != want {
					t.Errorf("%s: got %+v, %v; want %+v", tool, got, err, want)
				}
			}
			ids := map[string]bool{}
			for i, r := range recorded.requests {
				if i > 0 || tt.steady { // the first request may open the session
					ids[r.Header.Get("Mcp-Session-Id")] = true
				}
				if got, want := r.Header.Get("Mcp-Method") != "", tt.era == toolbox.Era2026; got != want {
					t.Errorf("request %d: Mcp-Method is there: %t", i, got)
				}
			}
			if len(ids) != 1 || tt.steady && ids[""] {
				t.Errorf("session ids %v, want one", ids)
			}
		})
	}
}

// recorder keeps the requests that pass it.
type recorder struct {
	next     http.Handler
	requests []*http.Request
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec.requests = append(rec.requests, r)
	rec.next.ServeHTTP(w, r)
}

// What goes over the wire, in full: a cold start is three requests, a call one,
// and the input keeps its digits.
func TestWire(t *testing.T) {
	f := &fake{}
	b := connect(t, f)
	input := `{"a": 12345678901234567890.10, "b" : "<&>"}`
	r, err := b.Call(t.Context(), "add", json.RawMessage(input))
	if err != nil || r.Text != input {
		t.Fatalf("got %+v, %v; want %s", r, err, input)
	}
	want := []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"agentcore-mcp-auth","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}`,
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"add","arguments":` + input + `}}`,
	}
	var got []string
	for i, x := range f.seen {
		got = append(got, string(x.body))
		wantVersion := "2025-11-25"
		if i == 0 {
			wantVersion = ""
		}
		if v := x.r.Header.Get("Mcp-Protocol-Version"); v != wantVersion {
			t.Errorf("request %d: protocol version %q, want %q", i, v, wantVersion)
		}
		if a := x.r.Header.Get("Accept"); a != "application/json, text/event-stream" {
			t.Errorf("request %d: Accept %q", i, a)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCall_input(t *testing.T) {
	f := &fake{}
	b := connect(t, f)
	for _, input := range []string{`[]`, `null`, `"x"`, `{`, `{}{}`, `{}},"x":{`, ` `, "{\"a\":1}\x00"} {
		if r, err := b.Call(t.Context(), "add", json.RawMessage(input)); err == nil {
			t.Errorf("%s: got %+v, want an error", input, r)
		}
	}
	if _, err := b.Call(t.Context(), "sub", nil); !errors.Is(err, toolbox.ErrUnknownTool) {
		t.Errorf("a tool nobody has: %v", err)
	}
	if n := len(f.requests("tools/call")); n > 0 {
		t.Errorf("%d calls were sent", n)
	}
	for _, input := range []string{``, ` {}`, "\n{ }\n"} {
		if _, err := b.Call(t.Context(), "add", json.RawMessage(input)); err != nil {
			t.Errorf("%q: %v", input, err)
		}
	}
}

func TestParseServers(t *testing.T) {
	for list, want := range map[string][]toolbox.Server{
		"":             nil,
		" , ":          nil,
		"calc":         {{Name: "calc"}},
		"calc, other?": {{Name: "calc"}, {Name: "other", Optional: true}},
	} {
		if got, err := toolbox.ParseServers(list); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v; want %+v", list, got, err, want)
		}
	}
	for _, list := range []string{"?", "a,?", "a,b,a", "a,a?"} {
		if got, err := toolbox.ParseServers(list); err == nil {
			t.Errorf("%q: got %+v, want an error", list, got)
		}
	}
}

func TestAllowDeny(t *testing.T) {
	f := &fake{tools: `[{"name":"add","inputSchema":{"type":"object"}},{"name":"delete_all","inputSchema":{"type":"object"}},
		{"name":"get_a","inputSchema":{"type":"object"}},{"name":"get_secret","inputSchema":{"type":"object"}}]`}
	url := f.serve(t)
	s := at("s", url, nil)
	s.Allow, s.Deny = []string{"add", "get_*"}, []string{"get_secret"}
	b := open(t, toolbox.Options{}, s)
	if got, want := toolNames(mustTools(t, b)), "add get_a"; got != want {
		t.Errorf("tools %q, want %q", got, want)
	}
	for _, name := range []string{"delete_all", "get_secret"} {
		if _, err := b.Call(t.Context(), name, nil); !errors.Is(err, toolbox.ErrUnknownTool) {
			t.Errorf("%s: %v, want ErrUnknownTool", name, err)
		}
	}
	if n := len(f.requests("tools/call")); n > 0 {
		t.Errorf("%d calls were sent", n)
	}
}

// case 81: what a server calls destructive is used only where somebody allowed it.
func TestDestructive(t *testing.T) {
	f := &fake{tools: `[{"name":"drop","inputSchema":{"type":"object"},"annotations":{"destructiveHint":true}},
		{"name":"plain","inputSchema":{"type":"object"}},
		{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"destructiveHint":true}},
		{"name":"set","inputSchema":{"type":"object"},"annotations":{"destructiveHint":false}}]`}
	url := f.serve(t)
	for _, tt := range []struct {
		allow, deny []string
		want        string
	}{
		{nil, nil, "plain read set"}, // of one that only reads the hint means nothing
		{[]string{"*"}, nil, "drop plain read set"},
		{[]string{"drop"}, nil, "drop"},
		{[]string{"s*"}, nil, "set"},
		{nil, []string{"set"}, "plain read"},
		{[]string{"drop", "set"}, []string{"drop"}, "set"},
	} {
		s := at("s", url, nil)
		s.Allow, s.Deny = tt.allow, tt.deny
		b := open(t, toolbox.Options{}, s)
		if got := toolNames(mustTools(t, b)); got != tt.want {
			t.Errorf("allowed %q, denied %q: tools %q, want %q", tt.allow, tt.deny, got, tt.want)
		}
		offered := strings.Contains(tt.want, "drop")
		if _, err := b.Call(t.Context(), "drop", nil); errors.Is(err, toolbox.ErrUnknownTool) == offered {
			t.Errorf("allowed %q: calling it: %v", tt.allow, err)
		}
		if tt.allow == nil && (len(b.Dropped()) != 1 || !strings.Contains(b.Dropped()[0].Reason, "destructive")) {
			t.Errorf("dropped %v", b.Dropped())
		}
	}
}

// case 66
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{sessions: true}
		f.on = map[string]func(*exchange) bool{"DELETE": func(x *exchange) bool {
			<-x.r.Context().Done() // never answers
			return true
		}}
		client := &http.Client{Transport: bearer{"Bearer t-1", memory{f}}}
		b := toolbox.New([]toolbox.Server{at("calc", "http://calc.test/mcp", client)}, toolbox.Options{})
		mustTools(t, b)
		start := time.Now()
		b.Close(context.Background())
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("closing took %s, want 2s", d)
		}
		deleted := f.requests("DELETE")
		if len(deleted) != 1 {
			t.Fatalf("%d DELETE requests, want 1", len(deleted))
		}
		h := deleted[0].r.Header
		if h.Get("Authorization") != "Bearer t-1" || h.Get("Mcp-Session-Id") != "session-1" || h.Get("Mcp-Protocol-Version") != "2025-11-25" {
			t.Errorf("DELETE came with %v", h)
		}
		if _, _, err := b.Tools(t.Context()); !errors.Is(err, toolbox.ErrClosed) {
			t.Errorf("Tools after Close: %v, want ErrClosed", err)
		}
		if _, err := b.Call(t.Context(), "add", nil); !errors.Is(err, toolbox.ErrClosed) {
			t.Errorf("Call after Close: %v, want ErrClosed", err)
		}
		b.Close(context.Background())
	})
}

// bearer adds an Authorization header, as a token source does.
type bearer struct {
	value string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", b.value)
	return b.next.RoundTrip(r)
}

// case 67
func TestServersApart(t *testing.T) {
	var other *httptest.Server
	first := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
		http.Redirect(x, x.r, other.URL+"/mcp", http.StatusTemporaryRedirect)
		return true
	}}}
	second := &fake{tools: `[{"name":"sub","inputSchema":{"type":"object"}}]`}
	other = httptest.NewServer(second)
	defer other.Close()
	b := open(t, toolbox.Options{},
		at("first", first.serve(t), &http.Client{Transport: bearer{"Bearer of-first", http.DefaultTransport}}),
		at("second", other.URL+"/mcp", &http.Client{Transport: bearer{"Bearer of-second", http.DefaultTransport}}))
	mustTools(t, b)
	_, err := b.Call(t.Context(), "add", nil)
	if refusal := platformError(err); refusal == nil || refusal.Status != 307 || !strings.Contains(err.Error(), strings.TrimPrefix(other.URL, "http://")) {
		t.Errorf("a redirected call: %v, want an error with status 307 and the host", err)
	}
	if _, err := b.Call(t.Context(), "sub", nil); err != nil {
		t.Error(err)
	}
	for f, want := range map[*fake]string{first: "Bearer of-first", second: "Bearer of-second"} {
		for _, x := range f.seen {
			if got := x.r.Header.Get("Authorization"); got != want {
				t.Errorf("%s came with %q, want %q", x.method, got, want)
			}
		}
	}
	if n := len(second.requests("tools/call")); n != 1 {
		t.Errorf("the second server got %d calls, want its own one", n)
	}
}
