package provision_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// case 20
func TestHandle_secretGoneFromParameterStore(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, _ := w.must(create(props))
	params := ssm.NewFromConfig(w.config())
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
	// Nor does it when that is the only one.
	w.pass(24 * time.Hour)
	if res, err := w.rotator().Rotate(t.Context(), "calc"); err != nil || len(res.Changes) == 0 {
		t.Fatal(res, err)
	}
	w.pass(24 * time.Hour)
	if res, err := w.rotator().Tidy(t.Context(), "calc"); err != nil || len(res.Changes) == 0 {
		t.Fatal(res, err)
	}
	lose()
	w.must(event(cfn.RequestUpdate, id, props, props))
	w.working(path)
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
		"another stack that would retain": {StackID: stackB, LogicalResourceID: "Calc"},
		"another pool":                    {StackID: stackB, LogicalResourceID: "Calc"},
		"another prefix in the same pool": {StackID: stackB, LogicalResourceID: "Calc"},
	} {
		theirs := create(properties(w.pool, nil))
		theirs.StackID, theirs.LogicalResourceID = e.StackID, e.LogicalResourceID
		switch what {
		case "another stack that would adopt":
			theirs.ResourceProperties["Adopt"] = "true"
		case "another stack that would retain":
			theirs.ResourceProperties["RetainOnDelete"] = "true"
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

// case 25: two owners make the same server in two pools. The parameters are
// those of the first to be done, and what the other has made goes.
func TestHandle_overtaken(t *testing.T) {
	w := newWorld(t)
	slow, fast := create(properties(w.second(), nil)), create(properties(w.pool, nil))
	fast.StackID = stackB
	var begun atomic.Bool
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "CreateUserPoolClient" && begun.CompareAndSwap(false, true) {
			w.must(fast)
		}
		return nil
	})
	w.refused(slow, "belong")
	w.working(path)
	fast.RequestType, fast.PhysicalResourceID = cfn.RequestDelete, "mcp-client:/app/mcp/calc:"+w.pool
	w.must(fast)
	w.nothingLeft()
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

// On the command line a server stays in its pool: nobody would send the Delete
// for what it leaves in another.
func TestEnsure_staysInItsPool(t *testing.T) {
	w := newWorld(t)
	other := w.second()
	first, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc"})
	if err != nil || len(res.Changes) > 0 || res.UserPoolID != first.UserPoolID {
		t.Errorf("again, without the pool: got %+v, %v, want no change", res, err)
	}
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: other}); err == nil || !strings.Contains(err.Error(), w.pool) {
		t.Errorf("another pool: got %v, want an error that names the server's", err)
	}
	if _, err := w.p.Remove(t.Context(), provision.Desired{Name: "calc"}); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
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
