// Cases of the token source, and the tests that hold them:
//
//	29  TestToken_outlivesItsFirstCaller
//	30  TestToken_hangingEndpoint
//	31  TestToken_coldBurst
//	32  TestToken_failingEndpoint
//	33  TestToken_renewsInTheBackground
//	34  TestRoundTrip_unauthorized, TestRoundTrip_rejectedOnce, TestRoundTrip_rejectedForGood, TestRoundTrip_revokedUnderLoad,
//	    TestRoundTrip_replacedMeanwhile, TestRoundTrip_rejectedDuringRenewal
//	35  TestRoundTrip_insufficientScope, TestRoundTrip_stepUpHarmsNobody, TestRoundTrip_stepUpRefusedMeanwhile,
//	    TestRoundTrip_stepUpDuringRenewal, TestLocal_stepUp
//	36  TestToken_rotatedSecret, TestLocal_rotation
//	37  TestToken_retryAfter
//	38  TestToken_badAnswers, FuzzTokenAnswer
//	39  TestToken_expiresIn, TestSoak_seldom
//	40  TestToken_oneAuthMethod
//	41  TestToken_formEncoding
//	42  TestDiscovery_refusedURLs, TestDial_afterDNS, TestDial_addresses
//	43  TestDiscovery_refusedDocuments, TestDiscover_refused, FuzzDiscoveryDocument
//	44  TestRedirects, TestRedirects_sameOrigin
//	45  TestCanary
//	46  TestToken_thaw, TestToken_frozenFetch, TestToken_clockSetBack
//	47  TestDiscovery_lastGood, TestDiscovery_movedTokenEndpoint
//	48  TestToken_resourceParameter, TestDiscover
//	49  TestToken_privateKeyJWT
//	50  TestToken_credentialErrors; credstore: TestSet_*
//
// Across them: TestSoak.
package tokensource_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

func TestToken_outlivesItsFirstCaller(t *testing.T) { // case 29
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.latency = time.Second
		s := newSource(t, i, tokensource.Config{})
		first, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, err := s.Token(first); !errors.Is(err, context.Canceled) {
			t.Fatalf("first caller: got %v, want its own cancellation", err)
		}
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatalf("second caller: %v", err)
		}
		time.Sleep(time.Hour) // the token is long gone, and so is the first caller
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatalf("after expiry: %v", err)
		}
		if got := len(i.requests()); got != 2 {
			t.Errorf("got %d token requests, want 2", got)
		}
	})
}

func TestToken_hangingEndpoint(t *testing.T) { // case 30
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.latency = time.Hour
		s := newSource(t, i, tokensource.Config{})
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				_, err := s.Token(ctx)
				if got := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || got != 200*time.Millisecond {
					t.Errorf("after %v: %v; want the caller's deadline after 200ms", got, err)
				}
			})
		}
		wg.Wait()
		// The request itself ends too, at its own time limit.
		ctx, cancel := context.WithTimeout(t.Context(), 6900*time.Millisecond)
		defer cancel()
		_, err := s.Token(ctx)
		var unavailable *tokensource.UnavailableError
		if got := time.Since(start); !errors.As(err, &unavailable) || got != 7*time.Second {
			t.Errorf("after %v: got %v, want an UnavailableError after 7s", got, err)
		}
		i.mu.Lock()
		i.latency = 0
		i.mu.Unlock()
		if _, err := s.Token(t.Context()); err != nil {
			t.Errorf("once it answers: %v", err)
		}
	})
}

func TestToken_coldBurst(t *testing.T) { // case 31
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.latency = time.Second
		s := newSource(t, i, tokensource.Config{})
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if _, err := s.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := len(i.requests()); got != 1 {
			t.Errorf("got %d token requests for 1000 callers, want 1", got)
		}
		if got := i.gets; len(got) != 1 {
			t.Errorf("got %d discovery requests, want 1", len(got))
		}
	})
}

