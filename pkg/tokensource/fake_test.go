package tokensource_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// The addresses of the tests that need no network.
const (
	poolURL      = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_pool"
	discoveryURL = poolURL + "/.well-known/openid-configuration"
	tokenURL     = "https://example.auth.eu-central-1.amazoncognito.com/oauth2/token"
	resourceURL  = "https://mcp.example.com/mcp"
)

// issuer is an authorization server. Fields are set before use, or under mu.
type issuer struct {
	url      string                                            // default poolURL
	tokenURL string                                            // default: tokenURL
	life     any                                               // expires_in; default 300
	latency  time.Duration                                     // of a token request
	document func(map[string]any)                              // changes the metadata
	answer   func(w http.ResponseWriter, r *http.Request) bool // answers a token request in place of the issuer
	accept   func(form url.Values, user, password string) (error string)

	mu     sync.Mutex
	secret string
	posts  []post
	gets   []string
	live   map[string]time.Time // tokens and their ends
}

// post is one token request.
type post struct {
	at             time.Time
	form           url.Values
	header         http.Header
	user, password string // of Basic, decoded as RFC 6749 has it
	granted        bool
}

func newIssuer() *issuer {
	return &issuer{url: poolURL, tokenURL: tokenURL, life: 300, secret: "secret", live: map[string]time.Time{}}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		i.mu.Lock()
		i.gets = append(i.gets, r.URL.Path)
		i.mu.Unlock()
		doc := map[string]any{
			"issuer": i.url, "token_endpoint": i.tokenURL,
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		}
		if i.document != nil {
			i.document(doc)
		}
		writeJSON(w, http.StatusOK, doc)
		return
	}
	body, _ := io.ReadAll(r.Body)
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	p := post{at: time.Now(), form: form, header: r.Header.Clone()}
	if basic, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic "); ok {
		raw, _ := base64.StdEncoding.DecodeString(basic)
		user, password, _ := strings.Cut(string(raw), ":")
		p.user, _ = url.QueryUnescape(user)
		p.password, _ = url.QueryUnescape(password)
	} else {
		p.user, p.password = form.Get("client_id"), form.Get("client_secret")
	}
	i.mu.Lock()
	n := len(i.posts)
	i.posts = append(i.posts, p)
	latency, answer := i.latency, i.answer
	i.mu.Unlock()
	status, reply := 0, map[string]any{}
	if answer == nil {
		status, reply = i.decide(n, p) // before the latency: what comes late is of then
	}
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
			return
		}
	}
	if answer != nil {
		if answer(w, r) {
			return
		}
		status, reply = i.decide(n, p)
	}
	writeJSON(w, status, reply)
}

// decide grants or refuses the nth token request.
func (i *issuer) decide(n int, p post) (int, map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	refusal := ""
	switch {
	case i.accept != nil:
		refusal = i.accept(p.form, p.user, p.password)
	case p.password != i.secret:
		refusal = "invalid_client"
	}
	if refusal != "" {
		return http.StatusBadRequest, map[string]any{"error": refusal, "error_description": "echo " + p.password}
	}
	token := fmt.Sprintf("token-%d", n)
	i.posts[n].granted = true
	life := time.Hour
	if seconds, ok := i.life.(int); ok {
		life = time.Duration(seconds) * time.Second
	}
	i.live[token] = time.Now().Add(life)
	return http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": i.life}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// refuseAdmin is an issuer's accept that refuses the scope srv/admin alone.
func refuseAdmin(refusal string) func(form url.Values, user, password string) string {
	return func(form url.Values, _, _ string) string {
		if strings.Contains(form.Get("scope"), "srv/admin") {
			return refusal
		}
		return ""
	}
}

// startRenewal fetches a token and begins its renewal, which takes two seconds.
func startRenewal(t *testing.T, s *tokensource.Source, i *issuer) {
	t.Helper()
	if _, err := s.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	i.latency = 2 * time.Second
	i.mu.Unlock()
	time.Sleep(200 * time.Second)
	s.Token(t.Context())
	synctest.Wait()
}

// accepts reports whether a request bears a live token.
func (i *issuer) accepts(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i.mu.Lock()
	defer i.mu.Unlock()
	return ok && time.Now().Before(i.live[token])
}

// rotate changes the secret; tokens of the old one are dead.
func (i *issuer) rotate(secret string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.secret = secret
	clear(i.live)
}

// revoke kills every token, as a rotation of the issuer's keys does.
func (i *issuer) revoke() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.live)
}

func (i *issuer) requests() []post {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]post(nil), i.posts...)
}

// guarded is a resource that wants the issuer's tokens and echoes what it gets.
func guarded(i *issuer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.Copy(w, r.Body)
	})
}

// inMemory is an http.RoundTripper that calls the handler without a network.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI = r.URL.Host, r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// set is tokensource.Credentials whose stored form can change and fail.
type set struct {
	mu     sync.Mutex
	stored credstore.Credentials
	cached *credstore.Credentials
	err    error
	reads  int
}

func newSet() *set {
	return &set{stored: credstore.Credentials{
		ClientID: "client", ClientSecret: credstore.NewSecret("secret"), DiscoveryURL: discoveryURL, Scope: "srv/invoke",
	}}
}

func (s *set) Get(ctx context.Context) (credstore.Credentials, error) {
	s.mu.Lock()
	cached := s.cached
	s.mu.Unlock()
	if cached != nil {
		return *cached, nil
	}
	return s.Refresh(ctx)
}

func (s *set) Refresh(ctx context.Context) (credstore.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.err != nil {
		return credstore.Credentials{}, s.err
	}
	c := s.stored
	s.cached = &c
	return c, nil
}

func (s *set) Path() string { return "/app/mcp/srv/" }

func (s *set) change(f func(*credstore.Credentials)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stored)
}

// newSource makes a source of the issuer's tokens, in memory unless cfg says
// otherwise.
func newSource(t testing.TB, i *issuer, cfg tokensource.Config) *tokensource.Source {
	t.Helper()
	if cfg.Credentials == nil {
		cfg.Credentials = newSet()
	}
	if cfg.Resource == "" {
		cfg.Resource = resourceURL
	}
	if cfg.Transport == nil {
		cfg.Transport = inMemory{i}
	}
	if cfg.Base == nil {
		cfg.Base = inMemory{guarded(i)}
	}
	s, err := tokensource.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return s
}

// call posts body to the resource and returns what came back.
func call(ctx context.Context, c *http.Client, to, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(b), err
}
