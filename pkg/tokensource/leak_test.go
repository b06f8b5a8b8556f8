package tokensource_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/tokensource"
)

// What a server says back of a token or a secret does not reach an error, in
// whichever header it says it.
func TestEchoes(t *testing.T) { // case 45
	for name, echo := range map[string]func(h http.Header, sent string) int{
		"error code": func(h http.Header, sent string) int {
			h.Set("WWW-Authenticate", `Bearer error="`+sent+`"`)
			return 401
		},
		"request id":              func(h http.Header, sent string) int { h.Set("X-Amzn-Requestid", sent); return 403 },
		"location":                func(h http.Header, sent string) int { h.Set("Location", "https://evil.com/?"+sent); return 307 },
		"location's host":         func(h http.Header, sent string) int { h.Set("Location", "https://"+sent+".evil.com/"); return 308 },
		"location that is no URL": func(h http.Header, sent string) int { h.Set("Location", "https://evil.com/%zz"+sent); return 307 },
	} {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(echo(w.Header(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		})}})
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err == nil || strings.Contains(err.Error(), "token-") {
			t.Errorf("%s of the resource: %v", name, err)
		} else if c := (*tokensource.ChallengeError)(nil); errors.As(err, &c) && strings.Contains(fmt.Sprintf("%+v", *c), "token-") {
			t.Errorf("%s of the resource: %+v", name, *c)
		}
		i = newIssuer()
		i.answer = func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(echo(w.Header(), "canary"))
			return true
		}
		if _, err := newSource(t, i, tokensource.Config{}).Token(short(t)); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s of the token endpoint: %v", name, err)
		}
	}
}

// An answer leads back to the caller's request, not to the one with the bearer.
func TestRoundTrip_answeredRequest(t *testing.T) { // case 45
	s, to := overLoopback(t, newIssuer(), nil)
	req, _ := http.NewRequest(http.MethodPost, to, strings.NewReader("x"))
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Request.Header.Get("Authorization"); got != "" {
		t.Errorf("its Authorization is %q", got)
	}
}
