// Command owntool is an MCP server with one tool: the code of own-tools.md.
package main

import (
	"context"
	"log"
	"net"
	"os/signal"
	"syscall"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/mcpserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	h, err := handler()
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:8000") // 0.0.0.0:8000 in a container for AgentCore
	if err != nil {
		log.Fatal(err)
	}
	if err := h.Serve(ctx, l); err != nil {
		log.Fatal(err)
	}
}

func handler() (*mcpserver.Handler, error) {
	s := server.NewMCPServer("stock", "1.0.0")
	s.AddTool(mcp.NewTool("in_stock",
		mcp.WithDescription("Tell how many pieces of an article are in stock."),
		mcp.WithString("article", mcp.Required(), mcp.Description("The article's number, for example A-100"), mcp.MaxLength(20)),
		mcp.WithReadOnlyHintAnnotation(true),
	), inStock)
	return mcpserver.New(s, mcpserver.Config{})
}

func inStock(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	switch req.GetString("article", "") {
	case "A-100":
		return mcp.NewToolResultText("12"), nil
	}
	return mcp.NewToolResultError("there is no such article: numbers look like A-100"), nil
}
