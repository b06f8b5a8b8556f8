package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// linger is how long a draining server goes on answering at least, so that
	// a caller who is just sending gets an answer that says so rather than a
	// reset connection.
	linger = 250 * time.Millisecond

	// settle is how long the last connections may take to send what they have
	// been opened for, once no further ones are accepted.
	settle = 100 * time.Millisecond

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
// tells the callers of those that do not, and returns nil. It is called once.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            h.cfg.HeaderTimeout,
		ReadTimeout:                  h.cfg.ReadTimeout,
		WriteTimeout:                 h.cfg.ReadTimeout + h.cfg.CallTimeout + 10*time.Second,
		IdleTimeout:                  h.cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(h.cfg.Logger.Handler(), slog.LevelDebug),
	}
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
	time.Sleep(min(settle, h.cfg.DrainTimeout/4))
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
