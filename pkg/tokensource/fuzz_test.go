package tokensource_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/tokensource"
)

// FuzzTokenAnswer: no answer of a token endpoint makes a token that cannot be
// put into a header, or shows in an error.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, `{"access_token":"a.b.c","token_type":"Bearer","expires_in":300}`)
	f.Add(400, `{"error":"invalid_client"}`)
	f.Add(200, `{"access_token":"a\r\nb","token_type":"Bearer"}`)
	f.Add(429, ``)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			status = 200
		}
		i := newIssuer()
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
		token, err := newSource(t, i, tokensource.Config{}).Token(short(t))
		if err == nil {
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
			if strings.ContainsFunc(token.AccessToken.Reveal(), func(c rune) bool { return c <= ' ' || c > '~' }) || token.AccessToken.IsZero() {
				t.Errorf("took token %q", token.AccessToken.Reveal())
			}
			if left := time.Until(token.Expiry); left < 5*time.Second || left > 25*time.Hour {
				t.Errorf("thinks it good for %v", left)
			}
		}
		if got := len(i.requests()); got != 1 {
			t.Errorf("got %d token requests", got)
		}
	})
}

// FuzzDiscoveryDocument: no document sends the secret anywhere but to the
// issuer's own host or to Cognito's.
func FuzzDiscoveryDocument(f *testing.F) {
	f.Add(`{"issuer":"` + poolURL + `","token_endpoint":"` + tokenURL + `"}`)
	f.Add(`{"issuer":"` + poolURL + `","token_endpoint":"https://evil.com/token"}`)
	f.Add(`{"issuer":"` + poolURL + `","token_endpoint":"https://example.auth.eu-central-1.amazoncognito.com@evil.com/token"}`)
	f.Add(`{"issuer":["` + poolURL + `"]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var doc struct{ Issuer string }
		sent := false
		s := newSource(t, newIssuer(), tokensource.Config{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodGet {
				io.WriteString(rec, body)
				return rec.Result(), nil
			}
			sent = true
			host := r.URL.Hostname()
			if r.URL.Scheme != "https" || host != "cognito-idp.eu-central-1.amazonaws.com" && !strings.HasSuffix(strings.ToLower(host), ".amazoncognito.com") {
				t.Errorf("the secret went to %s", r.URL)
			}
			io.WriteString(rec, `{"access_token":"t","token_type":"Bearer"}`)
			return rec.Result(), nil
		})})
		s.Token(short(t))
		if json.Unmarshal([]byte(body), &doc) == nil && doc.Issuer != poolURL && sent {
			t.Errorf("took a document of issuer %q", doc.Issuer)
		}
	})
}
