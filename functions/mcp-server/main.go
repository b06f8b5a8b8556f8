// Command mcp-server is the sample MCP server of the stack: the calculator's
// tools behind package mcpserver, as a container for Amazon Bedrock AgentCore
// Runtime, elsewhere, or as a process on a laptop. It needs no network to start,
// and no credentials at all.
//
// It reads this environment:
//
//	PORT               port to listen on; 0 picks a free one (default 8000, AgentCore's for MCP)
//	HOST               address to listen on (default 0.0.0.0, as AgentCore asks; 127.0.0.1 for local use)
//	MCP_ALLOWED_HOSTS  comma-separated names that the Host header may have; * for any
//	                   (default: on a loopback connection only loopback names)
//	LOG_LEVEL          debug, info, warn or error (default info)
//
// On AgentCore the platform checks bearer tokens before a request comes here, and
// its health pings carry none: the next four stay unset there. Everywhere else
// they make the server check tokens itself, for every request but those to
// /healthz, and publish what it asks for (RFC 9728). An empty value is refused,
// as a server that was meant to be closed must not stand open.
//
//	AUTH_DISCOVERY_URL    the issuer's discovery document, https://…/.well-known/openid-configuration
//	AUTH_ALLOWED_CLIENTS  comma-separated client ids; a token must be of one of them
//	AUTH_ALLOWED_SCOPES   comma-separated scopes; a token must have one of them
//	AUTH_RESOURCE         the endpoint's public URL, such as https://mcp.example.com/mcp
//	                      (default: /mcp on the host that the client asks for)
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
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"agentcore-mcp-auth/internal/startup"
	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

func main() {
	// The heap is so small that it would be collected every few hundred calls.
	// Collecting it less often costs about 1 MB and saves time.
	if startup.Done(); os.Getenv("GOGC") == "" {
		debug.SetGCPercent(125)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.LookupEnv, os.Stderr); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("stopped", "error", err.Error())
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, lookup func(string) (string, bool), stderr io.Writer) error {
	set, err := read(lookup)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: set.level}))
	cfg := mcpserver.Config{
		AllowedHosts: set.hosts,
		MaxBody:      64 << 10, // two numbers of 5,000 digits with room to spare
		Logger:       logger,
	}
	if set.auth != nil {
		set.auth.Logger = logger
		a, err := authorizer.New(*set.auth)
		if err != nil {
			return err
		}
		cfg.Guard = func(next http.Handler) http.Handler { return a.Protect(mcpserver.Path, next) }
		cfg.Caller = caller
	}
	h, err := mcpserver.New(calcserver.New(version()), cfg)
	if err != nil {
		return fmt.Errorf("MCP_ALLOWED_HOSTS: %w", err)
	}
	l, err := net.Listen("tcp", set.addr)
	if err != nil {
		return fmt.Errorf("listening on HOST and PORT: %w", err)
	}
	slog.New(slog.NewJSONHandler(stderr, nil)).Info("serving on", "addr", l.Addr().String(), "path", mcpserver.Path,
		"version", version(), "checks_tokens", set.auth != nil)
	return h.Serve(ctx, l)
}

// settings is the environment, checked.
type settings struct {
	addr  string
	hosts []string
	level slog.Level
	auth  *authorizer.Config // nil: tokens are not checked here
}

// read reports every wrong setting at once, by name.
func read(lookup func(string) (string, bool)) (settings, error) {
	getenv := func(name string) string { v, _ := lookup(name); return v }
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
		s.hosts = list(v)
	}
	if v := getenv("LOG_LEVEL"); v != "" && s.level.UnmarshalText([]byte(v)) != nil {
		wrong = append(wrong, fmt.Errorf("LOG_LEVEL is %.40q: want debug, info, warn or error", v))
	}
	var err error
	if s.auth, err = readAuth(lookup); err != nil {
		wrong = append(wrong, err)
	}
	return s, errors.Join(wrong...)
}

// list splits a comma-separated value.
func list(v string) []string {
	items := strings.Split(v, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// version is what the build recorded, for clients that ask who answers them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
