// Package tokensource turns a machine's client credentials into bearer tokens
// for one MCP server, and keeps them good.
//
// A [Source] finds the token endpoint in the issuer's discovery document
// (OpenID Connect Discovery 1.0), asks it for a token with the
// client-credentials grant (RFC 6749, section 4.4) and keeps the token until
// shortly before it stops being good. Build one per process and server, in
// main:
//
//	source, err := tokensource.New(tokensource.Config{
//		Credentials: store.Set("my_server"),
//		Resource:    "https://mcp.example.com/mcp",
//	})
//	client := source.Client() // an *http.Client for any MCP client library
//
// It outlives every request: a fetch runs under a context and a time limit of
// its own, at most one at a time, and whoever waits for it leaves at their own
// deadline. Failures are shared and backed off, so that a failing endpoint sees
// few requests however many callers there are. Renewal happens in the
// background while the old token still serves. All ages are judged by the wall
// clock, because a Lambda process can be frozen for hours between two lines.
package tokensource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

const (
	// fetchTimeout bounds one fetch: credentials, discovery and token.
	fetchTimeout = 15 * time.Second

	// renewBefore is how long before its end a token is renewed, unless a
	// tenth of its life is more. Twice AgentCore's cut-off, so that the old
	// token still serves while the new one is fetched.
	renewBefore = 2 * time.Minute

	// minLeft is what a token must have left to be handed out. AgentCore
	// refuses one with under a minute left.
	minLeft = 65 * time.Second

	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second

	// maxWaits bounds how often one caller waits out a backoff.
	maxWaits = 3
)

// Credentials is where a Source gets the client credentials from;
// *credstore.Set is one. Both methods must be safe for concurrent use.
type Credentials interface {
	Get(context.Context) (credstore.Credentials, error)     // may answer from a cache
	Refresh(context.Context) (credstore.Credentials, error) // must not
	Path() string                                           // names the set in errors
}

// Config says where credentials come from and what the tokens are for.
type Config struct {
	Credentials Credentials
	Resource    string            // URL of the MCP server; the bearer is sent to its origin and nowhere else
	Transport   http.RoundTripper // for discovery and token requests; default: one with short time limits
	Base        http.RoundTripper // for requests to the resource; default http.DefaultTransport
	Now         func() time.Time  // default time.Now
	Logger      *slog.Logger      // default: discard; no secret or token is ever logged
}

// Token is an access token and the time at which it ends.
type Token struct {
	AccessToken credstore.Secret
	Expiry      time.Time
	renewAt     time.Time
	usableUntil time.Time
}

// Source hands out bearer tokens for one resource. It is safe for concurrent
// use.
type Source struct {
	cfg    Config
	origin string
	fetch  *fetcher

	mu       sync.Mutex // guards what follows
	token    Token      // zero: none
	flight   *flight    // nil: no fetch under way
	failure  error      // of the last fetch; nil after a success
	failures int        // in a row
	retryAt  time.Time  // no fetch before
	rejected int        // tokens in a row that the resource answered with 401
	dropAt   time.Time  // no further token is dropped before
}

// flight is one fetch under way.
type flight struct {
	started time.Time
	done    chan struct{} // closed once token or err is set
	token   Token
	err     error
}

// New makes a Source. It asks nobody anything yet; a resource that is neither
// https nor on a loopback address is refused.
func New(cfg Config) (*Source, error) {
	u, err := url.Parse(cfg.Resource)
	if err != nil {
		return nil, &ConfigError{Setting: "resource URL", Err: errors.New("not a URL")}
	}
	if err := checkURL(u); err != nil {
		return nil, &ConfigError{Setting: "resource URL", Err: err}
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	if cfg.Base == nil {
		cfg.Base = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, origin: originOf(u)}
	s.fetch = &fetcher{
		credentials: cfg.Credentials,
		now:         s.now,
		client:      &http.Client{Transport: cfg.Transport, CheckRedirect: refuseRedirect},
	}
	return s, nil
}

// now is the wall clock: the monotonic reading, which stands still while a
// process is frozen, is dropped.
func (s *Source) now() time.Time { return s.cfg.Now().Round(0) }

// Token returns a token with at least a minute left. The first caller starts a
// fetch and all share it; ctx bounds only the caller's own wait. A failure that
// may pass is waited out while ctx allows; what remains is a [*ConfigError], a
// [*RefusedError], an [*UnavailableError] or the context's error.
func (s *Source) Token(ctx context.Context) (Token, error) {
	for waits := 0; ; waits++ {
		t, f, err := s.take()
		if err == nil && f == nil {
			return t, nil
		}
		if f != nil {
			select {
			case <-f.done:
				if f.err == nil {
					return f.token, nil
				}
				err = f.err
			case <-ctx.Done():
				return Token{}, fmt.Errorf("waiting for an access token: %w", context.Cause(ctx))
			}
		}
		if waits == maxWaits || !s.waitOut(ctx, err) {
			return Token{}, err
		}
	}
}

// take returns a usable token, or the flight to wait for, or the failure that
// is being backed off.
func (s *Source) take() (Token, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Before(s.token.usableUntil) {
		if !now.Before(s.token.renewAt) && !now.Before(s.retryAt) {
			s.start(now) // renew in the background
		}
		return s.token, nil, nil
	}
	if s.failure != nil && now.Before(s.retryAt) {
		return Token{}, nil, s.failure
	}
	return Token{}, s.start(now), nil
}

// start returns the flight under way, or starts one. A flight that is older
// than its own time limit was frozen in the middle: it is left behind. The
// caller holds s.mu.
func (s *Source) start(now time.Time) *flight {
	if f := s.flight; f != nil && now.Sub(f.started) <= fetchTimeout {
		return f
	}
	f := &flight{started: now, done: make(chan struct{})}
	s.flight = f
	go s.run(f)
	return f
}

// run fetches a token on behalf of everybody who waits for f.
func (s *Source) run(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	f.token, f.err = s.fetch.token(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	if s.flight == f {
		s.flight = nil
	}
	if f.err == nil {
		s.token, s.failure, s.failures, s.retryAt = f.token, nil, 0, time.Time{}
		return
	}
	if s.flight != nil {
		return // left behind: the newer flight has the say
	}
	s.failure = f.err
	s.retryAt = s.now().Add(backoff(s.failures, f.err))
	s.failures++
	s.cfg.Logger.Warn("no access token", "error", f.err, "retry_at", s.retryAt)
}

// backoff is how long to leave the endpoint alone after the nth failure in a
// row: exponential with jitter, or what the endpoint asked for.
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
	wait := s.retryAt.Sub(s.now())
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

// drop forgets t, which the resource answered with 401, unless it has been
// replaced already, and reports whether another one is worth a try: at once
// after a token that had worked, backed off when one new token after the other
// is rejected.
func (s *Source) drop(t Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.AccessToken != t.AccessToken {
		return true
	}
	now := s.now()
	if now.Before(s.dropAt) {
		return false
	}
	if s.rejected > 0 {
		s.dropAt = now.Add(backoff(s.rejected-1, nil))
	}
	s.rejected++
	s.token = Token{}
	return true
}

// accepted notes that the resource took a token.
func (s *Source) accepted() {
	s.mu.Lock()
	s.rejected, s.dropAt = 0, time.Time{}
	s.mu.Unlock()
}
