package tokensource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

func TestRoundTrip_unauthorized(t *testing.T) { // case 34
	for _, tt := range []struct {
		name            string
		accepted        func(n int) bool // whether the resource takes its nth request
		noGetBody       bool
		wantErr         bool
		requests, posts int
	}{
		{"accepted", func(int) bool { return true }, false, false, 1, 1},
		{"first token rejected", func(n int) bool { return n > 0 }, false, false, 2, 2},
		{"all rejected", func(int) bool { return false }, false, true, 2, 2},
		{"body cannot be had again", func(n int) bool { return n > 0 }, true, true, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			var n int
			var seen []string
			resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				seen = append(seen, r.Header.Get("Authorization"))
				if string(body) != "the body" || r.Header.Get("Mcp-Session-Id") != "session" {
					t.Errorf("request %d: got body %q, session %q", n, body, r.Header.Get("Mcp-Session-Id"))
				}
				n++
				if !tt.accepted(n - 1) {
					w.Header().Set("WWW-Authenticate", `Bearer realm="r", error="invalid_token", error_description="of `+r.Header.Get("Authorization")+`"`)
					w.Header().Set("X-Amzn-Requestid", "request-1")
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			s := newSource(t, i, tokensource.Config{Base: inMemory{resource}})
			req, _ := http.NewRequest(http.MethodPost, resourceURL, strings.NewReader("the body"))
			req.Header.Set("Mcp-Session-Id", "session")
			req.Header.Set("Authorization", "Basic mine")
			if tt.noGetBody {
				req.GetBody = nil
			}
			_, err := s.Client().Do(req)
			var challenge *tokensource.ChallengeError
			if errors.As(err, &challenge) != tt.wantErr || (err != nil) != tt.wantErr {
				t.Fatalf("got %v", err)
			}
			if tt.wantErr {
				if challenge.Status != 401 || challenge.Code != "invalid_token" || challenge.RequestID != "request-1" ||
					!strings.Contains(challenge.Challenge, "realm") || strings.Contains(err.Error(), "token-") {
					t.Errorf("got %+v", challenge)
				}
				if got, want := challenge.Error(), "the MCP server refused our authorization with 401: "+challenge.Challenge+" (request request-1)"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if n != tt.requests || len(i.requests()) != tt.posts {
				t.Errorf("got %d requests and %d token requests, want %d and %d", n, len(i.requests()), tt.requests, tt.posts)
			}
			if len(seen) == 2 && seen[0] == seen[1] {
				t.Error("the rejected token was sent again")
			}
			if got := req.Header.Get("Authorization"); got != "Basic mine" {
				t.Errorf("the caller's request was changed: %q", got)
			}
		})
	}
}

// A request that cannot be sent twice still rids the next one of its token.
func TestRoundTrip_rejectedOnce(t *testing.T) { // case 34
	i := newIssuer()
	s := newSource(t, i, tokensource.Config{})
	post := func() error {
		req, _ := http.NewRequest(http.MethodPost, resourceURL, io.NopCloser(strings.NewReader("x")))
		resp, err := s.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := post(); err != nil {
		t.Fatal(err)
	}
	i.revoke()
	var challenge *tokensource.ChallengeError
	if err := post(); !errors.As(err, &challenge) {
		t.Errorf("with a revoked token: got %v, want a ChallengeError", err)
	}
	if err := post(); err != nil {
		t.Errorf("the request after it: %v", err)
	}
}

// However many callers find a token rejected, and for however long, the token
// endpoint sees few requests.
func TestRoundTrip_rejectedForGood(t *testing.T) { // case 34
	var requests atomic.Int64
	for _, tt := range []struct {
		name    string
		rejects func(r *http.Request) bool
	}{
		{"every call", func(*http.Request) bool { return true }},
		{"one tool of two", func(r *http.Request) bool { return r.URL.Query().Has("bad") }},
		{"one instance of two", func(*http.Request) bool { return requests.Add(1)%2 == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.life = 3600
				s := newSource(t, i, tokensource.Config{Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tt.rejects(r) {
						w.WriteHeader(http.StatusUnauthorized)
					}
				})}})
				var wg sync.WaitGroup
				for n := range 20 {
					wg.Go(func() {
						for range 600 { // for a minute
							to := resourceURL
							if n%2 == 0 {
								to += "?bad"
							}
							_, err := call(t.Context(), s.Client(), to, "x")
							var challenge *tokensource.ChallengeError
							if err != nil && !errors.As(err, &challenge) {
								t.Error(err)
							}
							time.Sleep(100 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				if got := len(i.requests()); got < 3 || got > 12 {
					t.Errorf("got %d token requests for 12000 calls in a minute, want 3 to 12", got)
				}
			})
		})
	}
}

// Callers who find one token revoked at once share one new one, also when one of
// them leaves in between.
func TestRoundTrip_revokedUnderLoad(t *testing.T) { // case 34
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.revoke()
		i.mu.Lock()
		i.latency = time.Second
		i.mu.Unlock()
		leaves, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				ctx, want := t.Context(), error(nil)
				if n == 0 {
					ctx, want = leaves, context.DeadlineExceeded
				}
				if _, err := call(ctx, s.Client(), resourceURL, "x"); !errors.Is(err, want) {
					t.Errorf("caller %d: got %v, want %v", n, err, want)
				}
			})
		}
		wg.Wait()
		if got := len(i.requests()); got != 2 {
			t.Errorf("got %d token requests, want the first and one more", got)
		}
	})
}

