package tokensource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// fetchTimeout bounds one fetch: credentials, discovery and token.
	fetchTimeout = 15 * time.Second

	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second

	// maxWaits bounds how often one caller waits out a backoff.
	maxWaits = 3
)

// Source hands out bearer tokens for one resource. It is safe for concurrent
// use.
type Source struct {
	cfg    Config
	origin string
	grant  grant

	mu       sync.Mutex // guards what follows
	token    Token      // zero: none
	flight   *flight    // nil: no fetch under way
	failure  error      // of the last fetch; nil after a success
	failures int        // in a row
	hold     window     // no fetch within
	asks     ask        // what the resource's challenges have asked for
	rejects  rejects
}

// flight is one fetch under way.
type flight struct {
	started time.Time
	cancel  context.CancelFunc
	asks    ask
	done    chan struct{} // closed once token or err is set
	token   Token
	err     error
}

var (
	// errLeftBehind ends a flight that another one has replaced.
	errLeftBehind = errors.New("the fetch was left behind")

	// errNotGranted ends a flight that asked for more scopes than the client gets.
	errNotGranted = errors.New("the client does not get more scopes")
)

// window is a span of wall-clock time. A clock that is set back before its
// start ends it, so that no window outlasts its own length.
type window struct{ from, until time.Time }

func (w window) holds(now time.Time) bool { return !now.Before(w.from) && now.Before(w.until) }

// Token returns a token with at least a minute left, or with half of its life
// left where that is shorter. The first caller starts a fetch and all share it;
// ctx bounds only the caller's own wait. A failure that may pass is waited out
// while ctx allows; what remains is a [*ConfigError], a [*RefusedError], an
// [*UnavailableError] or the context's error.
func (s *Source) Token(ctx context.Context) (Token, error) { return s.tokenFor(ctx, nil) }

// tokenFor is Token for a request that needs these scopes, which have been added
// to what is asked for.
func (s *Source) tokenFor(ctx context.Context, needs []string) (Token, error) {
	for waits := 0; ; {
		t, f, err := s.take(needs)
		if f != nil {
			t, err = f.wait(ctx, s.now)
		}
		switch {
		case err == nil:
			return t, nil
		case err == errLeftBehind, err == errNotGranted && !s.denied(needs):
			continue // to the flight that takes its place
		case waits == maxWaits || !s.waitOut(ctx, err):
			return Token{}, err
		}
		waits++
	}
}

// denied reports whether the token endpoint has refused one of these scopes.
func (s *Source) denied(scopes []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asks.denies(scopes)
}

// wait waits for f to end, or ctx.
func (f *flight) wait(ctx context.Context, now func() time.Time) (Token, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for an access token: %w", context.Cause(ctx))
	}
	if f.err == nil && !now().Before(f.token.Expiry) {
		return Token{}, &UnavailableError{Doing: "asking the token endpoint", Err: errors.New("its token came after the token's end")}
	}
	return f.token, f.err
}

// take returns a usable token with the scopes that a request needs, or the
// flight to wait for, or the failure that is being backed off.
func (s *Source) take(needs []string) (Token, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.token.usable(now) && len(without(needs, s.token.scopes)) == 0 {
		if s.token.due(now) && !s.hold.holds(now) {
			s.start(now) // renew in the background
		}
		return s.token, nil, nil
	}
	if s.failure != nil && s.hold.holds(now) {
		return Token{}, nil, s.failure
	}
	return Token{}, s.start(now), nil
}

// start returns the flight under way, or starts one. A flight that is older
// than its own time limit was frozen in the middle: it is left behind, and its
// callers wait for the new one instead. The caller holds s.mu.
func (s *Source) start(now time.Time) *flight {
	if s.flight != nil {
		if now.Sub(s.flight.started) <= fetchTimeout {
			return s.flight
		}
		s.leave()
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	f := &flight{started: now, cancel: cancel, asks: s.asks, done: make(chan struct{})}
	s.flight = f
	go s.run(ctx, f)
	return f
}

// leave abandons the flight under way, if any: nobody waits for it any longer,
// and its token will not be used. The caller holds s.mu.
func (s *Source) leave() {
	if f := s.flight; f != nil {
		s.flight = nil
		f.cancel()
		f.err = errLeftBehind
		close(f.done)
	}
}

// run fetches a token on behalf of everybody who waits for f.
func (s *Source) run(ctx context.Context, f *flight) {
	defer f.cancel()
	token, err := s.fetch(ctx, f.asks)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != f {
		return // it was left behind
	}
	defer close(f.done)
	s.flight, f.token, f.err = nil, token, err
	if f.err == nil {
		s.token, s.failure, s.failures, s.hold = f.token, nil, 0, window{}
		s.asks.granted = f.asks.extra
		s.cfg.Logger.Debug("access token fetched", "resource", s.origin, "expiry", f.token.Expiry)
		return
	}
	if s.rollBack(f) {
		f.err = errNotGranted
		return
	}
	if errors.As(f.err, new(*ConfigError)) {
		s.asks.challenged = false // the resource may say something else by now
	}
	now := s.now()
	s.failure = f.err
	s.hold = window{now, now.Add(backoff(s.failures, f.err))}
	s.failures++
	s.cfg.Logger.Warn("no access token", "resource", s.origin, "error", f.err, "retry_at", s.hold.until)
}

// backoff is how long to leave the endpoint alone after the nth failure in a
// row, counted from 0: exponential with jitter, or what the endpoint asked for.
func backoff(n int, err error) time.Duration {
	d := min(firstBackoff<<min(n, 10), lastBackoff)
	d = d/2 + rand.N(d/2)
	var u *UnavailableError
	if errors.As(err, &u) {
		d = max(d, u.RetryAfter)
	}
	return d
}

// waitOut waits until the next fetch may start. It reports false when err will
// not pass or ctx ends first.
func (s *Source) waitOut(ctx context.Context, err error) bool {
	var u *UnavailableError
	if !errors.As(err, &u) {
		return false
	}
	s.mu.Lock()
	wait := s.hold.until.Sub(s.now())
	s.mu.Unlock()
	if d, ok := ctx.Deadline(); ok && time.Until(d) < wait || !ok && wait > lastBackoff {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
