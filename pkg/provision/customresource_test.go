package provision_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

// The properties of Custom::MCPClient, which templates depend on: each is
// decoded into a field of its own, from text as CloudFormation sends it, and no
// field of Desired is without one.
func TestDecode_everyProperty(t *testing.T) {
	props := map[string]any{"ServiceToken": "x", "ServiceTimeout": "300"}
	fields := map[string]any{}
	add := func(property string, value any, field string, want any) { props[property], fields[field] = value, want }
	add("McpName", "calc", "Name", "calc")
	add("UserPoolId", "eu-central-1_abc", "UserPoolID", "eu-central-1_abc")
	add("DomainPrefix", "mine", "DomainPrefix", "mine")
	add("Scopes", "read, write", "Scopes", []string{"read", "write"})
	add("AccessTokenMinutes", "15", "AccessTokenMinutes", int32(15))
	add("KmsKeyId", "alias/mine", "KMSKeyID", "alias/mine")
	add("SecretVersion", "2", "SecretVersion", "2")
	add("RetainOnDelete", "true", "RetainOnDelete", true)
	add("Adopt", "true", "Adopt", true)
	props["ParameterPrefix"] = "/team/x"

	d, prefix, err := provision.Decode(props)
	if err != nil || prefix != "/team/x" {
		t.Fatalf("got prefix %q, error %v", prefix, err)
	}
	v := reflect.ValueOf(d)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if want, ok := fields[f.Name]; f.IsExported() && (!ok || !reflect.DeepEqual(v.Field(i).Interface(), want)) {
			t.Errorf("field %s: got %v, want %v", f.Name, v.Field(i), want)
		}
		delete(fields, f.Name)
	}
	if len(fields) > 0 {
		t.Errorf("no field for %v", fields)
	}

	// Alone, only the name has to be there; what is absent is left to the defaults.
	d, prefix, err = provision.Decode(map[string]any{"ServiceToken": "x", "McpName": "calc"})
	if err != nil || prefix != credstore.DefaultPrefix || !reflect.DeepEqual(d, provision.Desired{Name: "calc"}) {
		t.Errorf("name alone: got %+v, prefix %q, error %v", d, prefix, err)
	}
	// The spelling counts.
	for name, value := range props {
		if name == "ServiceToken" {
			continue
		}
		wrong := strings.ToLower(name[:1]) + name[1:]
		if _, _, err := provision.Decode(map[string]any{"McpName": "calc", wrong: value}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: got error %v, want one that names it", wrong, err)
		}
	}
}

// case 15: an update whose properties were refused is taken back by one that has
// them as the old ones. A pool that does not exist is refused as well.
func TestHandle_backFromRefused(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, _ := w.must(create(props))
	for _, refused := range []map[string]any{
		properties(w.pool, map[string]any{"Typo": "x"}), properties("eu-central-1_notthere1", nil),
	} {
		w.refused(event(cfn.RequestUpdate, id, refused, props), "")
		if ops := writes(w.calls(func() { w.must(event(cfn.RequestUpdate, id, props, refused)) })); len(ops) > 0 {
			t.Errorf("back from %v: got writes %q, want none", refused, ops)
		}
		w.working(path)
	}
	w.refused(create(properties("eu-central-1_notthere1", nil)), "user pool eu-central-1_notthere1 does not exist in eu-central-1: check UserPoolId")
}

// A client that somebody has renamed goes with its server all the same.
func TestHandle_deleteRenamed(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, data := w.must(create(props))
	if _, err := w.cognito.UpdateUserPoolClient(t.Context(), &cognitoidentityprovider.UpdateUserPoolClientInput{
		UserPoolId: aws.String(w.pool), ClientId: aws.String(data["ClientId"].(string)), ClientName: aws.String("by hand"),
		AllowedOAuthFlows: []types.OAuthFlowType{types.OAuthFlowTypeClientCredentials}, AllowedOAuthFlowsUserPoolClient: true, AllowedOAuthScopes: []string{"calc/invoke"},
	}); err != nil {
		t.Fatal(err)
	}
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.nothingLeft()
}

// A prefix may be longer than a tag: the pool's is a hash of it then.
func TestHandle_longPrefix(t *testing.T) {
	w := newWorld(t)
	prefix := "/" + strings.Repeat("a", 300)
	props := properties("", map[string]any{"ParameterPrefix": prefix})
	id, _ := w.must(create(props))
	if err := w.checkSet(prefix + "/calc/"); err != nil {
		t.Error(err)
	}
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.nothingLeft()
}

// case 12: a prefix that alone changes is a replacement too. In a given pool
// both identities share the one resource server that the name allows.
func TestHandle_prefixAlone(t *testing.T) {
	w := newWorld(t)
	old, moved := properties(w.pool, nil), properties(w.pool, map[string]any{"ParameterPrefix": "/team/x"})
	id, _ := w.must(create(old))
	there, _ := w.must(event("Update", id, moved, old))
	back, _ := w.must(event("Update", there, old, moved)) // another resource of the stack failed
	w.must(event("Delete", there, moved, nil))
	w.working(path)
	there, _ = w.must(event("Update", back, moved, old))
	w.must(event("Delete", back, old, nil))
	w.working("/team/x/calc/")
	w.must(event("Delete", there, moved, nil))
	w.nothingLeft()

	// And with a pool made here, one for each prefix.
	old, moved = properties("", nil), properties("", map[string]any{"ParameterPrefix": "/team/x"})
	id, _ = w.must(create(old))
	there, _ = w.must(event("Update", id, moved, old))
	w.must(event("Delete", id, old, nil))
	if err := w.checkSet("/team/x/calc/"); err != nil {
		t.Error(err)
	}
	w.must(event("Delete", there, moved, nil))
	w.nothingLeft()
}

// case 12: a pool that was made here may be named by its id, or no longer be.
// That replaces nothing, and so has no Delete after it.
func TestHandle_ownPoolByID(t *testing.T) {
	w := newWorld(t)
	first := create(map[string]any{"ServiceToken": "x", "McpName": "search"})
	first.LogicalResourceID = "Search"
	w.must(first)
	unnamed, named := properties("", nil), properties(w.parameter("/app/mcp/search/", "userpool_id"), nil)
	for range 2 {
		was, _ := w.must(create(unnamed))
		for _, e := range []cfn.Event{
			event(cfn.RequestUpdate, was, named, unnamed),
			event(cfn.RequestUpdate, was, named, named),
			event(cfn.RequestUpdate, was, unnamed, named),
		} {
			if id, _ := w.must(e); id != was {
				t.Errorf("physical id: got %q, want %q still", id, was)
			}
			if err := w.checkSet(path); err != nil {
				t.Error(err)
			}
		}
		w.must(event(cfn.RequestDelete, was, unnamed, nil))
		if err := w.checkSet("/app/mcp/search/"); err != nil {
			t.Error(err)
		}
		unnamed, named = named, unnamed
	}
}
