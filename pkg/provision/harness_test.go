package provision_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

const (
	stackA = "arn:aws:cloudformation:eu-central-1:000000000000:stack/a/11111111-1111-1111-1111-111111111111"
	stackB = "arn:aws:cloudformation:eu-central-1:000000000000:stack/b/22222222-2222-2222-2222-222222222222"
)

// Most of what the tests allocate is garbage after one request, and what stays
// is small.
func init() { debug.SetGCPercent(400) }

// world is a stand-in for AWS and what a test does to it.
type world struct {
	t       testing.TB
	aws     *localaws.Server
	http    *http.Client // nil: the default ones
	cognito *cognitoidentityprovider.Client
	p       *provision.Provisioner
	handler *provision.Handler
	pool    string // a user pool with a domain that existed before
	other   string // a further one; see second
	before  []string

	replaced string // the secret before a rotation

	mu  sync.Mutex
	now time.Time
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// newWorld starts a stand-in with one user pool, which has the domain "there".
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Now()}
	w.start(t, -1) // calls counts from where it began
	w.fill(t)
	return w
}

// inWorld runs a test without a network, on a clock that skips waiting. It does
// not keep the requests: there are too many.
func inWorld(test func(t *testing.T, w *world)) func(t *testing.T) {
	return func(t *testing.T) {
		w := &world{}
		w.start(t, 100)
		w.http = &http.Client{Transport: direct{w.aws}}
		synctest.Test(t, func(t *testing.T) {
			w.now = time.Now()
			w.fill(t)
			test(t, w)
		})
	}
}

// direct hands a request to its handler and the answer back.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer r.Body.Close()
	defer func() {
		switch cut := recover(); {
		case cut == http.ErrAbortHandler:
			err = syscall.ECONNRESET
		case cut != nil:
			panic(cut)
		}
		if r.Context().Err() != nil { // too late, whatever it is
			resp, err = nil, r.Context().Err()
		}
	}()
	arrived := r.WithContext(r.Context())
	arrived.Host = r.URL.Host
	answer := httptest.NewRecorder()
	d.handler.ServeHTTP(answer, arrived)
	return answer.Result(), nil
}

func (w *world) start(t testing.TB, records int) {
	t.Helper()
	w.aws = localaws.New(localaws.Config{Now: w.time, MaxRecords: records})
	if err := w.aws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.aws.Close() })
}

func (w *world) fill(t testing.TB) {
	t.Helper()
	w.t = t
	w.cognito = cognitoidentityprovider.NewFromConfig(w.config())
	w.p = provision.New(w.config())
	w.p.Now = w.time
	w.p.Backoff = func(int) time.Duration { return time.Millisecond }
	// A wait takes time only on the stand-in's clock, there at least a second.
	w.p.Wait = func(ctx context.Context, d time.Duration) error {
		w.pass(max(d, time.Second))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond): // lets a concurrent run go on
			return nil
		}
	}
	w.handler = &provision.Handler{Provisioner: w.p}
	w.pool = w.makePool("theirs")
	w.makeDomain(w.pool, "there")
	w.before = w.aws.Leftovers()
}

// config is that of an SDK client for the world.
func (w *world) config() aws.Config {
	cfg := w.aws.AWSConfig()
	if w.http != nil {
		cfg.HTTPClient = w.http
	}
	return cfg
}

func (w *world) makePool(name string) string {
	w.t.Helper()
	out, err := w.cognito.CreateUserPool(w.t.Context(), &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String(name)})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.UserPool.Id)
}

