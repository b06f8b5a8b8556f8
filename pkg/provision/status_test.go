package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

func TestStatus(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.Status(t.Context(), "calc"); !errors.Is(err, credstore.ErrNotFound) {
		t.Errorf("nothing set up: got error %v, want ErrNotFound", err)
	}
	_, data := w.must(create(properties(w.pool, map[string]any{"Scopes": "read,write", "AccessTokenMinutes": "7", "KmsKeyId": "alias/mine"})))
	status := func() provision.Status {
		t.Helper()
		var s provision.Status
		var err error
		if ops := writes(w.calls(func() { s, err = w.p.Status(t.Context(), "calc") })); err != nil || len(ops) > 0 {
			t.Fatalf("got error %v, writes %q", err, ops)
		}
		return s
	}
	s := status()
	if s.Owner != stackA || s.Resource != "Calc" || s.ClientID != data["ClientId"] || len(s.Changes) > 0 {
		t.Errorf("got %+v", s)
	}
	params := ssm.NewFromConfig(w.config())
	if _, err := params.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String(path + credstore.Domain)}); err != nil {
		t.Fatal(err)
	}
	if s := status(); len(s.Changes) != 1 || !strings.Contains(s.Changes[0], credstore.Domain) {
		t.Errorf("parameter gone: got %q", s.Changes)
	}
	_, err := w.cognito.DeleteUserPoolClient(t.Context(), &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: aws.String(w.pool), ClientId: aws.String(s.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	if s := status(); len(s.Changes) < 2 || !strings.Contains(s.Changes[0], "create app client") {
		t.Errorf("app client gone: got %q", s.Changes)
	}
}

func TestLeftovers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"calc", "search"} {
		if _, err := w.p.Ensure(ctx, provision.Desired{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := w.p.Leftovers(ctx); err != nil || len(left) > 0 {
		t.Fatalf("two servers in use: got %v, %v", left, err)
	}
	// A run that died has left the lock of a server that is not there, and the
	// lock of one that is there is its own affair. A server that is being set up
	// has a lock whose time is not over.
	alive, _ := json.Marshal(map[string]any{"holder": "alive", "until": w.time().Add(time.Minute)})
	for lock, value := range map[string]string{"gone": "{}", "gone.evict": "{}", "calc": "{}", "new": string(alive)} {
		w.put("/app/mcp/.lock/"+lock, value, types.ParameterTypeString)
	}
	if removed, err := w.p.RemoveLeftovers(ctx); err != nil || !slices.Equal(removed, []string{"lock /app/mcp/.lock/gone"}) {
		t.Errorf("got %q, %v, want the lock of no server", removed, err)
	}
	if left := strings.Join(w.aws.Leftovers(), "\n"); strings.Contains(left, ".lock/gone") || !strings.Contains(left, ".lock/calc") || !strings.Contains(left, ".lock/new") {
		t.Errorf("got\n%s\nwant the lock of the server that is there, and the one whose time is not over", left)
	}
	w.pass(2 * time.Minute)
	if removed, err := w.p.RemoveLeftovers(ctx); err != nil || !slices.Equal(removed, []string{"lock /app/mcp/.lock/new"}) {
		t.Errorf("got %q, %v, want the lock whose time is over", removed, err)
	}
	// The parameters of one are removed by hand: its client and resource server stay behind.
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	if err := params.Delete(ctx, "search"); err != nil {
		t.Fatal(err)
	}
	removed, err := w.p.RemoveLeftovers(ctx)
	if err != nil || len(removed) != 2 {
		t.Errorf("one server's remains: got %q, %v, want two things", removed, err)
	}
	w.working(path)
	// And then those of the other: also the pool goes.
	if err := params.Delete(ctx, "calc"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the pool is empty when its clients are gone
		if _, err := w.p.RemoveLeftovers(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.p.RemoveLeftovers(ctx); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

// A lock goes with what it guards, and only its owner takes it for left over.
func TestLeftovers_locks(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	id, _ := w.must(create(props)) // by a stack
	if left, err := w.p.Leftovers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("for the command line: got %v, %v, want nothing", left, err)
	}
	props["RetainOnDelete"] = "true"
	w.must(event("Delete", id, props, nil))
	if left := strings.Join(w.aws.Leftovers(), "\n"); strings.Contains(left, "/.lock/") {
		t.Errorf("given up, and still there:\n%s", left)
	}
}

// What was removed by hand comes back with the settings that it had, and stays
// its owner's. case 20
func TestRestore(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.Restore(t.Context(), "calc"); !errors.Is(err, credstore.ErrNotFound) {
		t.Errorf("nothing set up: got error %v, want ErrNotFound", err)
	}
	_, data := w.must(create(properties(w.pool, map[string]any{"Scopes": "read,write", "AccessTokenMinutes": "7"})))
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	for _, tt := range []struct {
		gone []string
		want string // the change
	}{
		{[]string{credstore.ClientSecret}, credstore.ClientSecret},
		{[]string{credstore.UserPoolID, credstore.Domain}, credstore.UserPoolID},
		{[]string{credstore.Scope}, credstore.Scope},
		{[]string{credstore.ClientID}, credstore.ClientID},
		{[]string{credstore.DiscoveryURL}, credstore.DiscoveryURL},
	} {
		if err := params.Delete(t.Context(), "calc", tt.gone...); err != nil {
			t.Fatal(err)
		}
		res, err := w.p.Restore(t.Context(), "calc")
		if err != nil || len(res.Changes) != 1 || !strings.Contains(res.Changes[0], tt.want) {
			t.Errorf("without %s: got changes %q, error %v", tt.gone, res.Changes, err)
		}
		if res.ClientID != data["ClientId"] || res.Scope != "calc/read calc/write" {
			t.Errorf("without %s: got client %s, scope %s", tt.gone, res.ClientID, res.Scope)
		}
	}
	if s, err := w.p.Status(t.Context(), "calc"); err != nil || s.Owner != stackA || len(s.Changes) > 0 {
		t.Errorf("afterwards: got %+v, %v", s, err)
	}
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "search"}); err != nil {
		t.Fatal(err)
	}
	tags := &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", TagKeys: []string{provision.OwnerTag}}
	for _, name := range []string{credstore.ClientSecret, credstore.DiscoveryURL, credstore.Domain, credstore.UserPoolID, credstore.Scope, credstore.ClientID} {
		tags.ResourceId = aws.String("/app/mcp/search/" + name)
		if _, err := ssm.NewFromConfig(w.config()).RemoveTagsFromResource(t.Context(), tags); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.p.Restore(t.Context(), "search"); !errors.As(err, new(*provision.OwnedError)) {
		t.Errorf("no known owner: got error %v, want an OwnedError", err)
	}
}

// A test user whose pool is no longer recorded can be set up again.
func TestRecorded_userWithoutPool(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.EnsureUser(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
		t.Fatal(err)
	}
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	if err := params.Delete(t.Context(), "calc", credstore.UserPoolID); err != nil {
		t.Fatal(err)
	}
	_, user, err := w.p.Recorded(t.Context(), "calc")
	if err != nil || user.Name != "calc" {
		t.Fatalf("got %+v, %v, want nothing but the name", user, err)
	}
	user.UserPoolID = w.pool
	if _, err := w.p.EnsureUser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
}

// A set that another run removes while it is read is a set that is not there.
func TestRecorded_removedMeanwhile(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
		t.Fatal(err)
	}
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "ListTagsForResource" {
			if err := params.Delete(t.Context(), "calc"); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if machine, _, err := w.p.Recorded(t.Context(), "calc"); err != nil || machine.Scopes != nil {
		t.Errorf("got %+v, %v, want nothing recorded", machine, err)
	}
}

// A clean-up waits for a set-up in the owner's pool that is under way, instead of
// removing what that has made so far.
func TestRemoveLeftovers_setUpUnderWay(t *testing.T) {
	w := newWorld(t)
	cleaned := make(chan error, 1)
	var once sync.Once
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "CreateResourceServer" {
			return nil
		}
		once.Do(func() { // with a pool, a domain and nothing in them
			ctx, cancel := context.WithCancel(t.Context())
			p := w.rotator()
			wait := p.Wait
			p.Wait = func(ctx context.Context, d time.Duration) error { cancel(); return wait(ctx, d) }
			_, err := p.RemoveLeftovers(ctx)
			cleaned <- err
		})
		return nil
	})
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc"}); err != nil {
		t.Fatal(err)
	}
	if err := <-cleaned; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that the clean-up had to wait", err)
	}
}
