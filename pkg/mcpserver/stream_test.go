package mcpserver_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/mcpserver"
)

// A notification that a tool sends turns the answer into a stream, in both eras.
func TestStream(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewTool("steps"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 3 {
			if err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": "p", "progress": i}); err != nil {
				return nil, err
			}
		}
		return mcp.NewToolResultText("done"), nil
	})
	url, _ := serve(t, s, mcpserver.Config{})
	for name, tc := range map[string]struct {
		body   string
		header []string
	}{
		"2025-11-25": {toolCall("steps", `{}`), nil},
		"2026-07-28": {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"steps","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
			[]string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "steps"}},
	} {
		resp, body := post(t, url+"/mcp", tc.body, tc.header...)
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("%s: got %s %s, want a stream", name, got, body)
		}
		events := strings.Split(strings.TrimSpace(body), "\n\n")
		if len(events) != 4 {
			t.Fatalf("%s: got %d events, want 4: %s", name, len(events), body)
		}
		for i, e := range events[:3] {
			if !strings.Contains(e, fmt.Sprintf(`"progress":%d`, i)) {
				t.Errorf("%s: event %d is %s", name, i, e)
			}
		}
		data := events[3][strings.Index(events[3], "data: ")+len("data: "):]
		if got, failed := text(t, data); got != "done" || failed {
			t.Errorf("%s: got %q, error %v, want done", name, got, failed)
		}
	}
}

// Handlers learn of their client what the request itself says, and send it the
// log messages that it asks for: in the older era, which asks beforehand, those
// of level error and above, since what an earlier request has set is forgotten.
func TestStream_client(t *testing.T) {
	s := server.NewMCPServer("x", "1", server.WithLogging())
	s.AddTool(mcp.NewTool("who"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for _, level := range []mcp.LoggingLevel{mcp.LoggingLevelInfo, mcp.LoggingLevelError} {
			if err := server.ServerFromContext(ctx).SendLogMessageToClient(ctx, mcp.NewLoggingMessageNotification(level, "who", "at "+string(level))); err != nil {
				return nil, err
			}
		}
		client := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo)
		return mcp.NewToolResultText(fmt.Sprintf("%s, roots %t", client.GetClientInfo().Name, client.GetClientCapabilities().Roots != nil)), nil
	})
	url, _ := serve(t, s, mcpserver.Config{})
	if resp, body := post(t, url+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}`); resp.StatusCode != 200 || decode(t, body).Error != nil {
		t.Errorf("setting a level: got %d %s", resp.StatusCode, body)
	}
	for want, tc := range map[string]struct {
		body   string
		header []string
	}{
		", roots false": {toolCall("who", `{}`), nil},
		"agent, roots true": {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"who","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
			"io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"agent","version":"1"},"io.modelcontextprotocol/logLevel":"error"}}}`,
			[]string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "who"}},
	} {
		_, body := post(t, url+"/mcp", tc.body, tc.header...)
		if !strings.Contains(body, `"text":"`+want+`"`) || strings.Contains(body, "at info") || !strings.Contains(body, "at error") {
			t.Errorf("got %s, want %q and the error alone", body, want)
		}
	}
}

// What goes wrong once an answer has become a stream still ends in an answer to
// the request, and a notification that cannot be written is left out.
// case 114, case 115
func TestFaultyStream(t *testing.T) {
	s := server.NewMCPServer("x", "1", server.WithToolHandlerMiddleware(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
		return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if req.Params.Name == "panic" {
				server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progress": 1})
				panic(canary)
			}
			return next(ctx, req)
		}
	}))
	tool := func(name string, notice, result any) {
		s.AddTool(mcp.NewTool(name), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for _, v := range []any{notice, 1} {
				if err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progress": v}); err != nil {
					return nil, err
				}
			}
			return mcp.NewToolResultStructured(map[string]any{"v": result}, "done"), nil
		})
	}
	tool("panic", 0, 0)
	tool("bad result", 0, math.NaN())
	tool("bad notice", math.NaN(), 0)
	tool("worse notice", unwritable{}, 0)
	url, log := serve(t, s, mcpserver.Config{})
	for name, tc := range map[string]struct{ last, logged string }{
		"panic":        {`"code":-32603`, canary},
		"bad result":   {`"code":-32603`, "NaN"},
		"bad notice":   {`"text":"done"`, "NaN"},
		"worse notice": {`"text":"done"`, canary},
	} {
		resp, body := post(t, url+"/mcp", toolCall(name, `{}`))
		if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("%s: got %s, want a stream", name, kind)
		}
		last := body[strings.LastIndex(body, "data: ")+len("data: "):]
		if !strings.Contains(body, `"progress":1`) || !strings.Contains(last, tc.last) || !strings.Contains(last, `"id":1`) || strings.Contains(body, "canary") {
			t.Errorf("%s: got %s, want the notification and then an answer with %s", name, body, tc.last)
		}
		if line := logLine(log.String(), resp.Header.Get("X-Request-Id")); !strings.Contains(line, tc.logged) {
			t.Errorf("%s: logged %s, want %s", name, line, tc.logged)
		}
	}
}

// unwritable panics when it is encoded.
type unwritable struct{}

func (unwritable) MarshalJSON() ([]byte, error) { panic(canary) }
