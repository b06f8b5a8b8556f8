package localaws_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/localaws"
)

var doorKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// door is a stand-in with one runtime, a container behind it, and an issuer
// whose tokens the runtime takes.
type door struct {
	*localaws.Server
	t      *testing.T
	arn    string
	issuer string

	mu        sync.Mutex
	container http.HandlerFunc
	seen      []*http.Request // by the container
	bodies    []string
}

func newDoor(t *testing.T, edit func(*localaws.Runtime)) *door {
	t.Helper()
	d := &door{Server: localaws.New(localaws.Config{}), t: t}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })

	mux := http.NewServeMux()
	issuer := httptest.NewServer(mux)
	t.Cleanup(issuer.Close)
	d.issuer = issuer.URL
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": d.issuer, "jwks_uri": d.issuer + "/jwks.json"})
	})
	mux.HandleFunc("/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig",
			"n": base64.RawURLEncoding.EncodeToString(doorKey().N.Bytes()), "e": "AQAB"}}})
	})

	d.container = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{}}`)
	}
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d.mu.Lock()
		d.seen, d.bodies = append(d.seen, r.Clone(context.Background())), append(d.bodies, string(body))
		h := d.container
		d.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(container.Close)

	rt := localaws.Runtime{Name: "calculator", Target: container.URL, Authorizer: &authorizer.Config{
		DiscoveryURL:   d.issuer + "/.well-known/openid-configuration",
		AllowedClients: []string{"client-1"}, AllowedScopes: []string{"calculator/invoke"}}}
	if edit != nil {
		edit(&rt)
	}
	var err error
	if d.arn, err = d.AddRuntime(rt); err != nil {
		t.Fatal(err)
	}
	return d
}

func isHTTP(rt *localaws.Runtime) { rt.Protocol = localaws.ProtocolHTTP }

func (d *door) behave(h http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.container = h
}

// reached is what has reached the container.
func (d *door) reached() ([]*http.Request, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen), slices.Clone(d.bodies)
}

// token is a machine token with edits; a nil value removes a claim.
func (d *door) token(edits map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": d.issuer, "sub": "client-1", "client_id": "client-1", "token_use": "access",
		"scope": "calculator/invoke", "iat": now, "exp": now + 3600}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(claims)
	if err != nil {
		d.t.Fatal(err)
	}
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, doorKey(), crypto.SHA256, sum[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (d *door) url() string {
	return d.URL() + "/runtimes/" + url.QueryEscape(d.arn) + "/invocations"
}

const call = `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`

// request is a call that passes, unless changed.
func (d *door) request(body string) *http.Request {
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.url(), strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.token(nil))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	return r
}

// do sends a request and reads the whole answer.
func (d *door) do(r *http.Request) (*http.Response, string) {
	d.t.Helper()
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	if err != nil {
		d.t.Error(err)
		return &http.Response{}, "" // not Fatal: tests call do from goroutines too
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Error(err)
	}
	return resp, string(body)
}

func (d *door) mustDo(r *http.Request, status int, body string) *http.Response {
	d.t.Helper()
	resp, got := d.do(r)
	if resp.StatusCode != status || strings.TrimSpace(got) != body {
		d.t.Errorf("%s %s: status %d, body %s\nwant %d, %s", r.Method, r.URL, resp.StatusCode, got, status, body)
	}
	return resp
}

func TestAddRuntime(t *testing.T) {
	const target = "http://127.0.0.1:8000"
	jwt := &authorizer.Config{DiscoveryURL: "https://idp.example/.well-known/openid-configuration", AllowedClients: []string{"x"}}
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("X-H%d", i)
	}
	tests := []struct {
		name string
		rt   localaws.Runtime
		want string // in the error; empty: accepted
	}{
		{"MCP", localaws.Runtime{Name: "a", Target: target}, ""},
		{"HTTP", localaws.Runtime{Name: "b_2", Target: "http://localhost:1/", Protocol: "HTTP"}, ""},
		{"IPv6, JWT and headers", localaws.Runtime{Name: "c", Target: "http://[::1]:1", Authorizer: jwt, HeaderAllowlist: []string{"Authorization", "X-Api-Key", "X-Amzn-Bedrock-AgentCore-Runtime-Custom-A"}}, ""},
		{"taken", localaws.Runtime{Name: "a", Target: target}, `"a" is taken`},
		{"no name", localaws.Runtime{Target: target}, "Name"},
		{"hyphen", localaws.Runtime{Name: "a-b", Target: target}, "Name"},
		{"digit first", localaws.Runtime{Name: "1a", Target: target}, "Name"},
		{"long", localaws.Runtime{Name: strings.Repeat("a", 49), Target: target}, "Name"},
		{"protocol", localaws.Runtime{Name: "x", Target: target, Protocol: "A2A"}, "Protocol"},
		{"protocol in lower case", localaws.Runtime{Name: "x", Target: target, Protocol: "mcp"}, "Protocol"},
		{"no target", localaws.Runtime{Name: "x"}, "Target"},
		{"target elsewhere", localaws.Runtime{Name: "x", Target: "http://10.0.0.1:8000"}, "Target"},
		{"target https", localaws.Runtime{Name: "x", Target: "https://127.0.0.1:8000"}, "Target"},
		{"target with path", localaws.Runtime{Name: "x", Target: target + "/mcp"}, "Target"},
		{"authorizer without rules", localaws.Runtime{Name: "x", Target: target, Authorizer: &authorizer.Config{DiscoveryURL: jwt.DiscoveryURL}}, "no rule"},
		{"Authorization without JWT", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: []string{"authorization"}}, "Authorization needs"},
		{"cookie", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: []string{"Cookie"}}, "Cookie"},
		{"forwarded", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: []string{"X-Forwarded-For"}}, "X-Forwarded-For"},
		{"reserved", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: []string{"X-Amz-Date"}}, "reserved"},
		{"no header name", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: []string{"A B"}}, "HeaderAllowlist"},
		{"too many headers", localaws.Runtime{Name: "x", Target: target, HeaderAllowlist: many}, "at most 20"},
	}
	s := localaws.New(localaws.Config{Region: "eu-west-1"})
	form := regexp.MustCompile(`^arn:aws:bedrock-agentcore:eu-west-1:000000000000:runtime/[a-zA-Z][a-zA-Z0-9_]{0,47}-[a-zA-Z0-9]{10}$`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arn, err := s.AddRuntime(tt.rt)
			if tt.want == "" {
				if err != nil || !form.MatchString(arn) {
					t.Errorf("AddRuntime = %q, %v; want an ARN", arn, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || arn != "" {
				t.Errorf("AddRuntime = %q, %v; want an error that names %q", arn, err, tt.want)
			}
		})
	}
}

// case 69
func TestRuntime_path(t *testing.T) {
	d := newDoor(t, nil)
	escaped := url.QueryEscape(d.arn)
	tests := []struct {
		name   string
		method string
		path   string
		status int
	}{
		{"escaped", "POST", "/runtimes/" + escaped + "/invocations", 200},
		{"with qualifier", "POST", "/runtimes/" + escaped + "/invocations?qualifier=DEFAULT", 200},
		{"hex in lower case", "POST", "/runtimes/" + strings.ToLower(escaped[:len(escaped)-10]) + escaped[len(escaped)-10:] + "/invocations", 200},
		{"not escaped", "POST", "/runtimes/" + d.arn + "/invocations", 404},
		{"colons not escaped", "POST", "/runtimes/" + url.PathEscape(d.arn) + "/invocations", 404},
		{"slash not escaped", "POST", "/runtimes/" + strings.ReplaceAll(escaped, "%2F", "/") + "/invocations", 404},
		{"escaped twice", "POST", "/runtimes/" + url.QueryEscape(escaped) + "/invocations", 404},
		{"another ARN", "POST", "/runtimes/" + strings.Replace(escaped, "calculator", "other", 1) + "/invocations", 404},
		{"no ARN", "POST", "/runtimes//invocations", 404},
		{"name alone", "POST", "/runtimes/calculator/invocations", 404},
		{"accountId", "POST", "/runtimes/" + escaped + "/invocations?accountId=000000000000", 501},
		{"trailing slash", "POST", "/runtimes/" + escaped + "/invocations/", 501},
		{"websocket", "GET", "/runtimes/" + escaped + "/ws", 501},
		{"GET", "GET", "/runtimes/" + escaped + "/invocations", 405},
		{"DELETE", "DELETE", "/runtimes/" + escaped + "/invocations", 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := d.request(call)
			u, err := url.Parse(d.URL() + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			r.Method, r.URL = tt.method, u
			if resp, body := d.do(r); resp.StatusCode != tt.status {
				t.Errorf("status %d (%s), want %d", resp.StatusCode, body, tt.status)
			}
		})
	}
	d.RemoveRuntime(d.arn)
	if resp, _ := d.do(d.request(call)); resp.StatusCode != 404 {
		t.Errorf("status %d after RemoveRuntime, want 404", resp.StatusCode)
	}
}

// cases 131, 136 and 137 at the front door: who passes, and the exact answers to
// everybody else.
func TestRuntime_authorization(t *testing.T) {
	const (
		missing  = `{"error":{"code":-32001,"message":"Missing Authentication Token"},"id":7,"jsonrpc":"2.0"}`
		invalid  = `{"error":{"code":-32001,"message":"Invalid Bearer token"},"id":7,"jsonrpc":"2.0"}`
		mismatch = `Authorization method mismatch`
	)
	claim := func(name string) string {
		return `{"error":{"code":-32001,"message":"Claim '` + name + `' value mismatch with configuration."},"id":7,"jsonrpc":"2.0"}`
	}
	d := newDoor(t, nil)
	good := "Bearer " + d.token(nil)
	tests := []struct {
		name   string
		values []string // of Authorization
		query  string
		status int
		body   string // whole, or for a 403 a part
	}{
		{"good", []string{good}, "", 200, `{"jsonrpc":"2.0","id":7,"result":{}}`},
		{"lower-case scheme", []string{"bearer " + good[7:]}, "", 200, `{"jsonrpc":"2.0","id":7,"result":{}}`},
		{"none", nil, "", 401, missing},
		{"empty", []string{""}, "", 401, missing},
		{"two", []string{good, good}, "", 401, missing},
		{"in the query", nil, "?access_token=" + good[7:], 401, missing},
		{"basic", []string{"Basic dTpw"}, "", 401, missing},
		{"64 kB", []string{"Bearer " + strings.Repeat("a", 64<<10)}, "", 401, missing},
		{"no JWT", []string{"Bearer not.a.token"}, "", 401, invalid},
		{"ended", []string{"Bearer " + d.token(map[string]any{"exp": time.Now().Unix() - 5})}, "", 401, invalid},
		{"ends within a minute", []string{"Bearer " + d.token(map[string]any{"exp": time.Now().Unix() + 50})}, "", 401, invalid},
		{"id token", []string{"Bearer " + d.token(map[string]any{"token_use": "id"})}, "", 401, invalid},
		{"other issuer", []string{"Bearer " + d.token(map[string]any{"iss": d.issuer + "/"})}, "", 401, invalid},
		{"other client", []string{"Bearer " + d.token(map[string]any{"client_id": "client-2"})}, "", 401, claim("client_id")},
		{"other scope", []string{"Bearer " + d.token(map[string]any{"scope": "calculator/invoke2"})}, "", 401, claim("scope")},
		{"SigV4", []string{"AWS4-HMAC-SHA256 Credential=x"}, "", 403, mismatch},
		{"SigV4 in the query", nil, "?X-Amz-Signature=x", 403, mismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := d.reached()
			r := d.request(call)
			r.URL.RawQuery = strings.TrimPrefix(tt.query, "?")
			delete(r.Header, "Authorization")
			if tt.values != nil {
				r.Header["Authorization"] = tt.values
			}
			resp, body := d.do(r)
			whole := strings.TrimSpace(body) == tt.body
			if tt.status == 403 {
				whole = strings.Contains(body, tt.body) && strings.Contains(body, "-32002")
			}
			if resp.StatusCode != tt.status || !whole {
				t.Errorf("status %d, body %s; want %d, %s", resp.StatusCode, body, tt.status, tt.body)
			}
			want := ""
			if tt.status == 401 {
				want = `Bearer resource_metadata="` + d.url() + `/.well-known/oauth-protected-resource?qualifier=DEFAULT"`
			}
			if got := resp.Header.Get("WWW-Authenticate"); got != want {
				t.Errorf("challenge %q, want %q", got, want)
			}
			if after, _ := d.reached(); tt.status != 200 && len(after) != len(before) {
				t.Error("a refused request reached the container")
			}
		})
	}
}

func TestRuntime_authorizationHTTP(t *testing.T) {
	d := newDoor(t, isHTTP)
	r := d.request(`{}`)
	r.Header.Del("Authorization")
	resp, body := d.do(r)
	if resp.StatusCode != 401 || resp.Header.Get("X-Amzn-Errortype") != "UnauthorizedException" || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("status %d, header %v, body %s; want 401 UnauthorizedException with a challenge", resp.StatusCode, resp.Header, body)
	}
	r = d.request(`{}`)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
	if resp, body := d.do(r); resp.StatusCode != 403 || resp.Header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
		t.Errorf("status %d, header %v, body %s; want 403 AccessDeniedException", resp.StatusCode, resp.Header, body)
	}
}

// A runtime without an authorizer accepts valid signatures only. It refuses a
// bearer, a missing signature and an invalid one, and asks for none of them.
func TestRuntime_iam(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) { rt.Authorizer = nil })
	for _, value := range []string{"", "Bearer " + d.token(nil), "AWS4-HMAC-SHA256 Credential=x", "Basic dTpw"} {
		r := d.request(call)
		r.Header.Set("Authorization", value)
		resp, body := d.do(r)
		if resp.StatusCode != 403 || !strings.Contains(body, "-32002") || resp.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("Authorization %.20q: status %d, challenge %q, body %s; want 403, none, -32002", value, resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body)
		}
		if strings.HasPrefix(value, "Bearer") && !strings.Contains(body, "mismatch") {
			t.Errorf("bearer: body %s, want one that names the mismatch", body)
		}
	}
	if seen, _ := d.reached(); len(seen) != 0 {
		t.Errorf("%d requests reached the container, want none", len(seen))
	}
	r, _ := http.NewRequest("GET", d.url()+"/.well-known/oauth-protected-resource", nil)
	if resp, _ := d.do(r); resp.StatusCode != 404 {
		t.Errorf("metadata: status %d, want 404", resp.StatusCode)
	}
}

// case 137
func TestRuntime_metadata(t *testing.T) {
	d := newDoor(t, nil)
	want := fmt.Sprintf(`{"resource":%q,"authorization_servers":[%q]}`, d.url()+"?qualifier=DEFAULT", d.issuer)
	for _, query := range []string{"", "?qualifier=DEFAULT"} {
		r, _ := http.NewRequest("GET", d.url()+"/.well-known/oauth-protected-resource"+query, nil)
		if resp := d.mustDo(r, 200, want); resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("content type %q, want application/json", resp.Header.Get("Content-Type"))
		}
	}
	r, _ := http.NewRequest("GET", d.url()+"/.well-known/oauth-protected-resource?qualifier=prod", nil)
	if resp, _ := d.do(r); resp.StatusCode != 404 {
		t.Errorf("unknown qualifier: status %d, want 404", resp.StatusCode)
	}
}

// A new version of a runtime answers under the ARN of the old one.
func TestUpdateRuntime(t *testing.T) {
	d := newDoor(t, nil)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `"second"`)
	}))
	defer other.Close()
	rt := localaws.Runtime{Name: "calculator", Protocol: localaws.ProtocolHTTP, Target: other.URL, Authorizer: &authorizer.Config{
		DiscoveryURL: d.issuer + "/.well-known/openid-configuration", AllowedClients: []string{"client-1"},
	}}
	for want, err := range map[string]error{
		"there is no arn:aws:none": d.UpdateRuntime("arn:aws:none", rt),
		"cannot be changed":        d.UpdateRuntime(d.arn, localaws.Runtime{Name: "another", Target: other.URL}),
		"Target: ":                 d.UpdateRuntime(d.arn, localaws.Runtime{Name: "calculator", Target: "http://192.0.2.1:80"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := d.UpdateRuntime(d.arn, rt); err != nil {
		t.Fatal(err)
	}
	d.mustDo(d.request(call), 200, `"second"`)
}
