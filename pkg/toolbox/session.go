package toolbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"agentcore-mcp-auth/pkg/agentcore"
)

const (
	// connectTimeout bounds the handshake and the listing, repetitions
	// included. AgentCore gives a cold container 30 seconds to come up, and
	// answers 424 when they were not enough.
	connectTimeout = 90 * time.Second

	// callTimeout bounds the wait for an answer to begin, for callers who set
	// no deadline: no request to AgentCore lasts longer.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
	callTimeout = 15 * time.Minute

	// answerTimeout bounds all of an answer, a stream that is taken up again
	// included: AgentCore streams for no longer.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
	answerTimeout = time.Hour

	// How long an optional server that cannot be reached is left alone.
	minRest = 5 * time.Second
	maxRest = 5 * time.Minute

	// maxRenewals is how many sessions one call may lose: under load the next
	// one may be gone before it is used.
	maxRenewals = 3

	// relistAfter is how old a listing must be for an unknown tool to be blamed
	// on it.
	relistAfter = 10 * time.Second
)

var (
	errConnectTimeout = fmt.Errorf("not connected within %s", connectTimeout)
	errCallTimeout    = fmt.Errorf("no answer within %s", callTimeout)
	errAnswerTimeout  = fmt.Errorf("no end of the answer within %s", answerTimeout)
)

// session is one server: the connection to it and what it offers. A connection
// that breaks is replaced as a whole by one that was made beside it.
type session struct {
	server   Server
	options  Options
	steadyID string          // of this process, for this server
	life     context.Context // ends with the toolbox
	flight   singleflight.Group
	used     atomic.Int64 // see wire

	resolving sync.Mutex // held while the server is being resolved

	mu         sync.Mutex // guards what follows
	conn       *conn      // nil: not connected
	listing    *listing   // of conn
	listed     time.Time
	expires    time.Time // of the listing
	refreshing *attempt  // to list again, under way; nil: none
	version    int       // counts the listings
	changes    int       // counts the notices that the tools changed
	failures   int       // to connect, in a row
	lastErr    error
	restUntil  time.Time // no attempt to connect before, if the server is optional
	attempt    *attempt  // to connect, under way; nil: none
	slow       bool      // it has outlasted a caller's patience
}

// attempt is one attempt to connect or to list again.
type attempt struct {
	began  time.Time
	cancel context.CancelFunc
}

func newSession(life context.Context, s Server, o Options) *session {
	return &session{server: s, options: o, life: life, steadyID: uuid.NewString(), listing: &listing{}}
}

func (s *session) fail(err error) error { return &ServerError{Server: s.server.Name, Err: err} }

// connect returns the connection, making it if there is none. Callers at the
// same time share the attempt, which belongs to none of them: when one leaves
// at its own deadline, it goes on within its own.
func (s *session) connect(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	s.leave()
	c, restUntil, lastErr := s.conn, s.restUntil, s.lastErr
	s.mu.Unlock()
	rest := restUntil.Sub(s.now()) // beyond maxRest when the clock was set back
	switch {
	case s.life.Err() != nil:
		return nil, s.fail(ErrClosed)
	case c != nil:
		return c, nil
	case s.server.Optional && 0 < rest && rest <= maxRest:
		return nil, s.fail(fmt.Errorf("left alone until %s: %w", restUntil.UTC().Format(time.TimeOnly), lastErr))
	}
	ch := s.flight.DoChan("connect", func() (any, error) { return s.open() })
	select {
	case r := <-ch:
		if r.Err != nil {
			return nil, s.fail(r.Err)
		}
		return r.Val.(*conn), nil
	case <-ctx.Done():
		return nil, s.fail(fmt.Errorf("connecting: %w", context.Cause(ctx)))
	}
}

// leave leaves an attempt to connect behind that was frozen. s.mu is held.
func (s *session) leave() {
	if s.frozen(s.attempt) {
		s.attempt.cancel()
		s.attempt, s.slow = nil, false
		s.flight.Forget("connect")
	}
}

// frozen reports whether an attempt is older than its own time limit: the process
// was frozen in the middle of it, and the other side may be gone.
func (s *session) frozen(a *attempt) bool {
	return a != nil && s.now().Sub(a.began) > connectTimeout
}

