package provision_test

// Where the cases of the custom resource are held. Those of the reply itself
// (1 to 4, 23, 24, and the reply in 28) belong to pkg/customresource.
//
//	 5  TestSecretsStayInside
//	 6  TestHandle_twoClients, TestHandle_sameEventAtOnce, TestHandle_sameEventAtOnce_ownPool, TestRotate_atOnce, TestHandle_moveAtOnce, TestSequences
//	 7  TestFaults, TestFaults_delete
//	 8  TestFaults_rollback, TestHandle_adoptBroken, TestHandle_deleteOfUnknownID
//	 9  TestHandle_deleteOfAnySubset, TestHandle_deleteWithoutKey
//	10  TestHandle_ownPool
//	11  TestHandle_ownPool
//	12  TestFaults ("Move to another pool"), TestHandle_rename, TestHandle_prefixAlone, TestHandle_ownPoolByID
//	13  TestHandle_lifecycle, TestHandle_ownPool
//	14  TestHandle_lifecycle, TestHandle_updateKeepsOtherSettings
//	15  TestFaults_rollback, TestHandle_keyBroken, TestHandle_backFromRefused
//	16  TestHandle_domains
//	17  TestHandle_manyPoolsAndDecoys, TestHandle_twoOwnPools, TestHandle_twoClients
//	18  TestFaults, TestHandle_limitIsFinal
//	19  TestHandle_readersNeverSeeATornPair, TestHandle_readersNeverSeeATornPair_move, TestHandle_moveAtOnce
//	20  TestHandle_secretGoneFromParameterStore
//	21  TestRotate, TestRotate_crash
//	22  TestHandle_refusesJunk, FuzzHandle
//	25  TestHandle_secondOwner, TestHandle_overtaken, TestHandle_adoptOthersScopes, TestHandle_othersClientRecorded
//	26  TestHandle_scopeNotVisibleYet
//	27  TestHandle_poolThatMustStay
//	28  TestHandle_refusesJunk, FuzzHandle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// case 5
func TestSecretsStayInside(t *testing.T) {
	w := newWorld(t)
	var seen bytes.Buffer
	w.p.Logger = slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
	props := properties(w.pool, map[string]any{"SecretVersion": "1"})
	// A service that quotes what it refuses must not make us do so too.
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "PutParameter" && bytes.Contains(rec.RequestBody, []byte("cognito_secret")) {
			return &localaws.Fault{Status: 400, Type: "ValidationException", Message: string(rec.RequestBody)}
		}
		return nil
	})
	id, _, err := w.handler.Handle(t.Context(), create(props))
	w.aws.SetFault(nil)
	if err == nil {
		t.Fatal("got no error although the secret was refused")
	}
	fmt.Fprintln(&seen, err)
	c, err := w.cognito.ListUserPoolClients(t.Context(), &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: aws.String(w.pool)})
	if err != nil || len(c.UserPoolClients) != 1 {
		t.Fatalf("app clients: got %v, %v", c, err)
	}
	secrets := []string{}
	d, err := w.cognito.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: c.UserPoolClients[0].ClientId})
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, aws.ToString(d.UserPoolClient.ClientSecret))

	_, data := w.must(create(props))
	fmt.Fprintln(&seen, data)
	secrets = append(secrets, w.secrets()...)
	next := properties(w.pool, map[string]any{"SecretVersion": "2"})
	_, data = w.must(event(cfn.RequestUpdate, id, next, props))
	fmt.Fprintln(&seen, data)
	secrets = append(secrets, w.secrets()...)
	for name, p := range w.aws.Parameters() {
		fmt.Fprintln(&seen, name, p.Description, p.Tags)
		if p.Type != "SecureString" {
			fmt.Fprintln(&seen, p.Value)
		}
	}
	for _, s := range secrets {
		if s == "" || strings.Contains(seen.String(), s) {
			t.Errorf("the secret %q was seen in %s", s, seen.String())
		}
	}
}

// handleAtOnce handles e n times at once and returns the errors.
func (w *world) handleAtOnce(n int, e cfn.Event) (ids []string, errs []error) {
	ids, errs = make([]string, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { ids[i], _, errs[i] = w.handler.Handle(w.t.Context(), e) })
	}
	all.Wait()
	return ids, errs
}

