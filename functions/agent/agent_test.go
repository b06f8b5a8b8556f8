package main_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
	"agentcore-mcp-auth/pkg/trigger"
)

// binaries is a folder with the compiled agent, built once for all tests.
var binaries string

// bootstrap returns the path of the agent's program.
func bootstrap() string { return filepath.Join(binaries, "agent", "bootstrap") }

func TestMain(m *testing.M) { testenv.Main(m, &binaries, "functions/agent") }

const calc = "mcp_simple_calculator"

// world is a stand-in with one provisioned MCP server behind its front door.
type world struct {
	aws    *localaws.Server
	client provision.Result
	arn    string
	mcp    string       // URL of the MCP server behind it
	log    *testenv.Log // of the agent

	requests string // file with the requests of bench/byhand
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{aws: localaws.New(localaws.Config{}), log: &testenv.Log{}}
	if err := w.aws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.aws.Close() })
	p := provision.New(w.aws.AWSConfig())
	p.Owner = "test"
	var err error
	if w.client, err = p.Ensure(t.Context(), provision.Desired{Name: calc}); err != nil {
		t.Fatal(err)
	}
	mcp := httptest.NewServer(server.NewStreamableHTTPServer(calcserver.New("test"), server.WithStateLess(true)))
	t.Cleanup(mcp.Close)
	w.mcp = mcp.URL
	w.arn, err = w.aws.AddRuntime(localaws.Runtime{Name: calc, Target: mcp.URL, Authorizer: &authorizer.Config{
		DiscoveryURL:   w.client.DiscoveryURL,
		AllowedClients: []string{w.client.ClientID},
		AllowedScopes:  []string{w.client.Scope},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, credstore.Endpoint, w.arn, types.ParameterTypeString)
	return w
}

// put overwrites one parameter of the server.
func (w *world) put(t testing.TB, name, value string, typ types.ParameterType) {
	t.Helper()
	_, err := ssm.NewFromConfig(w.aws.AWSConfig()).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name: aws.String(w.client.ParameterPath + name), Value: aws.String(value), Type: typ, Overwrite: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// agent prepares the compiled agent as a function. env is added to its
// environment; an empty value removes a variable.
func (w *world) agent(t testing.TB, env map[string]string) *localaws.Function {
	t.Helper()
	return w.agentNamed(t, "agent", env)
}

func (w *world) agentNamed(t testing.TB, name string, env map[string]string) *localaws.Function {
	t.Helper()
	all := map[string]string{"BEDROCK_MODEL_ID": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "MCP_SERVERS": calc}
	maps.Copy(all, env)
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	f, err := w.aws.StartFunction(t.Context(), localaws.FunctionConfig{Name: name, Binary: bootstrap(), Timeout: 20 * time.Second, Env: all, Stderr: w.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func ask(t testing.TB, f *localaws.Function, event string) (trigger.Answer, localaws.Result) {
	t.Helper()
	res, err := f.Invoke(t.Context(), []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	var a trigger.Answer
	if res.FunctionError == "" {
		if err := json.Unmarshal(res.Payload, &a); err != nil {
			t.Fatalf("answer %s: %v", res.Payload, err)
		}
	}
	return a, res
}

// since returns the agent's requests after the first n, as service/operation.
// Those of the front door are left out.
func (w *world) since(n int) []string {
	var ops []string
	for _, r := range w.aws.Records()[n:] {
		if r.RequestHeader.Get("User-Agent") == localaws.FrontDoorAgent {
			continue
		}
		var rpc struct{ Method string }
		if r.Service == "agentcore" && json.Unmarshal(r.RequestBody, &rpc) == nil && rpc.Method != "" {
			ops = append(ops, rpc.Method)
			continue
		}
		ops = append(ops, r.Service+"/"+r.Operation)
	}
	return ops
}

func TestAgent_answers(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	n := len(w.aws.Records())
	got, res := ask(t, f, `{"prompt":"What is 2+2?","session_id":"s-1"}`)
	if got.Output != "The sum of 2 + 2 = 4." || got.SessionID != "s-1" || got.StopReason != "end_turn" || got.Turns != 2 {
		t.Fatalf("got %s %s", res.Payload, res.ErrorMessage)
	}
	if len(got.ToolCalls) != 1 || got.ToolCalls[0].Server != calc || got.ToolCalls[0].Tool != "add_numbers" || got.ToolCalls[0].Error {
		t.Errorf("got tool calls %+v", got.ToolCalls)
	}
	if got.Usage.InputTokens == 0 || got.Usage.OutputTokens == 0 {
		t.Errorf("got usage %+v", got.Usage)
	}
	cold := []string{
		"ssm/GetParametersByPath", "oidc/GET openid-configuration", "oauth/POST /oauth2/token",
		"initialize", "notifications/initialized", "tools/list",
		"bedrock/Converse", "tools/call", "bedrock/Converse",
	}
	if ops := w.since(n); !slices.Equal(ops, cold) {
		t.Errorf("a cold answer took\n%q, want\n%q", ops, cold)
	}

	n = len(w.aws.Records())
	if got, res := ask(t, f, `{"input":"greet Alice"}`); got.Output != "Hello, Alice! Nice to meet you." || got.SessionID == "" {
		t.Errorf("got %s", res.Payload)
	}
	if ops := w.since(n); !slices.Equal(ops, []string{"bedrock/Converse", "tools/call", "bedrock/Converse"}) {
		t.Errorf("a warm answer took %q", ops)
	}
	var ids []string
	for _, r := range w.aws.Records() {
		if r.Service == "agentcore" {
			ids = append(ids, r.RequestHeader.Get("Mcp-Session-Id"))
		}
	}
	if slices.Sort(ids); ids[0] == "" || ids[0] != ids[len(ids)-1] {
		t.Errorf("the MCP session id was not steady: %q", ids)
	}
}

// The digits of big numbers survive the whole way. case 71
func TestAgent_exactNumbers(t *testing.T) {
	w := newWorld(t)
	got, res := ask(t, w.agent(t, nil), `{"prompt":"What is 9007199254740993 * 10000000000000000000001?"}`)
	if want := "90071992547409930000009007199254740993"; !strings.Contains(got.Output, want) {
		t.Errorf("got %s, want %s in it", res.Payload, want)
	}
}

func TestAgent_badInput(t *testing.T) {
	tests := []struct {
		name     string
		prepare  func(*testing.T, *world)
		env      map[string]string
		event    string
		wantCode trigger.Code
		wantIn   string
	}{
		{name: "no prompt", event: `{}`, wantCode: trigger.InvalidRequest, wantIn: "no prompt"},
		{name: "unknown event", event: `{"Records":[]}`, wantCode: trigger.UnsupportedEvent, wantIn: "Records"},
		{name: "no model", env: map[string]string{"BEDROCK_MODEL_ID": ""}, wantCode: trigger.ConfigurationError, wantIn: "BEDROCK_MODEL_ID"},
		{name: "several bad settings", env: map[string]string{"MAX_TURNS": "many", "TOOL_TIMEOUT": "-1s", "MCP_AUTH": "magic"},
			wantCode: trigger.ConfigurationError, wantIn: "MAX_TURNS"},
		{name: "tools of nobody", env: map[string]string{"MCP_TOOLS": "other/x, add_numbers"}, wantCode: trigger.ConfigurationError, wantIn: "MCP_TOOLS"},
		{name: "unknown era", env: map[string]string{"MCP_ERA": "1999-01-01"}, wantCode: trigger.ConfigurationError, wantIn: "MCP_ERA"},
		{name: "half a guardrail", env: map[string]string{"GUARDRAIL_ID": "g"}, wantCode: trigger.ConfigurationError, wantIn: "GUARDRAIL_VERSION"},
		{name: "hot", env: map[string]string{"TEMPERATURE": "2"}, wantCode: trigger.ConfigurationError, wantIn: "TEMPERATURE"},
		{name: "no such server", env: map[string]string{"MCP_SERVERS": "other"}, wantCode: trigger.ConfigurationError, wantIn: "/app/mcp/other/"},
		{name: "no endpoint", prepare: func(t *testing.T, w *world) {
			if err := (&credstore.Store{API: ssm.NewFromConfig(w.aws.AWSConfig())}).Delete(t.Context(), calc, credstore.Endpoint); err != nil {
				t.Fatal(err)
			}
		}, wantCode: trigger.ConfigurationError, wantIn: "/endpoint"},
		{name: "bad ARN", prepare: func(t *testing.T, w *world) {
			w.put(t, credstore.Endpoint, "arn:aws:bedrock-agentcore:x", types.ParameterTypeString)
		}, wantCode: trigger.ConfigurationError, wantIn: "/endpoint"},
		{name: "http endpoint elsewhere", prepare: func(t *testing.T, w *world) {
			w.put(t, credstore.Endpoint, "http://mcp.example.com/mcp", types.ParameterTypeString)
		}, wantCode: trigger.ConfigurationError, wantIn: "https"},
		{name: "http issuer elsewhere", prepare: func(t *testing.T, w *world) {
			w.put(t, credstore.DiscoveryURL, "http://169.254.169.254/x/.well-known/openid-configuration", types.ParameterTypeString)
		}, wantCode: trigger.ConfigurationError, wantIn: credstore.DiscoveryURL},
		{name: "unknown runtime", prepare: func(t *testing.T, w *world) { w.aws.RemoveRuntime(w.arn) }, wantCode: trigger.MCPUnavailable, wantIn: calc},
		{name: "server down", prepare: func(t *testing.T, w *world) {
			down := httptest.NewServer(nil)
			down.Close()
			w.put(t, credstore.Endpoint, down.URL+"/mcp", types.ParameterTypeString)
		}, wantCode: trigger.MCPUnavailable, wantIn: calc},
		{name: "wrong secret", prepare: func(t *testing.T, w *world) {
			w.put(t, credstore.ClientSecret, "wrong-secret-canary", types.ParameterTypeSecureString)
		}, wantCode: trigger.TokenRefused, wantIn: calcPath + credstore.ClientSecret},
		{name: "wrong scope", prepare: func(t *testing.T, w *world) {
			w.put(t, credstore.Scope, "other/invoke", types.ParameterTypeString)
		}, wantCode: trigger.TokenRefused, wantIn: calcPath + credstore.Scope},
		{name: "not admitted", prepare: func(t *testing.T, w *world) {
			w.aws.RemoveRuntime(w.arn)
			arn, err := w.aws.AddRuntime(localaws.Runtime{Name: calc, Target: "http://127.0.0.1:1", Authorizer: &authorizer.Config{
				DiscoveryURL: w.client.DiscoveryURL, AllowedClients: []string{"somebodyelse"}}})
			if err != nil {
				t.Fatal(err)
			}
			w.put(t, credstore.Endpoint, arn, types.ParameterTypeString)
		}, wantCode: trigger.MCPAuthRefused, wantIn: "401"},
		{name: "SSM down", prepare: func(t *testing.T, w *world) {
			w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Service == "ssm" {
					return &localaws.Fault{Status: http.StatusInternalServerError, Type: "InternalServerError"}
				}
				return nil
			})
		}, wantCode: trigger.CredentialsUnavailable, wantIn: "/app/mcp/"},
		{name: "key of the secret disabled", prepare: func(t *testing.T, w *world) {
			w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Service == "ssm" {
					return &localaws.Fault{Status: http.StatusBadRequest, Type: "InvalidKeyId"}
				}
				return nil
			})
		}, wantCode: trigger.ConfigurationError, wantIn: "/app/mcp/"},
		{name: "unknown model", env: map[string]string{"BEDROCK_MODEL_ID": "eu.anthropic.does-not-exist-v1:0"}, wantCode: trigger.ModelRefused, wantIn: "ValidationException"},
		{name: "model fails", prepare: func(t *testing.T, w *world) {
			w.aws.SetModel(localaws.Script(localaws.ConverseReply{Content: []localaws.ContentBlock{{Text: "x"}}, StopReason: "malformed_model_output"}))
		}, wantCode: trigger.ModelFailed, wantIn: "malformed_model_output"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // some wait for retries
			w := newWorld(t)
			if tt.prepare != nil {
				tt.prepare(t, w)
			}
			event := tt.event
			if event == "" {
				event = `{"prompt":"What is 2+2?"}`
			}
			// case 85: an error, never an answer that describes one
			_, res := ask(t, w.agent(t, tt.env), event)
			if res.ErrorType != string(tt.wantCode) || !strings.Contains(res.ErrorMessage, tt.wantIn) {
				t.Errorf("got %s: %s %s\nwant %s with %q", res.ErrorType, res.ErrorMessage, res.Payload, tt.wantCode, tt.wantIn)
			}
			w.scanForSecrets(t, res.Payload)
		})
	}
}

// calcPath is where the sample server's parameters are.
const calcPath = credstore.DefaultPrefix + "/" + calc + "/"

// MCP_AUTH=iam signs instead of bearing a token: no credentials are asked for.
func TestAgent_iam(t *testing.T) {
	w := newWorld(t)
	arn, err := w.aws.AddRuntime(localaws.Runtime{Name: "signed", Target: w.mcp})
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, credstore.Endpoint, arn, types.ParameterTypeString)
	n := len(w.aws.Records())
	got, res := ask(t, w.agent(t, map[string]string{"MCP_AUTH": calc + "=iam"}), `{"prompt":"What is 2+2?"}`)
	if got.Output != "The sum of 2 + 2 = 4." {
		t.Errorf("got %s", res.Payload)
	}
	if ops := w.since(n); slices.ContainsFunc(ops, func(op string) bool { return strings.HasPrefix(op, "o") }) {
		t.Errorf("a token was asked for: %q", ops)
	}
}

