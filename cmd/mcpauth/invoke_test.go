package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/trigger"
)

const doneEvent = `event: done` + "\n" + `data: {"output":"4","session_id":"s","stop_reason":"end_turn","turns":2,"tool_calls":[],"usage":{}}` + "\n\n"

// Whatever answers at an agent's URL, the error is useful. An agent on this
// machine needs no AWS configuration at all.
func TestInvoke_answers(t *testing.T) {
	for _, tt := range []struct {
		name        string
		status      int
		contentType string
		body        string
		out, errIn  string // of stdout, and in the error
	}{
		{name: "whole", status: 200, contentType: "application/json", body: `{"output":"4","stop_reason":"end_turn"}`, out: "4\n"},
		{name: "events", status: 200, contentType: "text/event-stream", body: ": working\n\nevent: delta\ndata: {\"text\":\"Let me see\"}\n\nevent: news\ndata: {}\n\n" + doneEvent, out: "4\n"},
		{name: "error event", status: 200, contentType: "text/event-stream",
			body: "event: delta\ndata: {\"text\":\"x\"}\n\nevent: error\ndata: {\"error\":{\"code\":\"model_failed\",\"message\":\"malformed\"}}\n\n", errIn: "model_failed: malformed; its log says more"},
		{name: "broken off", status: 200, contentType: "text/event-stream", body: "event: delta\ndata: {\"text\":\"x\"}\n\n", errIn: "the answer broke off; its log says more"},
		{name: "another program", status: 200, contentType: "text/html", body: "<html>\n<h1>It works", errIn: "this is not an agent's answer: <html> <h1>It works"},
		{name: "refusal", status: 400, contentType: "application/json", body: `{"error":{"code":"invalid_request","message":"no prompt"}}`, errIn: "invalid_request: no prompt"},
		{name: "busy", status: 503, contentType: "application/json", body: `{"error":{"code":"model_throttled","message":"too much"}}`, errIn: "model_throttled: too much; it may pass: ask again"},
		{name: "proxy", status: 502, contentType: "text/html", body: "<h1>Bad\x1b[2J Gateway</h1>", errIn: "answered 502 Bad Gateway: <h1>Bad"},
		{name: "redirect", status: 302, body: "elsewhere", errIn: "answered 302 Found"},
		{name: "not there", status: 404, contentType: "application/json", body: `{"message":"no endpoint"}`, errIn: "answered 404 Not Found: no endpoint; is it deployed, and in this region?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked http.Header
			var sent []byte
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Header
				sent, _ = io.ReadAll(r.Body)
				w.Header().Set("Content-Type", tt.contentType)
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), []string{"invoke", "hello", "--url", srv.URL + "/invocations"}, &stdout, &stderr)
			message, _ := outcome(err, false)
			if (err == nil) != (tt.errIn == "") || !strings.HasPrefix(message, tt.errIn) || stdout.String() != tt.out {
				t.Errorf("got %q, %q\nwant %q, %q", stdout.String(), message, tt.out, tt.errIn)
			}
			if strings.ContainsAny(message, "\x1b\n") {
				t.Errorf("a terminal would obey %q", message)
			}
			if asked.Get("Authorization") != "" || string(sent) != `{"prompt":"hello"}` || len(asked.Get("X-Amzn-Bedrock-Agentcore-Runtime-Session-Id")) < 33 {
				t.Errorf("it was asked %s with %v", sent, asked)
			}
		})
	}
}

// A terminal gets the words as they come, and each only once.
func TestAnswerPrinter_live(t *testing.T) {
	events := func(texts ...string) string {
		var b strings.Builder
		for _, text := range texts {
			if tool, ok := strings.CutPrefix(text, "tool "); ok {
				fmt.Fprintf(&b, "event: tool_use\ndata: {\"server\":\"s\",\"tool\":%q,\"input\":{}}\n\n", tool)
				fmt.Fprintf(&b, "event: tool_result\ndata: {\"server\":\"s\",\"tool\":%q,\"duration_ms\":7,\"error\":true}\n\n", tool)
				continue
			}
			delta, err := json.Marshal(trigger.Delta{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "event: delta\ndata: %s\n\n", delta)
		}
		return b.String() + doneEvent
	}
	for _, tt := range []struct{ name, body, want string }{
		{"one piece", events("4"), "4\n"},
		{"words before a tool", events("Let me ", "see.", "tool add", "4"), "Let me see.\n[s/add {}]\n[s/add failed after 7ms]\n4\n"},
		{"no pieces", events(), "4\n"},
		{"other words in the end", events("5"), "5\n4\n"},
		{"a line's end", events("4\n"), "4\n"},
		{"escapes", events("\x1b[2J"), "�[2J\n4\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var screen bytes.Buffer
			cmd := &cobra.Command{}
			cmd.SetOut(&screen)
			cmd.SetErr(&framed{&screen})
			p := newAnswerPrinter(cmd)
			p.live = true
			if err := (&deployed{}).follow(p, strings.NewReader(tt.body)); err != nil {
				t.Fatal(err)
			}
			if screen.String() != tt.want {
				t.Errorf("got %q, want %q", screen.String(), tt.want)
			}
		})
	}
}

// framed puts lines in brackets.
type framed struct{ w io.Writer }

func (f *framed) Write(p []byte) (int, error) {
	fmt.Fprintf(f.w, "[%s]\n", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func TestDeployed_nextStep(t *testing.T) {
	stack := &deployed{stack: "s", target: target{name: "calc", region: "eu-west-1", profile: "my dev"}}
	function := &deployed{function: "arn:aws:lambda:eu-central-1:000000000000:function:agent"}
	for _, tt := range []struct {
		d    *deployed
		code trigger.Code
		want string
	}{
		{stack, trigger.InvalidRequest, ""},
		{stack, trigger.ModelThrottled, "it may pass: ask again"},
		{stack, trigger.DeadlineExceeded, "it may pass: ask again"},
		{stack, trigger.MCPAuthRefused, "find the failing check with: mcpauth doctor --mcp-name calc --stack-name s --region eu-west-1 --profile 'my dev'"},
		{function, trigger.ConfigurationError, "find the failing check with: mcpauth doctor --mcp-name NAME"},
		{stack, trigger.InternalError, "read its log with: sam logs --stack-name s --region eu-west-1 --profile 'my dev'"},
		{function, "Sandbox.Timedout", "read its log with: aws logs tail /aws/lambda/agent --since 10m"},
	} {
		if got := tt.d.nextStep(tt.code); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.code, got, tt.want)
		}
	}
}
