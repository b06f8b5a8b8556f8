package mcpserver

import (
	"encoding/json"
	"runtime/debug"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// session is what mcp-go sees of a caller: it lives as long as one request. The
// answer becomes a stream of server-sent events if a handler sends a
// notification while it runs, and stays one JSON object otherwise.
type session struct {
	w    *response
	tag  func(*mcp.JSONRPCNotification) // completes a notification that is to be written; nil: there is nothing to add
	lost error                          // why a notification was not written; good once the session has ended

	mu       sync.Mutex // guards what follows
	ended    bool
	outbox   chan mcp.JSONRPCNotification // nil until a handler asks for it
	sent     chan struct{}                // closed when the writer of outbox has finished
	stop     chan struct{}                // tells it to finish
	client   mcp.Implementation
	can      mcp.ClientCapabilities
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

// write writes notifications as they come, and at the end those that wait: no
// more than these, as a handler that has been given up may go on sending.
func (s *session) write() {
	defer close(s.sent)
	for {
		select {
		case n := <-s.outbox:
			s.deliver(n)
		case <-s.stop:
			for range len(s.outbox) {
				s.deliver(<-s.outbox)
			}
			return
		}
	}
}

// deliver writes a notification. A handler may have put into it what cannot be
// encoded, or what panics when it is.
func (s *session) deliver(n mcp.JSONRPCNotification) {
	defer func() {
		if p := recover(); p != nil {
			s.lost = &panicError{p, debug.Stack()}
		}
	}()
	if s.tag != nil {
		s.tag(&n)
	}
	text, err := json.Marshal(n)
	if err == nil {
		err = s.w.event(text)
	}
	if err != nil {
		s.lost = err
	}
}

// conversation is a session that has an end.
type conversation interface {
	server.ClientSession
	end() (lost error)
}

// end writes what is left to write and returns why a notification was not
// written, if one was not. The response belongs to the caller again.
func (s *session) end() (lost error) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if s.stop != nil {
		close(s.stop)
		<-s.sent
	}
	return s.lost
}

func (s *session) GetClientInfo() mcp.Implementation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *session) SetClientInfo(client mcp.Implementation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = client
}

func (s *session) GetClientCapabilities() mcp.ClientCapabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.can
}

func (s *session) SetClientCapabilities(can mcp.ClientCapabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.can = can
}

// GetLogLevel answers error unless the request itself set another level: levels
// that earlier requests set are forgotten.
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