// case 6
func TestHandle_sameEventAtOnce(t *testing.T) {
	w := newWorld(t)
	for round := range 20 {
		props := properties(w.pool, nil)
		ids, errs := w.handleAtOnce(3, create(props))
		for i := range errs {
			if errs[i] != nil || ids[i] != ids[0] {
				t.Fatalf("round %d: got %q, %v", round, ids[i], errs[i])
			}
		}
		w.working(path)
		_, errs = w.handleAtOnce(2, event(cfn.RequestDelete, ids[0], props, nil))
		for _, err := range errs {
			if err != nil {
				t.Fatalf("round %d: Delete: %v", round, err)
			}
		}
		w.nothingLeft()
		if t.Failed() {
			return
		}
	}
}

// case 6
func TestHandle_sameEventAtOnce_ownPool(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	ids, errs := w.handleAtOnce(3, create(props))
	for i := range errs {
		if errs[i] != nil || ids[i] != ids[0] {
			t.Fatalf("got %q, %v", ids[i], errs[i])
		}
	}
	w.working(path)
	if err := w.checkOnePool(); err != nil {
		t.Error(err)
	}
	w.must(event(cfn.RequestDelete, ids[0], props, nil))
	w.nothingLeft()
}

// case 6
func TestRotate_atOnce(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, map[string]any{"SecretVersion": "1"})
	id, _ := w.must(create(props))
	before := w.parameter(path, "cognito_secret")
	next := properties(w.pool, map[string]any{"SecretVersion": "2"})
	_, errs := w.handleAtOnce(3, event(cfn.RequestUpdate, id, next, props))
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.working(path)
	if got := w.aws.Parameters()[path+"cognito_secret"].Version; got != 2 {
		t.Errorf("version of the secret's parameter: got %d, want 2: one rotation", got)
	}
	if _, err := w.token(path, before); err != nil {
		t.Errorf("the secret before: %v", err)
	}
}

// case 8
func TestHandle_deleteOfUnknownID(t *testing.T) {
	w := newWorld(t)
	w.must(event(cfn.RequestDelete, "2024/01/01/[$LATEST]abcdef", properties(w.pool, nil), nil))
	w.must(event(cfn.RequestDelete, "11112222-3333-4444-5555-666677778888", map[string]any{"McpName": "../x"}, nil))
	w.must(event(cfn.RequestDelete, "mcp-client:/app/mcp/never:own-pool", properties("", nil), nil))
	w.must(event(cfn.RequestDelete, "mcp-client:never:own-pool", properties("", nil), nil))
	w.nothingLeft()
}

// case 9
func TestHandle_deleteOfAnySubset(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	params := ssm.NewFromConfig(w.config())
	for subset := range 64 {
		props := properties(w.pool, nil)
		id, data := w.must(create(props))
		client := data["ClientId"].(string)
		var errs []error
		try := func(err error) { errs = append(errs, err) }
		remove := func(names ...string) {
			for i := range names {
				names[i] = path + names[i]
			}
			_, err := params.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: names})
			try(err)
		}
		for bit, do := range []func(){
			func() {
				_, err := w.cognito.DeleteUserPoolClient(ctx, &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: aws.String(client)})
				try(err)
			},
			func() {
				_, err := w.cognito.DeleteResourceServer(ctx, &cognitoidentityprovider.DeleteResourceServerInput{UserPoolId: aws.String(w.pool), Identifier: aws.String("calc")})
				try(err)
			},
			func() { remove(credstore.ClientSecret) },
			func() { remove(credstore.ClientID) },
			func() { remove(credstore.UserPoolID) },
			func() { remove(credstore.DiscoveryURL, credstore.Domain, credstore.Scope) },
		} {
			if subset&(1<<bit) != 0 {
				do()
			}
		}
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.must(event(cfn.RequestDelete, id, props, nil))
		w.nothingLeft()
		if t.Failed() {
			t.Fatalf("subset %06b", subset)
		}
	}
}

