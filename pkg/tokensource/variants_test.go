package tokensource_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

func TestToken_privateKeyJWT(t *testing.T) { // case 49
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	for _, tt := range []struct {
		alg jose.SignatureAlgorithm
		key crypto.Signer
	}{{jose.ES256, ec}, {jose.RS256, rs}} {
		t.Run(string(tt.alg), func(t *testing.T) {
			i, c := newIssuer(), newSet()
			c.stored.ClientSecret = credstore.Secret{} // there is none
			i.life = 10
			i.document = func(m map[string]any) {
				m["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
				m["token_endpoint_auth_signing_alg_values_supported"] = []string{string(tt.alg)}
			}
			seen := map[string]bool{}
			i.accept = func(form url.Values, _, _ string) string {
				tok, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{tt.alg})
				if err != nil {
					t.Error(err)
					return "invalid_client"
				}
				var claims jwt.Claims
				if err := tok.Claims(tt.key.Public(), &claims); err != nil {
					t.Errorf("signature: %v", err)
				}
				if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: "client", Subject: "client", AnyAudience: jwt.Audience{poolURL}, Time: time.Now()}, 0); err != nil {
					t.Error(err)
				}
				if life := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); life > 2*time.Minute || !slices.Equal(claims.Audience, jwt.Audience{poolURL}) {
					t.Errorf("got life %v, audience %v", life, claims.Audience)
				}
				if claims.ID == "" || seen[claims.ID] {
					t.Errorf("jti %q is empty or was there before", claims.ID)
				}
				seen[claims.ID] = true
				if got := tok.Headers[0].KeyID; got != "key-1" {
					t.Errorf("got kid %q", got)
				}
				if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") || form.Get("client_id") != "client" {
					t.Errorf("got form %v", form)
				}
				return ""
			}
			s := newSource(t, i, tokensource.Config{Credentials: c, Key: tt.key, KeyID: "key-1"})
			for range 2 {
				if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
					t.Fatal(err)
				}
				i.revoke()
			}
			if len(seen) != 2 {
				t.Errorf("got %d assertions, want 2", len(seen))
			}
			if i.requests()[0].header.Get("Authorization") != "" {
				t.Error("the client authenticates twice")
			}
		})
	}

	t.Run("refused", func(t *testing.T) {
		weak, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		_, edwards, _ := ed25519.GenerateKey(rand.Reader)
		small, _ := rsa.GenerateKey(rand.Reader, 1024)
		for _, key := range []crypto.Signer{weak, edwards, small} {
			_, err := tokensource.New(tokensource.Config{Credentials: newSet(), Resource: resourceURL, Key: key})
			var config *tokensource.ConfigError
			if !errors.As(err, &config) {
				t.Errorf("%T: got %v", key, err)
			}
		}
		for _, doc := range []map[string]any{
			{"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}},
			{"token_endpoint_auth_methods_supported": nil},
			{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}, "token_endpoint_auth_signing_alg_values_supported": []string{"PS256"}},
		} {
			i := newIssuer()
			i.document = func(m map[string]any) {
				for k, v := range doc {
					m[k] = v
				}
			}
			_, err := newSource(t, i, tokensource.Config{Key: ec}).Token(short(t))
			var config *tokensource.ConfigError
			if !errors.As(err, &config) || len(i.requests()) != 0 {
				t.Errorf("%v: got %v after %d token requests", doc, err, len(i.requests()))
			}
		}
	})
}

// signer is a Cognito API that signs users in.
func signer(t *testing.T, status int, answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			AuthFlow, ClientId string
			AuthParameters     map[string]string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.String() != "https://cognito-idp.eu-central-1.amazonaws.com/" ||
			r.Header.Get("X-Amz-Target") != "AWSCognitoIdentityProviderService.InitiateAuth" || r.Header.Get("Authorization") != "" ||
			in.AuthFlow != "USER_PASSWORD_AUTH" || in.ClientId != "user-client" || in.AuthParameters["USERNAME"] != "testuser" || in.AuthParameters["PASSWORD"] != "pa$$ \"word" {
			t.Errorf("got %s %v %+v, %v", r.URL, r.Header, in, err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	})
}

