package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
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

// Against AWS the addresses are the region's: GovCloud has FIPS domains only.
func TestEnsure_addresses(t *testing.T) {
	for region, want := range map[string]struct{ issuer, domain string }{
		"eu-central-1":  {"https://cognito-idp.eu-central-1.amazonaws.com/", "https://there.auth.eu-central-1.amazoncognito.com"},
		"cn-north-1":    {"https://cognito-idp.cn-north-1.amazonaws.com.cn/", "https://there.auth.cn-north-1.amazoncognito.com"},
		"us-gov-west-1": {"https://cognito-idp.us-gov-west-1.amazonaws.com/", "https://there.auth-fips.us-gov-west-1.amazoncognito.com"},
	} {
		srv := localaws.New(localaws.Config{Region: region})
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close() })
		p := provision.New(srv.AWSConfig())
		p.Endpoint = ""
		res, err := p.Ensure(t.Context(), provision.Desired{Name: "calc", DomainPrefix: "there"})
		if err != nil {
			t.Fatal(err)
		}
		if res.Issuer != want.issuer+res.UserPoolID || res.TokenEndpoint != want.domain+"/oauth2/token" {
			t.Errorf("%s: got issuer %s, token endpoint %s", region, res.Issuer, res.TokenEndpoint)
		}
		written := srv.Parameters()
		if got, want := written[path+credstore.DiscoveryURL].Value, res.Issuer+"/.well-known/openid-configuration"; got != want {
			t.Errorf("%s: got discovery URL %s, want %s", region, got, want)
		}
		if got := written[path+credstore.Domain].Value; got != want.domain {
			t.Errorf("%s: got domain %s, want %s", region, got, want.domain)
		}
	}
}

// case 8: a Create whose properties were refused is followed by a Delete with an
// id that was never issued. It succeeds and sends no request.
func TestHandle_deleteOfRefused(t *testing.T) {
	w := newWorld(t)
	for _, more := range []map[string]any{{"Typo": "x"}, {"McpName": ""}, {"McpName": "../x"}, {"ParameterPrefix": "/aws/x"}, {"UserPoolId": "nonsense"}} {
		props := properties("", more)
		w.refused(create(props), "")
		if ops := w.calls(func() { w.must(event("Delete", "custom-resource-0123", props, nil)) }); len(ops) > 0 {
			t.Errorf("%v: Delete asked for %q", more, ops)
		}
	}
	w.nothingLeft()
}

// Properties that did not come through CloudFormation have their own types.
func TestDecode_types(t *testing.T) {
	d, _, err := provision.Decode(map[string]any{"McpName": "calc", "AccessTokenMinutes": 15.0, "SecretVersion": 2.0, "RetainOnDelete": true, "Scopes": []any{"read", "write"}})
	want := provision.Desired{Name: "calc", AccessTokenMinutes: 15, SecretVersion: "2", RetainOnDelete: true, Scopes: []string{"read", "write"}}
	if err != nil || !reflect.DeepEqual(d, want) {
		t.Errorf("got %+v, %v, want %+v", d, err, want)
	}
	d, _, err = provision.Decode(map[string]any{"McpName": "calc", "AccessTokenMinutes": "", "SecretVersion": "", "RetainOnDelete": "", "Scopes": ""})
	if err != nil || !reflect.DeepEqual(d, provision.Desired{Name: "calc"}) {
		t.Errorf("empty values: got %+v, %v, want the defaults", d, err)
	}
	for name, value := range map[string]any{"AccessTokenMinutes": 7.5, "SecretVersion": []any{}, "RetainOnDelete": "maybe", "Scopes": []any{1.0}, "KmsKeyId": true} {
		if _, _, err := provision.Decode(map[string]any{"McpName": "calc", name: value}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %v: got error %v, want one that names it", name, value, err)
		}
	}
}

// A missing or incomplete set, and one without an owner, is not rotated, and no
// request goes to Cognito.
func TestRotate_refused(t *testing.T) {
	w := newWorld(t)
	if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
		t.Fatal(err)
	}
	theirs := credstore.Credentials{ClientID: "x", ClientSecret: credstore.NewSecret("x"), DiscoveryURL: "https://x.example"}
	if err := w.store().Write(t.Context(), "theirs", credstore.Credentials{}, theirs); err != nil {
		t.Fatal(err)
	}
	if err := w.store().Delete(t.Context(), "calc", credstore.ClientSecret); err != nil {
		t.Fatal(err)
	}
	var missing *credstore.MissingError
	var owned *provision.OwnedError
	for _, tt := range []struct {
		name string
		as   any
	}{{"calc", &missing}, {"nothing", &missing}, {"theirs", &owned}} {
		var err error
		ops := w.calls(func() { _, err = w.p.Rotate(t.Context(), tt.name) })
		if !errors.As(err, tt.as) || !strings.Contains(err.Error(), "/app/mcp/"+tt.name+"/") || len(writes(ops)) > 0 {
			t.Errorf("%s: got error %v, operations %q", tt.name, err, ops)
		}
	}
	if !slices.Equal(missing.Names, []string{"cognito_discovery_url", "cognito_secret", "machine_client_id", "userpool_id"}) {
		t.Errorf("nothing set up: got %q missing", missing.Names)
	}
}

