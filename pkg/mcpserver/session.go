package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// session is what mcp-go sees of a caller: it lives as long as one request. The
// answer becomes a stream of server-sent events if a handler sends a
// notification while it runs, and stays one JSON object otherwise.
type session struct {
	w    *response
	send func(mcp.JSONRPCNotification) // writes a notification; nil: as it is

	mu       sync.Mutex // guards what follows
	ended    bool
	outbox   chan mcp.JSONRPCNotification // nil until a handler asks for it
	sent     chan struct{}                // closed when everything in outbox has been written
	stop     chan struct{}                // tells the writer of outbox to finish
	client   *mcp.Implementation
	can      *mcp.ClientCapabilities
	logLevel mcp.LoggingLevel
}

var (
	_ server.SessionWithClientInfo = &session{}
	_ server.SessionWithLogging    = &session{}
)

// outboxSize is how many notifications may wait to be written. Further ones are
// refused by mcp-go with an error for the handler.
const outboxSize = 64

func (s *session) SessionID() string { return "" }
func (s *session) Initialize()       {}
func (s *session) Initialized() bool { return true }

// NotificationChannel starts the stream. Handlers that outlive the request get
// a channel that nobody reads.
func (s *session) NotificationChannel() chan<- mcp.JSONRPCNotification {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outbox == nil {
		s.outbox = make(chan mcp.JSONRPCNotification, outboxSize)
		if !s.ended {
			s.sent, s.stop = make(chan struct{}), make(chan struct{})
			go s.write()
		}
	}
	return s.outbox
}

// write writes notifications as they come.
func (s *session) write() {
	defer close(s.sent)
	send := s.send
	if send == nil {
		send = func(n mcp.JSONRPCNotification) { s.w.event(n) }
	}
	for {
		select {
		case n := <-s.outbox:
			send(n)
		case <-s.stop:
			for {
				select {
				case n := <-s.outbox:
					send(n)
				default:
					return
				}
			}
		}
	}
}

// conversation is a session that has an end.
type conversation interface {
	server.ClientSession
	end()
}

// ask has mcp-go handle a message and ends the conversation, also when that
// panics. The handlers of tools, prompts and resources are contained one by one;
// what else may be a team's own code, such as completions, filters and handlers
// of notifications, is contained here. The error is one of run's.
func (h *Handler) ask(ctx context.Context, c *call, s conversation, body []byte) (mcp.JSONRPCMessage, error) {
	defer s.end()
	switch mcp.MCPMethod(c.msg.method) {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodSubscriptionsListen, mcp.MethodPing:
		return h.mcp.HandleMessage(ctx, body), nil
	}
	return run(ctx, h, c.msg.method, func(ctx context.Context) (mcp.JSONRPCMessage, error) {
		return h.mcp.HandleMessage(ctx, body), nil
	})
}

// end writes what is left to write. The response belongs to the caller again
// when it returns.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if s.stop != nil {
		close(s.stop)
		<-s.sent
	}
}

func (s *session) GetClientInfo() mcp.Implementation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return mcp.Implementation{}
	}
	return *s.client
}

func (s *session) SetClientInfo(client mcp.Implementation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = &client
}

func (s *session) GetClientCapabilities() mcp.ClientCapabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.can == nil {
		return mcp.ClientCapabilities{}
	}
	return *s.can
}

func (s *session) SetClientCapabilities(can mcp.ClientCapabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.can = &can
}

// GetLogLevel answers error unless the request itself set another level: a
// level set by an earlier request is forgotten, as everything else of it.
func (s *session) GetLogLevel() mcp.LoggingLevel {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logLevel == "" {
		return mcp.LoggingLevelError
	}
	return s.logLevel
}

func (s *session) SetLogLevel(level mcp.LoggingLevel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logLevel = level
}

// requestContext is the context of one call. Besides the call it holds the
// request's headers where mcp-go looks for them.
type requestContext struct {
	context.Context
	call      *call
	headerKey any
	header    http.Header
}

func (c *requestContext) Value(key any) any {
	switch key {
	case callKey{}:
		return c.call
	case c.headerKey:
		return c.header
	}
	return c.Context.Value(key)
}

