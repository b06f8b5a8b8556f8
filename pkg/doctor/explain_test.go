package doctor_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/tokensource"
)

// case 51: whatever form a refusal comes in, it is told what it means.
func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		text        string
		what, cause string // parts of
		next        string
	}{
		{"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404", "not escaped, or twice", "mcpauth doctor --mcp-name NAME"},
		{"HTTP/1.1 406 Not Acceptable\n\n" + `{"jsonrpc":"2.0","id":1,"error":{"code":-32011,"message":"x"}}`, "-32011", "Accept header", ""},
		{"HTTP/1.1 402 Payment Required\n\n", "HTTP 402", "quota", ""},
		{"HTTP/1.1 429 Too Many Requests\n\n", "HTTP 429", "too many requests", ""},
		{"HTTP/1.1 409 Conflict\n\n", "HTTP 409", "same session", ""},
		{"HTTP/1.1 400 Bad Request\n\nno", "HTTP 400 Bad Request: no", "malformed", ""},
		{"HTTP/1.1 405 Method Not Allowed\n\n", "HTTP 405", "POST only", ""},
		{"HTTP/1.1 307 Temporary Redirect\nLocation: https://x/\n\n", "HTTP 307", "redirects", ""},
		{"HTTP/1.1 502 Bad Gateway\n\n<html>", "HTTP 502", "down or overloaded", ""},
		{"HTTP/1.1 200 OK\n\n" + `{"jsonrpc":"2.0","id":1,"result":{}}`, "HTTP 200", "not a refusal", ""},
		{"HTTP/1.1 418 I'm a teapot\n\n", "HTTP 418", "known here", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Invalid Bearer token"}}`, "-32001", "last minute", "mcpauth token --mcp-name NAME --claims"},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Claim 'aud' value mismatch with configuration."}}`, "aud", "leave allowedAudience out", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Claim 'scope' value mismatch with configuration."}}`, "scope", "allowedScopes", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Claim 'env' value mismatch with configuration."}}`, "env", "pre token generation trigger", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"OAuth authorization failed: x"}}`, "-32002", "some front doors say 403", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"x"}}`, "-32004", "not escaped", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"x"}}`, "-32005", "same session", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"x"}}`, "-32006", "33 to 256", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32010,"message":"x"}}`, "-32010", "only its log", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"x"}}`, "-32020", "another revision", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}`, "-32601", "does not know the method", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}`, "-32602", "does not know the tool", "mcpauth tools --mcp-name NAME"},
		{`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}`, "-32700", "not one JSON-RPC request", ""},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}`, "-32603", "failed", ""},
		{`{"error":"invalid_client"}`, "invalid_client", "the secret is wrong", "mcpauth rotate --mcp-name NAME"},
		{`{"error":"invalid_scope","error_description":"no"}`, "invalid_scope: no", "may not ask for a scope", ""},
		{`{"error":"unauthorized_client"}`, "unauthorized_client", "client_credentials grant", ""},
		{`{"error":"invalid_grant"}`, "invalid_grant", "AllowedOAuthFlowsUserPoolClient", ""},
		{`{"error":"invalid_request"}`, "invalid_request", "form of the request", ""},
		{`{"error":"invalid_target"}`, "invalid_target", "was not sent", ""},
		{"the token endpoint answered invalid_client: check parameter /app/mcp/x/cognito_secret", "invalid_client", "the secret is wrong", ""},
		{"MCP server x: initialize: answered 401 with JSON-RPC error -32001: Claim 'client_id' value mismatch with configuration.", "HTTP 401", "allowedClients", ""},
		{"MCP server x: initialize: answered 424: Runtime initialization time exceeded", "HTTP 424", "did not start in 30 s", ""},
		{`{"errorType":"mcp_unavailable","errorMessage":"MCP server x: not connected within 1m30s"}`, "mcp_unavailable", "cannot be reached", ""},
		{`{"error":{"code":"invalid_request","message":"no prompt"}}`, "invalid_request: no prompt", "form that the agent takes", "mcpauth invoke --help"},
		{`{"error":{"code":"model_throttled","message":"later"}}`, "model_throttled", "it passes", ""},
		{`{"error":{"code":"deadline_exceeded","message":"late"}}`, "deadline_exceeded", "fitted in the time", ""},
		{`{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"x"}`, "ParameterNotFound: x", "not there", ""},
		{`{"message":"User: arn:aws:iam::123456789012:user/team/me is not authorized to perform: ssm:GetParametersByPath with an explicit deny in a service control policy"}`,
			"AccessDenied", "IAM: the organization's service control policy denies it: ssm:GetParametersByPath", "aws iam put-user-policy --user-name me "},
		{`{"Message":"Missing Authentication Token"}`, "-32001", "no Authorization header", ""},
		{"An error occurred (ThrottlingException) when calling the Converse operation (reached max retries: 4): Too many requests", "ThrottlingException: Too many requests", "it passes", ""},
		{"An error occurred (ValidationException) when calling the Converse operation: Invocation of model ID x with on-demand throughput isn’t supported.", "ValidationException", "inference profile", "aws bedrock list-inference-profiles "},
		{"An error occurred (AccessDeniedException) when calling the Converse operation: You don't have access to the model with the specified model ID.", "AccessDeniedException", "access to the model", ""},
		{"operation error SSM: GetParametersByPath, https response error StatusCode: 400, RequestID: 1, api error UnrecognizedClientException: The security token included in the request is invalid.", "UnrecognizedClientException", "not valid", "aws sts get-caller-identity"},
		{`{"error":{"code":"configuration_error","message":"MCP_SERVERS"}}`, "configuration_error: MCP_SERVERS", "the message names it", ""},
		{`{"error":{"code":"token_refused","message":"x"}}`, "token_refused", "token endpoint refuses the client", ""},
		{`{"error":{"code":"model_failed","message":"x"}}`, "model_failed", "Bedrock refuses the model", "mcpauth doctor --mcp-name NAME --model MODEL"},
		{`{"error":{"code":"internal_error","message":"x"}}`, "internal_error", "only its log", "sam logs"},
		{"An error occurred (ExpiredTokenException) when calling the GetParametersByPath operation: The security token included in the request is expired", "ExpiredTokenException", "have expired", "aws sso login"},
		{"HTTP/1.1 403 Forbidden\n\n" + `{"message":"Missing Authentication Token"}`, "HTTP 403", "takes AWS signatures only", ""},
		{"HTTP/1.1 403 Forbidden\n\n" + `{"message":"User: arn:aws:sts::123456789012:assumed-role/agent/x is not authorized to perform: bedrock-agentcore:InvokeAgentRuntime on resource: arn:aws:bedrock-agentcore:eu-central-1:123456789012:runtime/x"}`,
			"HTTP 403", "IAM: ", "aws iam put-role-policy --role-name agent "},
		{"is not authorized to perform: ssm:PutParameter", "AccessDenied", "IAM: ", "aws sts get-caller-identity"}, // whoever it was
		{"HTTP/1.1 406 Not Acceptable\n\n", "HTTP 406", "Accept header", ""},
		{"HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\nevent: message\ndata: " + `{"jsonrpc":"2.0","id":1,"error":{"code":-32010,"message":"x"}}` + "\n\n", "-32010", "only its log", ""},
		{"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer error=\"insufficient_scope\"", "HTTP 401", "none of the scopes", "mcpauth token"}, // the headers alone
		{"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"https://x.example/\"", "HTTP 401", "no header \"Authorization: Bearer TOKEN\"", ""},
		{"error: Authorization method mismatch. The agent is configured for", "-32002", "signed with SigV4", ""},
	} {
		x, err := doctor.Explain(t.Context(), tt.text, doctor.Config{})
		if err != nil || len(x.Causes) == 0 {
			t.Errorf("%s: got %+v, error %v", tt.text, x, err)
			continue
		}
		causes := ""
		for _, c := range x.Causes {
			causes += c.Cause + "\n"
			if c.Next == "" {
				t.Errorf("%s: no next command for %q", tt.text, c.Cause)
			}
		}
		if !strings.Contains(x.What, tt.what) || !strings.Contains(causes, tt.cause) || !strings.HasPrefix(x.Causes[0].Next, tt.next) {
			t.Errorf("%s\ngot  %s: %+v\nwant %s: %s; next %s", tt.text, x.What, x.Causes, tt.what, tt.cause, tt.next)
		}
	}
	for _, text := range []string{"", "hello", "{}", `{"foo":1}`, "[]", "null", "HTTP/1.1", "HTTP/1.1 abc\n\n", "data:"} {
		if x, err := doctor.Explain(t.Context(), text, doctor.Config{}); !errors.Is(err, doctor.ErrUnknown) {
			t.Errorf("%q: got %+v, error %v, want ErrUnknown", text, x, err)
		}
	}
}

func token(claims map[string]any) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]string{"alg": "RS256"}) + "." + part(claims) + "." + part("canary-signature")
}

// case 131, 132: a token's faults are told without anybody being asked.
func TestExplain_token(t *testing.T) {
	now := time.Now().Unix()
	good := func() map[string]any {
		return map[string]any{"iss": "https://issuer.example.com", "client_id": "c", "token_use": "access", "scope": "a/b", "iat": now, "exp": now + 3600}
	}
	with := func(name string, v any) map[string]any {
		c := good()
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	for _, tt := range []struct {
		claims map[string]any
		failed string // the first check that is not passed
		found  string
	}{
		{good(), "", ""},
		{with("token_use", nil), "", ""}, // of another issuer than Cognito
		{with("token_use", "id"), "token.use", "token_use id"},
		{with("client_id", nil), "token.client", "client_id"},
		{with("iss", nil), "token.issuer", "iss"},
		{with("exp", now-60), "token.life", "ended 1m"},
		{with("exp", now+30), "token.life", "s left"},
		{with("exp", nil), "token.life", "no exp"},
		{with("exp", "soon"), "token.life", "no exp"},
		{with("exp", now+120), "token.life", "2m0s"},
		{with("iat", now+3000), "token.life", "issued in"},
	} {
		bare := token(tt.claims)
		for _, text := range []string{bare, "Bearer " + bare + "\n", "Authorization: bearer " + bare, fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, bare)} {
			x, err := doctor.Explain(t.Context(), text, doctor.Config{})
			if err != nil {
				t.Fatal(err)
			}
			failed, found := "", ""
			for _, c := range x.Checks {
				if c.Status != doctor.Pass && failed == "" {
					failed, found = c.ID, c.Found
					if c.Cause == "" || c.Next == "" || c.Expected == "" {
						t.Errorf("%s: got %+v, want all of it", c.ID, c)
					}
				}
			}
			if len(x.Checks) != 5 || failed != tt.failed || !strings.Contains(found, tt.found) {
				t.Errorf("%v: got %s %s of %d checks, want %s %s", tt.claims, failed, found, len(x.Checks), tt.failed, tt.found)
			}
			if printed := fmt.Sprintf("%+v", x); strings.Contains(printed, bare) || strings.Contains(printed, "canary") || strings.Contains(printed, "eyJ") {
				t.Errorf("the token is in %s", printed)
			}
		}
	}
}

// A caller who leaves gets no half of an explanation. case 141
func TestExplain_interrupted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := doctor.Explain(ctx, token(map[string]any{"iss": "x"}), w.config()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// case 45: nothing that is said holds a token, whoever said it first; nor
// anything that a terminal would obey.
func TestExplain_masks(t *testing.T) {
	secret := token(map[string]any{"iss": "x"})
	for _, text := range []string{
		"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer error=\"invalid_token\"\n\nno such token: " + secret,
		"HTTP/1.1 403 Forbidden\n\nAuthorization: Bearer opaque-canary-0123456789",
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"refused ` + secret + `\u001b[2J\u0007"}}`,
		"answered 401: " + secret[:len(secret)-20],
	} {
		x, err := doctor.Explain(t.Context(), text, doctor.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if printed := fmt.Sprintf("%+v", x); strings.Contains(printed, "eyJ") || strings.Contains(printed, "canary") || strings.ContainsAny(printed, "\x1b\x07") {
			t.Errorf("got %q", printed)
		}
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer\n\n{}")
	f.Add(`{"jsonrpc":"2.0","error":{"code":-32001}}`)
	f.Add("< HTTP/1.1 404\n<\n{ [1]\nx")
	f.Add(token(map[string]any{"exp": 1e300, "scope": 7, "aud": []any{1}}))
	f.Add("data: {\"error\":{\"code\":\"x\",\"message\":\"{\\\"error\\\":1}\"}}")
	f.Fuzz(func(t *testing.T, text string) {
		x, err := doctor.Explain(context.Background(), text, doctor.Config{AWS: aws.Config{}})
		if (err == nil) != (len(x.Causes)+len(x.Checks) > 0) {
			t.Errorf("%q: got %+v, %v", text, x, err)
		}
	})
}

// With a server's name a token is held against what is recorded of the server and
// what its runtime asks for.
func TestExplain_compared(t *testing.T) {
	w := newWorld(t)
	source, err := tokensource.New(tokensource.Config{Credentials: tokensource.Static(w.set), Resource: w.URL()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	explain := func(text string) doctor.Report {
		t.Helper()
		x, err := doctor.Explain(t.Context(), text, w.config())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%+v", x), got.AccessToken.Reveal()) { // case 45
			t.Error("the token is in the explanation")
		}
		return doctor.Report{Checks: x.Checks}
	}
	if r := explain(got.AccessToken.Reveal()); r.First() != nil || check(t, r, "authorizer.clients").Status != doctor.Pass {
		t.Errorf("the server's own token: got %+v", r.Checks)
	}
	stranger := explain(token(map[string]any{
		"iss": strings.TrimSuffix(w.set.DiscoveryURL, "/.well-known/openid-configuration"), "client_id": "stranger",
		"token_use": "access", "scope": w.set.Scope, "exp": time.Now().Unix() + 3600, "iat": time.Now().Unix(),
	}))
	for _, id := range []string{"token.client", "authorizer.clients"} {
		if c := check(t, stranger, id); c.Status != doctor.Fail || !strings.Contains(c.Found, "stranger") || c.Next == "" {
			t.Errorf("another's token: got %+v", c)
		}
	}
	w.put(t, credstore.Endpoint, "https://mcp.example.com/mcp") // whose rules nobody here can read
	if r := explain(got.AccessToken.Reveal()); r.First() != nil || len(r.Checks) == 0 {
		t.Errorf("a server elsewhere: got %+v", r.Checks)
	}
	cfg := w.config()
	cfg.Name = "search"
	if _, err := doctor.Explain(t.Context(), got.AccessToken.Reveal(), cfg); err == nil || !strings.Contains(err.Error(), "mcpauth setup --mcp-name search") {
		t.Errorf("a server that is not set up: got %v, want what to do", err)
	}
}
