package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
	"agentcore-mcp-auth/pkg/tokensource"
)

func (w *world) store() *credstore.Store {
	return &credstore.Store{API: ssm.NewFromConfig(w.config())}
}

// signIn is what an agent in user mode does with the recorded credentials.
func (w *world) signIn() error {
	out, err := w.cognito.InitiateAuth(w.t.Context(), &cognitoidentityprovider.InitiateAuthInput{
		AuthFlow: types.AuthFlowTypeUserPasswordAuth, ClientId: aws.String(w.parameter(path, "user_client_id")),
		AuthParameters: map[string]string{"USERNAME": w.parameter(path, "username"), "PASSWORD": w.parameter(path, "password")},
	})
	if err == nil && (out.AuthenticationResult == nil || aws.ToString(out.AuthenticationResult.AccessToken) == "") {
		err = fmt.Errorf("signing in: got the challenge %q", out.ChallengeName)
	}
	return err
}

// The password is under the key that the set was made with.
func TestEnsureUser_key(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool, KMSKeyID: "alias/mine"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.p.EnsureUser(t.Context(), provision.Desired{Name: "calc"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cognito_secret", "password"} {
		if got := w.aws.Parameters()[path+name].KeyID; got != "alias/mine" {
			t.Errorf("key of %s: got %q, want alias/mine", name, got)
		}
	}
}

// The token of the user is accepted by the runtime that admits the user's
// client, and refused by the one that admits the machine's.
func TestEnsureUser_token(t *testing.T) {
	w := newWorld(t)
	d := provision.Desired{Name: "calc", UserPoolID: w.pool}
	machine, err := w.p.Ensure(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	user, err := w.p.EnsureUser(t.Context(), provision.Desired{Name: "calc"})
	if err != nil {
		t.Fatal(err)
	}
	if user.UserPoolID != w.pool || user.ClientID == machine.ClientID || user.Username == "" {
		t.Fatalf("got %+v, want a client of its own in pool %s", user, w.pool)
	}
	w.working(path) // the machine client is as it was
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	defer container.Close()
	set := w.store().Set("calc")
	for client, want := range map[string]bool{user.ClientID: true, machine.ClientID: false} {
		arn, err := w.aws.AddRuntime(localaws.Runtime{Name: "calc_" + client, Target: container.URL, Authorizer: &authorizer.Config{
			DiscoveryURL: user.DiscoveryURL, AllowedClients: []string{client},
		}})
		if err != nil {
			t.Fatal(err)
		}
		url, err := agentcore.InvocationURL(arn, "", w.aws.URL())
		if err != nil {
			t.Fatal(err)
		}
		source, err := tokensource.New(tokensource.Config{Credentials: set, Resource: url, User: true, Now: w.time})
		if err != nil {
			t.Fatal(err)
		}
		if got := accepted(t, source, url); got != want {
			t.Errorf("runtime that admits client %s: got accepted %t, want %t", client, got, want)
		}
	}
}

// accepted reports whether the container answered. A refusal must be one of
// the bearer.
func accepted(t *testing.T, source *tokensource.Source, url string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set(agentcore.HeaderMCPSession, strings.Repeat("s", 40))
	resp, err := source.RoundTrip(req)
	if challenge := (*tokensource.ChallengeError)(nil); errors.As(err, &challenge) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("got status %d", resp.StatusCode)
	}
	return true
}

// Every call of a set-up is broken in the ways that matter; then comes the same again, a
// user who can sign in, one of everything, and a removal that leaves nothing.
func TestEnsureUser_faults(t *testing.T) {
	var all sync.WaitGroup // at once, on all processors
	defer all.Wait()
	for name, before := range map[string]func(*world){
		"from nothing": func(*world) {},
		"lost password": func(w *world) {
			if _, err := w.p.EnsureUser(w.t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
				w.t.Fatal(err)
			}
			if err := w.store().Delete(w.t.Context(), "calc", credstore.Password); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		all.Go(func() {
			t.Run(name, inWorld(func(t *testing.T, w *world) {
				d := provision.Desired{Name: "calc", UserPoolID: w.pool}
				for i, f := range drastic() {
					for k := i % faultStep; ; k += faultStep {
						before(w)
						op, err := w.interruptRun(k, f.fault, func(ctx context.Context) error { _, err := w.p.EnsureUser(ctx, d); return err })
						at := fmt.Sprintf("%s, call %d, %s, which answered %v", f.name, k, op, err)
						if f.mended && err != nil {
							t.Errorf("%s: want success", at)
						}
						if _, err := w.p.EnsureUser(t.Context(), d); err != nil {
							t.Fatalf("%s: the next run: %v", at, err)
						}
						if err := w.signIn(); err != nil {
							t.Fatalf("%s: after the next run: %v", at, err)
						}
						op2, err := w.interruptRun(k, f.fault, func(ctx context.Context) error { _, err := w.p.Remove(ctx, d); return err })
						if _, err := w.p.Remove(t.Context(), d); err != nil {
							t.Fatalf("%s: Remove: %v", at, err)
						}
						if got := w.aws.Leftovers(); !slices.Equal(got, w.before) {
							t.Fatalf("%s, %s, which answered %v: left over after Remove: %q", at, op2, err, got)
						}
						if op == "" && op2 == "" {
							break
						}
					}
				}
			}))
		})
	}
}

func TestEnsureUser_atOnce(t *testing.T) {
	w := newWorld(t)
	for _, pool := range []string{w.pool, ""} {
		d := provision.Desired{Name: "calc", UserPoolID: pool}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := w.p.EnsureUser(t.Context(), d); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		n := 0
		for _, line := range w.aws.Leftovers() {
			if strings.Contains(line, "mcpuser-calc-") && !strings.HasPrefix(line, "user ") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("pool %q: got %d app clients in %q, want one", pool, n, w.aws.Leftovers())
		}
		if err := w.signIn(); err != nil {
			t.Error(err)
		}
		if res, err := w.p.EnsureUser(t.Context(), d); err != nil || len(res.Changes) > 0 {
			t.Errorf("again: got %q, %v, want no change", res.Changes, err)
		}
		if _, err := w.p.Remove(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		w.nothingLeft()
	}
}

func TestEnsureUser_ownership(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	owned := (*provision.OwnedError)(nil)
	// A server that a stack owns.
	id, _ := w.must(create(properties(w.pool, nil)))
	if _, err := w.p.EnsureUser(ctx, provision.Desired{Name: "calc", Adopt: true}); !errors.As(err, &owned) || owned.Owner == "" {
		t.Errorf("server of a stack: got %v, want an OwnedError", err)
	}
	w.must(event("Delete", id, properties(w.pool, nil), nil))

	// A user as the guide's script leaves it, beside a machine client of ours.
	before := w.before
	client, err := w.cognito.CreateUserPoolClient(ctx, &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: aws.String(w.pool), ClientName: aws.String("MCPServerPoolClient"),
		ExplicitAuthFlows: []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowUserPasswordAuth, types.ExplicitAuthFlowsTypeAllowRefreshTokenAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	clientID := aws.ToString(client.UserPoolClient.ClientId)
	if _, err := w.cognito.AdminCreateUser(ctx, &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: aws.String(w.pool), Username: aws.String("testuser")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cognito.AdminSetUserPassword(ctx, &cognitoidentityprovider.AdminSetUserPasswordInput{
		UserPoolId: aws.String(w.pool), Username: aws.String("testuser"), Password: aws.String("Canary-Passw0rd!"), Permanent: true,
	}); err != nil {
		t.Fatal(err)
	}
	w.before = w.aws.Leftovers()
	setUp := func() {
		t.Helper()
		if _, err := w.p.Ensure(ctx, provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
			t.Fatal(err)
		}
		err := w.store().Write(ctx, "calc", credstore.Credentials{}, credstore.Credentials{
			UserClientID: clientID, Username: "testuser", Password: credstore.NewSecret("Canary-Passw0rd!"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	d := provision.Desired{Name: "calc"}
	setUp()
	if ops := writes(w.calls(func() { _, err = w.p.EnsureUser(ctx, d) })); !errors.As(err, &owned) || len(ops) > 0 {
		t.Errorf("a client of unknown origin: got %v and writes %q, want an OwnedError", err, ops)
	}
	if _, err := w.p.Remove(ctx, d); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft() // nor anything less than before

	setUp()
	d.Adopt = true
	res, err := w.p.EnsureUser(ctx, d)
	if err != nil || res.Username != "testuser" || res.ClientID != clientID {
		t.Errorf("adoption: got %+v, %v", res, err)
	}
	d.Adopt = false
	if res, err := w.p.EnsureUser(ctx, d); err != nil || len(res.Changes) > 0 {
		t.Errorf("after the adoption: got %q, %v, want no change", res.Changes, err)
	}
	if err := w.signIn(); err != nil {
		t.Error(err)
	}
	if _, err := w.p.Remove(ctx, d); err != nil {
		t.Fatal(err)
	}
	w.before = before
	w.nothingLeft()
}

// The user of another pool would be a leftover.
func TestEnsureUser_refusesAnotherPool(t *testing.T) {
	w := newWorld(t)
	other := w.second()
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
		t.Fatal(err)
	}
	_, err := w.p.EnsureUser(t.Context(), provision.Desired{Name: "calc", UserPoolID: other})
	if err == nil || !strings.Contains(err.Error(), w.pool) {
		t.Errorf("got %v, want an error that names the server's pool", err)
	}
}
