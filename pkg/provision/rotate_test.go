package provision_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

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

// A replaced secret lives for as long as the client's tokens do, and an hour more.
func TestTidy_longTokens(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, map[string]any{"AccessTokenMinutes": "300"})))
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 1} {
		w.pass(3*time.Hour + time.Minute)
		if res, err := w.rotator().Tidy(t.Context(), "calc"); err != nil || len(res.Changes) != want {
			t.Errorf("got %q, %v, want %d changes", res.Changes, err, want)
		}
	}
}

// case 21: after a rotation that died at any call, tidying leaves exactly one
// secret.
func TestRotate_crash(t *testing.T) {
	inWorld(func(t *testing.T, w *world) {
		props := properties(w.pool, nil)
		for _, f := range faults {
			if !strings.HasPrefix(f.name, "crash") {
				continue
			}
			for k := 0; ; k++ {
				id, data := w.must(create(props))
				op, _ := w.interruptRun(k, f.fault, func(ctx context.Context) error {
					_, err := w.rotator().Rotate(ctx, "calc")
					return err
				})
				w.working(path)
				w.pass(48 * time.Hour)
				if _, err := w.rotator().Tidy(t.Context(), "calc"); err != nil {
					t.Error(err)
				}
				out, err := w.cognito.ListUserPoolClientSecrets(t.Context(), &cognitoidentityprovider.ListUserPoolClientSecretsInput{
					UserPoolId: aws.String(w.pool), ClientId: aws.String(data["ClientId"].(string)),
				})
				if err != nil {
					t.Fatal(err)
				}
				if n := len(out.ClientSecrets); n != 1 {
					t.Errorf("%s, call %d %s: got %d secrets, want one", f.name, k, op, n)
				}
				w.working(path)
				w.must(event(cfn.RequestDelete, id, props, nil))
				if op == "" {
					break
				}
			}
		}
	})(t)
}

// A server that is removed during its rotation does not come back.
func TestRotate_removed(t *testing.T) {
	w := newWorld(t)
	props := properties(w.pool, nil)
	id, _ := w.must(create(props))
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "PutParameter" && strings.Contains(string(rec.RequestBody), "cognito_secret") {
			w.aws.SetFault(nil)
			w.must(event(cfn.RequestDelete, id, props, nil))
		}
		return nil
	})
	if _, err := w.rotator().Rotate(t.Context(), "calc"); !errors.Is(err, credstore.ErrNotFound) {
		t.Errorf("got error %v, want ErrNotFound", err)
	}
	w.nothingLeft()
}

// case 21: a rotation in the middle of a change of the key leaves the published
// secret the one that the log says, so that tidying up deletes the other.
func TestRotate_duringKeyChange(t *testing.T) {
	inWorld(func(t *testing.T, w *world) {
		props := properties(w.pool, nil)
		id, _ := w.must(create(props))
		rotated := make(chan error, 1)
		w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
			if rec.Operation == "PutParameter" && strings.Contains(string(rec.RequestBody), "cognito_secret") {
				w.aws.SetFault(nil)
				go func() { _, err := w.rotator().Rotate(t.Context(), "calc"); rotated <- err }()
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		w.must(event(cfn.RequestUpdate, id, properties(w.pool, map[string]any{"KmsKeyId": "alias/mine"}), props))
		if err := <-rotated; err != nil {
			t.Fatal(err)
		}
		w.working(path)
		w.pass(48 * time.Hour)
		if res, err := w.rotator().Tidy(t.Context(), "calc"); err != nil || len(res.Changes) != 1 {
			t.Errorf("got %q, %v", res.Changes, err)
		}
		w.working(path)
	})(t)
}

// A secret that was added and published by hand stays alive until another is
// published.
func TestRotate_addedByHand(t *testing.T) {
	w := newWorld(t)
	_, data := w.must(create(properties(w.pool, nil)))
	out, err := w.cognito.AddUserPoolClientSecret(t.Context(), &cognitoidentityprovider.AddUserPoolClientSecretInput{
		UserPoolId: aws.String(w.pool), ClientId: aws.String(data["ClientId"].(string)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.put(path+"cognito_secret", aws.ToString(out.ClientSecretDescriptor.ClientSecretValue), ssmtypes.ParameterTypeSecureString)
	w.working(path)
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "AddUserPoolClientSecret" {
			return &localaws.Fault{Status: 400, Type: "InvalidParameterException", Message: "no"}
		}
		return nil
	})
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err == nil {
		t.Error("got no error")
	}
	w.aws.SetFault(nil)
	w.working(path)
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
		t.Error(err)
	}
	w.working(path)
}

// Where the user pool is not recorded, the error says so and what to do.
func TestRotate_withoutPool(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, nil)))
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	if err := params.Delete(t.Context(), "calc", credstore.UserPoolID); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(context.Context, string) (provision.Result, error){"rotate": w.p.Rotate, "tidy": w.p.Tidy} {
		if _, err := do(t.Context(), "calc"); !errors.As(err, new(*credstore.MissingError)) || !strings.Contains(err.Error(), credstore.UserPoolID) {
			t.Errorf("%s: got error %v, want a MissingError that names %s", name, err, credstore.UserPoolID)
		}
	}
}

// A secret that was lost soon after a rotation, which is then the only one left
// and which Cognito does not show, is replaced. case 20
func TestRestore_rotatedSecret(t *testing.T) {
	w := newWorld(t)
	id, _ := w.must(create(properties(w.pool, nil)))
	if _, err := w.p.Rotate(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	params := credstore.Store{API: ssm.NewFromConfig(w.config())}
	if err := params.Delete(t.Context(), "calc", credstore.ClientSecret); err != nil {
		t.Fatal(err)
	}
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "AddUserPoolClientSecret" {
			return nil
		}
		return &localaws.Fault{Status: 400, Type: "LimitExceededException", Message: "not now"}
	})
	if _, err := w.p.Restore(t.Context(), "calc"); err == nil {
		t.Error("got no error, want Cognito's")
	}
	w.aws.SetFault(nil)
	if _, err := w.p.Restore(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	w.working(path)
	w.must(event("Delete", id, properties(w.pool, nil), nil))
	w.nothingLeft()
}
