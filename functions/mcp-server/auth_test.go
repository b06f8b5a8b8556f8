package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/localaws"
)

// issuer is a user pool of the stand-in, behind a proxy that counts fetches of
// its keys and can be down.
type issuer struct {
	t       testing.TB
	aws     *localaws.Server
	api     *cognitoidentityprovider.Client
	pool    string
	front   *httptest.Server
	fetches atomic.Int32 // of the key set, so far
	down    atomic.Bool
	away    atomic.Int32 // requests that found it down
	ago     atomic.Int64 // seconds by which its clock is behind
}

const domain, calc = "agents-1", "calc"

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	is := &issuer{t: t}
	is.aws = localaws.New(localaws.Config{Now: func() time.Time { return time.Now().Add(-time.Duration(is.ago.Load()) * time.Second) }})
	if err := is.aws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { is.aws.Close() })
	behind, _ := url.Parse(is.aws.URL())
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host // the stand-in builds the issuer's name from it
	}}
	is.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if is.down.Load() {
			is.away.Add(1)
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(r.URL.Path, "/jwks.json") {
			is.fetches.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(is.front.Close)

	is.api = cognitoidentityprovider.NewFromConfig(is.aws.AWSConfig(), func(o *cognitoidentityprovider.Options) { o.BaseEndpoint = &is.front.URL })
	pool, err := is.api.CreateUserPool(t.Context(), &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("p")})
	if err != nil {
		t.Fatal(err)
	}
	is.pool = *pool.UserPool.Id
	if _, err := is.api.CreateUserPoolDomain(t.Context(), &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: &is.pool, Domain: aws.String(domain)}); err != nil {
		t.Fatal(err)
	}
	scope := func(name string) types.ResourceServerScopeType {
		return types.ResourceServerScopeType{ScopeName: &name, ScopeDescription: &name}
	}
	if _, err := is.api.CreateResourceServer(t.Context(), &cognitoidentityprovider.CreateResourceServerInput{
		UserPoolId: &is.pool, Identifier: aws.String(calc), Name: aws.String(calc), Scopes: []types.ResourceServerScopeType{scope("invoke"), scope("list")},
	}); err != nil {
		t.Fatal(err)
	}
	return is
}

func (is *issuer) discoveryURL() string {
	return is.front.URL + "/" + is.pool + "/.well-known/openid-configuration"
}

// client makes a machine client that may ask for both scopes.
func (is *issuer) client() (id, secret string) {
	is.t.Helper()
	made, err := is.api.CreateUserPoolClient(is.t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: &is.pool, ClientName: aws.String("m"), GenerateSecret: true, AllowedOAuthFlowsUserPoolClient: true,
		AllowedOAuthFlows: []types.OAuthFlowType{types.OAuthFlowTypeClientCredentials}, AllowedOAuthScopes: []string{calc + "/invoke", calc + "/list"},
	})
	if err != nil {
		is.t.Fatal(err)
	}
	return *made.UserPoolClient.ClientId, *made.UserPoolClient.ClientSecret
}

// token asks the token endpoint for a machine token.
func (is *issuer) token(id, secret, scope string) string {
	is.t.Helper()
	resp, err := http.PostForm(is.front.URL+"/"+domain+"/oauth2/token",
		url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {scope}})
	if err != nil {
		is.t.Fatal(err)
	}
	defer resp.Body.Close()
	var reply struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || reply.Token == "" {
		is.t.Fatalf("no token: status %d, %v", resp.StatusCode, err)
	}
	return reply.Token
}

// userTokens signs a user in.
func (is *issuer) userTokens() *types.AuthenticationResultType {
	is.t.Helper()
	ctx := is.t.Context()
	client, err := is.api.CreateUserPoolClient(ctx, &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: &is.pool, ClientName: aws.String("u"), ExplicitAuthFlows: []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowUserPasswordAuth},
	})
	if err != nil {
		is.t.Fatal(err)
	}
	if _, err := is.api.AdminCreateUser(ctx, &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: &is.pool, Username: aws.String("alice"), MessageAction: types.MessageActionTypeSuppress}); err != nil {
		is.t.Fatal(err)
	}
	const password = "Correct-horse-1"
	if _, err := is.api.AdminSetUserPassword(ctx, &cognitoidentityprovider.AdminSetUserPasswordInput{UserPoolId: &is.pool, Username: aws.String("alice"), Password: aws.String(password), Permanent: true}); err != nil {
		is.t.Fatal(err)
	}
	out, err := is.api.InitiateAuth(ctx, &cognitoidentityprovider.InitiateAuthInput{
		ClientId: client.UserPoolClient.ClientId, AuthFlow: types.AuthFlowTypeUserPasswordAuth, AuthParameters: map[string]string{"USERNAME": "alice", "PASSWORD": password},
	})
	if err != nil {
		is.t.Fatal(err)
	}
	return out.AuthenticationResult
}

// launch runs a server that admits one client and the scope calc/invoke.
func (is *issuer) launch(id string, env ...string) *process {
	is.t.Helper()
	return launch(is.t, append(is.settings(id), env...)...)
}

