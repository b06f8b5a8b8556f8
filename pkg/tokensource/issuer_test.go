package tokensource_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// short is a context in which nothing is waited out.
func short(t testing.TB) context.Context {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	t.Cleanup(cancel)
	return patient{ctx}
}

// patient has a deadline that is over and is still not done, so that a fetch is
// waited for and a backoff is not.
type patient struct{ context.Context }

func (patient) Done() <-chan struct{} { return nil }
func (patient) Err() error            { return nil }

func TestToken_badAnswers(t *testing.T) { // case 38
	const good = `{"access_token":"a.b.c","token_type":"Bearer","expires_in":300}`
	for _, tt := range []struct {
		name   string
		status int
		media  string
		body   string
		want   error // of this type; nil: a token
	}{
		{"good", 200, "application/json", good, nil},
		{"with a charset", 200, "Application/JSON;charset=UTF-8", good, nil},
		{"type in lower case", 200, "application/json", `{"access_token":"a.b.c","token_type":"bearer"}`, nil},
		{"error with 200", 200, "application/json", `{"error":"invalid_client","access_token":"a.b.c","token_type":"Bearer"}`, &tokensource.RefusedError{}},
		{"unknown error", 400, "application/json", `{"error":"canary, ask for more"}`, &tokensource.RefusedError{}},
		{"HTML", 200, "text/html", "<html>canary</html>", &tokensource.UnavailableError{}},
		{"HTML with 400", 400, "text/html", "<html>canary</html>", &tokensource.RefusedError{}},
		{"no content type", 200, "", good, &tokensource.UnavailableError{}},
		{"text", 200, "text/plain", good, &tokensource.UnavailableError{}},
		{"empty", 200, "application/json", "", &tokensource.UnavailableError{}},
		{"null", 200, "application/json", "null", &tokensource.UnavailableError{}},
		{"array", 200, "application/json", "[" + good + "]", &tokensource.UnavailableError{}},
		{"two documents", 200, "application/json", good + good, &tokensource.UnavailableError{}},
		{"cut off", 200, "application/json", good[:30], &tokensource.UnavailableError{}},
		{"deep", 200, "application/json", strings.Repeat(`{"a":`, 100_000), &tokensource.UnavailableError{}},
		{"huge", 200, "application/json", `{"a":"` + strings.Repeat("x", 2<<20) + `"}`, &tokensource.UnavailableError{}},
		{"padded", 200, "application/json", good + strings.Repeat(" ", 2<<20), &tokensource.UnavailableError{}},
		{"no token", 200, "application/json", `{"token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"no type", 200, "application/json", `{"access_token":"a.b.c"}`, &tokensource.UnavailableError{}},
		{"other type", 200, "application/json", `{"access_token":"canary","token_type":"DPoP"}`, &tokensource.UnavailableError{}},
		{"line break in the token", 200, "application/json", `{"access_token":"canary\r\nX-Evil: 1","token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"space in the token", 200, "application/json", `{"access_token":"canary b","token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"token not ASCII", 200, "application/json", `{"access_token":"canäry","token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"long token", 200, "application/json", `{"access_token":"` + strings.Repeat("x", 16<<10+1) + `","token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"token is a number", 200, "application/json", `{"access_token":1,"token_type":"Bearer"}`, &tokensource.UnavailableError{}},
		{"not found", 404, "application/json", `{}`, &tokensource.ConfigError{}},
		{"method not allowed", 405, "text/html", ``, &tokensource.ConfigError{}},
		{"server error", 500, "application/json", `{"error":"invalid_client"}`, &tokensource.UnavailableError{}},
		{"OAuth's own server error", 400, "application/json", `{"error":"temporarily_unavailable"}`, &tokensource.UnavailableError{}},
		{"throttled", 429, "", ``, &tokensource.UnavailableError{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header()["Content-Type"] = []string{tt.media}
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
				return true
			}
			token, err := newSource(t, i, tokensource.Config{}).Token(short(t))
			if got, want := fmt.Sprintf("%T", err), fmt.Sprintf("%T", tt.want); got != want {
				t.Errorf("got %s (%v), want %s", got, err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "can") && strings.Contains(err.Error(), "ry") || !token.AccessToken.IsZero()) {
				t.Errorf("the answer shows: %v", err)
			}
			if got := len(i.requests()); got != 1 {
				t.Errorf("got %d token requests, want 1", got)
			}
		})
	}
}

// What the token endpoint says is told with what to look at.
func TestToken_refused(t *testing.T) {
	const parameter = "the token endpoint answered %[1]s: check parameter /app/mcp/srv/"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key    crypto.Signer
		status int
		code   string
		want   string
	}{
		{nil, 401, "invalid_client", parameter + "cognito_secret"},
		{key, 401, "invalid_client", parameter + "machine_client_id"}, // there is no secret
		{nil, 400, "invalid_scope", parameter + "scope"},
		{nil, 400, "unauthorized_client", parameter + "machine_client_id"},
		{nil, 400, "slow_down", "asking the token endpoint: it answered %[1]s"},
		{nil, 404, "404", "issuer " + poolURL + ": its token endpoint answered 404"},
	} {
		i := newIssuer()
		i.document = func(m map[string]any) {
			if tt.key != nil {
				m["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
			}
		}
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			writeJSON(w, tt.status, map[string]any{"error": tt.code})
			return true
		}
		_, err := newSource(t, i, tokensource.Config{Key: tt.key}).Token(short(t))
		want := tt.want
		if strings.Contains(want, "%") {
			want = fmt.Sprintf(want, tt.code)
		}
		if err == nil || err.Error() != want {
			t.Errorf("%d %s: got %v, want %s", tt.status, tt.code, err, want)
		}
		if u := (*tokensource.UnavailableError)(nil); errors.As(err, &u) && u.RetryAfter != 7*time.Second {
			t.Errorf("%s: got RetryAfter %v, want 7s", tt.code, u.RetryAfter)
		}
	}
}

func TestToken_expiresIn(t *testing.T) { // case 39
	day := 24 * time.Hour
	for _, tt := range []struct {
		raw  string // empty: missing
		want time.Duration
	}{
		{"300", 300 * time.Second}, {"3600", time.Hour}, {`"3600"`, time.Hour}, {"3600.5", time.Hour + time.Second/2},
		{"", 5 * time.Minute}, {"null", 5 * time.Minute}, {"0", 5 * time.Minute}, {"-1", 5 * time.Minute},
		{`"soon"`, 5 * time.Minute}, {"true", 5 * time.Minute}, {"[1]", 5 * time.Minute}, {`"NaN"`, 5 * time.Minute}, {"1e-9", time.Second},
		{"1", time.Second}, {"5", 5 * time.Second}, {"86400", day}, {"1e12", day}, {"1e400", 5 * time.Minute}, {"9223372036854775807", day},
	} {
		t.Run(tt.raw, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer()
				i.answer = func(w http.ResponseWriter, _ *http.Request) bool {
					w.Header().Set("Content-Type", "application/json")
					fmt.Fprint(w, `{"access_token":"t","token_type":"Bearer"`)
					if tt.raw != "" {
						fmt.Fprintf(w, `,"expires_in":%s`, tt.raw)
					}
					fmt.Fprint(w, "}")
					return true
				}
				s := newSource(t, i, tokensource.Config{})
				token, err := s.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Until(token.Expiry); got != tt.want {
					t.Errorf("got a life of %v, want %v", got, tt.want)
				}
				for range 100 { // within a fifth of its life
					time.Sleep(tt.want / 500)
					s.Token(t.Context())
				}
				if got := len(i.requests()); got != 1 {
					t.Errorf("got %d token requests for 101 calls, want 1", got)
				}
				time.Sleep(25 * time.Hour)
				s.Token(t.Context())
				if got := len(i.requests()); got != 2 {
					t.Errorf("got %d token requests a day later, want 2", got)
				}
			})
		})
	}
}

