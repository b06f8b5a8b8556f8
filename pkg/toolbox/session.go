package toolbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"golang.org/x/sync/singleflight"

	"agentcore-mcp-auth/pkg/agentcore"
)

const (
	// connectTimeout bounds the handshake and the listing: AgentCore gives a
	// cold container 30 seconds to come up.
	connectTimeout = 60 * time.Second

	maxPages = 100  // of one tools/list
	maxTools = 1000 // of one server
)

// session is one server: where it is, the connection to it and its tools.
type session struct {
	server   Server
	steadyID string // of this process, for the server
	flight   singleflight.Group

	mu      sync.Mutex // guards what follows
	conn    *conn      // nil: not connected
	list    []Tool
	version int // counts the listings
}

// conn is one connection: an MCP client after its handshake.
type conn struct {
	mcp    *client.Client
	nextID atomic.Int64
}

func newSession(s Server) *session {
	return &session{server: s, steadyID: uuid.NewString()}
}

func (s *session) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

func (s *session) tools() ([]Tool, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, s.version
	}
	return s.list, s.version
}

// connect makes the connection unless there is one. Callers at the same time
// share the attempt, which belongs to none of them: it goes on, within its own
// time limit, when one of them leaves.
func (s *session) connect(ctx context.Context) error {
	ch := s.flight.DoChan("", func() (any, error) {
		if s.ready() {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		return nil, s.open(ctx)
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return &ServerError{Server: s.server.Name, Err: r.Err}
		}
		return nil
	case <-ctx.Done():
		return &ServerError{Server: s.server.Name, Err: fmt.Errorf("connecting: %w", context.Cause(ctx))}
	}
}

func (s *session) open(ctx context.Context) error {
	e, err := s.server.Resolve(ctx)
	if err != nil {
		return err
	}
	c, err := handshake(ctx, e, s.steadyID)
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	list, err := c.listTools(ctx, s.server.Name)
	if err != nil {
		c.mcp.Close()
		return fmt.Errorf("tools/list: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.list = c, list
	s.version++
	return nil
}

// handshake makes an initialized MCP client for the endpoint. The protocol era
// is chosen, not probed for: the handshake of 2025-11-25, which every server
// speaks and in which AgentCore's session routing is known to work.
func handshake(ctx context.Context, e Endpoint, steadyID string) (*conn, error) {
	httpClient := *e.Client
	base := httpClient.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	httpClient.Transport = statusTransport{base}
	options := []transport.StreamableHTTPCOption{
		transport.WithHTTPBasicClient(&httpClient),
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),
	}
	if e.SteadySession {
		options = append(options, transport.WithHTTPHeaders(map[string]string{agentcore.HeaderMCPSession: steadyID}))
	}
	t, err := transport.NewStreamableHTTP(e.URL, options...)
	if err != nil {
		return nil, err
	}
	c := &conn{mcp: client.NewClient(t, client.WithLegacyProtocolOnly())}
	c.nextID.Store(1) // initialize takes 1
	if err := c.mcp.Start(ctx); err != nil {
		return nil, err
	}
	_, err = c.mcp.Initialize(ctx, mcp.InitializeRequest{Params: mcp.InitializeParams{
		ClientInfo: mcp.Implementation{Name: "agentcore-mcp-auth", Version: "1"},
	}})
	if err != nil {
		c.mcp.Close()
		return nil, plain(err)
	}
	return c, nil
}

// request sends one JSON-RPC request and returns the result as it came. It goes
// below mcp-go's typed methods, which lose schema keywords and digits.
func (c *conn) request(ctx context.Context, method string, params any) (json.RawMessage, error) {
	id := mcp.NewRequestId(c.nextID.Add(1))
	resp, err := c.mcp.GetTransport().SendRequest(ctx, transport.JSONRPCRequest{
		JSONRPC: mcp.JSONRPC_VERSION, ID: id, Method: method, Params: params,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, plain(err)
	}
	if resp.ID.String() != id.String() {
		return nil, errors.New("the server answered another request than the one sent")
	}
	if e := resp.Error; e != nil {
		return nil, &agentcore.Error{Status: http.StatusOK, Code: e.Code, Message: oneLine(e.Message)}
	}
	return resp.Result, nil
}

// plain drops what the HTTP client and mcp-go wrap around an error: the URL,
// which with a runtime's ARN is longer than all else, and words of theirs.
func plain(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// listTools follows tools/list to its end.
func (c *conn) listTools(ctx context.Context, server string) ([]Tool, error) {
	var tools []Tool
	seen := map[string]bool{} // cursors
	cursor := ""
	for range maxPages {
		params := map[string]string{}
		if cursor != "" {
			params["cursor"] = cursor
		}
		raw, err := c.request(ctx, "tools/list", params)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tools []struct {
				Name        string          `json:"name"`
				Description string          `json:"description"`
				InputSchema json.RawMessage `json:"inputSchema"`
			} `json:"tools"`
			NextCursor string `json:"nextCursor"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, errors.New("the answer is not a list of tools")
		}
		for _, t := range page.Tools {
			if slices.ContainsFunc(tools, func(o Tool) bool { return o.Tool == t.Name }) {
				return nil, fmt.Errorf("the server lists tool %.80q twice", t.Name)
			}
			tools = append(tools, Tool{Server: server, Tool: t.Name, Description: t.Description, InputSchema: t.InputSchema})
		}
		if len(tools) > maxTools {
			return nil, fmt.Errorf("the server lists more than %d tools", maxTools)
		}
		if page.NextCursor == "" {
			slices.SortStableFunc(tools, compareTools)
			return tools, nil
		}
		if seen[page.NextCursor] {
			return nil, errors.New("the server lists its tools in a circle")
		}
		cursor = page.NextCursor
		seen[cursor] = true
	}
	return nil, fmt.Errorf("the server lists its tools on more than %d pages", maxPages)
}

// call runs one tool. A session that is gone is forgotten, so that the next use
// makes a new one.
func (s *session) call(ctx context.Context, tool string, input json.RawMessage) (Result, error) {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return Result{}, &ServerError{Server: s.server.Name, Err: errors.New("not connected")}
	}
	raw, err := c.request(ctx, "tools/call", struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}{tool, input})
	if err != nil {
		var e *agentcore.Error
		if errors.As(err, &e) && e.SessionGone() {
			s.forget(c)
		}
		return Result{}, &ServerError{Server: s.server.Name, Err: fmt.Errorf("tools/call %s: %w", tool, err)}
	}
	return readResult(raw)
}

// forget drops c, unless it has been replaced already.
func (s *session) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.conn = nil
		s.version++
	}
}

// readResult renders a tool's answer as text: its text blocks, else its
// structured content as it came. Other content is named, never fetched.
func readResult(raw json.RawMessage) (Result, error) {
	var r struct {
		Content []struct {
			Type     string `json:"type"`
			Text     string `json:"text"`
			Data     string `json:"data"`
			MimeType string `json:"mimeType"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return Result{}, errors.New("the server's answer is not a tool result")
	}
	var parts []string
	for _, c := range r.Content {
		switch c.Type {
		case "text":
			parts = append(parts, c.Text)
		default:
			parts = append(parts, fmt.Sprintf("[%s content %s of %d characters left out]", oneLine(c.Type), oneLine(c.MimeType), len(c.Data)))
		}
	}
	text := strings.Join(parts, "\n")
	if text == "" && len(r.Structured) > 0 && string(r.Structured) != "null" {
		text = string(r.Structured)
	}
	return Result{Text: text, IsError: r.IsError}, nil
}

func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	c := s.conn
	s.conn = nil
	s.mu.Unlock()
	if c == nil {
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); c.mcp.Close() }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