// settings admit one client and the scope calc/invoke.
func (is *issuer) settings(id string) []string {
	return []string{"AUTH_DISCOVERY_URL=" + is.discoveryURL(), "AUTH_ALLOWED_CLIENTS=" + id, "AUTH_ALLOWED_SCOPES=" + calc + "/invoke"}
}

// send posts a message with the given Authorization headers.
func send(t *testing.T, url, body string, authorization ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["Authorization"] = authorization
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

// With AUTH_* set, the server itself makes the checks of AgentCore's authorizer.
// cases 127, 131, 132, 136, 137, 138
func TestAuth(t *testing.T) {
	is := newIssuer(t)
	id, secret := is.client()
	otherID, otherSecret := is.client()
	good := is.token(id, secret, calc+"/invoke")
	other := is.token(otherID, otherSecret, calc+"/invoke")
	narrow := is.token(id, secret, calc+"/list")
	user := is.userTokens()
	is.ago.Store(7200)
	expired := is.token(id, secret, calc+"/invoke")
	is.ago.Store(0)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	forged := parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))

	p := is.launch(id)
	metadata := `resource_metadata="` + p.url + `/.well-known/oauth-protected-resource/mcp"`
	invalid := `Bearer error="invalid_token", ` + metadata
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	for _, tc := range []struct {
		name, body    string
		authorization []string
		status        int
		challenge     string
		logged        string // why, in the log
	}{
		{"good", addCall, []string{"Bearer " + good}, 200, "", ""},
		{"good again", addCall, []string{"bearer " + good}, 200, "", ""},
		{"no token", addCall, nil, 401, "Bearer " + metadata, "there is none"},
		{"ping without a token", ping, nil, 401, "Bearer " + metadata, ""},
		{"ping", ping, []string{"Bearer " + good}, 200, "", ""},
		{"initialize without a token", hello, nil, 401, "Bearer " + metadata, ""},
		{"not JSON, without a token", "{", nil, 401, "Bearer " + metadata, ""},
		{"two tokens", addCall, []string{"Bearer " + good, "Bearer " + good}, 401, "Bearer " + metadata, "there are 2"},
		{"expired", addCall, []string{"Bearer " + expired}, 401, invalid, "ended"},
		{"client of another server", addCall, []string{"Bearer " + other}, 401, invalid, "client_id"},
		{"too little scope", addCall, []string{"Bearer " + narrow}, 403, `Bearer error="insufficient_scope", scope="` + calc + `/invoke", ` + metadata, calc + "/list"},
		{"id token", addCall, []string{"Bearer " + *user.IdToken}, 401, invalid, "token_use"},
		{"access token of a user", addCall, []string{"Bearer " + *user.AccessToken}, 401, invalid, "client_id"},
		{"alg none", addCall, []string{"Bearer " + none}, 401, invalid, "token form"},
		{"alg none, signature of another", addCall, []string{"Bearer " + none + parts[2]}, 401, invalid, "alg is"},
		{"forged", addCall, []string{"Bearer " + forged}, 401, invalid, "signature"},
		{"64 kB", addCall, []string{"Bearer " + strings.Repeat("a", 64<<10)}, 401, "Bearer " + metadata, "bytes long"},
		{"client secret", addCall, []string{"Bearer " + secret}, 401, invalid, "token form"},
		{"basic", addCall, []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}, 401, "Bearer " + metadata, "not Bearer"},
	} {
		resp, body := send(t, p.url+"/mcp/", tc.body, tc.authorization...)
		if resp.StatusCode != tc.status || resp.Header.Get("WWW-Authenticate") != tc.challenge {
			t.Errorf("%s: got %d, challenge %s, want %d, %s", tc.name, resp.StatusCode, resp.Header.Get("WWW-Authenticate"), tc.status, tc.challenge)
		}
		if tc.status != 200 && (len(body) > 40 || !strings.HasPrefix(body, `{"error":"`)) {
			t.Errorf("%s: the answer says too much: %s", tc.name, body)
		}
		if resp.Header.Get("X-Request-Id") == "" || tc.status == 401 && !strings.Contains(p.await(t, resp.Header.Get("X-Request-Id")), tc.logged) {
			t.Errorf("%s: the log does not say %q: %s", tc.name, tc.logged, p.logged())
		}
	}
	if got := is.fetches.Load(); got != 1 {
		t.Errorf("the keys were fetched %d times, want once", got)
	}

	// Only the open paths are open.
	for path, want := range map[string]int{
		"/healthz": 200, "/mcp": 401, "/mcp/": 401, "/mcp?access_token=" + good: 401, "/": 404, "/.well-known/oauth-authorization-server": 404,
		"/.well-known/oauth-protected-resource": 200, "/.well-known/oauth-protected-resource/mcp": 200,
	} {
		resp, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %.40s: got %d, want %d", path, resp.StatusCode, want)
		}
	}
	p.stop(t, syscall.SIGTERM)

	log := p.logged()
	if !strings.Contains(log, `"caller":"`+id+`","method":"tools/call"`) {
		t.Errorf("the log does not say who called: %s", log)
	}
	for name, canary := range map[string]string{"token": good, "id token": *user.IdToken, "expired": expired, "narrow": narrow} {
		if i := strings.LastIndexByte(canary, '.'); strings.Contains(log, canary[i+1:i+40]) || strings.Contains(log, canary[:100]) {
			t.Errorf("%s: the log holds a token: %s", name, log)
		}
	}
	if strings.Contains(log, secret) {
		t.Error("the log holds the client secret")
	}
}