func TestToken_failingEndpoint(t *testing.T) { // case 32
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		down := time.Now().Add(2 * time.Second)
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			if time.Now().Before(down) {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return false
		}
		s := newSource(t, i, tokensource.Config{})
		var wg sync.WaitGroup
		for n := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond)
				for ctx := t.Context(); ; time.Sleep(100 * time.Millisecond) {
					short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
					_, err := s.Token(short)
					cancel()
					if err == nil {
						return
					}
				}
			})
		}
		wg.Wait()
		posts := i.requests()
		for n := 1; n < len(posts); n++ {
			// Each step is at least half of 0.5 s, 1 s, 2 s, …
			if got, least := posts[n].at.Sub(posts[n-1].at), 250*time.Millisecond<<(n-1); got < least {
				t.Errorf("request %d came %v after the one before, want at least %v", n, got, least)
			}
		}
		if got := len(posts); got < 3 || got > 5 {
			t.Errorf("got %d requests for 1000 callers in 2 s of failures, want 3 to 5", got)
		}
	})
}

func TestToken_waitsOutAFailure(t *testing.T) { // cases 32 and 37
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		var n atomic.Int32
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			if n.Add(1) > 2 {
				return false
			}
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		s := newSource(t, i, tokensource.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.Token(ctx); err != nil {
			t.Errorf("two failures that pass within the deadline: got %v", err)
		}
	})
}

func TestToken_renewsInTheBackground(t *testing.T) { // case 33
	for _, tt := range []struct {
		life     int // seconds
		minLeft  time.Duration
		min, max int // token requests in an hour
	}{
		{300, 60 * time.Second, 19, 26}, // Cognito's least
		{3600, 60 * time.Second, 2, 2},
		{60, 15 * time.Second, 200, 290},
	} {
		t.Run(fmt.Sprint(tt.life), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.life = tt.life
				s := newSource(t, i, tokensource.Config{})
				if _, err := s.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
				i.mu.Lock()
				i.latency = 2 * time.Second
				i.mu.Unlock()
				for range 3600 {
					time.Sleep(time.Second)
					before := time.Now()
					token, err := s.Token(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if got := time.Since(before); got != 0 {
						t.Fatalf("a caller waited %v for a renewal", got)
					}
					if got := time.Until(token.Expiry); got < tt.minLeft {
						t.Fatalf("got a token with %v left, want at least %v", got, tt.minLeft)
					}
				}
				time.Sleep(5 * time.Second) // a renewal may be under way
				if got := len(i.requests()); got < tt.min || got > tt.max {
					t.Errorf("got %d token requests in an hour, want %d to %d", got, tt.min, tt.max)
				}
				if got := len(i.gets); got != 1 {
					t.Errorf("got %d discovery requests in an hour, want 1", got)
				}
			})
		})
	}
}

