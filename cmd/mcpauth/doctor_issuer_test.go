package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"agentcore-mcp-auth/pkg/credstore"
)

// issuer starts another issuer and has the discovery URL name it:
//
//	404, html, hang           its document is not there, a page, or never comes
//	other-issuer, no-token    the document names another issuer, or no token endpoint
//	opaque, short, id-token, other-client, narrow   what its tokens are like
//	refuses CODE as in 400:invalid_request, 429, 503
func (p *patient) issuer(ts *testscript.TestScript, kind string) {
	c := p.set(ts)
	var url string
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		doc := map[string]string{"issuer": url, "token_endpoint": url + "/token"}
		switch kind {
		case "404":
			http.NotFound(w, r)
			return
		case "html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>Please log in</html>")
			return
		case "hang":
			<-r.Context().Done()
			return
		case "other-issuer":
			doc["issuer"] = url + "/"
		case "no-token":
			delete(doc, "token_endpoint")
		}
		reply(w, doc)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Unix()
		claims := map[string]any{"iss": url, "client_id": c.ClientID, "sub": c.ClientID, "token_use": "access", "scope": c.Scope, "iat": now, "exp": now + 3600}
		life := 3600
		switch kind {
		case "short":
			life = 30
			claims["exp"] = now + 30
		case "brief":
			life = 120
			claims["exp"] = now + 120
		case "id-token":
			claims["token_use"] = "id"
			claims["aud"] = c.ClientID
		case "other-client":
			claims["client_id"] = "somebody"
		case "narrow":
			claims["scope"] = "calculator/other"
		case "400:invalid_request", "400:invalid_grant", "400:unauthorized_client", "400:unsupported_grant_type", "429", "503":
			status, code, _ := strings.Cut(kind, ":")
			n, _ := strconv.Atoi(status)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(n)
			json.NewEncoder(w).Encode(map[string]string{"error": code})
			return
		}
		token := jwt(claims)
		if kind == "opaque" {
			token = "not-a-jwt-at-all"
		}
		reply(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": life})
	})
	srv := httptest.NewServer(mux)
	ts.Defer(func() { srv.CloseClientConnections(); srv.Close() })
	url = srv.URL
	p.put(ts, []string{credstore.DiscoveryURL, url + "/.well-known/openid-configuration"})
	ts.Setenv("ISSUER", url)
}

// jwt is a token with these claims and a signature that nobody checks.
func jwt(claims map[string]any) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]string{"alg": "RS256", "kid": "k"}) + "." + part(claims) + "." + part("signature")
}

// token writes a token into the file token.txt, whose changes are name=value
// pairs with a comma between; life is in seconds.
func (p *patient) token(ts *testscript.TestScript, changes string) {
	c := p.set(ts)
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": strings.TrimSuffix(c.DiscoveryURL, "/.well-known/openid-configuration"), "client_id": c.ClientID,
		"token_use": "access", "scope": c.Scope, "iat": now, "exp": now + 3600,
	}
	for change := range strings.SplitSeq(changes, ",") {
		switch name, value, _ := strings.Cut(change, "="); {
		case name == "life":
			n, err := strconv.ParseInt(value, 10, 64)
			ts.Check(err)
			claims["iat"], claims["exp"] = now+n-3600, now+n
		case value == "":
			delete(claims, name)
		default:
			claims[name] = value
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("token.txt"), []byte(jwt(claims)+"\n"), 0o600))
}