// If Status cannot interpret a set, it says so, and Restore changes nothing.
func TestRestore_refused(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *world) error
		want string
	}{
		{"pool deleted", func(w *world) error {
			_, err := w.cognito.DeleteUserPoolDomain(t.Context(), &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: &w.pool, Domain: aws.String("there")})
			if err == nil {
				_, err = w.cognito.DeleteUserPool(t.Context(), &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: &w.pool})
			}
			return err
		}, "is gone: set the server up again"},
		{"pool unknown", func(w *world) error {
			return w.store().Delete(t.Context(), "calc", credstore.UserPoolID, credstore.DiscoveryURL)
		}, "userpool_id is missing: set the server up again"},
		{"pool of no client of ours", func(w *world) error {
			return w.store().Delete(t.Context(), "calc", credstore.UserPoolID, credstore.ClientID)
		}, "userpool_id is missing: set the server up again"},
		{"scope by hand", func(w *world) error {
			_, err := ssm.NewFromConfig(w.config()).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(path + credstore.Scope), Value: aws.String("calc/a/b"), Overwrite: aws.Bool(true)})
			return err
		}, "not what provisioning writes"},
	} {
		w := newWorld(t)
		if _, err := w.p.Ensure(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool}); err != nil {
			t.Fatal(err)
		}
		if err := tt.do(w); err != nil {
			t.Fatal(err)
		}
		s, err := w.p.Status(t.Context(), "calc")
		if err != nil || len(s.Changes) != 1 || !strings.Contains(s.Changes[0], tt.want) {
			t.Errorf("%s: got status %+v, %v, want %q", tt.name, s, err, tt.want)
		}
		ops := w.calls(func() { _, err = w.p.Restore(t.Context(), "calc") })
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(writes(ops)) > 0 {
			t.Errorf("%s: got error %v, operations %q, want %q", tt.name, err, ops, tt.want)
		}
	}
}

// Status compares the test user too.
func TestStatus_user(t *testing.T) {
	w := newWorld(t)
	d := provision.Desired{Name: "calc", UserPoolID: w.pool, AccessTokenMinutes: 7}
	if _, err := w.p.EnsureUser(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	s, err := w.p.Status(t.Context(), "calc")
	if err != nil || s.Username == "" || s.UserClientID == "" || s.ClientID != "" || len(s.Changes) > 0 {
		t.Fatalf("got %+v, %v, want the user alone and nothing to change", s, err)
	}
	_, err = w.cognito.DeleteUserPoolClient(t.Context(), &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: &w.pool, ClientId: &s.UserClientID})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := w.p.Status(t.Context(), "calc"); err != nil || len(s.Changes) == 0 || !strings.Contains(s.Changes[0], "create app client") {
		t.Errorf("client gone: got changes %q, %v", s.Changes, err)
	}
}

// case 45: if Cognito quotes a refused password, it appears nowhere.
func TestEnsureUser_passwordRefused(t *testing.T) {
	w := newWorld(t)
	var password string
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		var in struct{ Password string }
		if r.Operation != "AdminSetUserPassword" || json.Unmarshal(r.RequestBody, &in) != nil {
			return nil
		}
		password = in.Password
		return &localaws.Fault{Status: 400, Type: "InvalidPasswordException", Message: "not a password: " + in.Password}
	})
	_, err := w.p.EnsureUser(t.Context(), provision.Desired{Name: "calc", UserPoolID: w.pool})
	if err == nil || password == "" || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "InvalidPasswordException") {
		t.Errorf("got error %v, want the exception without the password", err)
	}
}

// case 10: a domain that Cognito refuses to delete does not count as deleted.
func TestHandle_domainStays(t *testing.T) {
	w := newWorld(t)
	props := properties("", nil)
	id, _ := w.must(create(props))
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "DeleteUserPoolDomain" {
			return &localaws.Fault{Status: 400, Type: "InvalidParameterException", Message: "it is in use"}
		}
		return nil
	})
	remove := event(cfn.RequestDelete, id, props, nil)
	w.refused(remove, "it is in use")
	w.aws.SetFault(nil)
	w.must(remove)
	w.nothingLeft()
}

// A domain that is gone before it answers is not waited for without end.
func TestEnsure_domainGone(t *testing.T) {
	w := newWorld(t)
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "DescribeUserPoolDomain" {
			return nil
		}
		return &localaws.Fault{Status: 400, Type: "ResourceNotFoundException", Message: "Domain does not exist."}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := w.p.Ensure(ctx, provision.Desired{Name: "calc"}); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("got error %v, want one that says that the domain is gone", err)
	}
}
