// Command server is the MCP server that the official conformance suite is run
// against: package mcpserver around the tools, prompts and resources that the
// suite asks for by name. It serves no other purpose.
//
// It listens on a free loopback port, and writes the URL of its endpoint as the
// first line of standard output. It logs JSON lines on standard error and stops
// on an interrupt.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/mcpserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, stdout, stderr io.Writer) error {
	s := server.NewMCPServer("conformance", "1.0.0",
		server.WithToolCapabilities(true),
		server.WithPromptCapabilities(true),
		server.WithResourceCapabilities(false, false),
		server.WithCompletions(),
		server.WithLogging(),
	)
	addTools(s)
	addPrompts(s)
	addResources(s)
	h, err := mcpserver.New(s, mcpserver.Config{Logger: slog.New(slog.NewJSONHandler(stderr, nil))})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "http://%s%s\n", l.Addr(), mcpserver.Path)
	return h.Serve(ctx, l)
}