// A renewal that fails harms nobody while the old token is good.
func TestToken_failingRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{})
		var down atomic.Bool
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			if down.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return down.Load()
		}
		first, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		time.Sleep(200 * time.Second) // due for renewal
		for range 20 {
			time.Sleep(time.Second)
			got, err := s.Token(t.Context())
			if err != nil || got.AccessToken != first.AccessToken {
				t.Fatalf("got %v, want the first token while it is good", err)
			}
			synctest.Wait()
		}
		if got := len(i.requests()) - 1; got < 3 || got > 7 { // 0.5 s, 1 s, 2 s, … apart
			t.Errorf("got %d renewals tried in 20 s of failures, want 3 to 7", got)
		}
		time.Sleep(16 * time.Second) // of 300 less than 65 are left, and AgentCore wants a minute
		if got, err := s.Token(short(t)); err == nil {
			t.Errorf("got a token with %v left", time.Until(got.Expiry))
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestToken_rotatedSecret(t *testing.T) { // case 36
	t.Run("the new secret is in the store", func(t *testing.T) {
		i, c := newIssuer(), newSet()
		s := newSource(t, i, tokensource.Config{Credentials: c})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.rotate("second")
		c.change(func(c *credstore.Credentials) { c.ClientSecret = credstore.NewSecret("second") })
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Fatal(err)
		}
		if got := len(i.requests()); got != 3 {
			t.Errorf("got %d token requests, want 3: one before, one refused, one with the new secret", got)
		}
		if c.reads != 2 {
			t.Errorf("got %d reads of the store, want 2", c.reads)
		}
	})
	t.Run("the store still has the old one", func(t *testing.T) {
		i, c := newIssuer(), newSet()
		i.rotate("second")
		_, err := newSource(t, i, tokensource.Config{Credentials: c}).Token(t.Context())
		var refused *tokensource.RefusedError
		if !errors.As(err, &refused) || refused.Code != "invalid_client" || refused.Parameter != "/app/mcp/srv/cognito_secret" {
			t.Errorf("got %v, want invalid_client naming the parameter", err)
		}
		if got := len(i.requests()); got != 1 {
			t.Errorf("got %d token requests with one and the same secret, want 1", got)
		}
		if c.reads != 2 {
			t.Errorf("got %d reads of the store, want 2", c.reads)
		}
	})
	t.Run("the store cannot be read again", func(t *testing.T) {
		i, c := newIssuer(), newSet()
		s := newSource(t, i, tokensource.Config{Credentials: c})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.rotate("second")
		c.change(func(*credstore.Credentials) { c.err = &smithy.GenericAPIError{Code: "ThrottlingException"} })
		_, err := call(short(t), s.Client(), resourceURL, "x")
		var unavailable *tokensource.UnavailableError
		if !errors.As(err, &unavailable) || !errors.Is(err, c.err) || unavailable.Doing != "reading credentials" {
			t.Errorf("got %v, want what the store answered, which may pass", err)
		}
	})
	t.Run("the server has moved to another pool", func(t *testing.T) {
		i, c := newIssuer(), newSet()
		s := newSource(t, i, tokensource.Config{Credentials: c})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.rotate("second")
		i.url += "2"
		c.change(func(c *credstore.Credentials) {
			c.ClientSecret, c.DiscoveryURL = credstore.NewSecret("second"), i.url+"/.well-known/openid-configuration"
		})
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Fatal(err)
		}
		if got := i.gets; len(got) != 2 || got[0] == got[1] {
			t.Errorf("got discovery requests %q, want one of each pool", got)
		}
	})
	t.Run("the parameters are completed later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			i, c := newIssuer(), newSet()
			c.stored.Scope, c.stored.ClientSecret = "", credstore.Secret{}
			s := newSource(t, i, tokensource.Config{Credentials: c})
			_, err := s.Token(t.Context())
			var missing *credstore.MissingError
			if !errors.As(err, &missing) || !slices.Equal(missing.Names, []string{"cognito_secret"}) {
				t.Fatalf("got %v, want cognito_secret missing", err)
			}
			c.change(func(c *credstore.Credentials) { c.ClientSecret = credstore.NewSecret("secret") })
			time.Sleep(time.Second)
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestToken_retryAfter(t *testing.T) { // case 37
	for _, tt := range []struct {
		name   string
		status int
		header func(now time.Time) string
		wait   time.Duration
	}{
		{"seconds", 429, func(time.Time) string { return "7" }, 7 * time.Second},
		{"date", 503, func(now time.Time) string { return now.Add(9 * time.Second).UTC().Format(http.TimeFormat) }, 9 * time.Second},
		{"in the past", 503, func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0},
		{"negative", 429, func(time.Time) string { return "-5" }, 0},
		{"nonsense", 429, func(time.Time) string { return "soon" }, 0},
		{"a year", 429, func(time.Time) string { return "31536000" }, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				// The configured clock is not the machine's.
				now := func() time.Time { return time.Now().Add(1000 * time.Hour) }
				var once sync.Once
				i.answer = func(w http.ResponseWriter, _ *http.Request) (failed bool) {
					once.Do(func() {
						w.Header().Set("Retry-After", tt.header(now()))
						w.WriteHeader(tt.status)
						failed = true
					})
					return failed
				}
				s := newSource(t, i, tokensource.Config{Now: now})
				start := time.Now()
				short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err := s.Token(short)
				var unavailable *tokensource.UnavailableError
				if !errors.As(err, &unavailable) || unavailable.RetryAfter != tt.wait {
					t.Fatalf("got %v, want an UnavailableError with RetryAfter %v", err, tt.wait)
				}
				if got := time.Since(start); got != 0 {
					t.Errorf("a caller whose deadline is too short waited %v, want not at all", got)
				}
				long, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				if _, err := s.Token(long); err != nil {
					t.Errorf("with a deadline that allows: %v", err)
				}
				if got := time.Since(start); got < tt.wait || got > tt.wait+time.Second {
					t.Errorf("waited %v, want %v", got, tt.wait)
				}
				if got := len(i.requests()); got != 2 {
					t.Errorf("got %d token requests, want 2", got)
				}
			})
		})
	}
}