// A request whose token was replaced by a renewal while it was under way, and
// whose replacement is rejected as well, still gets its one new token.
func TestRoundTrip_replacedMeanwhile(t *testing.T) { // case 34
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		var slow atomic.Bool
		resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slow.CompareAndSwap(true, false) {
				time.Sleep(100 * time.Second)
			}
			guarded(i).ServeHTTP(w, r)
		})
		s := newSource(t, i, tokensource.Config{Base: inMemory{resource}})
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(130 * time.Second)
		done := make(chan error)
		slow.Store(true)
		go func() {
			_, err := call(t.Context(), s.Client(), resourceURL, "x")
			done <- err
		}()
		time.Sleep(70 * time.Second)
		if _, err := s.Token(t.Context()); err != nil { // renewed
			t.Fatal(err)
		}
		synctest.Wait()
		if got := len(i.requests()); got != 2 {
			t.Fatalf("got %d token requests, want the first and a renewal", got)
		}
		i.revoke()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := len(i.requests()); got != 3 {
			t.Errorf("got %d token requests, want 3", got)
		}
	})
}

func TestRoundTrip_insufficientScope(t *testing.T) { // case 35
	for _, tt := range []struct {
		name, challenge string
		stepUp          []string
		granted         bool // by the token endpoint
		helps           bool // the resource takes the new token
		wantErr         bool
		requests, posts int
	}{
		{"may step up", `Bearer error="insufficient_scope", scope="srv/invoke srv/admin"`, []string{"srv/admin"}, true, true, false, 2, 2},
		{"does not help", `Bearer error="insufficient_scope", scope="srv/invoke srv/admin"`, []string{"srv/admin"}, true, false, true, 2, 2},
		{"may not", `Bearer error="insufficient_scope", scope="srv/admin srv/root"`, []string{"srv/admin"}, true, true, true, 1, 1},
		{"not configured", `Bearer error="insufficient_scope", scope="srv/admin"`, nil, true, true, true, 1, 1},
		{"has it already", `Bearer error="insufficient_scope", scope="srv/invoke"`, []string{"srv/admin"}, true, true, true, 1, 1},
		{"names none", `Bearer error="insufficient_scope"`, []string{"srv/admin"}, true, true, true, 1, 1},
		{"other error", `Bearer error="invalid_request", scope="srv/admin"`, []string{"srv/admin"}, true, true, true, 1, 1},
		{"no challenge", ``, []string{"srv/admin"}, true, true, true, 1, 1},
		{"the client does not get it", `Bearer error="insufficient_scope", scope="srv/admin"`, []string{"srv/admin"}, false, false, true, 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			if !tt.granted {
				i.accept = refuseAdmin("invalid_scope")
			}
			n := 0
			resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				posts := i.requests()
				if tt.helps && posts[len(posts)-1].form.Get("scope") == "srv/invoke srv/admin" {
					return
				}
				w.Header().Set("WWW-Authenticate", tt.challenge)
				w.WriteHeader(http.StatusForbidden)
			})
			s := newSource(t, i, tokensource.Config{Base: inMemory{resource}, StepUpScopes: tt.stepUp})
			_, err := call(t.Context(), s.Client(), resourceURL, "x")
			var challenge *tokensource.ChallengeError
			if (err != nil) != tt.wantErr || tt.wantErr && (!errors.As(err, &challenge) || challenge.Status != 403) {
				t.Errorf("got %v", err)
			}
			if tt.wantErr && tt.challenge == "" && challenge.Error() != "the MCP server refused our authorization with 403" {
				t.Errorf("got %q", challenge.Error())
			}
			if n != tt.requests || len(i.requests()) != tt.posts {
				t.Errorf("got %d requests and %d token requests, want %d and %d", n, len(i.requests()), tt.requests, tt.posts)
			}
			// Nor is anything asked for again by the next request.
			n = 0
			before := len(i.requests())
			call(t.Context(), s.Client(), resourceURL, "x")
			if got := len(i.requests()); got != before || n != 1 {
				t.Errorf("next request: got %d token requests and %d requests, want %d and 1", got, n, before)
			}
		})
	}
}

