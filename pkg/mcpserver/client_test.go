package mcpserver_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// mcp-go's own client in both eras. case 118
func TestClient(t *testing.T) {
	url, _ := serve(t, calcserver.New("1"), mcpserver.Config{})
	for name, option := range map[string]client.ClientOption{
		"2025-11-25": client.WithProtocolVersion(mcp.LATEST_LEGACY_PROTOCOL_VERSION),
		"2026-07-28": client.WithProtocolVersion("2026-07-28"),
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := transport.NewStreamableHTTP(url + "/mcp/")
			if err != nil {
				t.Fatal(err)
			}
			c := client.NewClient(tr, option)
			defer func() {
				if err := c.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			}()
			ctx := t.Context()
			if err := c.Start(ctx); err != nil {
				t.Fatal(err)
			}
			var init mcp.InitializeRequest
			init.Params.ProtocolVersion = name
			init.Params.ClientInfo = mcp.Implementation{Name: "test", Version: "1"}
			if result, err := c.Initialize(ctx, init); err != nil || result.ServerInfo.Name != "calculator" {
				t.Fatalf("got %+v, %v, want the calculator", result, err)
			}
			list, err := c.ListTools(ctx, mcp.ListToolsRequest{})
			if err != nil || len(list.Tools) != len(calculator.Tools()) {
				t.Fatalf("got %+v, %v, want the calculator's tools", list, err)
			}
			for _, tc := range []struct{ tool, args, want string }{
				{"add_numbers", `{"a":9007199254740993,"b":1}`, "9007199254740994"},
				{"multiply_numbers", `{"a":4,"b":7}`, "28"},
				{"greet_user", `{"name":"Alice"}`, "Hello, Alice! Nice to meet you."},
			} {
				var call mcp.CallToolRequest
				call.Params.Name = tc.tool
				call.Params.Arguments = json.RawMessage(tc.args)
				result, err := c.CallTool(ctx, call)
				if err != nil || result.IsError {
					t.Fatalf("%s: got %+v, %v", tc.tool, result, err)
				}
				if got := mcp.GetTextFromContent(result.Content[0]); got != tc.want {
					t.Errorf("%s: got %q, want %q", tc.tool, got, tc.want)
				}
				if got, _ := result.StructuredContent.(map[string]any)["result"].(string); got != tc.want {
					t.Errorf("%s: got structured content %v, want %q", tc.tool, result.StructuredContent, tc.want)
				}
			}
		})
	}
}

// Handlers see the request's headers, as behind mcp-go's own transport.
func TestHeaders(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewTool("trace"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(req.Header.Get("Traceparent") + " " + req.Header.Get("Mcp-Session-Id") + mcpserver.RequestID(ctx)), nil
	})
	url, _ := serve(t, s, mcpserver.Config{})
	resp, body := post(t, url+"/mcp", toolCall("trace", `{}`), "Traceparent", "00-1-2-01", "Mcp-Session-Id", "secret")
	if got, _ := text(t, body); got != "00-1-2-01 "+resp.Header.Get("X-Request-Id") {
		t.Errorf("got %q, want the trace header, no session id and the request id", got)
	}
}

// Arguments that are mirrored in headers must agree with them, also beside a
// number that mcp-go cannot decode. case 119
func TestParamHeaders(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewToolWithRawSchema("place", "", json.RawMessage(`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"number"}}}`)),
		func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(string(req.Params.RawArguments)), nil
		})
	url, _ := serve(t, s, mcpserver.Config{})
	const args = `{"region":"eu","n":1e400}`
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"place","arguments":` + args + `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	header := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "place", "Mcp-Param-Region"}
	_, got := post(t, url+"/mcp", body, append(header, "eu")...)
	if got, failed := text(t, got); got != args || failed {
		t.Errorf("got %q, error %v, want %s", got, failed, args)
	}
	resp, got := post(t, url+"/mcp", body, append(header, "us")...)
	if a := decode(t, got); resp.StatusCode != 400 || a.Error == nil || a.Error.Code != mcp.HEADER_MISMATCH {
		t.Errorf("got %d %s, want 400 and code %d", resp.StatusCode, got, mcp.HEADER_MISMATCH)
	}
}
