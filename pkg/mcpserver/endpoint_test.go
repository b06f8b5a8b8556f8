package mcpserver_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// case 117
func TestMethodsAndPaths(t *testing.T) {
	url, _ := serve(t, calcserver.New("1"), mcpserver.Config{})
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"POST", "/mcp", 200, ""},
		{"POST", "/mcp/", 200, ""},
		{"POST", "/mcp?qualifier=DEFAULT", 200, ""},
		{"GET", "/mcp", 405, "POST"},
		{"GET", "/mcp/", 405, "POST"},
		{"HEAD", "/mcp", 405, "POST"},
		{"DELETE", "/mcp", 405, "POST"},
		{"PUT", "/mcp", 405, "POST"},
		{"PATCH", "/mcp", 405, "POST"},
		{"OPTIONS", "/mcp", 405, "POST"},
		{"TRACE", "/mcp/", 405, "POST"},
		{"POST", "/", 404, ""},
		{"POST", "/mcp/x", 404, ""},
		{"POST", "//mcp", 404, ""},
		{"POST", "/MCP", 404, ""},
		{"POST", "/mcp/../mcp", 404, ""},
		{"GET", "/ping", 404, ""},
		{"GET", "/.well-known/oauth-protected-resource", 404, ""},
		{"GET", "/healthz", 200, ""},
		{"HEAD", "/healthz", 200, ""},
		{"POST", "/healthz", 405, "GET, HEAD"},
		{"GET", "/healthz/", 404, ""},
	} {
		req, err := http.NewRequest(tc.method, url+tc.path, strings.NewReader(ping))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "text/event-stream")
		resp, body := do(t, req)
		if resp.StatusCode != tc.status || resp.Header.Get("Allow") != tc.allow {
			t.Errorf("%s %s: got %d, Allow %q (%s), want %d, %q", tc.method, tc.path, resp.StatusCode, resp.Header.Get("Allow"), body, tc.status, tc.allow)
		}
		if resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: no X-Request-Id", tc.method, tc.path)
		}
	}
}

// Any session id or none is accepted and none is given out. case 109, case 118
func TestSessionIDs(t *testing.T) {
	url, log := serve(t, calcserver.New("1"), mcpserver.Config{})
	for _, id := range []string{"", "mcp-session-1", "00000000-0000-0000-0000-000000000000", strings.Repeat("s", 4096), "ün\xfficode", `"quoted"`} {
		for _, body := range []string{
			`{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`,
			toolCall("add_numbers", `{"a":1,"b":2}`),
		} {
			header := []string{}
			if id != "" {
				header = []string{"Mcp-Session-Id", id}
			}
			resp, got := post(t, url+"/mcp", body, header...)
			if a := decode(t, got); resp.StatusCode != 200 || a.Result == nil {
				t.Errorf("id %.20q, %.60s: got %d %s", id, body, resp.StatusCode, got)
			}
			if got := resp.Header.Get("Mcp-Session-Id"); got != "" {
				t.Errorf("got a session id %q", got)
			}
		}
	}
	if got := log.String(); !strings.Contains(got, `"session_id":"mcp-session-1"`) || strings.Contains(got, strings.Repeat("s", 200)) {
		t.Errorf("want session ids in the log, cut to a bounded length")
	}
}