func TestToken_oneAuthMethod(t *testing.T) { // case 40
	for _, tt := range []struct {
		methods any
		basic   bool
		refused bool
	}{
		{[]string{"client_secret_basic", "client_secret_post"}, true, false}, // Cognito
		{[]string{"client_secret_post", "client_secret_basic"}, true, false},
		{[]string{"client_secret_post"}, false, false},
		{[]string{"private_key_jwt", "client_secret_post"}, false, false},
		{nil, true, false},
		{[]string{}, true, false},
		{[]string{"private_key_jwt"}, false, true},
	} {
		t.Run(fmt.Sprint(tt.methods), func(t *testing.T) {
			i, c := newIssuer(), newSet()
			i.secret = "another"
			i.document = func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = tt.methods }
			_, err := newSource(t, i, tokensource.Config{Credentials: c}).Token(short(t))
			posts := i.requests()
			if tt.refused {
				var config *tokensource.ConfigError
				if !errors.As(err, &config) || len(posts) != 0 {
					t.Errorf("got %v after %d token requests", err, len(posts))
				}
				return
			}
			if len(posts) != 1 {
				t.Fatalf("got %d token requests with a wrong secret, want 1", len(posts))
			}
			inHeader, inBody := posts[0].header.Get("Authorization") != "", posts[0].form.Has("client_secret") || posts[0].form.Has("client_id")
			if inHeader != tt.basic || inBody == tt.basic {
				t.Errorf("got credentials in the header %v, in the body %v", inHeader, inBody)
			}
		})
	}
}