// Neither the secret nor the bearer goes where a redirect points.
func TestRedirects(t *testing.T) { // case 44
	var leaked atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, where := range []string{"discovery", "token", "resource"} {
			t.Run(fmt.Sprintf("%s %d", where, status), func(t *testing.T) {
				i := newIssuer()
				redirect := func(w http.ResponseWriter, r *http.Request) bool {
					at := "resource"
					if r.Host != "mcp" {
						at = map[string]string{http.MethodGet: "discovery", http.MethodPost: "token"}[r.Method]
					}
					if at == where {
						w.Header().Set("Location", thief.URL+"/mcp")
						w.WriteHeader(status)
					}
					return at == where
				}
				s, base := overLoopback(t, i, redirect)
				_, err := call(t.Context(), s.Client(), base, "x")
				if err == nil {
					t.Fatal("got no error")
				}
				var config *tokensource.ConfigError
				if got := errors.As(err, &config); got != (where != "resource") {
					t.Errorf("got %T %v", err, err)
				}
			})
		}
	}
	if got := leaked.Load(); got != 0 {
		t.Errorf("%d requests followed a redirect", got)
	}
}

// Nor is a redirect within the origin followed: a POST would turn into a GET.
func TestRedirects_sameOrigin(t *testing.T) { // case 44
	i := newIssuer()
	n := 0
	s := newSource(t, i, tokensource.Config{Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, "/other", http.StatusFound)
	})}})
	if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err == nil || n != 1 {
		t.Errorf("got %v after %d requests, want a refusal after 1", err, n)
	}
}

// A renewal that was under way when the token was rejected brings one that is as
// dead; the request still gets a good one.
func TestRoundTrip_rejectedDuringRenewal(t *testing.T) { // case 34
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{})
		startRenewal(t, s, i)
		i.revoke()
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Error(err)
		}
		if got := len(i.requests()); got != 3 {
			t.Errorf("got %d token requests, want 3", got)
		}
	})
}

