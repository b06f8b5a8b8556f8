package provision_test

// Where the cases of the custom resource are held. Those of the reply itself
// (1 to 4, 23, 24, and the reply in 28) belong to pkg/customresource.
//
//	 5  TestSecretsStayInside
//	 6  TestHandle_sameEventAtOnce, TestHandle_sameEventAtOnce_ownPool, TestRotate_atOnce
//	 7  TestFaults, TestFaults_delete
//	 8  TestFaults_rollback, TestHandle_deleteOfUnknownID
//	 9  TestHandle_deleteOfAnySubset
//	10  TestHandle_ownPool
//	11  TestHandle_ownPool
//	12  TestFaults ("Move to another pool"), TestHandle_rename
//	13  TestHandle_lifecycle, TestHandle_ownPool
//	14  TestHandle_lifecycle, TestHandle_updateKeepsOtherSettings
//	15  TestFaults_rollback
//	16  TestHandle_domains
//	17  TestHandle_manyPoolsAndDecoys
//	18  TestFaults, TestHandle_limitIsFinal
//	19  TestHandle_readersNeverSeeATornPair
//	20  TestHandle_secretGoneFromParameterStore
//	21  TestRotate
//	22  TestHandle_refusesJunk, FuzzHandle
//	25  TestHandle_secondOwner
//	26  TestHandle_scopeNotVisibleYet
//	27  TestHandle_poolThatMustStay
//	28  TestHandle_refusesJunk, FuzzHandle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

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
	w.nothingLeft()
}

// case 9
func TestHandle_deleteOfAnySubset(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	params := ssm.NewFromConfig(w.aws.AWSConfig())
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
	t.Run("pool has that one", func(t *testing.T) {
		w := newWorld(t)
		w.must(create(properties(w.pool, map[string]any{"DomainPrefix": "there"})))
		w.working(path)
	})
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
	w.makePool(aws.ToString(d.UserPool.Name)) // a decoy: our name, not our tag
	for i := range 130 {
		w.makePool(fmt.Sprint("pool-", i))
	}
	w.before = w.aws.Leftovers()
	w.must(create(props)) // the pool comes last, on the third page
	own = w.parameter(path, "userpool_id")
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
	params := ssm.NewFromConfig(w.aws.AWSConfig())
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

// case 20
func TestHandle_secretGoneFromParameterStore(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, _ := w.must(create(props))
	params := ssm.NewFromConfig(w.aws.AWSConfig())
	lose := func() {
		t.Helper()
		if _, err := params.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String(path + credstore.ClientSecret)}); err != nil {
			t.Fatal(err)
		}
	}
	before := w.parameter(path, "cognito_secret")
	lose()
	w.must(event(cfn.RequestUpdate, id, props, props))
	if got := w.parameter(path, "cognito_secret"); got != before {
		t.Error("the secret is not the one that the client had")
	}
	w.working(path)
	// Cognito does not show a rotated secret: then there is a new one.
	w.pass(24 * time.Hour)
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	lose()
	w.must(event(cfn.RequestUpdate, id, props, props))
	w.working(path)
}

// rotator is the command line.
func (w *world) rotator() *provision.Provisioner {
	p := *w.p
	return &p
}

// case 21
func TestRotate(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, map[string]any{"KmsKeyId": "alias/mine", "SecretVersion": "1"})
	id, _ := w.must(create(props))
	var live []string
	for range 3 {
		live = append(live, w.parameter(path, "cognito_secret"))
		w.pass(time.Hour)
		if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
			t.Fatal(err)
		}
		w.working(path)
		if got := w.aws.Parameters()[path+"cognito_secret"].KeyID; got != "alias/mine" {
			t.Errorf("key of the secret: got %s, want alias/mine still", got)
		}
		if _, err := w.token(path, live[len(live)-1]); err != nil {
			t.Errorf("the secret before: %v", err)
		}
		if n := len(live); n > 1 {
			if _, err := w.token(path, live[n-2]); err == nil {
				t.Error("the secret before the last one still works")
			}
		}
	}
	// The replaced secret goes when its time is over, and not before.
	tidy := func() []string {
		t.Helper()
		res, err := w.rotator().Tidy(t.Context(), "calc")
		if err != nil {
			t.Fatal(err)
		}
		return res.Changes
	}
	if got := tidy(); len(got) > 0 {
		t.Errorf("too early: got %q", got)
	}
	w.pass(3 * time.Hour)
	if got := tidy(); len(got) != 1 {
		t.Errorf("after the overlap: got %q, want one change", got)
	}
	if _, err := w.token(path, live[2]); err == nil {
		t.Error("the replaced secret still works after the overlap")
	}
	w.working(path)
	// The stack did not ask for another version and gets none.
	if ops := writes(w.calls(func() { w.must(event(cfn.RequestUpdate, id, props, props)) })); len(ops) > 0 {
		t.Errorf("Update without a change after a rotation: got writes %q", ops)
	}
}

