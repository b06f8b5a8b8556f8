// Package calcserver offers the tools of package calculator over MCP. It is a
// package of its own so that an agent that runs the tools in its own process
// links no server.
package calcserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator"
)

// New makes an MCP server with the calculator's tools. The caller chooses the
// transport. version is what the server tells its clients.
func New(version string) *server.MCPServer {
	s := server.NewMCPServer("calculator", version,
		server.WithTitle("Calculator"),
		server.WithToolCapabilities(false), // the list never changes while the server runs
	)
	Register(s, calculator.Tools()...)
	return s
}

// outputSchema is the output schema of every tool. The result is always a
// string, even if it is a number: JSON numbers beyond 2^53 do not survive every
// parser (RFC 8259, section 6), and clients that read structured content must
// get every digit.
var outputSchema = json.RawMessage(`{"type":"object","properties":{"result":{"type":"string",` +
	`"description":"The result as text. A number that starts with ≈ is rounded; any other is exact, as a fraction such as 1/2 where it is not whole."}},"required":["result"]}`)

// Register adds tools to s, the calculator's or others of that kind. They are
// announced as tools that only read their arguments.
func Register(s *server.MCPServer, tools ...calculator.Tool) {
	yes, no := true, false
	for _, t := range tools {
		tool := mcp.NewToolWithRawSchema(t.Name, t.Description, t.InputSchema)
		tool.Title = t.Title
		tool.RawOutputSchema = outputSchema
		tool.Annotations = mcp.ToolAnnotation{
			Title:           t.Title,
			ReadOnlyHint:    &yes,
			DestructiveHint: &no,
			IdempotentHint:  &yes,
			OpenWorldHint:   &no,
		}
		s.AddTool(tool, handler(t))
	}
}

// handler calls t with the arguments as they were sent.
func handler(t calculator.Tool) server.ToolHandlerFunc {
	return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		text, err := t.Call(ctx, arguments(req))
		if refused := (*calculator.InputError)(nil); errors.As(err, &refused) {
			return mcp.NewToolResultError(refused.Reason), nil
		}
		if err != nil {
			return nil, fmt.Errorf("calling %s: %w", t.Name, err)
		}
		return mcp.NewToolResultStructured(struct {
			Result string `json:"result"`
		}{text}, text), nil
	}
}

// arguments returns the unchanged bytes of a call's arguments, or an empty
// object if there are none.
func arguments(req mcp.CallToolRequest) json.RawMessage {
	if raw := req.Params.RawArguments; len(raw) > 0 && string(raw) != "null" {
		return raw
	}
	return json.RawMessage("{}")
}
