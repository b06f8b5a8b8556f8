package tokensource_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/tokensource"
)

// A process that was frozen while it waited for its token does not send what has
// ended meanwhile. case 46
func TestToken_late(t *testing.T) {
	i := newIssuer()
	var frozen atomic.Int64
	i.accept = func(url.Values, string, string) string {
		frozen.Add(int64(24 * time.Hour))
		return ""
	}
	s := newSource(t, i, tokensource.Config{Now: func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }})
	_, err := s.Token(short(t))
	var unavailable *tokensource.UnavailableError
	if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "after the token's end") {
		t.Errorf("got %v, want an UnavailableError", err)
	}
}

// All that is missing is named at once, and nobody is asked for anything.
func TestToken_missing(t *testing.T) {
	i := newIssuer()
	_, err := newSource(t, i, tokensource.Config{Credentials: tokensource.Static{}}).Token(short(t))
	var config *tokensource.ConfigError
	if !errors.As(err, &config) || len(i.requests()) != 0 {
		t.Fatalf("got %v after %d requests, want a ConfigError", err, len(i.requests()))
	}
	for _, name := range []string{"machine_client_id", "cognito_secret", "cognito_discovery_url"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v lacks %s", err, name)
		}
	}
}

// idle notes that its idle connections were closed.
type idle struct {
	http.RoundTripper
	closed *bool
}

func (i idle) CloseIdleConnections() { *i.closed = true }

// A client's idle connections are those of the transport below.
func TestSource_CloseIdleConnections(t *testing.T) {
	closed := false
	s := newSource(t, newIssuer(), tokensource.Config{Base: idle{inMemory{http.NotFoundHandler()}, &closed}})
	s.Client().CloseIdleConnections()
	if !closed {
		t.Error("they were left open")
	}
	newSource(t, newIssuer(), tokensource.Config{}).Client().CloseIdleConnections() // below is one that has none
}
