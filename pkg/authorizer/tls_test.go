package authorizer_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"agentcore-mcp-auth/pkg/authorizer"
)

// case 42: an issuer that is asked over TLS has its keys behind TLS too, even
// where plain http would do by itself. The client that is given is the one that
// is used, and follows no redirect for it.
func TestKeys_tls(t *testing.T) {
	is := newIssuer(t)
	var jwksURI string
	var moved atomic.Bool
	var srv *httptest.Server
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/keys") && !moved.Swap(true) {
			http.Redirect(w, r, "/keys", http.StatusFound)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/keys") {
			json.NewEncoder(w).Encode(object{"keys": []any{jwk("a", keyA())}})
			return
		}
		json.NewEncoder(w).Encode(object{"issuer": srv.URL + "/pool", "jwks_uri": jwksURI})
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of a certificate that a client does not trust
	srv.StartTLS()
	defer srv.Close()
	tok := is.token(object{"iss": srv.URL + "/pool"})
	for _, tt := range []struct {
		name, jwksURI string
		client        *http.Client
		want          string // in the refusal; empty: admitted
	}{
		{"plain", is.URL + "/keys", srv.Client(), "is not https"},
		{"untrusted certificate", srv.URL + "/keys", nil, "certificate"},
		{"redirect", srv.URL + "/keys", srv.Client(), "redirects are not followed"},
		{"good", srv.URL + "/keys", srv.Client(), ""},
	} {
		jwksURI = tt.jwksURI
		a, err := authorizer.New(authorizer.Config{
			DiscoveryURL: srv.URL + "/pool/.well-known/openid-configuration", AllowedClients: []string{"client-1"},
			HTTPClient: tt.client, Now: is.clock.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		if a.Issuer() != srv.URL+"/pool" {
			t.Errorf("%s: got issuer %s", tt.name, a.Issuer())
		}
		if tt.want == "" {
			mustAdmit(t, a, tok)
		} else if r := mustRefuse(t, a, tok, authorizer.CheckKeys); r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Reason+fmt.Sprint(r.Err), tt.want) {
			t.Errorf("%s: got %d %s: %v, want 503 and %q", tt.name, r.Status, r.Reason, r.Err, tt.want)
		}
	}
}