// case 12
func TestHandle_rename(t *testing.T) {
	w := newWorld(t)
	old := properties(w.pool, nil)
	id, _ := w.must(create(old))
	renamed := properties(w.pool, map[string]any{"McpName": "abacus", "ParameterPrefix": "/team/x"})
	newID, _ := w.must(event(cfn.RequestUpdate, id, renamed, old))
	if newID == id {
		t.Fatalf("physical id after a rename: got the same, %q", id)
	}
	w.working(path)
	w.must(event(cfn.RequestDelete, id, old, nil))
	w.working("/team/x/abacus/")
	w.must(event(cfn.RequestDelete, newID, renamed, nil))
	w.nothingLeft()

	// What is deleted is what the id says, whatever the properties.
	id, _ = w.must(create(old))
	w.must(event(cfn.RequestDelete, id, renamed, nil))
	w.nothingLeft()
}

// case 14
func TestHandle_updateKeepsOtherSettings(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, data := w.must(create(props))
	client := aws.String(data["ClientId"].(string))
	d, err := w.cognito.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: client})
	if err != nil {
		t.Fatal(err)
	}
	c := d.UserPoolClient
	_, err = w.cognito.UpdateUserPoolClient(t.Context(), &cognitoidentityprovider.UpdateUserPoolClientInput{ // somebody's hand
		UserPoolId: c.UserPoolId, ClientId: c.ClientId, ClientName: c.ClientName, AllowedOAuthFlows: c.AllowedOAuthFlows, AllowedOAuthFlowsUserPoolClient: true,
		AllowedOAuthScopes: c.AllowedOAuthScopes, AccessTokenValidity: c.AccessTokenValidity, TokenValidityUnits: c.TokenValidityUnits,
		EnableTokenRevocation: c.EnableTokenRevocation, AuthSessionValidity: aws.Int32(7),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.must(event(cfn.RequestUpdate, id, properties(w.pool, map[string]any{"AccessTokenMinutes": "10"}), props))
	d, err = w.cognito.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: client})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToInt32(d.UserPoolClient.AuthSessionValidity); got != 7 {
		t.Errorf("AuthSessionValidity: got %d, want 7 still", got)
	}
	if got := aws.ToInt32(d.UserPoolClient.AccessTokenValidity); got != 10 {
		t.Errorf("AccessTokenValidity: got %d, want 10", got)
	}
}

// case 16
func TestHandle_domains(t *testing.T) {
	t.Run("prefix of another account, explicit", func(t *testing.T) {
		w := newWorld(t)
		w.aws.TakeDomain("wanted")
		w.refused(create(properties("", map[string]any{"DomainPrefix": "wanted"})), "another DomainPrefix")
		w.must(event(cfn.RequestDelete, "any", properties("", nil), nil))
		w.nothingLeft()
	})
	t.Run("prefix of another account, derived", func(t *testing.T) {
		w := newWorld(t)
		bare := w.makePool("bare")
		w.before = w.aws.Leftovers()
		props := properties(bare, nil)
		id, _ := w.must(create(props))
		first := strings.TrimPrefix(w.parameter(path, "cognito_domain"), w.aws.URL()+"/")
		w.must(event(cfn.RequestDelete, id, props, nil))
		w.aws.TakeDomain(first)
		w.must(create(props))
		w.working(path)
		second := w.parameter(path, "cognito_domain")
		w.must(event(cfn.RequestDelete, id, props, nil))
		w.nothingLeft()
		w.must(create(props))
		if got := w.parameter(path, "cognito_domain"); got != second || strings.HasSuffix(got, "/"+first) {
			t.Errorf("domain: got %s, want %s again", got, second)
		}
	})
	t.Run("pool has another", func(t *testing.T) {
		w := newWorld(t)
		w.refused(create(properties(w.pool, map[string]any{"DomainPrefix": "mine"})), `has the domain "there"`)
		w.nothingLeft()
	})
	t.Run("pool has one of its own name", func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config()
		cfg.HTTPClient = customDomain{}
		w.handler = &provision.Handler{Provisioner: provision.New(cfg)}
		w.must(create(properties(w.pool, nil)))
		if got := w.parameter(path, "cognito_domain"); got != "https://auth.example.org" {
			t.Errorf("domain: got %s, want the pool's own", got)
		}
	})
	t.Run("pool has that one", func(t *testing.T) {
		w := newWorld(t)
		w.must(create(properties(w.pool, map[string]any{"DomainPrefix": "there"})))
		w.working(path)
	})
}

// customDomain is an HTTP client behind which every user pool has a domain of its
// own name as well, which the stand-in does not have.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UserPoolType.html
type customDomain struct{}

