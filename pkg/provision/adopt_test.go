package provision_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// put writes a parameter by hand.
func (w *world) put(name, value string, typ ssmtypes.ParameterType) {
	w.t.Helper()
	_, err := ssm.NewFromConfig(w.config()).PutParameter(w.t.Context(), &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String(value), Type: typ, Overwrite: aws.Bool(true),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// makeClient makes an app client by hand.
func (w *world) makeClient(name string, flows ...types.ExplicitAuthFlowsType) (id, secret string) {
	w.t.Helper()
	out, err := w.cognito.CreateUserPoolClient(w.t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: aws.String(w.pool), ClientName: aws.String(name), GenerateSecret: true, ExplicitAuthFlows: flows,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.UserPoolClient.ClientId), aws.ToString(out.UserPoolClient.ClientSecret)
}

// guidesSet makes a set as the guide's script leaves it, and returns its client.
func (w *world) guidesSet() (client string) {
	w.t.Helper()
	client, secret := w.makeClient("calc-m2m")
	w.put(path+"machine_client_id", client, ssmtypes.ParameterTypeString)
	w.put(path+"cognito_secret", secret, ssmtypes.ParameterTypeSecureString)
	w.put(path+"userpool_id", w.pool, ssmtypes.ParameterTypeString)
	return client
}

func TestHandle_adopt(t *testing.T) {
	w := newWorld(t)
	client := w.guidesSet()
	w.refused(create(properties("", nil)), "Adopt")
	adopt := properties("", map[string]any{"Adopt": "true"})
	id, data := w.must(create(adopt))
	w.working(path)
	if got := data["ClientId"]; got != client || w.parameter(path, "userpool_id") != w.pool {
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

// cases 7, 8: after a failed adoption and its rollback, everything from before
// still exists.
func TestHandle_adoptBroken(t *testing.T) {
	for _, given := range []bool{true, false} {
		for k := 0; ; k++ {
			w := newWorld(t)
			client := w.guidesSet()
			_, err := w.cognito.CreateResourceServer(t.Context(), &cognitoidentityprovider.CreateResourceServerInput{
				UserPoolId: aws.String(w.pool), Identifier: aws.String("calc"), Name: aws.String("calc"),
			})
			if err != nil {
				t.Fatal(err)
			}
			was := w.aws.Leftovers()
			props := properties(map[bool]string{true: w.pool}[given], map[string]any{"Adopt": "true"})
			op, id, err := w.interrupt(create(props), k, faults[0].fault)
			if err == nil {
				break
			}
			w.must(event(cfn.RequestDelete, id, props, nil))
			// The client may have another name by now, and parameters may have come.
			left := strings.Join(w.aws.Leftovers(), "\n")
			for _, line := range was {
				if line, _, _ = strings.Cut(line, " calc-m2m"); !strings.Contains(left, line) {
					t.Errorf("given pool %t, refused at call %d, %s: %s is gone", given, k, op, line)
				}
			}
			if w.parameter(path, "machine_client_id") != client {
				t.Errorf("given pool %t, refused at call %d, %s: another client is recorded", given, k, op)
			}
		}
	}
}

// case 25: Adopt takes no scopes away from a server under another prefix.
func TestHandle_adoptOthersScopes(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, nil)))
	theirs := create(properties(w.pool, map[string]any{"ParameterPrefix": "/else", "Adopt": "true", "Scopes": "other"}))
	theirs.StackID = stackB
	w.refused(theirs, "another stack or prefix")
	w.working(path)
}

// case 25: somebody else's app client, whose id was put into the parameter, is
// neither changed nor deleted.
func TestHandle_othersClientRecorded(t *testing.T) {
	w := newWorld(t)
	website, _ := w.makeClient("website", types.ExplicitAuthFlowsTypeAllowUserPasswordAuth, types.ExplicitAuthFlowsTypeAllowRefreshTokenAuth)
	w.before = w.aws.Leftovers()
	props := properties(w.pool, nil)
	id, data := w.must(create(props))
	w.put(path+"machine_client_id", website, ssmtypes.ParameterTypeString)
	other := properties(w.pool, map[string]any{"Scopes": "read"})
	w.refused(event(cfn.RequestUpdate, id, other, props), "the app client "+website)
	w.put(path+"machine_client_id", data["ClientId"].(string), ssmtypes.ParameterTypeString)
	w.must(event(cfn.RequestUpdate, id, props, other))
	w.working(path)
	w.put(path+"machine_client_id", website, ssmtypes.ParameterTypeString)
	w.must(event(cfn.RequestDelete, id, props, nil))
	w.nothingLeft()
}
