package authorizer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
)

// Three keys for the whole test binary; making one takes a while.
var keyA, keyB, keyEvil = newKey(2048), newKey(2048), newKey(2048)

func newKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return k
	})
}

type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(b)
}

// jwk is the public half of key as an entry of a key set.
func jwk(id string, key *rsa.PrivateKey) object {
	return object{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
		"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
}

// clock is a fake one.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// issuer is an authorization server as far as an authorizer sees one. It counts
// the requests for its keys and can be made to answer otherwise.
type issuer struct {
	*httptest.Server
	clock *clock

	mu          sync.Mutex
	keys        []any
	jwksGets    int
	breakJWKS   http.HandlerFunc
	breakConfig http.HandlerFunc
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	is := &issuer{clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, keys: []any{jwk("a", keyA())}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pool/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		if _, h := is.broken(); h != nil {
			h(w, r)
			return
		}
		json.NewEncoder(w).Encode(object{"issuer": is.name(), "jwks_uri": is.URL + "/pool/jwks.json"})
	})
	mux.HandleFunc("GET /pool/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		is.mu.Lock()
		is.jwksGets++
		keys := is.keys
		is.mu.Unlock()
		if h, _ := is.broken(); h != nil {
			h(w, r)
			return
		}
		json.NewEncoder(w).Encode(object{"keys": keys})
	})
	is.Server = httptest.NewServer(mux)
	t.Cleanup(is.Close)
	return is
}

func (is *issuer) broken() (jwks, config http.HandlerFunc) {
	is.mu.Lock()
	defer is.mu.Unlock()
	return is.breakJWKS, is.breakConfig
}

func (is *issuer) setBroken(jwks, config http.HandlerFunc) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.breakJWKS, is.breakConfig = jwks, config
}

func (is *issuer) setKeys(keys ...any) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.keys = keys
}

func (is *issuer) gets() int {
	is.mu.Lock()
	defer is.mu.Unlock()
	return is.jwksGets
}

func (is *issuer) name() string { return is.URL + "/pool" }

func (is *issuer) discoveryURL() string { return is.name() + "/.well-known/openid-configuration" }

// claims are those of a machine token of Cognito, changed by each of edits; a
// nil value removes a claim.
func (is *issuer) claims(edits ...object) object {
	now := is.clock.Now().Unix()
	c := object{"iss": is.name(), "sub": "client-1", "client_id": "client-1", "token_use": "access", "scope": "calculator/invoke calculator/list",
		"iat": now, "auth_time": now, "exp": now + 3600, "jti": "2f0c", "version": 2}
	for _, e := range edits {
		maps.Copy(c, e)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token with the given header and payload, RS256 whatever the
// header says.
func sign(key *rsa.PrivateKey, header, payload any) string {
	input := encode(header) + "." + encode(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + b64(sig)
}

func header(id string) object { return object{"alg": "RS256", "kid": id} }

// token is a good token of the issuer with the given edits to its claims.
func (is *issuer) token(edits ...object) string {
	return sign(keyA(), header("a"), is.claims(edits...))
}

// authorizer has the rules of a deployed MCP server unless edit changes them.
func (is *issuer) authorizer(t testing.TB, edit func(*authorizer.Config)) *authorizer.Authorizer {
	t.Helper()
	cfg := authorizer.Config{DiscoveryURL: is.discoveryURL(), AllowedClients: []string{"client-1"}, AllowedScopes: []string{"calculator/invoke"}, Now: is.clock.Now}
	if edit != nil {
		edit(&cfg)
	}
	a, err := authorizer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// mustAdmit fails the test unless the token passes.
func mustAdmit(t testing.TB, a *authorizer.Authorizer, token string) authorizer.Claims {
	t.Helper()
	c, err := a.Check(t.Context(), token)
	if err != nil {
		t.Fatalf("Check of a good token: %v", err)
	}
	return c
}

// mustRefuse fails the test unless the token is refused, at the given check
// unless that is empty, without giving the token away.
func mustRefuse(t testing.TB, a *authorizer.Authorizer, token string, want authorizer.Check) *authorizer.Refusal {
	t.Helper()
	claims, err := a.Check(t.Context(), token)
	var r *authorizer.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("Check error = %v, want a *Refusal at %q", err, want)
	}
	if want != "" && r.Check != want {
		t.Errorf("refused at %q (%s), want %q", r.Check, r.Reason, want)
	}
	if r.Reason == "" || r.Status == 0 {
		t.Errorf("refusal %+v lacks a reason or a status", r)
	}
	if claims.ClientID != "" || claims.Scopes != nil {
		t.Errorf("a refused token yields claims %+v", claims)
	}
	if len(token) > 40 && strings.Contains(r.Error(), token) {
		t.Errorf("refusal %q holds the token", r)
	}
	return r
}

// keyJSON is keyB as an entry of a key set, spelled out.
func keyJSON(id string) string {
	b, err := json.Marshal(jwk(id, keyB()))
	if err != nil {
		panic(err)
	}
	return string(b)
}