// open makes a connection and lists the tools, until that works or its time is
// up.
func (s *session) open() (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(s.life, connectTimeout, errConnectTimeout)
	defer cancel()
	s.mu.Lock()
	c, changes := s.conn, s.changes
	if c != nil { // made between a caller's look and its attempt
		s.mu.Unlock()
		return c, nil
	}
	mine := &attempt{s.now(), cancel}
	s.attempt = mine
	s.mu.Unlock()
	c, l, err := s.dial(ctx)
	for n := 0; err != nil; n++ {
		wait, again := delay(err, true, n)
		if isGone(err) && c != nil && c.greeted && n < maxRenewals { // it ended before its handshake was through
			wait, again = backoff(n, minBackoff, maxBackoff), true
		}
		if !again || !sleep(ctx, wait) {
			break
		}
		c, l, err = s.dial(ctx)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt != mine { // it was left behind
		if err == nil {
			go c.close(s.life)
		}
		return nil, errConnectTimeout
	}
	s.attempt, s.slow = nil, false
	if err != nil {
		s.lastErr = err
		s.restUntil = s.now().Add(backoff(s.failures, minRest, maxRest))
		s.failures++
		return nil, err
	}
	s.conn, s.failures = c, 0
	s.take(l, changes)
	return c, nil
}

// dial makes one attempt to connect and list. The connection of one that fails
// is closed.
func (s *session) dial(ctx context.Context) (*conn, *listing, error) {
	if e := s.server.Era; e != "" && e != Era2025 && e != Era2026 {
		return nil, nil, fmt.Errorf("protocol era %.40q: want %s or %s", e, Era2025, Era2026)
	}
	s.resolving.Lock()
	e, err := s.server.Resolve(ctx)
	s.resolving.Unlock()
	if err != nil {
		return nil, nil, err
	}
	w, err := newWire(e, s.options.Now, &s.used, s.expire)
	if err != nil {
		return nil, nil, err
	}
	steadyID := ""
	if e.SteadySession {
		steadyID = s.steadyID
	}
	c, err := connect(ctx, w, s.server.Era, steadyID)
	if err == nil {
		var l *listing
		if l, err = c.list(ctx, s.server); err == nil {
			return c, l, nil
		}
	}
	c.close(s.life)
	return c, nil, err
}

// take keeps a listing that was begun after so many changes; one that came
// meanwhile may not be in it. s.mu is held.
func (s *session) take(l *listing, changes int) {
	s.listing, s.listed = l, s.now()
	s.expires = s.listed.Add(l.life)
	if changes != s.changes {
		s.expires = s.listed.Add(minLife)
	}
	s.version++
	for _, d := range l.dropped {
		s.options.Logger.Warn("tool left out", "server", d.Server, "tool", d.Tool, "reason", d.Reason)
	}
}

// now is the wall clock's time, which goes on while the process is frozen.
func (s *session) now() time.Time { return s.options.Now().Round(0) }

// expire has the tools listed again on the next use.
func (s *session) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires = time.Time{}
	s.changes++
}

// refresh lists the tools again in the background, if the listing is at least
// that old. It holds until then, and also when that fails.
func (s *session) refresh(age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen(s.refreshing) {
		s.refreshing.cancel()
		s.refreshing = nil
	}
	c, old := s.conn, s.now().Sub(s.listed) // negative when the clock was set back
	if c == nil || s.refreshing != nil || 0 <= old && old < age {
		return
	}
	ctx, cancel := context.WithTimeoutCause(s.life, connectTimeout, errConnectTimeout)
	mine, changes := &attempt{s.now(), cancel}, s.changes
	s.refreshing = mine
	go func() {
		defer cancel()
		l, err := c.list(ctx, s.server)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refreshing != mine { // it was left behind
			return
		}
		s.refreshing = nil
		switch {
		case s.conn != c:
		case err == nil:
			s.take(l, changes)
		case isGone(err):
			s.conn = nil
		default:
			s.expires = s.now().Add(minLife)
			s.options.Logger.Warn("tools not listed again", "server", s.server.Name, "error", err)
		}
	}()
}

// ready reports whether there is a connection. A listing past its time is
// renewed on the way.
func (s *session) ready() bool {
	s.mu.Lock()
	now := s.now()
	connected, stale := s.conn != nil, now.After(s.expires) || now.Before(s.listed)
	s.mu.Unlock()
	if connected && stale {
		s.refresh(0)
	}
	return connected
}

// tools returns what the server offers, with a number that changes with it.
func (s *session) tools() (*listing, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return &listing{}, -s.version
	}
	return s.listing, s.version
}

// call runs one tool. What was certainly not carried out is sent again, within
// ctx's deadline: after a new handshake when the session is gone, after a while
// when the other side asks for patience. A call whose outcome is unknown is
// sent again only if the tool says that this does no harm.
func (s *session) call(ctx context.Context, t *Tool, input json.RawMessage) (Result, error) {
	renewals := 0
	for n := 0; ; {
		c, err := s.connect(ctx)
		if err != nil {
			return Result{}, err
		}
		raw, err := c.callTool(ctx, t, input)
		if err == nil {
			var r Result
			if r, err = readResult(raw); err == nil {
				return r, nil
			}
		}
		if isGone(err) {
			s.forget(c)
			if renewals++; renewals <= maxRenewals {
				continue
			}
		}
		if isUnknownTool(err) {
			s.refresh(relistAfter)
		}
		wait, again := delay(err, t.ReadOnly || t.Idempotent, n)
		if !again || !sleep(ctx, wait) {
			return Result{}, s.fail(fmt.Errorf("tools/call %.80s: %w", t.Tool, err))
		}
		n++
	}
}

// forget drops c, unless it has been replaced already.
func (s *session) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.conn = nil
	}
}

// isGone reports whether err says that the session is gone, and with it that
// the request was not carried out. When a stream cannot be taken up again
// because of that, the call was.
func isGone(err error) bool {
	var e *agentcore.Error
	return errors.As(err, &e) && e.SessionGone() && !errors.As(err, new(*UnknownOutcomeError))
}

// isUnknownTool reports whether the server may not know the tool any more.
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools#error-handling
func isUnknownTool(err error) bool {
	var e *agentcore.Error
	return errors.As(err, &e) && (e.Code == -32602 || e.Code == -32601)
}

func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	c := s.conn
	s.conn = nil
	s.mu.Unlock()
	if c != nil {
		c.close(ctx)
	}
}
