package doctor_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
)

// elsewhere is an MCP server outside of AgentCore. It wants a bearer, hands out
// a session and answers with a stream, a progress notification before each
// answer; a test changes what it wants to.
type elsewhere struct {
	pages  []string // of tools/list; each but the last names the next
	call   string   // result of tools/call
	status map[string]int
	body   map[string]string // sent as it is, by method
}

const readTool = `{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`

func (s *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Cursor string }
	}
	text, _ := io.ReadAll(r.Body)
	json.Unmarshal(text, &m)
	switch {
	case r.Header.Get("Authorization") == "":
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return
	case m.Method != "initialize" && r.Header.Get("Mcp-Session-Id") != "theirs":
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	w.Header().Set("Mcp-Session-Id", "theirs")
	if body, ok := s.body[m.Method]; ok {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, body)
		return
	}
	if status := s.status[m.Method]; status != 0 {
		http.Error(w, "out of order", status)
		return
	}
	result := `{"protocolVersion":"2025-11-25","serverInfo":{"name":"elsewhere","version":"1"}}`
	switch m.Method {
	case "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
		return
	case "tools/list":
		n := 0
		fmt.Sscan(m.Params.Cursor, &n)
		next := ""
		if n+1 < len(s.pages) {
			next = fmt.Sprintf(`,"nextCursor":"%d"`, n+1)
		}
		result = `{"tools":[` + s.pages[n] + `]` + next + `}`
	case "tools/call":
		result = s.call
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\r\n\r\n: still there\r\n\r\n")
	fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\r\ndata: \"result\":%s}\r\n\r\n", m.ID, result)
}

// put changes a parameter of the server.
func (w *world) put(t testing.TB, name, value string) {
	t.Helper()
	in := &ssm.PutParameterInput{Name: aws.String("/app/mcp/calculator/" + name), Value: &value, Overwrite: aws.Bool(true)}
	if _, there := w.Parameters()[*in.Name]; !there {
		in.Type = types.ParameterTypeString
	}
	if _, err := ssm.NewFromConfig(w.AWSConfig()).PutParameter(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// check finds a check by its id.
func check(t testing.TB, r doctor.Report, id string) doctor.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("there is no check %s in %+v", id, r.Checks)
	return doctor.Check{}
}

// A server may answer in a stream and in pages, and may fail at any request.
func TestExamine_server(t *testing.T) {
	w := newWorld(t)
	result := func(text string) string { return `{"content":[{"type":"text","text":"` + text + `"}]}` }
	for _, tt := range []struct {
		name   string
		server elsewhere
		id     string
		status doctor.Status
		part   string // of what was found and its cause
	}{
		{"streams", elsewhere{pages: []string{readTool}, call: result("seen")}, "mcp.call", doctor.Pass, "look({}) = seen"},
		{"pages", elsewhere{pages: []string{`{"name":"a","inputSchema":{"type":"object"}}`, readTool}, call: result("seen")}, "mcp.tools", doctor.Pass, "2: a, look"},
		{"no tool", elsewhere{pages: []string{""}}, "mcp.tools", doctor.Warn, "offers nothing"},
		{"a tool twice", elsewhere{pages: []string{readTool, readTool}, call: result("seen")}, "mcp.names", doctor.Fail, "more than once: look"},
		{"a tool that refuses", elsewhere{pages: []string{readTool}, call: `{"isError":true,"content":[{"type":"text","text":"not you"}]}`}, "mcp.call", doctor.Pass, "was run and refused its arguments: not you"},
		{"a pattern", elsewhere{pages: []string{strings.Replace(readTool, `"object"`, `"object","required":["a"],"properties":{"a":{"type":"string","pattern":"^x"}}`, 1)}}, "mcp.call", doctor.Skip, "no arguments can be made up"},
		{"notification refused", elsewhere{status: map[string]int{"notifications/initialized": 500}}, "mcp.initialize", doctor.Fail, "500"},
		{"list refused", elsewhere{status: map[string]int{"tools/list": 503}}, "mcp.tools", doctor.Fail, "503"},
		{"list of another form", elsewhere{body: map[string]string{"tools/list": `data: {"jsonrpc":"2.0","id":2,"result":{"tools":7}}` + "\n\n"}}, "mcp.tools", doctor.Fail, "breaks the protocol"},
		{"stream without an answer", elsewhere{body: map[string]string{"tools/list": "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n"}}, "mcp.tools", doctor.Fail, "without an answer"},
		{"a web page", elsewhere{body: map[string]string{"initialize": "<html>Welcome</html>"}}, "mcp.initialize", doctor.Fail, "another service"},
		{"call refused", elsewhere{pages: []string{readTool}, status: map[string]int{"tools/call": 500}}, "mcp.call", doctor.Fail, "500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(&tt.server)
			defer srv.Close()
			w.put(t, credstore.Endpoint, srv.URL+"/mcp")
			r := doctor.Examine(t.Context(), w.config())
			c := check(t, r, tt.id)
			if c.Status != tt.status || !strings.Contains(c.Found+c.Cause, tt.part) || strings.Contains(c.Cause, "refusal") {
				t.Errorf("got %+v, want %s and %q", c, tt.status, tt.part)
			}
			if first := r.First(); (first == nil) != (tt.status != doctor.Fail) || first != nil && first.ID != tt.id {
				t.Errorf("the first failure is %+v", first)
			}
		})
	}
}