func TestToken_user(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		answer string
		want   string // of the error; empty: a token
	}{
		{"signed in", 200, `{"AuthenticationResult":{"AccessToken":"user.token","ExpiresIn":3600,"TokenType":"Bearer"},"ChallengeParameters":{}}`, ""},
		{"wrong password", 400, `{"__type":"NotAuthorizedException","message":"Incorrect username or password."}`, "the token endpoint answered NotAuthorizedException: check parameter /app/mcp/srv/password"},
		{"no such user", 400, `{"__type":"com.amazonaws#UserNotFoundException"}`, "the token endpoint answered UserNotFoundException: check parameter /app/mcp/srv/username"},
		{"no such client", 400, `{"__type":"ResourceNotFoundException"}`, "the token endpoint answered ResourceNotFoundException: check parameter /app/mcp/srv/user_client_id"},
		{"unknown exception", 400, `{"__type":"pa$$ \"word"}`, "the token endpoint answered 400: check parameter /app/mcp/srv/user_client_id"},
		{"throttled", 400, `{"__type":"TooManyRequestsException"}`, "signing in: it answered TooManyRequestsException"},
		{"challenge", 200, `{"ChallengeName":"NEW_PASSWORD_REQUIRED","Session":"s"}`, "parameter /app/mcp/srv/username: this user's password alone is not enough: Cognito asks for more, such as a new password or a second factor"},
		{"bad token", 200, `{"AuthenticationResult":{"AccessToken":"a b","TokenType":"Bearer"}}`, "signing in: its access token is empty, too long or has characters that no token has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, c := newIssuer(), newSet()
			c.stored.UserClientID, c.stored.Username, c.stored.Password = "user-client", "testuser", credstore.NewSecret(`pa$$ "word`)
			c.stored.ClientID = "" // not needed
			s := newSource(t, i, tokensource.Config{User: true, Credentials: c, Transport: inMemory{signer(t, tt.status, tt.answer)}})
			token, err := s.Token(short(t))
			if tt.want == "" && (err != nil || token.AccessToken.Reveal() != "user.token") || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		c := newSet()
		_, err := newSource(t, newIssuer(), tokensource.Config{User: true, Credentials: c}).Token(short(t))
		var missing *credstore.MissingError
		if !errors.As(err, &missing) || !slices.Equal(missing.Names, []string{"password", "user_client_id", "username"}) {
			t.Errorf("got %v", err)
		}
		c.stored.UserClientID, c.stored.Username, c.stored.Password = "user-client", "testuser", credstore.NewSecret("p")
		c.stored.DiscoveryURL, c.cached = "https://login.example.com/.well-known/openid-configuration", nil
		_, err = newSource(t, newIssuer(), tokensource.Config{User: true, Credentials: c, IssuerHosts: []string{"login.example.com"}}).Token(short(t))
		var config *tokensource.ConfigError
		if !errors.As(err, &config) {
			t.Errorf("got %v, want the password kept from another issuer", err)
		}
	})
}

// web is a resource and its authorization server, by URL.
type web map[string]any // JSON document, or http.HandlerFunc

func (m web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch v := m["https://"+r.Host+r.URL.EscapedPath()].(type) {
	case nil:
		w.WriteHeader(http.StatusNotFound)
	case func(http.ResponseWriter, *http.Request):
		v(w, r)
	default:
		writeJSON(w, http.StatusOK, v)
	}
}