// headerKey finds the key under which mcp-go looks for the headers of a request
// in its context. The key is not exported, as mcp-go wants to be given requests
// through its own HTTP transport only; that transport decodes each message
// several times over and makes a dozen channels for a session that a stateless
// server does not have, which costs more than everything this package does.
// Without the headers, handlers would miss them and traces would break off. A
// server that nobody uses is asked, so that no hooks run.
func headerKey() (any, error) {
	seen := &keyRecorder{Context: context.Background(), of: reflect.TypeFor[server.MCPServer]().PkgPath()}
	server.NewMCPServer("none", "0").HandleMessage(seen, json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if len(seen.keys) != 1 {
		return nil, fmt.Errorf("this version of mcp-go is not supported: found %d context keys that may be the one for headers, want 1", len(seen.keys))
	}
	return seen.keys[0], nil
}

// keyRecorder is a context that notes which numbers of a package it is asked for.
type keyRecorder struct {
	context.Context
	of   string
	keys []any
}

func (c *keyRecorder) Value(key any) any {
	if t := reflect.TypeOf(key); t.Kind() == reflect.Int && t.PkgPath() == c.of {
		c.keys = append(c.keys, key)
	}
	return c.Context.Value(key)
}

// handle has mcp-go handle a message and writes the answer.
func (h *Handler) handle(ctx context.Context, w *response, r *http.Request, c *call, s conversation, body []byte) {
	ctx = h.mcp.WithContext(&requestContext{ctx, c, h.headerKey, r.Header}, s)
	answer, err := h.ask(ctx, c, s, body)
	if err != nil {
		answer = mcp.NewJSONRPCError(mcp.NewRequestId(c.msg.id), mcp.INTERNAL_ERROR, c.fail(ctx, err), nil)
	}
	if answer == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if c.outcome == "disconnected" {
		return
	}
	status := http.StatusOK
	if e, ok := answer.(mcp.JSONRPCError); ok {
		e = c.mask(e)
		answer = e
		if c.modern {
			status = modernStatus(e.Error.Code)
		}
	}
	if c.msg.id == nil { // a notification that came to grief
		status = http.StatusInternalServerError
	}
	if w.streaming {
		w.event(answer)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(&w.body).Encode(answer); err != nil { // a NaN in a tool's structured content, say
		writeError(w, http.StatusOK, c.msg.id, mcp.INTERNAL_ERROR, c.fail(ctx, fmt.Errorf("encoding the answer: %w", err)), nil)
	}
}

// mask keeps error texts that Go made for developers, those of internal errors
// and of undecodable requests, in the log, and sends words of our own.
func (c *call) mask(e mcp.JSONRPCError) mcp.JSONRPCError {
	if c.outcome == "ok" {
		c.outcome, c.detail = fmt.Sprintf("error %d", e.Error.Code), e.Error.Message
	}
	switch {
	case c.missing != "":
		e.Error = mcp.JSONRPCErrorDetails{
			Code:    mcp.MISSING_REQUIRED_CLIENT_CAPABILITY,
			Message: "this needs the client capability " + c.missing,
			Data:    map[string]any{"requiredCapabilities": map[string]any{c.missing: struct{}{}}},
		}
	case e.Error.Code == mcp.INTERNAL_ERROR:
		e.Error.Message = "internal error (request id " + c.requestID + ")"
	case e.Error.Code == mcp.INVALID_REQUEST:
		e.Error.Message = "the request does not have the form that its method asks for (request id " + c.requestID + ")"
	}
	return e
}

// checkModern holds a request of 2026-07-28 or later against the rules of its
// transport: the version stands in both the header and the body, both agree and
// are served, and nothing resumes a stream. mcp-go checks the other headers.
// https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
func checkModern(header http.Header, msg message) *mcp.JSONRPCErrorDetails {
	inHeader := header.Get(mcp.HeaderProtocolVersion)
	mismatch := func(text string) *mcp.JSONRPCErrorDetails {
		return &mcp.JSONRPCErrorDetails{Code: mcp.HEADER_MISMATCH, Message: text}
	}
	switch {
	case header.Get(mcp.HeaderLastEventID) != "":
		return mismatch("Last-Event-ID is not supported: streams cannot be resumed")
	case inHeader == "":
		return mismatch("the header " + mcp.HeaderProtocolVersion + " is missing")
	case msg.era == "":
		return &mcp.JSONRPCErrorDetails{Code: mcp.INVALID_PARAMS, Message: "the _meta member " + mcp.MetaKeyProtocolVersion + " is missing"}
	case inHeader != msg.era:
		return mismatch("the header " + mcp.HeaderProtocolVersion + " differs from the _meta member " + mcp.MetaKeyProtocolVersion)
	case !mcp.IsValidProtocolVersion(msg.era):
		return unsupported(msg.era)
	}
	return nil
}

// unsupported refuses a version of the protocol and names the supported ones.
func unsupported(version string) *mcp.JSONRPCErrorDetails {
	requested := strings.ToValidUTF8(version[:min(len(version), 40)], "")
	e := mcp.UnsupportedProtocolVersionError{Version: requested, Supported: mcp.ValidProtocolVersions}.JSONRPCError().Error
	e.Message = "unsupported protocol version"
	return &e
}

// modernStatus is the HTTP status that 2026-07-28 gives a JSON-RPC error.
func modernStatus(code int) int {
	switch code {
	case mcp.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcp.HEADER_MISMATCH, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, mcp.UNSUPPORTED_PROTOCOL_VERSION,
		mcp.INVALID_REQUEST, mcp.INVALID_PARAMS, mcp.PARSE_ERROR:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

var errNoFlush = errors.New("the connection cannot stream")

// event writes one server-sent event, and the headers of the stream before the
// first one.
func (w *response) event(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	flusher, ok := w.ResponseWriter.(http.Flusher)
	if !ok {
		return errNoFlush
	}
	if !w.streaming {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Accel-Buffering", "no") // proxies are to pass events on as they come
		w.WriteHeader(http.StatusOK)
	}
	if _, err := fmt.Fprintf(w, "event: message\ndata: %s\n\n", data); err != nil {
		return err
	}
	flusher.Flush()
	return nil
}