var (
	long  = strings.Repeat("x", 10<<10)
	junks = []struct {
		props map[string]any
		want  string
	}{
		{map[string]any{"McpName": ""}, "McpName is missing"},
		{map[string]any{"McpName": 7.0}, "McpName: want a string"},
		{map[string]any{"McpName": "a/b"}, "server name"},
		{map[string]any{"McpName": "../other"}, "server name"},
		{map[string]any{"McpName": "a b"}, "server name"},
		{map[string]any{"McpName": "a\x00b"}, "server name"},
		{map[string]any{"McpName": "ä"}, "server name"},
		{map[string]any{"McpName": "a\n"}, "server name"},
		{map[string]any{"McpName": long}, "server name"},
		{map[string]any{"ParameterPrefix": "app"}, "parameter prefix"},
		{map[string]any{"ParameterPrefix": "/app/../x/.."}, ""},
		{map[string]any{"ParameterPrefix": "/aws/x"}, "parameter prefix"},
		{map[string]any{"ParameterPrefix": "/app/"}, "parameter prefix"},
		{map[string]any{"UserPoolId": "nonsense"}, "UserPoolId"},
		{map[string]any{"UserPoolId": "us-east-1_abc"}, "must be in this region"},
		{map[string]any{"DomainPrefix": "-x"}, "DomainPrefix"},
		{map[string]any{"DomainPrefix": "my-aws-login"}, "DomainPrefix"},
		{map[string]any{"Scopes": []any{}}, "Scopes: want 1"},
		{map[string]any{"Scopes": []any{"a", "a"}}, "twice"},
		{map[string]any{"Scopes": "a,,b"}, "Scopes"},
		{map[string]any{"Scopes": []any{"a/b"}}, "Scopes"},
		{map[string]any{"Scopes": []any{1.0}}, "Scopes: want strings"},
		{map[string]any{"Scopes": map[string]any{}}, "Scopes: want a list"},
		{map[string]any{"AccessTokenMinutes": "4"}, "AccessTokenMinutes"},
		{map[string]any{"AccessTokenMinutes": "1441"}, "AccessTokenMinutes"},
		{map[string]any{"AccessTokenMinutes": "5.5"}, "AccessTokenMinutes"},
		{map[string]any{"AccessTokenMinutes": "0x10"}, "AccessTokenMinutes"},
		{map[string]any{"AccessTokenMinutes": true}, "AccessTokenMinutes"},
		{map[string]any{"KmsKeyId": "{{x}}"}, "KmsKeyId"},
		{map[string]any{"SecretVersion": "a\tb"}, "SecretVersion"},
		{map[string]any{"RetainOnDelete": "yes"}, "RetainOnDelete"},
		{map[string]any{"Adopt": []any{}}, "Adopt"},
		{map[string]any{"Adopted": "true"}, `"Adopted" is unknown`},
	}
)

// cases 22 and 28
func TestHandle_refusesJunk(t *testing.T) {
	w := newWorld(t)
	none := len(w.aws.Records())
	for _, j := range junks {
		if j.want != "" {
			w.refused(create(properties("", j.props)), j.want)
		}
	}
	for want, change := range map[string]func(*cfn.Event){
		"RequestType":       func(e *cfn.Event) { e.RequestType = "Explode" },
		"StackId":           func(e *cfn.Event) { e.StackID = "" },
		"LogicalResourceId": func(e *cfn.Event) { e.LogicalResourceID = "a b" },
		"ResourceType":      func(e *cfn.Event) { e.ResourceType = "Custom::Other" },
		"RequestId":         func(e *cfn.Event) { e.RequestID = "" },
		"McpName":           func(e *cfn.Event) { e.ResourceProperties = nil },
		"PhysicalResource":  func(e *cfn.Event) { e.RequestType = cfn.RequestUpdate },
	} {
		e := create(properties("", nil))
		change(&e)
		w.refused(e, want)
	}
	if got := len(w.aws.Records()); got != none {
		t.Errorf("calls to AWS: got %d, want none", got-none)
	}
}

