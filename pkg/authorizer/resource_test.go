package authorizer_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/authorizer"
)

// case 137: one path is guarded, its metadata is for everybody, and both name
// the resource as the client does unless its URL is configured. There is nothing
// else.
func TestProtect(t *testing.T) {
	is := newIssuer(t)
	const wellKnown = "/.well-known/oauth-protected-resource"
	for _, tt := range []struct {
		configured, host, path string
		status                 int
		resource, metadata     string // in the document, in the challenge
	}{
		{"", "127.0.0.1:8000", "/mcp", 401, "", "http://127.0.0.1:8000" + wellKnown + "/mcp"},
		{"", "localhost", "/mcp/", 401, "", "http://localhost" + wellKnown + "/mcp"},
		{"", "[::1]:8000", "/mcp", 401, "", "http://[::1]:8000" + wellKnown + "/mcp"},
		{"", "mcp.example", "/mcp", 401, "", "https://mcp.example" + wellKnown + "/mcp"},
		{"", "localhost.example:8443", "/mcp", 401, "", "https://localhost.example:8443" + wellKnown + "/mcp"},
		{"", "127.0.0.1:8000", wellKnown, 200, "http://127.0.0.1:8000/mcp", ""},
		{"", "mcp.example", wellKnown + "/mcp", 200, "https://mcp.example/mcp", ""},
		{"https://a.example", "mcp.example", "/mcp", 401, "", "https://a.example" + wellKnown},
		{"https://a.example", "mcp.example", wellKnown, 200, "https://a.example", ""},
		{"https://a.example/x/mcp", "mcp.example", "/mcp", 401, "", "https://a.example" + wellKnown + "/x/mcp"},
		{"https://a.example/x/mcp", "mcp.example", wellKnown + "/x/mcp", 200, "https://a.example/x/mcp", ""},
		{"https://a.example/x/mcp", "mcp.example", wellKnown + "/mcp", 200, "https://a.example/x/mcp", ""},
		{"", "mcp.example", "/", 404, "", ""},
		{"", "mcp.example", "/mcp/x", 404, "", ""},
		{"", "mcp.example", "/MCP", 404, "", ""},
		{"", "mcp.example", "//mcp", 404, "", ""},
		{"", "mcp.example", wellKnown + "/", 404, "", ""},
		{"", "mcp.example", "/.well-known/openid-configuration", 404, "", ""},
	} {
		a := is.authorizer(t, func(c *authorizer.Config) { c.ResourceURL = tt.configured })
		// It serves whatever path it is asked for, as mcp-go's does.
		h := a.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s: served without a token", r.URL) }))
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.URL.Path = tt.host, tt.path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		challenge := ""
		if tt.metadata != "" {
			challenge = `Bearer resource_metadata="` + tt.metadata + `"`
		}
		var doc struct{ Resource string }
		if tt.resource != "" {
			json.Unmarshal(w.Body.Bytes(), &doc)
		}
		if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != challenge || doc.Resource != tt.resource {
			t.Errorf("%q, %s%s: got %d, challenge %s, resource %q, want %d, %s, %q", tt.configured, tt.host, tt.path,
				w.Code, w.Header().Get("WWW-Authenticate"), doc.Resource, tt.status, challenge, tt.resource)
		}
	}
}

// case 138: what is behind the check cannot log or pass on a token, as it never
// sees one.
func TestProtect_tokenEnds(t *testing.T) {
	is := newIssuer(t)
	var seen http.Header
	var claims authorizer.Claims
	h := is.authorizer(t, nil).Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		claims, _ = authorizer.FromContext(r.Context())
	}))
	r := httptest.NewRequest("POST", "/mcp", strings.NewReader("{}"))
	r.Header.Set("Authorization", "Bearer "+is.token())
	r.Header.Set("Traceparent", "00-1-2-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if claims.ClientID != "client-1" || seen.Get("Authorization") != "" || seen.Get("Traceparent") == "" {
		t.Errorf("behind the check: header %v, claims %+v, want the claims and every header but the token", seen, claims)
	}
}
