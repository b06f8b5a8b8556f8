package localaws_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/localaws"
)

// Requests that no SDK would send, signed all the same.
func TestAWSJSON_strict(t *testing.T) {
	a := newAccount(t)
	for _, tt := range []struct {
		what, target, contentType, body string
		wantStatus                      int
		want                            string // in the body
	}{
		{"empty object", "AmazonSSM.DescribeParameters", "", `{}`, 200, `"Parameters"`},
		{"unknown operation", "AmazonSSM.GetEverything", "", `{}`, 501, "does not implement GetEverything"},
		{"unknown member", "AmazonSSM.DescribeParameters", "", `{"Shared":true}`, 501, "does not implement member Shared"},
		{"member in another case", "AmazonSSM.GetParameter", "", `{"name":"/p"}`, 501, "member name"},
		{"nested member", "AmazonSSM.PutParameter", "", `{"Name":"/p","Value":"v","Type":"String","Tags":[{"Key":"a","Value":"b","X":1}]}`, 501, "member Tags[0].X"},
		{"member twice", "AmazonSSM.GetParameter", "", `{"Name":"/p","Name":"/q"}`, 400, "Name occurs twice"},
		{"wrong type", "AmazonSSM.GetParameter", "", `{"Name":7}`, 400, "SerializationException"},
		{"no tag value", "AmazonSSM.PutParameter", "", `{"Name":"/p","Value":"v","Type":"String","Tags":[{"Key":"a"}]}`, 400, "tags.value"},
		{"not JSON", "AmazonSSM.GetParameter", "", `{"Name":`, 400, "SerializationException"},
		{"an array", "AmazonSSM.GetParameter", "", `[]`, 400, "SerializationException"},
		{"two values", "AmazonSSM.GetParameter", "", `{"Name":"/p"} {}`, 400, "SerializationException"},
		{"other protocol", "AmazonSSM.GetParameter", "application/json", `{"Name":"/p"}`, 400, "SerializationException"},
		{"no page size", "AWSCognitoIdentityProviderService.ListUserPools", "", `{}`, 400, "maxResults"},
		{"member of another operation", "AWSCognitoIdentityProviderService.UpdateUserPoolClient", "", `{"UserPoolId":"a_b","ClientId":"c","GenerateSecret":true}`, 501, "member GenerateSecret"},
	} {
		r, err := http.NewRequest("POST", a.URL()+"/", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		service := "ssm"
		if strings.HasPrefix(tt.target, "AWSCognito") {
			service = "cognito-idp"
		}
		if tt.contentType == "" {
			tt.contentType = "application/x-amz-json-1.1"
		}
		r.Header.Set("Content-Type", tt.contentType)
		r.Header.Set("X-Amz-Target", tt.target)
		hash := sha256.Sum256([]byte(tt.body))
		creds := aws.Credentials{AccessKeyID: localaws.AccessKeyID, SecretAccessKey: localaws.SecretAccessKey}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), service, "eu-central-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.wantStatus || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s: got %d %s, want %d with %q", tt.what, resp.StatusCode, body, tt.wantStatus, tt.want)
		}
	}
	if got := a.Leftovers(); len(got) != 0 {
		t.Errorf("got leftovers %q, want none", got)
	}
}

// Cases 7, 18 and 144: a fault before the effect, after it, and a cut
// connection, on one operation of each service.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		what     string
		fault    localaws.Fault
		wantCode string // "": anything but success
		wantDone bool
	}{
		{"error before", localaws.Fault{Status: 400, Type: "TooManyRequestsException", Message: "slow down"}, "TooManyRequestsException", false},
		{"error after", localaws.Fault{Status: 500, Type: "InternalErrorException", After: true}, "InternalErrorException", true},
		{"reset before", localaws.Fault{Reset: true}, "", false},
		{"reset after", localaws.Fault{Reset: true, After: true}, "", true},
	} {
		a := newAccount(t)
		for operation, call := range map[string]func(context.Context) error{
			"PutParameter": func(ctx context.Context) error {
				_, err := a.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("v"), Type: "String"})
				return err
			},
			"CreateUserPool": func(ctx context.Context) error {
				_, err := a.cognito.CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("p")})
				return err
			},
		} {
			was := len(a.Leftovers())
			a.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Operation != operation {
					return nil
				}
				return &tt.fault
			})
			err := call(t.Context())
			if err == nil || (tt.wantCode != "" && errorCode(err) != tt.wantCode) {
				t.Errorf("%s, %s: got %v, want %q", tt.what, operation, err, tt.wantCode)
			}
			if got := len(a.Leftovers()) - was; (got == 1) != tt.wantDone {
				t.Errorf("%s, %s: got %d new objects, want done %t", tt.what, operation, got, tt.wantDone)
			}
			a.SetFault(nil)
		}
	}
}

// A fault has the form of the service whose request it is.
func TestFaults_form(t *testing.T) {
	s := startServer(t)
	s.SetFault(func(localaws.Record) *localaws.Fault {
		return &localaws.Fault{Status: 429, Type: "Slower", Message: "not <so> fast"}
	})
	for _, tt := range []struct{ method, path, target, contentType, want string }{
		{"POST", "/", "AmazonSSM.GetParameter", "application/x-amz-json-1.1", `{"__type":"Slower","message":"not \u003cso\u003e fast"}`},
		{"POST", "/", "DynamoDB_20120810.PutItem", "application/x-amz-json-1.0", `{"__type":"com.amazonaws.dynamodb.v20120810#Slower","message":"not \u003cso\u003e fast"}`},
		{"POST", "/m2m/oauth2/token", "", "application/x-www-form-urlencoded", `{"error":"Slower"}`},
		{"GET", "/v2/", "", "", `{"errors":[{"code":"Slower","message":"not \u003cso\u003e fast"}]}`},
		{"PUT", "/cloudformation/reply/x", "", "", "<Error><Code>Slower</Code><Message>not &lt;so&gt; fast</Message></Error>"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL()+tt.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tt.contentType)
		if tt.target != "" {
			req.Header.Set("X-Amz-Target", tt.target)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 429 || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s %s: got %d %s, %v, want %s", tt.path, tt.target, res.StatusCode, body, err, tt.want)
		}
	}
}

// Case 18: the SDK's own retries get through two throttled attempts.
func TestFaults_retried(t *testing.T) {
	a := newAccount(t)
	left := 2
	a.SetFault(func(localaws.Record) *localaws.Fault {
		if left == 0 {
			return nil
		}
		left--
		return &localaws.Fault{Status: 400, Type: "TooManyRequestsException"}
	})
	cfg := a.AWSConfig()
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	try(t, cognitoidentityprovider.NewFromConfig(cfg).CreateUserPool, &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("p")})
	var got []int
	for _, r := range a.Records() {
		got = append(got, r.Status)
	}
	if !slices.Equal(got, []int{400, 400, 200}) {
		t.Errorf("got answers %v, want 400, 400, 200", got)
	}
}

// Case 26: a scope that is not visible at first.
func TestFaults_scopeNotVisible(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.resourceServer(pool, "m2m", "invoke")
	left := 2
	a.SetFault(func(r localaws.Record) *localaws.Fault {
		if left == 0 || r.Operation != "CreateUserPoolClient" {
			return nil
		}
		left--
		return &localaws.Fault{Status: 400, Type: "ScopeDoesNotExistException", Message: "Invalid scope requested: m2m/invoke"}
	})
	for i, want := range []string{"ScopeDoesNotExistException", "ScopeDoesNotExistException", ""} {
		if got := refused(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke")); got != want {
			t.Errorf("attempt %d: got %q, want %q", i, got, want)
		}
	}
}