// The log has one line per request, with who and what, but no argument values.
func TestLog(t *testing.T) {
	url, log := serve(t, calcserver.New("1"), mcpserver.Config{})
	resp, _ := post(t, url+"/mcp", toolCall("greet_user", `{"name":"Canary-4711"}`), "Mcp-Session-Id", "s1")
	post(t, url+"/mcp", toolCall("greet_user", `{"name":"Canary-4711","x":"Canary-4711"}`))
	post(t, url+"/mcp", toolCall("add_numbers", `{"a":"Canary-4711","b":4711}`))
	post(t, url+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":"Canary-4711"`)
	var first map[string]any
	line, _, _ := strings.Cut(log.String(), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil {
		t.Fatalf("%q is no JSON line: %v", line, err)
	}
	for key, want := range map[string]any{
		"msg": "request", "request_id": resp.Header.Get("X-Request-Id"), "session_id": "s1",
		"method": "tools/call", "tool": "greet_user", "outcome": "ok", "status": 200.0,
	} {
		if got := first[key]; got != want {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
	if _, ok := first["duration_ms"].(float64); !ok {
		t.Errorf("duration_ms: got %v, want a number", first["duration_ms"])
	}
	if got := strings.Count(log.String(), "\n"); got != 4 {
		t.Errorf("got %d log lines, want 4", got)
	}
	if strings.Contains(log.String(), "4711") {
		t.Errorf("the log has an argument's value: %s", log)
	}
}

// case 112
func TestHostAndOrigin(t *testing.T) {
	for _, tc := range []struct {
		allowed      []string
		host, origin string // empty: the default, and none
		status       int
	}{
		{nil, "", "", 200},
		{nil, "localhost", "", 200},
		{nil, "LOCALHOST:99", "", 200},
		{nil, "[::1]:8000", "", 200},
		{nil, "evil.example", "", 403},
		{nil, "localhost.evil.example", "", 403},
		{nil, "127.0.0.1.evil.example:80", "", 403},
		{nil, "", "http://localhost:6274", 200},
		{nil, "", "http://127.0.0.1", 200},
		{nil, "", "https://[::1]:3000", 200},
		{nil, "", "https://evil.example", 403},
		{nil, "", "null", 403},
		{nil, "", "", 200},
		{nil, "", "file://localhost", 403},
		{nil, "", "http://localhost.evil.example", 403},
		{nil, "", "http://evil.example@localhost.evil.example", 403},
		{nil, "evil.example", "http://evil.example", 403},
		{[]string{"*"}, "evil.example", "", 200},
		{[]string{"*"}, "evil.example", "http://evil.example", 403},
		{[]string{"*"}, "evil.example", "http://localhost", 403},
		{[]string{"*"}, "", "http://localhost", 200},
		{[]string{"*"}, "", "null", 403},
		{[]string{"mcp.example.com"}, "mcp.example.com", "", 200},
		{[]string{"mcp.example.com"}, "MCP.example.com:8000", "https://mcp.example.com", 200},
		{[]string{"mcp.example.com"}, "mcp.example.com", "https://other.example.com", 403},
		{[]string{"mcp.example.com"}, "other.example.com", "", 403},
		{[]string{"mcp.example.com"}, "localhost", "", 403},
		{[]string{"mcp.example.com:8000"}, "mcp.example.com:8000", "", 200},
		{[]string{"mcp.example.com:8000"}, "mcp.example.com:8001", "", 403},
	} {
		url, _ := serve(t, calcserver.New("1"), mcpserver.Config{AllowedHosts: tc.allowed})
		var header []string
		if tc.host != "" {
			header = append(header, "Host", tc.host)
		}
		if tc.origin != "" {
			header = append(header, "Origin", tc.origin)
		}
		if resp, body := post(t, url+"/mcp", ping, header...); resp.StatusCode != tc.status {
			t.Errorf("allowed %q, host %q, origin %q: got %d %s, want %d", tc.allowed, tc.host, tc.origin, resp.StatusCode, body, tc.status)
		}
		if resp, _ := do(t, request(t, "GET", url+"/healthz", header...)); resp.StatusCode != 200 {
			t.Errorf("allowed %q, host %q, origin %q: health is %d, want 200", tc.allowed, tc.host, tc.origin, resp.StatusCode)
		}
	}
}

// A connection that does not arrive over loopback has no Host rule by default.
func TestHost_otherInterface(t *testing.T) {
	h, err := mcpserver.New(calcserver.New("1"), mcpserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]int{"": 200, "http://mcp.example.com": 403, "http://localhost": 403} {
		req := httptest.NewRequest("POST", "http://mcp.example.com/mcp", strings.NewReader(ping))
		req.Header.Set("Content-Type", "application/json")
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8000}
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, local))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("origin %q: got %d %s, want %d", origin, w.Code, w.Body, want)
		}
	}
}