// Whatever characters an id and a secret have, the issuer reads what was meant
// (RFC 6749, section 2.3.1 and appendix B).
func TestToken_formEncoding(t *testing.T) { // case 41
	check := func(id, secret, method string) bool {
		if id == "" || secret == "" {
			return true
		}
		i, c := newIssuer(), newSet()
		i.document = func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{method} }
		c.stored.ClientID, c.stored.ClientSecret, i.secret = id, credstore.NewSecret(secret), secret
		if _, err := newSource(t, i, tokensource.Config{Credentials: c}).Token(short(t)); err != nil {
			t.Logf("%q %q: %v", id, secret, err)
			return false
		}
		return i.requests()[0].user == id
	}
	for _, s := range []string{"a+b", "a/b=", "a:b", "a b", "%41", "ä€𝄞", "a&b=c", "\x00\n\r", "~*'()"} {
		for _, method := range []string{"client_secret_basic", "client_secret_post"} {
			if !check("id:"+s, s, method) {
				t.Errorf("%q as %s was read as something else", s, method)
			}
		}
	}
	if err := quick.Check(func(id, secret string) bool { return check(id, secret, "client_secret_basic") }, nil); err != nil {
		t.Error(err)
	}
}

func TestDiscovery_refusedURLs(t *testing.T) { // case 42
	const doc = "/.well-known/openid-configuration"
	for _, tt := range []struct {
		url  string
		okay bool
	}{
		{discoveryURL, true},
		{"https://issuer-cognito-idp.eu-central-1.amazonaws.com/p" + doc, true},
		{"https://cognito-idp.cn-north-1.amazonaws.com.cn/p" + doc, true},
		{"https://cognito-idp-fips.us-gov-west-1.amazonaws.com/p" + doc, true},
		{"https://login.example.com/p" + doc, true}, // named in IssuerHosts
		{"https://LOGIN.example.com/p" + doc, true},
		{"http://cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"https://cognito-idp.eu-central-1.amazonaws.com.evil.com/p" + doc, false},
		{"https://evil.com/cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"https://cognito-idp.eu-central-1.amazonaws.com@evil.com/p" + doc, false},
		{"https://evil.com#cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"https://user:pass@cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"https://evil.com/p" + doc, false},
		{"https://evil.login.example.com/p" + doc, false},
		{"http://169.254.169.254/latest/meta-data" + doc, false},
		{"https://169.254.169.254/p" + doc, false},
		{"https://[fd00:ec2::254]/p" + doc, false},
		{"https://[::ffff:169.254.169.254]/p" + doc, false},
		{"https://2852039166/p" + doc, false},
		{"https://0xa9fea9fe/p" + doc, false},
		{"https://0251.0376.0251.0376/p" + doc, false},
		{"https://169.254.169.254./p" + doc, false},
		{"https://１６９.254.169.254/p" + doc, false},
		{"http://localhost/p" + doc, false}, // the resource is not on this machine
		{"http://127.0.0.1:8080/p" + doc, false},
		{"https://localhost/p" + doc, false},
		{"https://localhost./p" + doc, false},
		{"http://[::1]/p" + doc, false},
		{"https://10.0.0.1/p" + doc, false},
		{"file:///etc/passwd" + doc, false},
		{"gopher://cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"//cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{"cognito-idp.eu-central-1.amazonaws.com/p" + doc, false},
		{poolURL, false},
		{discoveryURL + "?x=1", false},
		{discoveryURL + "#x", false},
		{"https://%zz" + doc, false},
	} {
		i, c := newIssuer(), newSet()
		i.url = strings.TrimSuffix(tt.url, doc)
		c.stored.DiscoveryURL = tt.url
		requests := 0
		transport := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			requests++
			return inMemory{i}.RoundTrip(r)
		})
		if strings.Contains(strings.ToLower(tt.url), "login") {
			i.tokenURL = "https://login.example.com/token"
		}
		_, err := newSource(t, i, tokensource.Config{Credentials: c, Transport: transport, IssuerHosts: []string{"login.example.com"}}).Token(short(t))
		var config *tokensource.ConfigError
		switch {
		case tt.okay && err != nil:
			t.Errorf("%s: %v", tt.url, err)
		case !tt.okay && (!errors.As(err, &config) || config.Setting != "parameter /app/mcp/srv/cognito_discovery_url"):
			t.Errorf("%s: got %v, want a ConfigError naming the parameter", tt.url, err)
		case !tt.okay && requests != 0:
			t.Errorf("%s: %d requests were sent", tt.url, requests)
		case strings.Contains(fmt.Sprint(err), "user:"):
			t.Errorf("%s: the password shows: %v", tt.url, err)
		}
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDiscovery_refusedDocuments(t *testing.T) { // case 43
	field := func(k string, v any) func(map[string]any) { return func(m map[string]any) { m[k] = v } }
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		domain string
		okay   bool
	}{
		{"as it is", func(map[string]any) {}, "", true},
		{"another issuer", field("issuer", "https://cognito-idp.eu-central-1.amazonaws.com/other"), "", false},
		{"issuer with a slash more", field("issuer", poolURL+"/"), "", false},
		{"issuer in another case", field("issuer", strings.ToUpper(poolURL)), "", false},
		{"no issuer", field("issuer", nil), "", false},
		{"issuer is a number", field("issuer", 1), "", false},
		{"no token endpoint", field("token_endpoint", ""), "", false},
		{"plain http", field("token_endpoint", "http://example.auth.eu-central-1.amazoncognito.com/oauth2/token"), "", false},
		{"on another host", field("token_endpoint", "https://evil.com/oauth2/token"), "", false},
		{"on a host that looks alike", field("token_endpoint", "https://x.auth.eu-central-1.amazoncognito.com.evil.com/oauth2/token"), "", false},
		{"on this machine", field("token_endpoint", "http://127.0.0.1:8080/oauth2/token"), "", false},
		{"at an address", field("token_endpoint", "https://169.254.169.254/oauth2/token"), "", false},
		{"with userinfo", field("token_endpoint", "https://a:b@example.auth.eu-central-1.amazoncognito.com/oauth2/token"), "", false},
		{"on the issuer's host", field("token_endpoint", "https://cognito-idp.eu-central-1.amazonaws.com/token"), "", true},
		{"on a custom domain", field("token_endpoint", "https://auth.example.org/oauth2/token"), "https://auth.example.org", true},
		{"on another custom domain", field("token_endpoint", "https://auth.evil.org/oauth2/token"), "https://auth.example.org", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, c := newIssuer(), newSet()
			c.stored.Domain = tt.domain
			i.document = tt.change
			_, err := newSource(t, i, tokensource.Config{Credentials: c}).Token(short(t))
			var config *tokensource.ConfigError
			if tt.okay != (err == nil) || err != nil && !errors.As(err, &config) {
				t.Errorf("got %v", err)
			}
			if got := len(i.requests()); !tt.okay && got != 0 {
				t.Errorf("%d token requests were sent", got)
			}
		})
	}
	// Anybody can have a domain of Cognito's, so only Cognito's issuers may name one.
	t.Run("Cognito's domain of another issuer", func(t *testing.T) {
		i, c := newIssuer(), newSet()
		i.url = "https://login.example.com"
		c.stored.DiscoveryURL = i.url + "/.well-known/openid-configuration"
		_, err := newSource(t, i, tokensource.Config{Credentials: c, IssuerHosts: []string{"login.example.com"}}).Token(short(t))
		var config *tokensource.ConfigError
		if !errors.As(err, &config) || len(i.requests()) != 0 {
			t.Errorf("got %v after %d token requests, want it refused", err, len(i.requests()))
		}
	})
	for name, body := range map[string]string{
		"huge":      `{"a":"` + strings.Repeat("x", 2<<20) + `"}`,
		"deep":      strings.Repeat(`{"a":`, 100_000),
		"empty":     "",
		"not JSON":  "<html>",
		"not found": "404",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSource(t, newIssuer(), tokensource.Config{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if body == "404" {
					w.WriteHeader(404)
				}
				io.WriteString(w, body)
			})}}).Token(short(t))
			if err == nil {
				t.Error("got a token")
			}
		})
	}
}