// MCP_AUTH=user signs a user in, for development.
func TestAgent_user(t *testing.T) {
	w := newWorld(t)
	cognito := cognitoidentityprovider.NewFromConfig(w.aws.AWSConfig())
	client, err := cognito.CreateUserPoolClient(t.Context(), &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: aws.String(w.client.UserPoolID), ClientName: aws.String("people"),
		ExplicitAuthFlows: []idp.ExplicitAuthFlowsType{idp.ExplicitAuthFlowsTypeAllowUserPasswordAuth, idp.ExplicitAuthFlowsTypeAllowRefreshTokenAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cognito.AdminCreateUser(t.Context(), &cognitoidentityprovider.AdminCreateUserInput{
		UserPoolId: aws.String(w.client.UserPoolID), Username: aws.String("tester"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := cognito.AdminSetUserPassword(t.Context(), &cognitoidentityprovider.AdminSetUserPasswordInput{
		UserPoolId: aws.String(w.client.UserPoolID), Username: aws.String("tester"), Password: aws.String("Canary-Passw0rd!"), Permanent: true,
	}); err != nil {
		t.Fatal(err)
	}
	arn, err := w.aws.AddRuntime(localaws.Runtime{Name: "people", Target: w.mcp, Authorizer: &authorizer.Config{
		DiscoveryURL: w.client.DiscoveryURL, AllowedClients: []string{*client.UserPoolClient.ClientId},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, credstore.Endpoint, arn, types.ParameterTypeString)
	w.put(t, credstore.UserClientID, *client.UserPoolClient.ClientId, types.ParameterTypeString)
	w.put(t, credstore.Username, "tester", types.ParameterTypeString)
	w.put(t, credstore.Password, "Canary-Passw0rd!", types.ParameterTypeSecureString)
	f := w.agent(t, map[string]string{"MCP_AUTH": "user"})
	got, res := ask(t, f, `{"prompt":"What is 2+2?"}`)
	if got.Output != "The sum of 2 + 2 = 4." {
		t.Errorf("got %s %s", res.Payload, w.log)
	}
	w.scanForSecrets(t, res.Payload)
}

// The guide's basic agent: no MCP server, the tools in its own process.
func TestAgent_directTools(t *testing.T) {
	w := newWorld(t)
	n := len(w.aws.Records())
	f := w.agent(t, map[string]string{"MCP_SERVERS": "", "DIRECT_TOOLS": "true"})
	got, res := ask(t, f, `{"prompt":"What is 2+2?"}`)
	f.Close()
	if got.Output != "The sum of 2 + 2 = 4." || len(got.ToolCalls) != 1 || got.ToolCalls[0].Server != "direct" || got.ToolCalls[0].Tool != "add_numbers" {
		t.Errorf("got %s", res.Payload)
	}
	if ops := w.since(n); !slices.Equal(ops, []string{"bedrock/Converse", "bedrock/Converse"}) {
		t.Errorf("the answer took %q", ops)
	}
	// Both kinds at once: names that clash are told apart, and both work.
	w.aws.SetModel(localaws.Script(
		localaws.Ask(localaws.ToolUse{Name: "add_numbers", Input: json.RawMessage(`{"a":1,"b":2}`)},
			localaws.ToolUse{Name: "direct__add_numbers", Input: json.RawMessage(`{"a":3,"b":4}`)}),
		localaws.Say("done")))
	got, res = ask(t, w.agent(t, map[string]string{"DIRECT_TOOLS": "true"}), `{"prompt":"both"}`)
	if len(got.ToolCalls) != 2 || got.ToolCalls[0].Server != calc || got.ToolCalls[1].Server != "direct" || got.ToolCalls[0].Error || got.ToolCalls[1].Error {
		t.Errorf("got %s", res.Payload)
	}
}

// The settings of the toolbox: era, allowed and forbidden tools, names.
func TestAgent_toolSettings(t *testing.T) {
	w := newWorld(t)
	var offered []string
	w.aws.SetModel(func(r localaws.ConverseRequest) localaws.ConverseReply {
		if len(r.Messages) > 1 {
			return localaws.Say("done")
		}
		for _, tool := range r.Tools {
			offered = append(offered, tool.Name)
		}
		return localaws.Ask(localaws.ToolUse{Name: calc + "__add_numbers", Input: json.RawMessage(`{"a":2,"b":2}`)})
	})
	n := len(w.aws.Records())
	got, res := ask(t, w.agent(t, map[string]string{
		"MCP_ERA": calc + "=2026-07-28", "MCP_TOOLS": calc + "/add_*, " + calc + "/multiply_numbers, !" + calc + "/mul*", "TOOL_PREFIX": "always",
	}), `{"prompt":"go"}`)
	if got.Output != "done" || len(got.ToolCalls) != 1 || got.ToolCalls[0].Error || got.ToolCalls[0].Tool != "add_numbers" {
		t.Errorf("got %s", res.Payload)
	}
	if !slices.Equal(offered, []string{calc + "__add_numbers"}) {
		t.Errorf("the model was offered %q", offered)
	}
	if ops := w.since(n); slices.Contains(ops, "initialize") || !slices.Contains(ops, "server/discover") {
		t.Errorf("the newer era took %q", ops)
	}
}

// case 107: a failed start is not remembered.
func TestAgent_recovers(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "ssm" {
			return &localaws.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException"}
		}
		return nil
	})
	if _, res := ask(t, f, `{"prompt":"What is 2+2?"}`); res.ErrorType != "configuration_error" {
		t.Fatalf("got %s", res.Payload)
	}
	w.aws.SetFault(nil)
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != "The sum of 2 + 2 = 4." {
		t.Errorf("got %s", res.Payload)
	}
}

// case 88: the answer lists an optional server that is down, and the other tools
// still work.
func TestAgent_optionalServer(t *testing.T) {
	w := newWorld(t)
	got, res := ask(t, w.agent(t, map[string]string{"MCP_SERVERS": calc + ", search?"}), `{"prompt":"What is 2+2?"}`)
	if got.Output != "The sum of 2 + 2 = 4." || !slices.Equal(got.Unavailable, []string{"search"}) {
		t.Errorf("got %s", res.Payload)
	}
}

// case 34, case 36: a rotated secret and a revoked token cause no error.
func TestAgent_revokedToken(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output == "" {
		t.Fatalf("got %s", res.Payload)
	}
	refused := 0
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "agentcore" && refused == 0 {
			refused++
			return &localaws.Fault{Status: http.StatusUnauthorized}
		}
		return nil
	})
	n := len(w.aws.Records())
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != "The sum of 2 + 2 = 4." {
		t.Errorf("got %s", res.Payload)
	}
	if ops := w.since(n); refused != 1 || !slices.Contains(ops, "oauth/POST /oauth2/token") {
		t.Errorf("after a 401 the requests were %q", ops)
	}
}

// case 45: nothing that the agent prints or answers holds a secret or a token.
func TestAgent_noSecretsInLogs(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"LOG_LEVEL": "debug"})
	_, res := ask(t, f, `{"prompt":"What is 2+2?"}`)
	w.scanForSecrets(t, res.Payload)
}

// scanForSecrets looks for every secret and token that went over the wire.
func (w *world) scanForSecrets(t *testing.T, payload []byte) {
	t.Helper()
	canaries := []string{"wrong-secret-canary"}
	for _, r := range w.aws.Records() {
		var put struct{ Name, Value, Type string }
		if r.Operation == "PutParameter" && json.Unmarshal(r.RequestBody, &put) == nil && put.Type == "SecureString" {
			canaries = append(canaries, put.Value)
		}
		var token struct {
			AccessToken string `json:"access_token"`
		}
		if r.Service == "oauth" && json.Unmarshal(r.ResponseBody, &token) == nil && token.AccessToken != "" {
			canaries = append(canaries, token.AccessToken)
		}
	}
	if len(canaries) < 2 {
		t.Fatal("no secret was seen on the wire")
	}
	for _, c := range canaries {
		if bytes.Contains(payload, []byte(c)) || strings.Contains(w.log.String(), c) {
			t.Errorf("a secret of %d characters is in the answer or the log", len(c))
		}
	}
}