func TestDiscover(t *testing.T) { // case 48
	const as = "https://auth.example.com/tenant"
	prm := func(resource, server string) map[string]any {
		return map[string]any{"resource": resource, "authorization_servers": []string{server}}
	}
	meta := func(issuer string) map[string]any {
		return map[string]any{"issuer": issuer, "token_endpoint": "https://auth.example.com/token"}
	}
	for _, tt := range []struct {
		name      string
		challenge string
		web       web
		resource  string // that the token request names
		scope     string
	}{
		{"in the challenge", `Bearer resource_metadata="https://mcp.example.com/custom/place.json", scope="a b"`, web{
			"https://mcp.example.com/custom/place.json":                              prm(resourceURL, as),
			"https://auth.example.com/.well-known/oauth-authorization-server/tenant": meta(as),
		}, resourceURL, "a b"},
		{"for the path", `Bearer`, web{
			"https://mcp.example.com/.well-known/oauth-protected-resource/mcp": prm(resourceURL, as),
			"https://auth.example.com/.well-known/openid-configuration/tenant": meta(as),
		}, resourceURL, ""},
		{"for the root", ``, web{
			"https://mcp.example.com/.well-known/oauth-protected-resource":     prm("https://mcp.example.com", as),
			"https://auth.example.com/tenant/.well-known/openid-configuration": meta(as),
		}, "https://mcp.example.com", ""},
		{"on the resource's own host, which nobody named", ``, web{
			"https://mcp.example.com/.well-known/oauth-protected-resource/mcp":  prm(resourceURL, "https://mcp.example.com/as"),
			"https://mcp.example.com/.well-known/oauth-authorization-server/as": meta("https://mcp.example.com/as"),
		}, resourceURL, ""},
		{"issuer without a path", `Basic realm="x", Bearer realm="y"`, web{
			"https://mcp.example.com/.well-known/oauth-protected-resource/mcp": prm(resourceURL, "https://auth.example.com"),
			"https://auth.example.com/.well-known/oauth-authorization-server":  meta("https://auth.example.com"),
		}, resourceURL, ""},
		{"pages in place of documents", ``, web{
			"https://mcp.example.com/.well-known/oauth-protected-resource/mcp": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
			"https://mcp.example.com/.well-known/oauth-protected-resource":     prm("https://mcp.example.com/", as),
			"https://auth.example.com/tenant/.well-known/openid-configuration": meta(as),
		}, "https://mcp.example.com/", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			tt.web["https://auth.example.com/token"] = i.ServeHTTP
			bare, n := 0, 0
			resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				if r.Header.Get("Authorization") == "" {
					bare++
				}
				if !i.accepts(r) {
					w.Header().Set("WWW-Authenticate", tt.challenge)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			cfg := tokensource.Config{
				Credentials: tokensource.Static{ClientID: "client", ClientSecret: credstore.NewSecret("secret")},
				Discover:    true, IssuerHosts: []string{"auth.example.com"},
				Transport: inMemory{tt.web}, Base: inMemory{resource},
			}
			s := newSource(t, i, cfg)
			for range 3 {
				if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
					t.Fatal(err)
				}
			}
			posts := i.requests()
			if len(posts) != 1 || bare != 1 || n != 4 {
				t.Fatalf("got %d token requests, %d requests without a token of %d; want 1, 1 of 4", len(posts), bare, n)
			}
			if got := posts[0].form; got.Get("resource") != tt.resource || got.Get("scope") != tt.scope {
				t.Errorf("got form %v, want resource %q and scope %q", got, tt.resource, tt.scope)
			}
		})
	}

	t.Run("a server that wants no token", func(t *testing.T) {
		i := newIssuer()
		s := newSource(t, i, tokensource.Config{Discover: true, Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("it got one")
			}
		})}})
		req, _ := http.NewRequest(http.MethodGet, resourceURL, nil)
		req.Header.Set("Authorization", "Basic mine")
		resp, err := s.Client().Do(req)
		if err != nil || len(i.requests()) != 0 {
			t.Fatalf("got %v and %d token requests", err, len(i.requests()))
		}
		resp.Body.Close()
	})
}