// A guard stands in front of everything but the health path; what it refuses is
// not looked at, and what it knows of a caller is in the log.
func TestGuard(t *testing.T) {
	type key struct{}
	url, log := serve(t, calcserver.New("1"), mcpserver.Config{
		Guard: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "let me in" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "somebody")))
			})
		},
		Caller: func(ctx context.Context) string { who, _ := ctx.Value(key{}).(string); return who },
	})
	for _, tc := range []struct {
		path, header, body string
		status             int
		logged             string
	}{
		{"/mcp", "let me in", toolCall("add_numbers", `{"a":1,"b":2}`), 200, `"caller":"somebody","method":"tools/call"`},
		{"/mcp/", "let me in", "{", 400, `"caller":"somebody","http_method":"POST"`},
		{"/mcp", "", ping, 401, ""},
		{"/mcp", "", "{", 401, ""},
		{"/other", "", "", 401, ""},
		{"/other", "let me in", "", 404, `"caller":"somebody"`},
		{"/healthz", "", "", 405, `"path":"/healthz"`},
	} {
		resp, body := post(t, url+tc.path, tc.body, "Authorization", tc.header)
		line := logLine(log.String(), resp.Header.Get("X-Request-Id"))
		if resp.StatusCode != tc.status || resp.Header.Get("X-Request-Id") == "" || tc.logged == "" && line != "" || !strings.Contains(line, tc.logged) {
			t.Errorf("%s %s, %q: got %d %s, logged %s, want %d, %s", tc.path, tc.body, tc.header, resp.StatusCode, body, line, tc.status, tc.logged)
		}
	}
}

func TestNew_refuses(t *testing.T) {
	broken := server.NewMCPServer("x", "1")
	broken.AddTool(mcp.NewToolWithRawSchema("bad", "", json.RawMessage(`{"type":"nonsense"}`)), nil)
	remote := server.NewMCPServer("x", "1")
	remote.AddTool(mcp.NewToolWithRawSchema("far", "", json.RawMessage(`{"$ref":"https://schemas.example/x.json"}`)), nil)
	for _, tc := range []struct {
		s     *server.MCPServer
		hosts []string
		want  string
	}{
		{broken, nil, "tool bad"},
		{remote, nil, "not fetched"},
		{calcserver.New("1"), []string{""}, "allowed host"},
		{calcserver.New("1"), []string{"https://x"}, `allowed host "https://x"`},
		{calcserver.New("1"), []string{"*.example.com"}, "allowed host"},
		{calcserver.New("1"), []string{"a b"}, "allowed host"},
	} {
		if _, err := mcpserver.New(tc.s, mcpserver.Config{AllowedHosts: tc.hosts}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("hosts %q: got %v, want an error with %q", tc.hosts, err, tc.want)
		}
	}
}