// case 25
func TestHandle_secondOwner(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, _ := w.must(create(props))
	was := w.aws.Leftovers()
	for what, e := range map[string]cfn.Event{
		"another stack":                   {StackID: stackB, LogicalResourceID: "Calc"},
		"another resource of the stack":   {StackID: stackA, LogicalResourceID: "Calc2"},
		"another stack that would adopt":  {StackID: stackB, LogicalResourceID: "Calc"},
		"another pool":                    {StackID: stackB, LogicalResourceID: "Calc"},
		"another prefix in the same pool": {StackID: stackB, LogicalResourceID: "Calc"},
	} {
		theirs := create(properties(w.pool, nil))
		theirs.StackID, theirs.LogicalResourceID = e.StackID, e.LogicalResourceID
		switch what {
		case "another stack that would adopt":
			theirs.ResourceProperties["Adopt"] = "true"
		case "another pool":
			delete(theirs.ResourceProperties, "UserPoolId")
		case "another prefix in the same pool":
			theirs.ResourceProperties["ParameterPrefix"] = "/else"
		}
		theirID, _, err := w.handler.Handle(t.Context(), theirs)
		if err == nil || !strings.Contains(err.Error(), "belong") {
			t.Errorf("%s: got error %v, want one that names the owner", what, err)
		}
		theirs.RequestType, theirs.PhysicalResourceID = cfn.RequestDelete, theirID
		w.must(theirs)
		if got := w.aws.Leftovers(); strings.Join(got, "\n") != strings.Join(was, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(was, "\n"))
		}
		w.working(path)
	}
	// Two owners at the same moment: one of them gets it.
	w.must(event(cfn.RequestDelete, id, props, nil))
	b := create(props)
	b.StackID = stackB
	var errA, errB error
	var both sync.WaitGroup
	both.Go(func() { _, _, errA = w.handler.Handle(t.Context(), create(props)) })
	both.Go(func() { _, _, errB = w.handler.Handle(t.Context(), b) })
	both.Wait()
	if (errA == nil) == (errB == nil) {
		t.Errorf("two owners at once: got %v and %v, want one error", errA, errB)
	}
	w.working(path)
}

func TestHandle_adopt(t *testing.T) {
	w := newWorld(t)
	// A set as the guide's script leaves it.
	c, err := w.cognito.CreateUserPoolClient(t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: aws.String(w.pool), ClientName: aws.String("calc-m2m"), GenerateSecret: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	params := ssm.NewFromConfig(w.aws.AWSConfig())
	for name, value := range map[string]string{
		"machine_client_id": aws.ToString(c.UserPoolClient.ClientId), "cognito_secret": aws.ToString(c.UserPoolClient.ClientSecret), "userpool_id": w.pool,
	} {
		typ := ssmtypes.ParameterTypeString
		if name == "cognito_secret" {
			typ = ssmtypes.ParameterTypeSecureString
		}
		if _, err := params.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(path + name), Value: aws.String(value), Type: typ}); err != nil {
			t.Fatal(err)
		}
	}
	w.refused(create(properties("", nil)), "Adopt")
	adopt := properties("", map[string]any{"Adopt": "true"})
	id, data := w.must(create(adopt))
	w.working(path)
	if got := data["ClientId"]; got != aws.ToString(c.UserPoolClient.ClientId) || w.parameter(path, "userpool_id") != w.pool {
		t.Errorf("adopted client: got %v in pool %s", got, w.parameter(path, "userpool_id"))
	}
	if ops := writes(w.calls(func() { w.must(event(cfn.RequestUpdate, id, properties("", nil), adopt)) })); len(ops) > 0 {
		t.Errorf("Update after the adoption: got writes %q", ops)
	}
	// Given up, it can be adopted by another stack.
	w.must(event(cfn.RequestDelete, id, properties("", map[string]any{"RetainOnDelete": "true"}), nil))
	w.working(path)
	b := create(adopt)
	b.StackID = stackB
	idB, _ := w.must(b)
	w.working(path)
	w.must(event(cfn.RequestDelete, id, adopt, nil)) // the first owner has nothing left to say
	w.working(path)
	b.RequestType, b.PhysicalResourceID = cfn.RequestDelete, idB
	w.must(b)
	w.nothingLeft() // the pool came from elsewhere and stays
}