// A resource that named the wrong place for its metadata, and is mended, is heard
// again by a process that lives.
func TestDiscover_mended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const as = "https://auth.example.com"
		i := newIssuer()
		place := "https://evil.com/prm"
		resource := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !i.accepts(r) {
				w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+place+`"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		s := newSource(t, i, tokensource.Config{Discover: true, IssuerHosts: []string{"auth.example.com"}, Base: inMemory{resource}, Transport: inMemory{web{
			"https://mcp.example.com/prm":                  map[string]any{"resource": "https://mcp.example.com", "authorization_servers": []string{as}},
			as + "/.well-known/oauth-authorization-server": map[string]any{"issuer": as, "token_endpoint": as + "/token"},
			as + "/token": i.ServeHTTP,
		}}})
		var config *tokensource.ConfigError
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); !errors.As(err, &config) {
			t.Fatalf("got %v, want a ConfigError", err)
		}
		place = "https://mcp.example.com/prm"
		time.Sleep(time.Minute)
		if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
			t.Error(err)
		}
	})
}

func TestDiscover_refused(t *testing.T) { // case 43
	const as = "https://auth.example.com"
	const asDoc, resourceDoc = as + "/.well-known/oauth-authorization-server", "https://mcp.example.com/.well-known/oauth-protected-resource"
	good := func(change func(web)) web {
		m := web{
			resourceDoc: map[string]any{"resource": "https://mcp.example.com", "authorization_servers": []string{as}},
			asDoc:       map[string]any{"issuer": as, "token_endpoint": as + "/token"},
		}
		change(m)
		return m
	}
	for _, tt := range []struct {
		name      string
		challenge string
		web       web
	}{
		{"no metadata", ``, web{}},
		{"of another origin", `Bearer resource_metadata="https://evil.com/prm"`, good(func(m web) {
			m["https://evil.com/prm"] = m[resourceDoc]
		})},
		{"over plain http", `Bearer resource_metadata="http://mcp.example.com/prm"`, good(func(web) {})},
		{"another resource", ``, good(func(m web) {
			m[resourceDoc] = map[string]any{"resource": "https://evil.com/mcp", "authorization_servers": []string{as}}
		})},
		{"another path", ``, good(func(m web) {
			m[resourceDoc] = map[string]any{"resource": "https://mcp.example.com/mc", "authorization_servers": []string{as}}
		})},
		{"no servers", ``, good(func(m web) { m[resourceDoc] = map[string]any{"resource": "https://mcp.example.com"} })},
		{"a server nobody named", ``, good(func(m web) {
			m[resourceDoc] = map[string]any{"resource": "https://mcp.example.com", "authorization_servers": []string{"https://evil.com"}}
			m["https://evil.com/.well-known/oauth-authorization-server"] = map[string]any{"issuer": "https://evil.com", "token_endpoint": "https://evil.com/token"}
		})},
		{"issuer mismatch", ``, good(func(m web) { m[asDoc] = map[string]any{"issuer": as + "/", "token_endpoint": as + "/token"} })},
		{"token endpoint elsewhere", ``, good(func(m web) { m[asDoc] = map[string]any{"issuer": as, "token_endpoint": "https://evil.com/token"} })},
		{"half of it in one place, half in another", ``, good(func(m web) {
			m[asDoc] = map[string]any{"issuer": 1, "token_endpoint": as + "/token"}
			m[as+"/.well-known/openid-configuration"] = map[string]any{"issuer": as}
		})},
		{"no authorization server metadata", ``, good(func(m web) { delete(m, asDoc) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			posts := 0
			s := newSource(t, newIssuer(), tokensource.Config{
				Discover: true, IssuerHosts: []string{"auth.example.com"},
				Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPost {
						posts++
					}
					return inMemory{tt.web}.RoundTrip(r)
				}),
				Base: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("WWW-Authenticate", tt.challenge)
					w.WriteHeader(http.StatusUnauthorized)
				})},
			})
			_, err := call(short(t), s.Client(), resourceURL, "x")
			var config *tokensource.ConfigError
			if !errors.As(err, &config) || posts != 0 {
				t.Errorf("got %v after %d token requests, want a ConfigError before any", err, posts)
			}
		})
	}
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestIAM(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "canary-key", SessionToken: "session"}
	const host = "https://bedrock-agentcore.eu-central-1.amazonaws.com"
	const to = host + "/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aeu-central-1%3A123456789012%3Aruntime%2Fx/invocations?qualifier=DEFAULT"
	status := 200
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		if r.ContentLength != int64(len(body)) {
			t.Errorf("got Content-Length %d for %d bytes", r.ContentLength, len(body))
		}
		// Signed again from what arrives, the signature is the same.
		again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(string(body)))
		again.Header = r.Header.Clone()
		again.Header.Del("Authorization")
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, again, sha256Hex(body), "bedrock-agentcore", "eu-central-1", at); err != nil {
			t.Fatal(err)
		}
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want || !strings.Contains(want, "mcp-session-id") {
			t.Errorf("got %q, want %q", got, want)
		}
		rec := httptest.NewRecorder()
		rec.Header().Set("X-Amzn-Requestid", "request-1")
		rec.WriteHeader(status)
		rec.Write(body)
		return rec.Result(), nil
	})
	c, err := tokensource.IAM{
		Credentials: credentials.StaticCredentialsProvider{Value: creds},
		Resource:    to, Base: base, Now: func() time.Time { return at },
	}.Client()
	if err != nil {
		t.Fatal(err)
	}
	send := func(to, body string) (string, error) {
		req, _ := http.NewRequest(http.MethodPost, to, strings.NewReader(body))
		req.Header.Set("Mcp-Session-Id", "s")
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	for _, body := range []string{"hello", ""} {
		if got, err := send(to, body); err != nil || got != body {
			t.Errorf("got %q, %v", got, err)
		}
	}
	status = 403
	_, err = send(to, "x")
	var challenge *tokensource.ChallengeError
	if !errors.As(err, &challenge) || challenge.Status != 403 || challenge.RequestID != "request-1" {
		t.Errorf("got %v, want a ChallengeError", err)
	}
	if _, err := send("https://evil.com/mcp", "x"); err == nil {
		t.Error("signed a request to another origin")
	}
	for name, bad := range map[string]tokensource.IAM{
		"no credentials": {Resource: to},
		"no region":      {Resource: resourceURL, Credentials: aws.AnonymousCredentials{}},
		"plain http":     {Resource: "http://mcp.example.com", Region: "eu-central-1", Credentials: aws.AnonymousCredentials{}},
	} {
		var config *tokensource.ConfigError
		if _, err := bad.Client(); !errors.As(err, &config) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
