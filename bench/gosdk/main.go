// Command gosdk is the smallest server that the official Go SDK of MCP allows:
// it serves the calculator over HTTP without sessions and with JSON answers.
// BenchmarkAgainstPlain compares our server with it. It listens on the address
// in its argument.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"agentcore-mcp-auth/pkg/calculator"
)

func main() {
	s := mcp.NewServer(&mcp.Implementation{Name: "calculator", Version: "1"}, nil)
	for _, t := range calculator.Tools() {
		s.AddTool(&mcp.Tool{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema}, handler(t))
	}
	http.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], nil))
	os.Exit(1)
}

func handler(t calculator.Tool) mcp.ToolHandler {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		text, err := t.Call(ctx, req.Params.Arguments)
		if err != nil {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: err.Error()}}, IsError: true}, nil
		}
		return &mcp.CallToolResult{
			Content:           []mcp.Content{&mcp.TextContent{Text: text}},
			StructuredContent: map[string]string{"result": text},
		}, nil
	}
}