// outage cuts off the discovery document.
type outage struct {
	http.Handler
	down bool
}

func (o *outage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.down && r.Method == http.MethodGet {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	o.Handler.ServeHTTP(w, r)
}

func TestDiscovery_lastGood(t *testing.T) { // case 47
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		i.life = 3600
		o := &outage{Handler: i}
		s := newSource(t, i, tokensource.Config{Transport: inMemory{o}})
		failedAfter := time.Duration(0)
		for start := time.Now(); failedAfter == 0 && time.Since(start) < 200*time.Hour; time.Sleep(30 * time.Minute) {
			if _, err := s.Token(short(t)); err != nil {
				failedAfter = time.Since(start)
			}
			synctest.Wait()
			o.down = true
		}
		if failedAfter < 71*time.Hour || failedAfter > 74*time.Hour {
			t.Errorf("the last good document served for %v, want 3 days", failedAfter)
		}
		o.down = false
		time.Sleep(time.Minute)
		if _, err := s.Token(t.Context()); err != nil {
			t.Errorf("once it is back: %v", err)
		}
	})
}

// A token endpoint that has moved is found again before the day is over.
func TestDiscovery_movedTokenEndpoint(t *testing.T) { // case 47
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer()
		moved := false
		s := newSource(t, i, tokensource.Config{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if moved && r.URL.String() == tokenURL {
				return nil, errors.New("no such host")
			}
			return inMemory{i}.RoundTrip(r)
		})})
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		moved = true
		i.document = func(m map[string]any) {
			m["token_endpoint"] = "https://other.auth.eu-central-1.amazoncognito.com/oauth2/token"
		}
		time.Sleep(time.Hour)
		if _, err := s.Token(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestToken_resourceParameter(t *testing.T) { // case 48
	for _, tt := range []struct {
		resource string
		send     bool
		want     []string
	}{
		{"https://mcp.example.com/mcp", false, nil},
		{"https://mcp.example.com/mcp", true, []string{"https://mcp.example.com/mcp"}},
		{"HTTPS://MCP.example.com/", true, []string{"https://mcp.example.com"}},
		{"https://mcp.example.com/runtimes/arn%3Aaws%2Fx/invocations?qualifier=DEFAULT", true, []string{"https://mcp.example.com/runtimes/arn%3Aaws%2Fx/invocations?qualifier=DEFAULT"}},
	} {
		i := newIssuer()
		if _, err := newSource(t, i, tokensource.Config{Resource: tt.resource, SendResource: tt.send}).Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := i.requests()[0].form["resource"]; !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.resource, got, tt.want)
		}
	}
}

// The request is what RFC 6749 has, and nothing else.
func TestToken_wire(t *testing.T) {
	i := newIssuer()
	if _, err := newSource(t, i, tokensource.Config{}).Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := i.requests()[0]
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {"srv/invoke"}}
	if p.form.Encode() != want.Encode() {
		t.Errorf("got form %v, want %v", p.form, want)
	}
	if p.user != "client" || p.password != "secret" || p.header.Get("Accept") != "application/json" {
		t.Errorf("got user %q, headers %v", p.user, p.header)
	}
}
