package agentcore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Invocation is one POST to /invocations.
type Invocation struct {
	Header    http.Header
	SessionID string // of [HeaderRuntimeSession]; empty: none
	Body      []byte // whole
}

// Reply is the answer to an invocation. Each read of Body is sent at once, so
// that server-sent events arrive as they happen. Body is closed, early when the
// caller leaves.
type Reply struct {
	Status int
	Header map[string]string
	Body   io.ReadCloser
}

// Server is the container's side of AgentCore Runtime, protocol HTTP: POST
// /invocations and GET /ping. Its zero fields but Invoke have defaults.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
type Server struct {
	// Invoke answers an invocation. It is called by several goroutines at once.
	// Its context ends when the caller leaves, after 15 minutes, and when the
	// server stops and will not wait longer.
	Invoke func(context.Context, Invocation) Reply

	AtOnce       int           // invocations; more are answered 503; default 16
	MaxBody      int64         // bytes of a request; default 4 MiB
	BodyTimeout  time.Duration // for a request's body, and for each write of an answer; default 30 s
	DrainTimeout time.Duration // for what is under way when the server stops; default 15 s
	Logger       *slog.Logger  // default: discard

	mu      sync.Mutex // guards what follows
	running int
	changed time.Time // when running last became, or ceased to be, 0
	stop    bool
	idle    chan struct{} // closed once stop is set and running is 0
}

const (
	// maxInvocation is AgentCore's own bound on a request.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
	maxInvocation = 15 * time.Minute

	// farewell is how long invocations have to answer once they were told to end.
	farewell = 2 * time.Second

	// linger is the least time that a stopping server goes on answering, and settle
	// how long requests on accepted connections may take to be read, so that a
	// caller that is just sending gets an answer and not a broken connection.
	linger = 500 * time.Millisecond
	settle = 100 * time.Millisecond
)

// Serve answers on l, which it closes, until ctx ends. Then new invocations are
// refused with 503, those under way may finish within DrainTimeout, and Serve
// returns nil. It returns an error if the listener fails before. It is called
// once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.defaults()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	mux := http.NewServeMux()
	mux.HandleFunc("/invocations", func(w http.ResponseWriter, r *http.Request) { s.serveInvocation(work, w, r) })
	mux.HandleFunc("/ping", s.servePing)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "invalid_request", "there are POST /invocations and GET /ping", false)
	})
	srv := &http.Server{
		Handler:           s.timed(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// Twenty headers of 4 KB may be passed on.
		// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
		MaxHeaderBytes: 128 << 10,
		ErrorLog:       slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	timer := time.AfterFunc(s.DrainTimeout, cut)
	defer timer.Stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.DrainTimeout+farewell)
	defer cancel()
	lingered := time.After(min(linger, s.DrainTimeout/2))
	select {
	case <-s.drain():
	case <-end.Done():
	}
	<-lingered
	// Shutdown drops requests that it has read but not passed on, so what has
	// been accepted gets its answer before it is called.
	l.Close()
	<-failed
	time.Sleep(min(settle, s.DrainTimeout/2))
	if err := srv.Shutdown(end); errors.Is(err, context.DeadlineExceeded) {
		return srv.Close() // what is left has had its time
	} else if err != nil {
		return fmt.Errorf("closing connections: %w", err)
	}
	return nil
}

func (s *Server) defaults() {
	if s.AtOnce <= 0 {
		s.AtOnce = 16
	}
	if s.MaxBody <= 0 {
		s.MaxBody = 4 << 20
	}
	if s.BodyTimeout <= 0 {
		s.BodyTimeout = 30 * time.Second
	}
	if s.DrainTimeout <= 0 {
		s.DrainTimeout = 15 * time.Second
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.changed = time.Now()
	s.idle = make(chan struct{})
}

// drain refuses further invocations and returns a channel that is closed once
// none is under way.
func (s *Server) drain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = true
	if s.running == 0 {
		close(s.idle)
	}
	return s.idle
}

// timed gives the reading of each request's body and the writing of each answer
// a deadline of its own. Without it, the deadlines of the request before it on
// the connection would still count. net/http reads a body to its end where
// nobody else does.
func (s *Server) timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.BodyTimeout))
		s.extend(w)
		next.ServeHTTP(w, r)
	})
}

// extend says that what is written next has time from now on.
func (s *Server) extend(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.BodyTimeout)) // every connection of net/http has one
}

// servePing says whether work is under way, which keeps the session alive. Its
// time is that of the last change: a time that moved with each ping would keep
// the session for ever.
func (s *Server) servePing(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "invalid_request", "use GET", false)
		return
	}
	s.mu.Lock()
	status, changed := "Healthy", s.changed
	if s.running > 0 {
		status = "HealthyBusy"
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintf(w, `{"status":%q,"time_of_last_update":%d}`, status, changed.Unix())
}

// begin takes one of the places for invocations, if there is one.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop || s.running >= s.AtOnce {
		return false
	}
	if s.running++; s.running == 1 {
		s.changed = time.Now()
	}
	return true
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 {
		s.changed = time.Now()
		if s.stop {
			close(s.idle)
		}
	}
}

func (s *Server) serveInvocation(work context.Context, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "invalid_request", "use POST", false)
		return
	}
	if !s.begin() {
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Connection", "close") // its body is not read
		refuse(w, http.StatusServiceUnavailable, "overloaded", "too many requests are being answered; try again", true)
		return
	}
	defer s.end()
	body, ok := s.readBody(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxInvocation)
	defer cancel()
	defer context.AfterFunc(work, cancel)()
	reply, ok := s.invoke(ctx, Invocation{Header: r.Header, SessionID: r.Header.Get(HeaderRuntimeSession), Body: body})
	s.extend(w)
	if !ok {
		refuse(w, http.StatusInternalServerError, "internal_error", "the agent failed; its log has the details", false)
		return
	}
	defer reply.Body.Close()
	for name, value := range reply.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(reply.Status)
	s.copy(w, reply.Body)
}

// readBody reads the whole body within its limits, or answers.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.MaxBody))
	if err == nil {
		http.NewResponseController(w).SetReadDeadline(time.Time{}) // else it would end the invocation
		return body, true
	}
	s.extend(w)
	w.Header().Set("Connection", "close")
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		refuse(w, http.StatusRequestEntityTooLarge, "request_too_large", fmt.Sprintf("the request is over %d bytes", s.MaxBody), false)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		refuse(w, http.StatusRequestTimeout, "invalid_request", "the request did not arrive in time", false)
	} else {
		refuse(w, http.StatusBadRequest, "invalid_request", "the request was cut off", false)
	}
	return nil, false
}

// invoke contains panics.
func (s *Server) invoke(ctx context.Context, in Invocation) (reply Reply, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			s.Logger.Error("an invocation panicked", "error", fmt.Sprintf("%v\n%s", p, debug.Stack()))
			reply, ok = Reply{}, false
		}
	}()
	return s.Invoke(ctx, in), true
}

// copy sends the body, each piece at once, until it ends or the caller takes no
// more. A body that breaks off breaks the connection, so that no caller takes a
// part for the whole.
func (s *Server) copy(w http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		s.extend(w) // the end of a body is written too
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			if control.Flush() != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// refuse answers with an error in the same form as the agent's own.
func refuse(w http.ResponseWriter, status int, code, message string, retryable bool) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "retryable": retryable}})
}