// await returns the line of the log that has text.
func (p *process) await(t *testing.T, text string) string {
	t.Helper()
	for {
		s := bufio.NewScanner(strings.NewReader(p.logged()))
		for s.Scan() {
			if strings.Contains(s.Text(), text) {
				return s.Text()
			}
		}
		if _, more := <-p.lines; !more {
			t.Fatalf("no %s in the log: %s", text, p.logged())
		}
	}
}

// The metadata lists what the server requires, and names the resource as its
// clients do. case 137
func TestAuth_metadata(t *testing.T) {
	is := newIssuer(t)
	for env, want := range map[string]struct{ host, resource, challenge string }{
		"":                                       {"", "%s/mcp", "%s/.well-known/oauth-protected-resource/mcp"},
		"MCP_ALLOWED_HOSTS=*":                    {"mcp.example", "https://mcp.example/mcp", "https://mcp.example/.well-known/oauth-protected-resource/mcp"},
		"AUTH_RESOURCE=https://a.example/x/mcp/": {"", "https://a.example/x/mcp/", "https://a.example/.well-known/oauth-protected-resource/x/mcp"},
	} {
		p := is.launch("some-client", "LOG_LEVEL=error", env)
		expand := func(s string) string { return strings.ReplaceAll(s, "%s", p.url) }
		for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
			req, err := http.NewRequest("GET", p.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = want.host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			wanted := fmt.Sprintf(`{"resource":%q,"authorization_servers":[%q],"scopes_supported":["calc/invoke"],"bearer_methods_supported":["header"]}`+"\n",
				expand(want.resource), strings.TrimSuffix(is.discoveryURL(), "/.well-known/openid-configuration"))
			if resp.StatusCode != 200 || string(got) != wanted {
				t.Errorf("%s %s: got %d %s, want %s", env, path, resp.StatusCode, got, wanted)
			}
			req.URL.Path = "/mcp"
			if resp, err = http.DefaultClient.Do(req); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got, want := resp.Header.Get("WWW-Authenticate"), `Bearer resource_metadata="`+expand(want.challenge)+`"`; got != want {
				t.Errorf("%s: got challenge %s, want %s", env, got, want)
			}
		}
		p.Process.Kill()
	}
	if got := is.fetches.Load(); got != 0 {
		t.Errorf("the keys were fetched %d times before there was a token", got)
	}
}

// A burst on a cold server fetches the issuer's keys once; a new key fetches
// them once more. cases 133, 135
func TestAuth_keys(t *testing.T) {
	is := newIssuer(t)
	id, secret := is.client()
	p := is.launch(id, "LOG_LEVEL=error")
	burst := func(token string) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if resp, body := send(t, p.url+"/mcp", addCall, "Bearer "+token); resp.StatusCode != 200 {
					t.Errorf("got %d %s, want 200", resp.StatusCode, body)
				}
			})
		}
		wg.Wait()
	}
	old := is.token(id, secret, calc+"/invoke")
	burst(old)
	if got := is.fetches.Load(); got != 1 {
		t.Errorf("a cold burst: the keys were fetched %d times, want once", got)
	}
	is.aws.RotateKeys(is.pool)
	burst(is.token(id, secret, calc+"/invoke"))
	burst(old)
	if got := is.fetches.Load(); got != 2 {
		t.Errorf("after a rotation: the keys were fetched %d times, want twice", got)
	}
}

// The server starts and is healthy while its issuer is down. A token that it
// cannot check meanwhile is accepted later. case 121
func TestAuth_issuerDown(t *testing.T) {
	is := newIssuer(t)
	id, secret := is.client()
	token := is.token(id, secret, calc+"/invoke")
	is.down.Store(true)
	p := is.launch(id)
	if got := is.away.Load(); got != 0 {
		t.Errorf("the issuer was asked %d times before the server listened", got)
	}
	if resp, err := http.Get(p.url + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Errorf("health: got %v, %v, want 200", resp, err)
	}
	if resp, _ := send(t, p.url+"/mcp", addCall); resp.StatusCode != 401 {
		t.Errorf("no token: got %d, want 401", resp.StatusCode)
	}
	resp, body := send(t, p.url+"/mcp", addCall, "Bearer "+token)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("WWW-Authenticate") != "" || strings.Contains(body, is.front.URL) {
		t.Errorf("got %d %v %s, want 503 with Retry-After and no details", resp.StatusCode, resp.Header, body)
	}
	p.await(t, "fetching the issuer's keys")
}
