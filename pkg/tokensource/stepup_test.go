package tokensource_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/tokensource"
)

// A step-up is the affair of the request that needs it: the others go on with
// the token they have, however long it takes and however it ends.
func TestRoundTrip_stepUpHarmsNobody(t *testing.T) { // case 35
	for _, refusal := range []string{"", "invalid_scope", "unauthorized_client"} {
		granted := refusal == ""
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer()
			i.accept = refuseAdmin(refusal)
			scopeOf := func(r *http.Request) string {
				n := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-")
				return i.requests()[n[0]-'0'].form.Get("scope")
			}
			resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/admin" && !strings.Contains(scopeOf(r), "srv/admin") {
					w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="srv/admin"`)
					w.WriteHeader(http.StatusForbidden)
				}
			})
			s := newSource(t, i, tokensource.Config{Base: inMemory{resource}, StepUpScopes: []string{"srv/admin"}})
			if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
				t.Fatal(err)
			}
			i.mu.Lock()
			i.latency = 2 * time.Second
			i.mu.Unlock()
			done := make(chan error)
			go func() {
				_, err := call(t.Context(), s.Client(), "https://mcp.example.com/admin", "x")
				done <- err
			}()
			time.Sleep(time.Second) // the step-up is under way
			start := time.Now()
			if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil || time.Since(start) != 0 {
				t.Errorf("%q: another request got %v after %v, want it to pass at once", refusal, err, time.Since(start))
			}
			err := <-done
			var challenge *tokensource.ChallengeError
			if granted != (err == nil) || !granted && !errors.As(err, &challenge) {
				t.Errorf("%q: got %v", refusal, err)
			}
			if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil || len(i.requests()) != 2 {
				t.Errorf("%q: afterwards got %v and %d token requests, want 2", refusal, err, len(i.requests()))
			}
		})
	}
}

// A renewal that was under way when a request stepped up brings a token without
// the scope; the request still gets one with it.
func TestRoundTrip_stepUpDuringRenewal(t *testing.T) { // case 35
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{StepUpScopes: []string{"srv/admin"}, Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for n, p := range i.requests() {
				if r.Header.Get("Authorization") == fmt.Sprint("Bearer token-", n) && strings.Contains(p.form.Get("scope"), "srv/admin") {
					return
				}
			}
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="srv/admin"`)
			w.WriteHeader(http.StatusForbidden)
		})}})
		startRenewal(t, s, i)
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Error(err)
		}
		if got := len(i.requests()); got != 3 {
			t.Errorf("got %d token requests, want the first, the renewal and one with the scope", got)
		}
	})
}

// Who waits for a first token while another request steps up, and is refused,
// gets one without the scope.
func TestRoundTrip_stepUpRefusedMeanwhile(t *testing.T) { // case 35
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.accept = refuseAdmin("invalid_scope")
		s := newSource(t, i, tokensource.Config{StepUpScopes: []string{"srv/admin"}, Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="srv/admin"`)
			w.WriteHeader(http.StatusForbidden)
		})}})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(233 * time.Second) // of 300; two seconds on it is not handed out any more
		i.mu.Lock()
		i.latency = 4 * time.Second
		i.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := call(ctx, s.Client(), resourceURL, "x")
			done <- err
		}()
		time.Sleep(3 * time.Second)
		if _, err := s.Token(ctx); err != nil {
			t.Errorf("another caller got %v, want a token", err)
		}
		var challenge *tokensource.ChallengeError
		if err := <-done; !errors.As(err, &challenge) {
			t.Errorf("got %v, want a ChallengeError", err)
		}
	})
}

// A scope that is refused takes none of those away that were granted before, also
// not from those who wait for a token with them.
func TestRoundTrip_stepUpKeepsEarlier(t *testing.T) { // case 35
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.accept = refuseAdmin("invalid_scope")
		resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			need, asked := "srv/"+strings.TrimPrefix(r.URL.Path, "/"), ""
			for _, p := range i.requests() {
				if p.granted {
					asked = p.form.Get("scope")
				}
			}
			if !strings.Contains(asked, need) {
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+need+`"`)
				w.WriteHeader(http.StatusForbidden)
			}
		})
		s := newSource(t, i, tokensource.Config{Base: inMemory{resource}, StepUpScopes: []string{"srv/write", "srv/admin"}})
		ask := func(path string) error {
			_, err := call(t.Context(), s.Client(), "https://mcp.example.com/"+path, "x")
			return err
		}
		if err := ask("write"); err != nil {
			t.Fatal(err)
		}
		var challenge *tokensource.ChallengeError
		if err := ask("admin"); !errors.As(err, &challenge) {
			t.Errorf("got %v, want a ChallengeError", err)
		}
		time.Sleep(10 * time.Minute) // the token has ended
		if err := ask("write"); err != nil {
			t.Errorf("after another scope was refused: %v", err)
		}
		if err := ask("admin"); !errors.As(err, &challenge) || len(i.requests()) != 4 {
			t.Errorf("got %v after %d token requests, want a ChallengeError after 4", err, len(i.requests()))
		}
	})
}

// A signed-in user has the scopes of the client, and asks for none.
func TestNew_userStepsUpNot(t *testing.T) {
	_, err := tokensource.New(tokensource.Config{Credentials: newSet(), Resource: resourceURL, User: true, StepUpScopes: []string{"srv/admin"}})
	var config *tokensource.ConfigError
	if !errors.As(err, &config) {
		t.Errorf("got %v, want a ConfigError", err)
	}
}
