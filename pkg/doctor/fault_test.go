package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/localaws"
)

// remove deletes a parameter of the server.
func (w *world) remove(t testing.TB, name string) {
	t.Helper()
	if err := (&credstore.Store{API: ssm.NewFromConfig(w.AWSConfig())}).Delete(t.Context(), "calculator", name); err != nil {
		t.Fatal(err)
	}
}

// refuse has an operation answered with an error.
func (w *world) refuse(operation string, f localaws.Fault) {
	w.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation != operation {
			return nil
		}
		return &f
	})
}

// issuer has the discovery URL lead to a document, in which ISSUER is the issuer.
func (w *world) issuer(t testing.TB, document string) {
	t.Helper()
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, strings.ReplaceAll(document, "ISSUER", srv.URL))
	}))
	t.Cleanup(srv.Close)
	w.put(t, credstore.DiscoveryURL, srv.URL+"/.well-known/openid-configuration")
}

// status has the endpoint be that of a runtime in some status.
func (w *world) status(t testing.TB, status string) {
	t.Helper()
	arn, err := w.AddRuntime(localaws.Runtime{Name: "other", Target: "http://127.0.0.1:1", Status: status})
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, credstore.Endpoint, arn)
}

// What is wrong is found where it is, nothing before it fails, and what builds
// on it is skipped. A repair is offered where one is known to do no harm.
func TestExamine_faults(t *testing.T) {
	restore := &doctor.Repair{Restore: true}
	for _, tt := range []struct {
		name   string
		fault  func(t *testing.T, w *world, cfg *doctor.Config)
		id     string
		status doctor.Status
		part   string // of what was found and its cause
		next   string // part of it
		repair *doctor.Repair
	}{
		{"no region", func(_ *testing.T, _ *world, cfg *doctor.Config) { cfg.AWS.Region = "" },
			"aws.region", doctor.Fail, "neither --region nor AWS_REGION", "--region eu-central-1", nil},
		{"no credentials", func(_ *testing.T, _ *world, cfg *doctor.Config) { cfg.AWS.Credentials = nil },
			"aws.identity", doctor.Fail, "none are configured", "aws sso login", nil},
		{"session ended", func(_ *testing.T, _ *world, cfg *doctor.Config) {
			cfg.AWS.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("the SSO session has expired or is invalid")
			})
		}, "aws.identity", doctor.Fail, "the session has ended", "aws sso login", nil},
		{"unknown access key", func(_ *testing.T, w *world, _ *doctor.Config) {
			w.refuse("GetCallerIdentity", localaws.Fault{Status: 403, Type: "InvalidClientTokenId", Message: "invalid"})
		}, "aws.identity", doctor.Fail, "the access key is unknown", "aws sso login", nil},
		{"credentials expired", func(_ *testing.T, w *world, _ *doctor.Config) {
			w.refuse("GetCallerIdentity", localaws.Fault{Status: 403, Type: "ExpiredToken", Message: "expired"})
		}, "aws.identity", doctor.Fail, "have expired", "aws sso login", nil},
		{"AWS unreachable", func(_ *testing.T, w *world, _ *doctor.Config) {
			w.refuse("GetCallerIdentity", localaws.Fault{Reset: true})
		}, "aws.identity", doctor.Fail, "connection", "aws sts get-caller-identity", nil},
		{"may not read", func(t *testing.T, w *world, cfg *doctor.Config) {
			arn, err := w.AddRole(localaws.Role{Name: "me", Trust: json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
			if err == nil {
				cfg.AWS, err = w.RoleConfig(arn, "here")
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "parameters", doctor.Fail, "no policy of the caller allows it", "aws iam put-role-policy --role-name me ", nil},
		{"unknown server", func(_ *testing.T, _ *world, cfg *doctor.Config) { cfg.Name = "search" },
			"parameters", doctor.Fail, "under /app/mcp there are calculator", "mcpauth setup --mcp-name search", nil},
		{"no secret", func(t *testing.T, w *world, _ *doctor.Config) { w.remove(t, credstore.ClientSecret) },
			"parameter.cognito_secret", doctor.Fail, "no such parameter", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"secret in the clear", func(t *testing.T, w *world, _ *doctor.Config) {
			w.remove(t, credstore.ClientSecret)
			w.put(t, credstore.ClientSecret, w.set.ClientSecret.Reveal())
		}, "parameter.cognito_secret", doctor.Fail, "sees the secret in the clear", "aws ssm delete-parameter",
			&doctor.Repair{Delete: []string{credstore.ClientSecret}, Restore: true}},
		{"secret to come", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.ClientSecret, "CHANGE_ME") },
			"parameter.cognito_secret", doctor.Fail, "a placeholder", "mcpauth rotate", &doctor.Repair{Rotate: true}},
		{"pasted", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.ClientID, w.set.ClientID+"\n") },
			"parameter.machine_client_id", doctor.Fail, "line breaks or quotes around the value", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"only a test user", func(t *testing.T, w *world, _ *doctor.Config) {
			w.remove(t, credstore.ClientID)
			w.put(t, credstore.UserClientID, "people")
		}, "parameter.machine_client_id", doctor.Fail, "MCP_AUTH=user", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"two values in one", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.ClientID, "one two") },
			"parameter.machine_client_id", doctor.Fail, "a blank or a line break in it", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"no client id", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.ClientID, "a/b") },
			"client.exists", doctor.Fail, "does not hold a client id", "mcpauth doctor --mcp-name calculator --fix", restore},

		{"discovery URL", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.DiscoveryURL, "https:///pool") },
			"discovery.url", doctor.Fail, "not a plain absolute URL", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"discovery URL of no pool", func(t *testing.T, w *world, _ *doctor.Config) {
			w.put(t, credstore.DiscoveryURL, "https://cognito-idp.eu-central-1.amazonaws.com/.well-known/openid-configuration")
		}, "discovery.url", doctor.Fail, "its path is not the id of a user pool", "mcpauth doctor --mcp-name calculator --fix", restore},
		{"discovery URL of another region", func(t *testing.T, w *world, _ *doctor.Config) {
			w.put(t, credstore.UserPoolID, "us-east-1_abcdefghi")
			w.put(t, credstore.DiscoveryURL, w.URL()+"/us-east-1_abcdefghi/.well-known/openid-configuration")
		}, "discovery.url", doctor.Warn, "another region", "--region us-east-1", nil},
		{"issuer overloaded", func(_ *testing.T, w *world, _ *doctor.Config) {
			w.refuse("GET openid-configuration", localaws.Fault{Status: 503})
		}, "discovery.document", doctor.Fail, "overloaded or down", "mcpauth doctor", nil},
		{"issuer behind a proxy", func(_ *testing.T, w *world, _ *doctor.Config) {
			w.refuse("GET openid-configuration", localaws.Fault{Status: 407})
		}, "discovery.document", doctor.Fail, "a proxy answers in the issuer's place", "curl -si http://127.0.0.1", nil},
		{"another document", func(t *testing.T, w *world, _ *doctor.Config) { w.issuer(t, `{"token_endpoint":"ISSUER/token"}`) },
			"discovery.issuer", doctor.Fail, "it is another document", "curl -s http://127.0.0.1", nil},
		// case 42
		{"token endpoint without TLS", func(t *testing.T, w *world, _ *doctor.Config) {
			w.issuer(t, `{"issuer":"ISSUER","token_endpoint":"http://tokens.example/token"}`)
		}, "discovery.token_endpoint", doctor.Fail, "broken, or not the issuer's", "curl -s http://127.0.0.1", nil},

		{"scope changed", func(t *testing.T, w *world, _ *doctor.Config) { w.put(t, credstore.Scope, "calculator/read") },
			"client.scopes", doctor.Fail, "changed separately", "aws ssm put-parameter", &doctor.Repair{Write: map[string]string{credstore.Scope: "calculator/invoke"}}},
		{"no scope", func(t *testing.T, w *world, _ *doctor.Config) { w.remove(t, credstore.Scope) },
			"client.scopes", doctor.Pass, "all of the client's: calculator/invoke", "", nil},
		{"wrong secret", func(t *testing.T, w *world, _ *doctor.Config) {
			w.put(t, credstore.ClientSecret, "0nce0fAn0therClient")
		},
			"token.request", doctor.Fail, "is not, or no longer, one of the client's", "mcpauth rotate", &doctor.Repair{Rotate: true}},

		{"runtime in the making", func(t *testing.T, w *world, _ *doctor.Config) { w.status(t, "CREATING") },
			"runtime.status", doctor.Fail, "being made at the moment", "aws bedrock-agentcore-control get-agent-runtime", nil},
		{"runtime being deleted", func(t *testing.T, w *world, _ *doctor.Config) { w.status(t, "DELETING") },
			"runtime.status", doctor.Fail, "being deleted", "aws bedrock-agentcore-control get-agent-runtime", nil},
		{"runtime being updated", func(t *testing.T, w *world, _ *doctor.Config) { w.status(t, "UPDATING") },
			"runtime.status", doctor.Warn, "the version before serves", "aws bedrock-agentcore-control get-agent-runtime", nil},
		{"runtime deleted", func(_ *testing.T, w *world, _ *doctor.Config) { w.RemoveRuntime(w.set.Endpoint) },
			"runtime.exists", doctor.Fail, "deleted", "aws bedrock-agentcore-control list-agent-runtimes", nil},
		{"open to anybody", func(t *testing.T, w *world, _ *doctor.Config) {
			srv := httptest.NewServer(server.NewStreamableHTTPServer(calcserver.New("test"), server.WithStateLess(true)))
			t.Cleanup(srv.Close)
			w.put(t, credstore.Endpoint, srv.URL+"/mcp")
		}, "endpoint.closed", doctor.Fail, "nothing checks tokens", "mcpauth doctor", nil},
		{"wrong path", func(t *testing.T, w *world, _ *doctor.Config) {
			srv := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(srv.Close)
			w.put(t, credstore.Endpoint, srv.URL)
		}, "endpoint.reachable", doctor.Fail, "MCP servers mostly have /mcp", "/mcp", nil},

		{"stack of another template", func(t *testing.T, w *world, cfg *doctor.Config) {
			cfg.Name, cfg.Stack = "", "other"
			if _, err := w.AddStack(localaws.Stack{Name: "other"}); err != nil {
				t.Fatal(err)
			}
		}, "stack", doctor.Fail, "of another template", "mcpauth doctor", nil},
		{"model overloaded", func(_ *testing.T, w *world, cfg *doctor.Config) {
			cfg.Model = "amazon.nova-lite-v1:0"
			w.refuse("Converse", localaws.Fault{Status: 429, Type: "ThrottlingException"})
		}, "model", doctor.Warn, "out of quota", "--model amazon.nova-lite-v1:0", nil},
		{"model fails", func(_ *testing.T, w *world, cfg *doctor.Config) {
			cfg.Model = "amazon.nova-lite-v1:0"
			w.refuse("Converse", localaws.Fault{Status: 500, Type: "InternalServerException"})
		}, "model", doctor.Fail, "Bedrock failed", "--model amazon.nova-lite-v1:0", nil},
		{"model cannot be reached", func(_ *testing.T, w *world, cfg *doctor.Config) {
			cfg.Model = "amazon.nova-lite-v1:0"
			w.refuse("Converse", localaws.Fault{Reset: true})
		}, "model", doctor.Fail, "", "--model amazon.nova-lite-v1:0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			cfg := w.config()
			tt.fault(t, w, &cfg)
			r := doctor.Examine(t.Context(), cfg)
			c := check(t, r, tt.id)
			if c.Status != tt.status || !strings.Contains(c.Found+"; "+c.Cause, tt.part) || !strings.Contains(c.Next, tt.next) || !reflect.DeepEqual(c.Repair, tt.repair) {
				t.Errorf("got %+v with repair %+v", c, c.Repair)
			}
			if first := r.First(); tt.status == doctor.Fail && first.ID != tt.id {
				t.Errorf("the first failure is %+v", first)
			}
			if strings.Contains(fmt.Sprintf("%+v", r), w.set.ClientSecret.Reveal()) { // case 45
				t.Error("the secret is in the report")
			}
		})
	}
}
