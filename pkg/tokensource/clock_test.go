package tokensource_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

func TestToken_thaw(t *testing.T) { // case 46
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		var frozen atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
		s := newSource(t, i, tokensource.Config{Now: now})
		first, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		frozen.Store(int64(8 * time.Hour)) // the wall clock alone has moved
		second, err := s.Token(t.Context())
		if err != nil || second.AccessToken == first.AccessToken {
			t.Errorf("after 8 hours frozen: got the same token or %v", err)
		}
	})
}

func TestToken_frozenFetch(t *testing.T) { // case 46
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.latency = 5 * time.Second
		var frozen atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
		s := newSource(t, i, tokensource.Config{Now: now})
		type result struct {
			token tokensource.Token
			err   error
		}
		results := make(chan result, 2)
		token := func() {
			token, err := s.Token(t.Context())
			results <- result{token, err}
		}
		start := time.Now()
		go token()
		time.Sleep(time.Second) // in the middle of the fetch
		frozen.Store(int64(2 * time.Hour))
		i.mu.Lock()
		i.latency = time.Second
		i.mu.Unlock()
		go token() // the first caller after the thaw
		a, b := <-results, <-results
		if got := time.Since(start); got != 2*time.Second {
			t.Errorf("the callers waited %v, want 1s before the freeze and 1s for a new token", got)
		}
		if a.err != nil || b.err != nil {
			t.Fatalf("got %v and %v", a.err, b.err)
		}
		if got := len(i.requests()); got != 2 {
			t.Errorf("got %d token requests, want 2: the frozen one and a new one", got)
		}
		if a.token.AccessToken != b.token.AccessToken || a.token.Expiry.Before(now()) {
			t.Error("the two callers got different tokens, or one from before the freeze")
		}
	})
}

func TestToken_clockSetBack(t *testing.T) { // case 46
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		var off atomic.Int64
		off.Store(int64(8 * time.Hour)) // the clock is wrong at first
		now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		s := newSource(t, i, tokensource.Config{Now: now})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		off.Store(0)
		s.Token(t.Context()) // notices, and renews in the background
		synctest.Wait()
		got, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left := got.Expiry.Sub(now()); left > 5*time.Minute {
			t.Errorf("got a token that is thought good for %v, want 5 minutes at most", left)
		}

		// A backoff does not last until the clock has caught up again.
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }
		s = newSource(t, i, tokensource.Config{Now: now})
		off.Store(int64(8 * time.Hour))
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Token(short); err == nil {
			t.Fatal("the endpoint is down, want an error")
		}
		i.answer = nil
		off.Store(0)
		if _, err := s.Token(t.Context()); err != nil {
			t.Errorf("after the clock was set back: %v", err)
		}
	})
}

// stuck is credentials whose first reading hangs and hears nobody.
type stuck struct {
	tokensource.Credentials
	release chan struct{}
	read    *atomic.Bool
}

func (s stuck) Get(ctx context.Context) (credstore.Credentials, error) {
	if !s.read.Swap(true) {
		<-s.release
	}
	return s.Credentials.Get(ctx)
}

// Those who wait for a fetch that hangs, whatever hangs in it, turn to the one
// that takes its place. case 30
func TestToken_stuckFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		c := stuck{newSet(), make(chan struct{}), new(atomic.Bool)}
		s := newSource(t, i, tokensource.Config{Credentials: c})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first := make(chan error)
		go func() {
			_, err := s.Token(ctx)
			first <- err
		}()
		time.Sleep(20 * time.Second)
		got, err := s.Token(ctx)
		if err != nil {
			t.Errorf("the caller after it: %v", err)
		}
		if err := <-first; err != nil {
			t.Errorf("the caller that waited: %v", err)
		}
		close(c.release) // what it brings now is not used
		synctest.Wait()
		if again, err := s.Token(ctx); err != nil || again.AccessToken != got.AccessToken {
			t.Errorf("got another token or %v", err)
		}
	})
}