func (customDomain) Do(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(r)
	if err != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DescribeUserPool") {
		return resp, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	text = bytes.Replace(text, []byte(`"UserPool":{`), []byte(`"UserPool":{"CustomDomain":"auth.example.org",`), 1)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return resp, err
}

// case 17
func TestHandle_manyPoolsAndDecoys(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	id, _ := w.must(create(props))
	own := w.parameter(path, "userpool_id")
	d, err := w.cognito.DescribeUserPool(t.Context(), &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: aws.String(own)})
	if err != nil {
		t.Fatal(err)
	}
	w.must(event(cfn.RequestDelete, id, props, nil))
	decoy := w.makePool(aws.ToString(d.UserPool.Name)) // our name, not our tag
	w.pass(time.Minute)
	for i := range 130 {
		w.makePool(fmt.Sprint("pool-", i))
	}
	w.before = w.aws.Leftovers()
	w.must(create(props)) // the pool comes last, on the third page
	own = w.parameter(path, "userpool_id")
	if own == decoy {
		t.Fatal("took a pool that only has the name of ours")
	}
	second := create(map[string]any{"McpName": "search"})
	second.LogicalResourceID = "Search"
	id2, _ := w.must(second)
	if got := w.parameter("/app/mcp/search/", "userpool_id"); got != own {
		t.Errorf("pool of the second server: got %s, want %s", got, own)
	}
	// Other people's clients, enough for three pages, around a half-made one of ours.
	for i := range 130 {
		_, err := w.cognito.CreateUserPoolClient(t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
			UserPoolId: aws.String(own), ClientName: aws.String([]string{"mcp-calc", "mcp-search", "calc"}[i%3]),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	params := ssm.NewFromConfig(w.config())
	if _, err := params.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: []string{path + credstore.ClientID, path + credstore.ClientSecret}}); err != nil {
		t.Fatal(err)
	}
	w.must(create(props))
	w.working(path)
	second.RequestType, second.PhysicalResourceID = cfn.RequestDelete, id2
	w.must(second)
	w.must(event(cfn.RequestDelete, id, props, nil))
	clients := 0
	for _, line := range w.aws.Leftovers() {
		if strings.HasPrefix(line, "client ") {
			clients++
		}
	}
	if clients != 130 { // and so the pool has to stay
		t.Errorf("other people's app clients: got %d, want 130", clients)
	}
}

// case 17: of two pools of ours, which two runs have made at once, the older is
// the one.
func TestHandle_twoOwnPools(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties("", nil)))
	own := w.parameter(path, "userpool_id")
	d, err := w.cognito.DescribeUserPool(t.Context(), &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: aws.String(own)})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	if _, err := w.cognito.CreateUserPool(t.Context(), &cognitoidentityprovider.CreateUserPoolInput{
		PoolName: d.UserPool.Name, UserPoolTags: d.UserPool.UserPoolTags,
	}); err != nil {
		t.Fatal(err)
	}
	second := create(map[string]any{"McpName": "search"})
	second.LogicalResourceID = "Search"
	w.must(second)
	if got := w.parameter("/app/mcp/search/", "userpool_id"); got != own {
		t.Errorf("pool of the second server: got %s, want the older one, %s", got, own)
	}
}

// cases 6 and 17: of several app clients of one server the one stays whose
// secret readers have, and the others go.
func TestHandle_twoClients(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	_, data := w.must(create(props))
	id := data["ClientId"].(string)
	d, err := w.cognito.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	for smaller := false; !smaller; { // among them one that comes before it
		c, err := w.cognito.CreateUserPoolClient(t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
			UserPoolId: aws.String(w.pool), ClientName: d.UserPoolClient.ClientName, GenerateSecret: true,
			AllowedOAuthFlows: d.UserPoolClient.AllowedOAuthFlows, AllowedOAuthFlowsUserPoolClient: true, AllowedOAuthScopes: d.UserPoolClient.AllowedOAuthScopes,
		})
		if err != nil {
			t.Fatal(err)
		}
		smaller = aws.ToString(c.UserPoolClient.ClientId) < id
	}
	if err := w.store().Delete(t.Context(), "calc", credstore.ClientID); err != nil {
		t.Fatal(err)
	}
	if _, data := w.must(create(props)); data["ClientId"] != id {
		t.Errorf("app client: got %s, want %s, whose secret is published", data["ClientId"], id)
	}
	w.working(path) // and there is one
}

