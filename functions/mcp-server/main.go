// Command mcp-server is the sample MCP server of the stack: the calculator's
// tools behind package mcpserver, as a container for Amazon Bedrock AgentCore
// Runtime or a process on a laptop. It needs no network to start, and no
// credentials at all.
//
// It reads this environment:
//
//	PORT               port to listen on; 0 picks a free one (default 8000, AgentCore's for MCP)
//	HOST               address to listen on (default 0.0.0.0, as AgentCore asks; 127.0.0.1 for local use)
//	MCP_ALLOWED_HOSTS  comma-separated names that the Host header may have; * for any
//	                   (default: on a loopback connection only loopback names)
//	LOG_LEVEL          debug, info, warn or error (default info)
//
// Logs are JSON lines on standard error. The line "serving on" has the address
// in its field addr; it is written whatever LOG_LEVEL is, since other programs
// wait for it. On SIGTERM or an interrupt the server finishes running
// calls within 10 seconds and exits with status 0.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

func main() {
	// The heap is so small that it would be collected every few hundred calls.
	// Half as often costs 2 MB and saves a tenth of the time.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(150)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stderr); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("stopped", "error", err.Error())
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	set, err := read(getenv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: set.level}))
	h, err := mcpserver.New(calcserver.New(version()), mcpserver.Config{
		AllowedHosts: set.hosts,
		MaxBody:      64 << 10, // two numbers of 5,000 digits with room to spare
		Logger:       logger,
	})
	if err != nil {
		return fmt.Errorf("MCP_ALLOWED_HOSTS: %w", err)
	}
	l, err := net.Listen("tcp", set.addr)
	if err != nil {
		return fmt.Errorf("listening on HOST and PORT: %w", err)
	}
	slog.New(slog.NewJSONHandler(stderr, nil)).Info("serving on", "addr", l.Addr().String(), "path", mcpserver.Path, "version", version())
	return h.Serve(ctx, l)
}

// settings is the environment, checked.
type settings struct {
	addr  string
	hosts []string
	level slog.Level
}

// read reports every wrong setting at once, by name.
func read(getenv func(string) string) (settings, error) {
	var s settings
	var wrong []error
	port, host := getenv("PORT"), getenv("HOST")
	if port == "" {
		port = "8000"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		wrong = append(wrong, fmt.Errorf("PORT is %.40q: want a number from 0 to 65535", port))
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if _, err := netip.ParseAddr(host); err != nil {
		wrong = append(wrong, fmt.Errorf("HOST is %.80q: want an IP address such as 127.0.0.1", host))
	}
	s.addr = net.JoinHostPort(host, port)
	if v := getenv("MCP_ALLOWED_HOSTS"); v != "" {
		for name := range strings.SplitSeq(v, ",") {
			s.hosts = append(s.hosts, strings.TrimSpace(name))
		}
	}
	switch v := getenv("LOG_LEVEL"); v {
	case "debug":
		s.level = slog.LevelDebug
	case "", "info":
		s.level = slog.LevelInfo
	case "warn":
		s.level = slog.LevelWarn
	case "error":
		s.level = slog.LevelError
	default:
		wrong = append(wrong, fmt.Errorf("LOG_LEVEL is %.40q: want debug, info, warn or error", v))
	}
	return s, errors.Join(wrong...)
}

// version is what the build recorded, for clients that ask who answers them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
