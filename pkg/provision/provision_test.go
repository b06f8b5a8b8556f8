package provision_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/localaws"
)

const path = "/app/mcp/calc/"

func TestHandle_lifecycle(t *testing.T) {
	w := newWorld(t)
	var id string
	var data map[string]any
	props := properties(w.pool, nil)

	if ops := w.calls(func() { id, data = w.must(create(props)) }); len(ops) > 10 {
		t.Errorf("first Create in an existing pool: got %d calls %q, want at most 10", len(ops), ops)
	}
	w.working(path)
	want := map[string]any{
		"UserPoolId":    w.pool,
		"ClientId":      w.parameter(path, "machine_client_id"),
		"DiscoveryUrl":  w.aws.URL() + "/" + w.pool + "/.well-known/openid-configuration",
		"Issuer":        w.aws.URL() + "/" + w.pool,
		"TokenEndpoint": w.aws.URL() + "/there/oauth2/token",
		"Scope":         "calc/invoke",
		"ParameterPath": path,
	}
	for name := range want {
		if data[name] != want[name] {
			t.Errorf("attribute %s: got %v, want %v", name, data[name], want[name])
		}
	}
	if len(data) != len(want) {
		t.Errorf("attributes: got %v", data)
	}

	// case 13: nothing changed, nothing written
	was := w.aws.Parameters()
	for _, e := range []cfn.Event{create(props), event(cfn.RequestUpdate, id, props, props), event(cfn.RequestUpdate, id, properties(w.pool, map[string]any{"ServiceTimeout": "300"}), props)} {
		var again string
		if ops := writes(w.calls(func() { again, _ = w.must(e) })); len(ops) > 0 {
			t.Errorf("%s without a change: got writes %q", e.RequestType, ops)
		}
		if again != id {
			t.Errorf("physical id: got %q, want the same %q", again, id)
		}
	}
	for name, p := range w.aws.Parameters() {
		if p.Version != was[name].Version {
			t.Errorf("parameter %s: got version %d, want %d still", name, p.Version, was[name].Version)
		}
	}

	// case 14: the rest of the client survives an update
	changed := properties(w.pool, map[string]any{"Scopes": []any{"invoke", "read"}, "AccessTokenMinutes": "15"})
	if again, _ := w.must(event(cfn.RequestUpdate, id, changed, props)); again != id {
		t.Errorf("physical id after an update: got %q, want %q", again, id)
	}
	w.working(path, "invoke", "read")

	w.must(event(cfn.RequestDelete, id, changed, nil))
	w.nothingLeft()
	w.must(event(cfn.RequestDelete, id, changed, nil)) // case 9
}

func TestHandle_ownPool(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	id, _ := w.must(create(props))
	w.working(path)
	if ops := writes(w.calls(func() { w.must(event(cfn.RequestUpdate, id, props, props)) })); len(ops) > 0 {
		t.Errorf("Update without a change: got writes %q", ops)
	}
	// case 11: a second server shares the pool and outlives the first
	second := create(map[string]any{"ServiceToken": "x", "McpName": "search"})
	second.LogicalResourceID = "Search"
	id2, _ := w.must(second)
	if got, want := w.parameter("/app/mcp/search/", "userpool_id"), w.parameter(path, "userpool_id"); got != want {
		t.Errorf("pool of the second server: got %s, want the first one's %s", got, want)
	}
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.working("/app/mcp/search/")
	second.RequestType, second.PhysicalResourceID = cfn.RequestDelete, id2
	ops := w.calls(func() { w.must(second) })
	w.nothingLeft()
	// case 10
	if d, p := slices.Index(ops, "DeleteUserPoolDomain"), slices.Index(ops, "DeleteUserPool"); d < 0 || p < d {
		t.Errorf("order of removal: got %s", strings.Join(ops, ", "))
	}
}

func TestHandle_poolWithoutDomain(t *testing.T) {
	w := newWorld(t)
	bare := w.makePool("bare")
	w.before = w.aws.Leftovers()
	props := properties(bare, nil)
	id, _ := w.must(create(props))
	w.working(path)
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.nothingLeft() // the domain goes, the pool stays
}

// case 9: nor does a Delete need the key of the secret.
func TestHandle_deleteWithoutKey(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, map[string]any{"KmsKeyId": "alias/mine"})
	id, _ := w.must(create(props))
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if bytes.Contains(rec.RequestBody, []byte(`"WithDecryption":true`)) {
			return &localaws.Fault{Status: 400, Type: "InvalidKeyId", Message: "the key is disabled"}
		}
		return nil
	})
	w.refused(event(cfn.RequestUpdate, id, props, props), "InvalidKeyId")
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.nothingLeft()
}