// case 18
func TestHandle_limitIsFinal(t *testing.T) {
	w := newWorld(t)
	tries := 0
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "CreateResourceServer" {
			return nil
		}
		tries++
		return &localaws.Fault{Status: 400, Type: "LimitExceededException", Message: "25 resource servers"}
	})
	w.refused(create(properties(w.pool, nil)), "LimitExceededException")
	if tries != 1 {
		t.Errorf("requests: got %d, want 1", tries)
	}
}

// case 19: whatever the moment, the secret and the client id that are
// recorded belong together.
func TestHandle_readersNeverSeeATornPair(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, map[string]any{"SecretVersion": "1"})
	torn := 0
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault { // a reader between any two calls
		if rec.Service == "oauth" || w.parameter(path, "machine_client_id") == "" {
			return nil
		}
		if _, err := w.token(path, w.parameter(path, "cognito_secret")); err != nil {
			torn++
			t.Logf("before %s: %v", rec.Operation, err)
		}
		return nil
	})
	id, _ := w.must(create(props))
	next := properties(w.pool, map[string]any{"SecretVersion": "2"})
	w.must(event(cfn.RequestUpdate, id, next, props))
	if torn > 0 {
		t.Errorf("got %d moments with credentials that do not work", torn)
	}
}

// case 19: nor while another client takes the place of the recorded one. Then
// a reader is told to come again.
func TestHandle_readersNeverSeeATornPair_move(t *testing.T) {
	w := newWorld(t)
	from, to := properties(w.second(), nil), properties(w.pool, nil)
	id, _ := w.must(create(from))
	reader := w.store()
	reader.Wait = func(context.Context, time.Duration) error { return nil }
	var reading atomic.Bool
	pairs, held := map[string]bool{}, 0
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault { // a reader between any two calls
		if rec.Service == "oauth" || !reading.CompareAndSwap(false, true) {
			return nil
		}
		defer reading.Store(false)
		c, err := reader.Read(t.Context(), "calc")
		switch {
		case errors.Is(err, credstore.ErrHeld):
			held++
		case err != nil:
			t.Errorf("before %s: %v", rec.Operation, err)
		default:
			pairs[c.ClientID] = true
			if err := w.tokenFor(c); err != nil {
				t.Errorf("before %s: %v", rec.Operation, err)
			}
		}
		return nil
	})
	there, _ := w.must(event(cfn.RequestUpdate, id, to, from))
	back, _ := w.must(event(cfn.RequestUpdate, there, from, to))
	w.aws.SetFault(nil)
	if len(pairs) != 2 || held == 0 || held > 20 {
		t.Errorf("got %d app clients and %d reads refused, want 2 and some", len(pairs), held)
	}
	if _, err := reader.Read(t.Context(), "calc"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	w.must(event(cfn.RequestDelete, there, to, nil))
	w.working(path)
	w.must(event(cfn.RequestDelete, back, from, nil))
	w.nothingLeft()
}

// cases 6 and 19: the same replacement, delivered several times at once.
func TestHandle_moveAtOnce(t *testing.T) {
	w := newWorld(t)
	from, to := properties(w.second(), nil), properties(w.pool, nil)
	for round := range 3 {
		id, _ := w.must(create(from))
		w.aws.SetFault(func(rec localaws.Record) *localaws.Fault { // so that each finds the others' half-done work
			if rec.Operation == "CreateUserPoolClient" {
				return &localaws.Fault{Delay: time.Duration(1+4*round) * time.Millisecond}
			}
			return nil
		})
		ids, errs := w.handleAtOnce(3, event(cfn.RequestUpdate, id, to, from))
		for i := range errs {
			if errs[i] != nil || ids[i] != ids[0] {
				t.Fatalf("round %d: got %q, %v", round, ids[i], errs[i])
			}
		}
		w.aws.SetFault(nil)
		w.working(path)
		w.must(event(cfn.RequestDelete, id, from, nil))
		w.working(path)
		w.must(event(cfn.RequestDelete, ids[0], to, nil))
		w.nothingLeft()
		if t.Failed() {
			return
		}
	}
}