// overLoopback serves the issuer and a resource over real HTTP; broken answers
// in their place when it returns true.
func overLoopback(t *testing.T, i *issuer, broken func(http.ResponseWriter, *http.Request) bool) (*tokensource.Source, string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isResource := r.URL.Path == "/mcp"
		if isResource {
			r.Host = "mcp"
		}
		switch {
		case broken != nil && broken(w, r):
		case isResource:
			guarded(i).ServeHTTP(w, r)
		default:
			i.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	i.url, i.tokenURL = srv.URL+"/pool", srv.URL+"/oauth2/token"
	c := newSet()
	c.stored.DiscoveryURL = i.url + "/.well-known/openid-configuration"
	s, err := tokensource.New(tokensource.Config{Credentials: c, Resource: srv.URL + "/mcp"})
	if err != nil {
		t.Fatal(err)
	}
	return s, srv.URL + "/mcp"
}

// The default transports work, connections to the resource are kept and used
// again also after a 401.
func TestRoundTrip_wire(t *testing.T) {
	i := newIssuer()
	s, to := overLoopback(t, i, nil)
	for n := range 3 {
		got, err := call(t.Context(), s.Client(), to, "hello")
		if err != nil || got != "hello" {
			t.Fatalf("call %d: got %q, %v", n, got, err)
		}
		i.revoke()
	}
	if got := len(i.requests()); got != 3 {
		t.Errorf("got %d token requests, want 3", got)
	}
}

func TestRoundTrip_otherOrigin(t *testing.T) {
	i := newIssuer()
	s := newSource(t, i, tokensource.Config{})
	for _, to := range []string{
		"https://mcp.example.com:444/mcp", "http://mcp.example.com/mcp", "https://evil.example.com/mcp", "https://mcp.example.com.evil.com/mcp",
	} {
		if _, err := call(t.Context(), s.Client(), to, "x"); err == nil {
			t.Errorf("%s: got no error", to)
		}
	}
	for _, to := range []string{"https://MCP.example.com:443/mcp", "https://mcp.example.com/other"} {
		if _, err := call(t.Context(), s.Client(), to, "x"); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	if got := len(i.requests()); got != 1 {
		t.Errorf("got %d token requests, want 1", got)
	}
}

// counted is a body that counts itself out when it is closed.
type counted struct {
	io.Reader
	open *int
}

func (c counted) Close() error { *c.open--; return nil }

// A caller that leaves while its replay waits for a token gets its own error,
// and its body is closed.
func TestRoundTrip_callerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{})
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Fatal(err)
		}
		i.revoke()
		i.mu.Lock()
		i.latency = 2 * time.Second
		i.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		open := 0
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, resourceURL, nil)
		req.GetBody = func() (io.ReadCloser, error) {
			open++
			return counted{strings.NewReader("x"), &open}, nil
		}
		req.Body, _ = req.GetBody()
		if _, err := s.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) || open != 0 {
			t.Errorf("got %v with %d bodies open, want the caller's deadline and none", err, open)
		}
		time.Sleep(2 * time.Second)
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Error(err)
		}
	})
}

// A refusal that does not come to its end keeps nobody waiting.
func TestRoundTrip_endlessRefusal(t *testing.T) { // case 34
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		endless, _ := io.Pipe()
		s := newSource(t, i, tokensource.Config{Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := inMemory{guarded(i)}.RoundTrip(r)
			if err == nil && resp.StatusCode == http.StatusUnauthorized {
				resp.Body = endless
			}
			return resp, err
		})})
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Fatal(err)
		}
		i.revoke()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if got, err := call(ctx, s.Client(), resourceURL, "hello"); got != "hello" || err != nil || time.Since(start) > time.Second {
			t.Errorf("got %q, %v after %v", got, err, time.Since(start))
		}
	})
}

// What goes wrong below is told as it is: the layers above judge by it.
func TestRoundTrip_noAnswer(t *testing.T) {
	gone := errors.New("connection refused")
	s := newSource(t, newIssuer(), tokensource.Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, gone })})
	req, _ := http.NewRequest(http.MethodGet, resourceURL, nil)
	if _, err := s.RoundTrip(req); err != gone {
		t.Errorf("got %v, want %v itself", err, gone)
	}
}

func TestStatic(t *testing.T) {
	i := newIssuer()
	s := newSource(t, i, tokensource.Config{Credentials: tokensource.Static(credstore.Credentials{
		ClientID: "client", ClientSecret: credstore.NewSecret("wrong"), DiscoveryURL: discoveryURL,
	})})
	_, err := s.Token(t.Context())
	var refused *tokensource.RefusedError
	if !errors.As(err, &refused) || refused.Parameter != "cognito_secret" || len(i.requests()) != 1 {
		t.Errorf("got %v after %d requests", err, len(i.requests()))
	}
}