// case 26
func TestHandle_scopeNotVisibleYet(t *testing.T) {
	w := newWorld(t)
	for _, misses := range []int{3, 1000} {
		tries := 0
		w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
			if tries++; rec.Operation == "CreateUserPoolClient" && tries < misses {
				return &localaws.Fault{Status: 400, Type: "ScopeDoesNotExistException", Message: "not yet"}
			}
			return nil
		})
		id, _, err := w.handler.Handle(t.Context(), create(properties(w.pool, nil)))
		w.aws.SetFault(nil)
		if got, want := err == nil, misses < 1000; got != want {
			t.Errorf("%d misses: got error %v", misses, err)
		}
		if tries > 40 {
			t.Errorf("%d misses: got %d calls, want an end of it", misses, tries)
		}
		w.must(event(cfn.RequestDelete, id, properties(w.pool, nil), nil))
	}
}

// case 27
func TestHandle_poolThatMustStay(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	id, _ := w.must(create(props))
	own := aws.String(w.parameter(path, "userpool_id"))
	d, err := w.cognito.DescribeUserPool(t.Context(), &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: own})
	if err != nil {
		t.Fatal(err)
	}
	protect := func(p types.DeletionProtectionType) {
		t.Helper()
		_, err := w.cognito.UpdateUserPool(t.Context(), &cognitoidentityprovider.UpdateUserPoolInput{
			UserPoolId: own, DeletionProtection: p, UserPoolTags: d.UserPool.UserPoolTags, AdminCreateUserConfig: &types.AdminCreateUserConfigType{AllowAdminCreateUserOnly: true},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := event(cfn.RequestDelete, id, props, nil)
	protect(types.DeletionProtectionTypeActive)
	w.refused(remove, "deletion protection")
	w.working(path)
	protect(types.DeletionProtectionTypeInactive)
	if _, err := w.cognito.AdminCreateUser(t.Context(), &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: own, Username: aws.String("anna"), MessageAction: types.MessageActionTypeSuppress}); err != nil {
		t.Fatal(err)
	}
	w.refused(remove, "1 users")
	w.working(path)
	if _, err := w.cognito.AdminDeleteUser(t.Context(), &cognitoidentityprovider.AdminDeleteUserInput{UserPoolId: own, Username: aws.String("anna")}); err != nil {
		t.Fatal(err)
	}
	w.must(remove)
	w.nothingLeft()
}

func TestPlan(t *testing.T) {
	w := newWorld(t)
	w.p.Owner = provision.CommandLine
	for _, pool := range []string{w.pool, ""} {
		d := provision.Desired{Name: "calc", UserPoolID: pool}
		var plan, done provision.Result
		var err error
		if ops := writes(w.calls(func() { plan, err = w.p.Plan(t.Context(), d) })); err != nil || len(ops) > 0 {
			t.Fatalf("Plan: got error %v, writes %q", err, ops)
		}
		if done, err = w.p.Ensure(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if len(plan.Changes) < 4 || len(plan.Changes) != len(done.Changes) {
			t.Errorf("plan: got\n%s\nwant as many lines as were done:\n%s", strings.Join(plan.Changes, "\n"), strings.Join(done.Changes, "\n"))
		}
		if plan, err = w.p.Plan(t.Context(), d); err != nil || len(plan.Changes) > 0 {
			t.Errorf("plan afterwards: got %q, %v", plan.Changes, err)
		}
		if ops := writes(w.calls(func() { plan, err = w.p.PlanRemoval(t.Context(), d) })); err != nil || len(ops) > 0 {
			t.Fatalf("PlanRemoval: got error %v, writes %q", err, ops)
		}
		if done, err = w.p.Remove(t.Context(), d); err != nil || len(done.Changes) != len(plan.Changes) {
			t.Errorf("removed: got %q, %v, want as planned %q", done.Changes, err, plan.Changes)
		}
		w.nothingLeft()
	}
}

// FuzzHandle: an event is either wholly valid or refused, and never a panic.
// Nothing listens where the calls would go, so a success is a lie. Cases 22, 28.
func FuzzHandle(f *testing.F) {
	for _, j := range junks {
		text, err := json.Marshal(create(properties("", j.props)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"RequestType":"Create"`))
	p := provision.New(aws.Config{Region: "eu-central-1", BaseEndpoint: aws.String("http://127.0.0.1:1")})
	h := provision.Handler{Provisioner: p}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, text []byte) {
		var e cfn.Event
		if json.Unmarshal(text, &e) != nil {
			return
		}
		id, data, err := h.Handle(ctx, e)
		if err == nil && e.RequestType != cfn.RequestDelete {
			t.Errorf("got success %q %v", id, data)
		}
		if len(id) > 1024 && id != e.PhysicalResourceID {
			t.Errorf("physical id: got %d bytes", len(id))
		}
	})
}
