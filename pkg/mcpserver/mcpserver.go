// Package mcpserver is what a public MCP endpoint needs around an mcp-go
// server: limits, strict parsing, checked arguments, contained tools, a health
// path and a graceful stop. It suits Amazon Bedrock AgentCore Runtime, which
// posts to /mcp or /mcp/ on port 8000 with session ids of its own making.
//
//	s := server.NewMCPServer("name", "1.0.0")
//	s.AddTool(…)
//	h, err := mcpserver.New(s, mcpserver.Config{})
//	…
//	err = h.Serve(ctx, listener) // until ctx is done, then it drains
//
// The endpoint is stateless. Any Mcp-Session-Id, or none, is accepted, written
// to the log and otherwise forgotten: it never reaches mcp-go, so that nobody
// can reach another caller's requests by guessing one. Both eras of the
// protocol are served, 2026-07-28 and the versions before it. What needs a
// session is not offered: no GET stream, no DELETE, no responses to requests of
// the server, no tasks, no effect of notifications/cancelled (hanging up is what
// cancels a call).
//
// A tool gets arguments that satisfy its input schema, and
// [mcp.CallToolParams].RawArguments holds them with every digit. A tool that
// panics, hangs or returns a Go error answers with a tool error that holds
// nothing but a request id; the log has the rest.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/server"
)

// The paths of the endpoint. AgentCore posts to both spellings of the first.
const (
	Path       = "/mcp"
	HealthPath = "/healthz"
)

// Config says how an endpoint behaves. Every zero field has a default.
type Config struct {
	// AllowedHosts are the names, with or without a port, that the Host header
	// may have. A single "*" allows any. Default: on a connection that arrives
	// over loopback only loopback names, so that a web page cannot reach a local
	// server through DNS rebinding; on any other connection, any name.
	AllowedHosts []string

	// Guard, if any, stands in front of every path but HealthPath, as a check of
	// bearer tokens does: it passes on to next the requests that may be served,
	// pings included, and answers the others itself. It sees each request before
	// anything else has looked at it.
	Guard func(next http.Handler) http.Handler

	// Caller, if any, tells the log who sent a request, from what Guard has left
	// in its context.
	Caller func(context.Context) string

	MaxBody     int64         // bytes of a request body; default 1 MiB. It may have 100,000 JSON values
	MaxCalls    int           // requests served at the same time; default 128. Further ones get 503
	CallTimeout time.Duration // for one tool, prompt or resource; default 30 s

	// The next six are kept by Serve, not by a server of the caller's own.
	MaxConns      int           // open connections; default 1024. Further ones wait to be accepted
	HeaderTimeout time.Duration // to send the headers of a request; default 5 s
	ReadTimeout   time.Duration // to send a whole request; default 15 s
	WriteTimeout  time.Duration // from a request's headers to the end of its answer; default ReadTimeout + CallTimeout + 10 s
	IdleTimeout   time.Duration // until an unused connection is closed; default 2 min
	DrainTimeout  time.Duration // for running calls once Serve is to stop; default 10 s

	Logger *slog.Logger // default: discard
}

func (c Config) withDefaults() Config {
	orTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxCalls <= 0 {
		c.MaxCalls = 128
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 1024
	}
	orTime(&c.CallTimeout, 30*time.Second)
	orTime(&c.HeaderTimeout, 5*time.Second)
	orTime(&c.ReadTimeout, 15*time.Second)
	orTime(&c.WriteTimeout, c.ReadTimeout+c.CallTimeout+10*time.Second)
	orTime(&c.IdleTimeout, 2*time.Minute)
	orTime(&c.DrainTimeout, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Handler is the endpoint: an [http.Handler] for [Path] and [HealthPath] that
// answers 404 to everything else. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	mcp     *server.MCPServer
	front   http.Handler // Guard, or else the rest of the Handler
	hosts   hostRule
	schemas schemas

	headerKey any // see func headerKey

	slots   chan struct{} // one per request that is being served
	crowd   int           // with so many of them, other goroutines get a turn first
	listens chan struct{} // one per subscriptions/listen
	memory  atomic.Int64  // bytes that larger bodies and what is made of them may still take

	cut     context.Context // done when running calls have to end
	cutNow  context.CancelFunc
	stopped context.Context // done when draining begins
	stop    context.CancelFunc

	mu     sync.Mutex     // guards what follows
	active int            // requests let in and not answered yet
	idle   chan struct{}  // closed when draining has begun and active is 0
	stuck  map[string]int // calls that were given up and still run, by tool or other handler
}

// New puts an endpoint around s. The input schemas of the tools that s has must
// compile, or the error names the tool; those of tools added later are compiled
// at their first call. New installs middleware in s, so that one s has one
// Handler.
func New(s *server.MCPServer, cfg Config) (*Handler, error) {
	hosts, err := newHostRule(cfg.AllowedHosts)
	if err != nil {
		return nil, err
	}
	key, err := headerKey()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	h := &Handler{
		cfg:     cfg,
		mcp:     s,
		hosts:   hosts,
		slots:   make(chan struct{}, cfg.MaxCalls),
		crowd:   min(2, runtime.GOMAXPROCS(0)), // one, and that is all that runs, on a single processor
		listens: make(chan struct{}, max(1, cfg.MaxCalls/4)),
		idle:    make(chan struct{}),
		stuck:   map[string]int{},

		headerKey: key,
	}
	h.memory.Store(max(32<<20, 8*cfg.MaxBody))
	h.front = http.HandlerFunc(h.serve)
	if cfg.Guard != nil {
		h.front = cfg.Guard(h.front)
	}
	h.cut, h.cutNow = context.WithCancel(context.Background())
	h.stopped, h.stop = context.WithCancel(context.Background())
	var broken []error
	for name, tool := range s.ListTools() {
		if _, err := h.schemas.compiled(tool.Tool); err != nil {
			broken = append(broken, fmt.Errorf("input schema of tool %s: %w", name, err))
		}
	}
	if broken != nil {
		return nil, errors.Join(broken...)
	}
	h.contain(s)
	return h, nil
}

// enter lets a request in unless the endpoint is draining. Each true is
// followed by one leave.
func (h *Handler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped.Err() != nil {
		return false
	}
	h.active++
	return true
}

func (h *Handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active--
	if h.active == 0 && h.stopped.Err() != nil {
		close(h.idle)
	}
}

// drain refuses further requests and returns a channel that is closed once
// every request let in has been answered. It is called once.
func (h *Handler) drain() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop()
	if h.active == 0 {
		close(h.idle)
	}
	return h.idle
}

// take takes one place without waiting for it.
func take(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}
