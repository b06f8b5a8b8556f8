package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// linger is the least time that a draining server goes on answering, so that
	// a caller that is just sending gets an answer and not a reset connection.
	linger = 500 * time.Millisecond

	// settle is how long the last connections may take to send what they have
	// been opened for, once no further ones are accepted.
	settle = time.Second

	// farewell is the part of the drain time that is kept for telling callers
	// that their calls have been cut.
	farewell = 500 * time.Millisecond

	// maxHeader leaves room for the twenty headers of 4 KB that AgentCore can
	// be told to pass on.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
	maxHeader = 128 << 10
)

// Serve answers on l, which it closes, until ctx is done. Then it refuses new
// requests with 503, lets the running ones finish within the drain timeout,
// tells the callers of those that do not, and returns nil. It returns an error
// if the listener fails before. It is called once.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            h.cfg.HeaderTimeout,
		ReadTimeout:                  h.cfg.ReadTimeout,
		WriteTimeout:                 h.cfg.WriteTimeout,
		IdleTimeout:                  h.cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(h.cfg.Logger.Handler(), slog.LevelDebug),
	}
	open := &connections{busy: map[net.Conn]bool{}, places: make(chan struct{}, h.cfg.MaxConns)}
	srv.ConnState = open.note
	l = &capped{Listener: l, places: open.places, closed: make(chan struct{})}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}

	start := time.Now()
	h.cfg.Logger.Info("stopping", "drain_timeout", h.cfg.DrainTimeout.String())
	idle := h.drain()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.DrainTimeout)
	defer cancel()
	cutting := time.AfterFunc(max(h.cfg.DrainTimeout-farewell, h.cfg.DrainTimeout/2), h.cutNow)
	defer cutting.Stop()
	select {
	case <-time.After(min(linger, h.cfg.DrainTimeout/2)):
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	select {
	case <-idle:
	case <-deadline.Done():
	}
	// Shutdown drops requests that it has read but not passed on, so the
	// connections that are open get their answers before it is called.
	l.Close()
	<-failed
	open.wait(deadline, min(settle, h.cfg.DrainTimeout/4))
	err := srv.Shutdown(deadline)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // what is left has had its time
	}
	h.cutNow()
	h.cfg.Logger.Info("stopped", "duration_ms", time.Since(start).Milliseconds())
	if err != nil {
		return fmt.Errorf("closing connections: %w", err)
	}
	return nil
}

// connections knows which connections are not idle: those that have just been
// opened, and those on which a request is under way.
type connections struct {
	places chan struct{} // one per open connection, taken when it is accepted

	mu   sync.Mutex // guards busy
	busy map[net.Conn]bool
}

// note is called by the server on each change.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		c.busy[conn] = true
	} else {
		delete(c.busy, conn)
	}
	if state == http.StateClosed || state == http.StateHijacked {
		<-c.places
	}
}

// capped accepts a connection only when there is a place for it.
type capped struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once // closes closed
}

func (l *capped) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
	}
	return conn, err
}

// Close also ends an Accept that waits for a place.
func (l *capped) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// wait waits until every connection is idle, but no longer than most, and not
// beyond the end of ctx.
func (c *connections) wait(ctx context.Context, most time.Duration) {
	for end := time.Now().Add(most); ctx.Err() == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		n := len(c.busy)
		c.mu.Unlock()
		if n == 0 {
			return
		}
	}
}