func TestToken_credentialErrors(t *testing.T) { // case 50
	for _, tt := range []struct {
		name   string
		err    error
		config bool // else unavailable
	}{
		{"not found", fmt.Errorf("reading: %w", credstore.ErrNotFound), true},
		{"access denied, also to the key", &smithy.GenericAPIError{Code: "AccessDeniedException"}, true},
		{"throttled", &smithy.GenericAPIError{Code: "ThrottlingException"}, false},
		{"internal", &smithy.GenericAPIError{Code: "InternalServerError"}, false},
		{"no network", errors.New("connection refused"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, c := newIssuer(), newSet()
				c.err = tt.err
				s := newSource(t, i, tokensource.Config{Credentials: c})
				short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err := s.Token(short)
				var config *tokensource.ConfigError
				var unavailable *tokensource.UnavailableError
				if errors.As(err, &config) != tt.config || errors.As(err, &unavailable) == tt.config || !errors.Is(err, tt.err) {
					t.Errorf("got %T %v", err, err)
				}
				for range 100 {
					s.Token(short)
				}
				if c.reads != 1 {
					t.Errorf("got %d reads of the store for 101 calls, want 1", c.reads)
				}
				if got := len(i.requests()); got != 0 {
					t.Errorf("got %d token requests without credentials", got)
				}
			})
		})
	}
}

func TestNew_refused(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  tokensource.Config
	}{
		{"no credentials", tokensource.Config{Resource: resourceURL}},
		{"user and discover", tokensource.Config{Credentials: newSet(), Resource: resourceURL, User: true, Discover: true}},
		{"user and key", tokensource.Config{Credentials: newSet(), Resource: resourceURL, User: true, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}},
	} {
		_, err := tokensource.New(tt.cfg)
		var config *tokensource.ConfigError
		if !errors.As(err, &config) {
			t.Errorf("%s: got %v, want a ConfigError", tt.name, err)
		}
	}
}

// A bearer is for a name over https, or for this machine.
func TestNew_resource(t *testing.T) {
	for resource, okay := range map[string]bool{
		"https://mcp.example.com/mcp": true, "https://my_server.EXAMPLE.com.:8443/mcp?qualifier=x": true,
		"http://localhost:8000/mcp": true, "https://localhost/mcp": true, "http://127.0.0.1/mcp": true, "http://[::1]:1/": true,
		"": false, "/mcp": false, "mcp.example.com": false, "https:mcp.example.com": false, "https:///mcp": false,
		"http://mcp.example.com/mcp": false, "ftp://mcp.example.com/mcp": false, "ftp://127.0.0.1/mcp": false,
		"https://u:p@mcp.example.com/mcp": false, "https://mcp.example.com/mcp#x": false,
		"https://10.0.0.1/mcp": false, "https://10.0.0.1./mcp": false, "https://167772161/mcp": false, "https://0x0a.1/mcp": false,
		"https://１0.0.0.１/mcp": false, "https://mcp.example.com\u2024/mcp": false, "https://./mcp": false,
	} {
		_, err := tokensource.New(tokensource.Config{Credentials: newSet(), Resource: resource})
		var config *tokensource.ConfigError
		if okay != (err == nil) || !okay && (!errors.As(err, &config) || config.Setting != "Resource") {
			t.Errorf("%q: got %v", resource, err)
		}
	}
}