func (w *world) makeDomain(pool, prefix string) {
	w.t.Helper()
	_, err := w.cognito.CreateUserPoolDomain(w.t.Context(), &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: aws.String(pool), Domain: aws.String(prefix)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// properties are those of the server calc in the given pool, which may be
// empty, and further ones.
func properties(pool string, more map[string]any) map[string]any {
	props := map[string]any{"ServiceToken": "arn:aws:lambda:eu-central-1:000000000000:function:setup", "McpName": "calc"}
	if pool != "" {
		props["UserPoolId"] = pool
	}
	maps.Copy(props, more)
	return props
}

func event(typ cfn.RequestType, physicalID string, props, old map[string]any) cfn.Event {
	return cfn.Event{
		RequestType: typ, RequestID: "11112222-3333-4444-5555-666677778888", StackID: stackA, ResourceType: "Custom::MCPClient",
		LogicalResourceID: "Calc", PhysicalResourceID: physicalID, ResourceProperties: props, OldResourceProperties: old,
	}
}

func create(props map[string]any) cfn.Event { return event(cfn.RequestCreate, "", props, nil) }

// must handles the event, which must succeed.
func (w *world) must(e cfn.Event) (id string, data map[string]any) {
	w.t.Helper()
	id, data, err := w.handler.Handle(w.t.Context(), e)
	if err != nil {
		w.t.Fatalf("%s: %v", e.RequestType, err)
	}
	return id, data
}

// refused handles the event, which must fail with an error that contains want.
func (w *world) refused(e cfn.Event, want string) {
	w.t.Helper()
	_, _, err := w.handler.Handle(w.t.Context(), e)
	if err == nil || !strings.Contains(err.Error(), want) {
		w.t.Fatalf("%s: got error %v, want one with %q", e.RequestType, err, want)
	}
}

// calls are the operations that do asked AWS for.
func (w *world) calls(do func()) []string {
	n := len(w.aws.Records())
	do()
	var ops []string
	for _, r := range w.aws.Records()[n:] {
		ops = append(ops, r.Operation)
	}
	return ops
}

// writes are the operations among ops that change something.
func writes(ops []string) []string {
	return slices.DeleteFunc(slices.Clone(ops), func(op string) bool {
		return strings.HasPrefix(op, "Get") || strings.HasPrefix(op, "List") || strings.HasPrefix(op, "Describe")
	})
}

// nothingLeft checks that only what was there before is there.
func (w *world) nothingLeft() {
	w.t.Helper()
	if got := w.aws.Leftovers(); !slices.Equal(got, w.before) {
		w.t.Errorf("left over:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(w.before, "\n"))
	}
}

func (w *world) parameter(path, name string) string {
	return w.aws.Parameters()[path+name].Value
}

// working checks that exactly one set of everything exists for the server under
// path, with the scopes asked for, and that its credentials get a token.
func (w *world) working(path string, scopes ...string) {
	w.t.Helper()
	if err := w.check(path, scopes...); err != nil {
		w.t.Error(err)
	}
}

func (w *world) check(path string, scopes ...string) error {
	if err := w.checkSet(path, scopes...); err != nil {
		return err
	}
	_, err := w.token(path, w.parameter(path, "cognito_secret"))
	return err
}

// checkSet is check without a token.
func (w *world) checkSet(path string, scopes ...string) error {
	if len(scopes) == 0 {
		scopes = []string{"invoke"}
	}
	name := path[strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1 : len(path)-1]
	pool := w.parameter(path, "userpool_id")
	var clients, servers int
	for _, line := range w.aws.Leftovers() {
		if strings.HasPrefix(line, "client "+pool+"/") && strings.Contains(line, " mcp-"+name+"-") {
			clients++
		}
		if line == "resource server "+pool+"/"+name {
			servers++
		}
	}
	if clients != 1 || servers != 1 {
		return fmt.Errorf("%s: got %d app clients and %d resource servers in pool %q, want one of each, in:\n%s", path, clients, servers, pool, strings.Join(w.aws.Leftovers(), "\n"))
	}
	c, err := w.cognito.DescribeUserPoolClient(context.Background(), &cognitoidentityprovider.DescribeUserPoolClientInput{
		UserPoolId: aws.String(pool), ClientId: aws.String(w.parameter(path, "machine_client_id")),
	})
	if err != nil {
		return err
	}
	var want []string
	for _, s := range scopes {
		want = append(want, name+"/"+s)
	}
	if got := c.UserPoolClient.AllowedOAuthScopes; !slices.Equal(got, want) {
		return fmt.Errorf("scopes of the app client: got %q, want %q", got, want)
	}
	if got := c.UserPoolClient.AllowedOAuthFlows; !slices.Equal(got, []types.OAuthFlowType{"client_credentials"}) {
		return fmt.Errorf("flows of the app client: got %q", got)
	}
	if got := w.aws.Parameters()[path+"cognito_secret"].Type; got != "SecureString" {
		return fmt.Errorf("type of cognito_secret: got %s", got)
	}
	if got, want := w.parameter(path, "scope"), strings.Join(want, " "); got != want {
		return fmt.Errorf("parameter scope: got %q, want %q", got, want)
	}
	if got, want := w.parameter(path, "cognito_discovery_url"), w.aws.URL()+"/"+pool+"/.well-known/openid-configuration"; got != want {
		return fmt.Errorf("parameter cognito_discovery_url: got %q, want %q", got, want)
	}
	return nil
}

// token asks for a token with the recorded client and the given secret.
func (w *world) token(path, secret string) (string, error) {
	return w.grant(w.parameter(path, "cognito_domain"), w.parameter(path, "machine_client_id"), secret, w.parameter(path, "scope"))
}

// tokenFor asks for a token with what a reader got.
func (w *world) tokenFor(c credstore.Credentials) error {
	_, err := w.grant(c.Domain, c.ClientID, c.ClientSecret.Reveal(), c.Scope)
	return err
}

func (w *world) grant(domain, clientID, secret, scope string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	req, err := http.NewRequest(http.MethodPost, domain+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, secret)
	resp, err := cmp.Or(w.http, http.DefaultClient).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", fmt.Errorf("token for %s: got status %d, %s", clientID, resp.StatusCode, answer.Error)
	}
	return answer.Token, nil
}

// secrets are the values that must not be seen outside of the stand-in.
func (w *world) secrets() []string {
	var all []string
	for _, p := range w.aws.Parameters() {
		if p.Type == "SecureString" {
			all = append(all, p.Value)
		}
	}
	return all
}