// case 116, case 119
func TestRefusals(t *testing.T) {
	url, _ := serve(t, calcserver.New("1"), mcpserver.Config{})
	const modern = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	for _, tc := range []struct {
		name, body string
		header     []string
		status     int
		code       int
		message    string
	}{
		{"batch", `[` + ping + `]`, nil, 400, -32600, "batches"},
		{"not JSON", `hello`, nil, 400, -32600, "JSON object"},
		{"empty", ``, nil, 400, -32700, "empty"},
		{"member twice", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}`, nil, 400, -32700, "twice"},
		{"folded member", `{"jsonrpc":"2.0","id":1,"method":"tools/list","PARAMS":{}}`, nil, 400, -32600, "members"},
		{"response", `{"jsonrpc":"2.0","id":1,"result":{}}`, nil, 400, -32600, "no responses"},
		{"wrong type", ping, []string{"Content-Type", "text/plain"}, 415, -32600, "Content-Type"},
		{"no type", ping, []string{"Content-Type", ""}, 415, -32600, "Content-Type"},
		{"compressed", ping, []string{"Content-Encoding", "gzip"}, 415, -32600, "Content-Encoding"},
		{"unknown version", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"Mcp-Protocol-Version", "1999-01-01"}, 400, -32022, "version"},
		{"unknown version beside a known one", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}`, []string{"Mcp-Protocol-Version", "1999-01-01"}, 400, -32022, "version"},
		{"future version in header only", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"Mcp-Protocol-Version", "2099-01-01"}, 400, -32022, "version"},
		{"future version", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}`,
			[]string{"Mcp-Protocol-Version", "2099-01-01", "Mcp-Method", "tools/list"}, 400, -32022, "version"},
		{"modern without header", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, nil, 400, -32020, "Mcp-Protocol-Version"},
		{"modern without meta", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"}, 400, -32602, "_meta"},
		{"modern versions differ", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, []string{"Mcp-Protocol-Version", "2025-11-25", "Mcp-Method", "tools/list"}, 400, -32020, "differs"},
		{"modern without method header", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, []string{"Mcp-Protocol-Version", "2026-07-28"}, 400, -32020, "Mcp-Method"},
		{"modern method differs", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call"}, 400, -32020, "Mcp-Method"},
		{"modern name differs", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers",` + modern + `}}`, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "greet_user"}, 400, -32020, "Mcp-Name"},
		{"modern resumption", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list", "Last-Event-ID", "1"}, 400, -32020, "Last-Event-ID"},
		{"modern ping", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{` + modern + `}}`, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "ping"}, 404, -32601, "removed"},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"nope"}`, nil, 200, -32601, "nope"},
		{"task", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":1,"b":2},"task":{}}}`, nil, 200, -32601, "tasks"},
		{"list of tasks", `{"jsonrpc":"2.0","id":1,"method":"tasks/list"}`, nil, 200, -32601, "tasks"},
		{"unknown tool", toolCall("nope", `{}`), nil, 200, -32602, "nope"},
		// Go's own words about types stay in the log. case 125
		{"wrong params", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":5}}`, nil, 200, -32600, "request id"},
	} {
		resp, body := post(t, url+"/mcp", tc.body, tc.header...)
		a := decode(t, body)
		if a.Error == nil {
			t.Errorf("%s: got %d %s, want an error", tc.name, resp.StatusCode, body)
			continue
		}
		if resp.StatusCode != tc.status || a.Error.Code != tc.code || !strings.Contains(a.Error.Message, tc.message) {
			t.Errorf("%s: got %d %s, want %d, code %d, %q", tc.name, resp.StatusCode, body, tc.status, tc.code, tc.message)
		}
		if tc.code == -32022 && !strings.Contains(string(a.Error.Data), `"supported":["2026-07-28","2025-11-25"`) || tc.code == -32022 && !strings.Contains(string(a.Error.Data), `"requested":"`+tc.header[1]+`"`) {
			t.Errorf("%s: got data %s, want the supported versions and the requested one", tc.name, a.Error.Data)
		}
		if strings.Contains(body, "Go struct") || strings.Contains(body, "json:") {
			t.Errorf("%s: got Go's words: %s", tc.name, body)
		}
	}
	req := request(t, "POST", url+"/mcp", "Content-Type", "application/json", "Mcp-Method", "ping", "Mcp-Method", "tools/call")
	if resp, body := do(t, req); resp.StatusCode != 400 {
		t.Errorf("header twice: got %d %s, want 400", resp.StatusCode, body)
	}
}

// Notifications are accepted, and one that cancels does not reach another
// caller's call.
func TestNotifications(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	entered, release := make(chan struct{}), make(chan struct{})
	s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		entered <- struct{}{}
		select {
		case <-release:
			return mcp.NewToolResultText("done"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	url, _ := serve(t, s, mcpserver.Config{})
	got := make(chan string)
	go func() {
		_, body := post(t, url+"/mcp", toolCall("wait", `{}`), "Mcp-Session-Id", "s")
		got <- body
	}()
	<-entered
	for _, body := range []string{
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"x"}}`,
		`{"jsonrpc":"2.0","method":"notifications/unheard-of","params":{}}`,
	} {
		if resp, got := post(t, url+"/mcp", body, "Mcp-Session-Id", "s"); resp.StatusCode != 202 || got != "" {
			t.Errorf("%s: got %d %q, want 202 and nothing", body, resp.StatusCode, got)
		}
	}
	close(release)
	if got, failed := text(t, <-got); got != "done" || failed {
		t.Errorf("got %q, error %v, want done", got, failed)
	}
}
