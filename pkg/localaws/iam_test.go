package localaws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/localaws"
)

// permit is one permission. condition, if not empty, is its Condition element.
type permit struct{ action, resource, condition string }

// statements is a policy document with one statement per grant.
func statements(effect string, grants ...permit) json.RawMessage {
	var list []string
	for i, g := range grants {
		condition := ""
		if g.condition != "" {
			condition = `,"Condition":` + g.condition
		}
		list = append(list, fmt.Sprintf(`{"Sid":"%s%d","Effect":%q,"Action":[%q],"Resource":%q%s}`, effect, i, effect, g.action, g.resource, condition))
	}
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[` + strings.Join(list, ",") + `]}`)
}

// trust is the trust policy for a service.
func trust(service, condition string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":%q},"Action":"sts:AssumeRole"%s}}`, service, condition))
}

var lambdaTrust = trust("lambda.amazonaws.com", "")

// addRole makes a role that Lambda may assume.
func addRole(t *testing.T, s *localaws.Server, name string, policies ...json.RawMessage) (arn string) {
	t.Helper()
	arn, err := s.AddRole(localaws.Role{Name: name, Policies: policies, Trust: lambdaTrust})
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

// as is a configuration with a role's credentials, without retries.
func as(t *testing.T, s *localaws.Server, arn string) aws.Config {
	t.Helper()
	cfg, err := s.RoleConfig(arn, "tests")
	if err != nil {
		t.Fatal(err)
	}
	cfg.RetryMaxAttempts = 1
	cfg.HTTPClient = bodyInMemory{}
	return cfg
}

// roleCall is one request that a role may be allowed.
type roleCall struct {
	what  string
	needs []permit
	do    func(context.Context, aws.Config) error
}

// of makes a request of an SDK call.
func of[In, Out, Opt any](ctx context.Context, f func(context.Context, *In, ...func(*Opt)) (*Out, error), in *In) error {
	_, err := f(ctx, in)
	return err
}

// checkCalls makes each call with roles that lack one permission each, and then
// with one that has them all and needs each. Later calls see what earlier ones
// changed.
func checkCalls(t *testing.T, s *localaws.Server, calls []roleCall) {
	t.Helper()
	for _, c := range calls {
		arn := addRole(t, s, "caller")
		cfg := as(t, s, arn)
		for i, g := range c.needs {
			others := slices.Delete(slices.Clone(c.needs), i, i+1)
			setPolicy(t, s, others)
			want := fmt.Sprintf("User: arn:aws:sts::000000000000:assumed-role/caller/tests is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
				g.action, g.resource, g.action)
			if err := c.do(t.Context(), cfg); errorCode(err) != "AccessDeniedException" || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s without %s: got %v, want AccessDeniedException: %s", c.what, g.action, err, want)
			}
		}
		setPolicy(t, s, c.needs)
		if err := c.do(t.Context(), cfg); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if unused, err := s.UnusedGrants(arn); err != nil || len(unused) > 0 {
			t.Errorf("%s: got %q unused, %v", c.what, unused, err)
		}
		s.RemoveRole("caller")
	}
}

func setPolicy(t *testing.T, s *localaws.Server, grants []permit) {
	t.Helper()
	role := localaws.Role{Name: "caller", Trust: lambdaTrust}
	if len(grants) > 0 {
		role.Policies = []json.RawMessage{statements("Allow", grants...)}
	}
	if err := s.UpdateRole(role); err != nil {
		t.Fatal(err)
	}
}

func TestRole_refused(t *testing.T) {
	s := startServer(t)
	for _, tt := range []struct {
		role localaws.Role
		want string
	}{
		{localaws.Role{Trust: lambdaTrust}, `Name ""`},
		{localaws.Role{Name: "a/b", Trust: lambdaTrust}, `Name "a/b"`},
		{localaws.Role{Name: "a"}, "Trust: want a policy document"},
		{localaws.Role{Name: "a", Trust: lambdaTrust, Policies: []json.RawMessage{statements("Allow", permit{"x", "*", ""})}}, `Policies[0]: Allow0: Action "x"`},
	} {
		if _, err := s.AddRole(tt.role); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("AddRole(%.80v): %v, want %q", tt.role, err, tt.want)
		}
	}
	addRole(t, s, "Agent")
	if _, err := s.AddRole(localaws.Role{Name: "agent", Trust: lambdaTrust}); err == nil {
		t.Error("a name was given twice")
	}
	if err := s.UpdateRole(localaws.Role{Name: "nobody", Trust: lambdaTrust}); err == nil {
		t.Error("a role that is not there was changed")
	}
	if _, err := s.RoleConfig("arn:aws:iam::000000000000:role/nobody", "x"); err == nil {
		t.Error("a role that is not there gave credentials")
	}
	if _, err := s.RoleEnv("arn:aws:iam::000000000000:role/Agent", "a b"); err == nil {
		t.Error("a session may be named anything")
	}
}

// case 140: a role's credentials are temporary: they are invalid without their
// token, with another token, and after the role is removed.
func TestRole_credentials(t *testing.T) {
	a := newAccount(t)
	a.put("/app/a", "v", "String")
	read := permit{"ssm:GetParameter", "arn:aws:ssm:eu-central-1:000000000000:parameter/app/a", ""}
	arn := addRole(t, a.Server, "reader", statements("Allow", read))
	other := addRole(t, a.Server, "other", statements("Allow", read))
	creds, _ := as(t, a.Server, arn).Credentials.Retrieve(t.Context())
	others, _ := as(t, a.Server, other).Credentials.Retrieve(t.Context())
	again, _ := as(t, a.Server, arn).Credentials.Retrieve(t.Context())
	if !strings.HasPrefix(creds.AccessKeyID, "ASIA") || creds.SessionToken == "" || creds.SecretAccessKey == "" || creds == again {
		t.Errorf("got credentials with the key %s, and again %s", creds.AccessKeyID, again.AccessKeyID)
	}
	get := func(creds aws.Credentials, change tamper) string {
		cfg := a.AWSConfig()
		cfg.RetryMaxAttempts = 1
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })
		cfg.HTTPClient = change
		return refused(t, ssm.NewFromConfig(cfg).GetParameter, &ssm.GetParameterInput{Name: aws.String("/app/a")})
	}
	nothing := func(*http.Request) {}
	const invalid = "UnrecognizedClientException"
	if got := get(creds, nothing); got != "" {
		t.Errorf("good credentials: %s", got)
	}
	stolen := creds
	stolen.SessionToken = ""
	if got := get(stolen, nothing); got != invalid {
		t.Errorf("no token: got %q, want %s", got, invalid)
	}
	stolen.SessionToken = others.SessionToken
	if got := get(stolen, nothing); got != invalid {
		t.Errorf("another's token: got %q, want %s", got, invalid)
	}
	stolen = creds
	stolen.SecretAccessKey = others.SecretAccessKey
	if got := get(stolen, nothing); got != "InvalidSignatureException" {
		t.Errorf("another's secret: got %q, want InvalidSignatureException", got)
	}
	stolen = creds
	stolen.SessionToken = "" // added after the request was signed
	if got := get(stolen, func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", creds.SessionToken) }); got != "InvalidSignatureException" {
		t.Errorf("unsigned token: got %q, want InvalidSignatureException", got)
	}
	a.RemoveRole("reader")
	if got := get(creds, nothing); got != invalid {
		t.Errorf("role gone: got %q, want %s", got, invalid)
	}
	if got := get(others, nothing); got != "" {
		t.Errorf("another role: %s", got)
	}
}

// A change of policies counts at once; a Deny wins over everything.
func TestUpdateRole(t *testing.T) {
	a := newAccount(t)
	a.put("/app/a", "v", "String")
	read := permit{"ssm:GetParameter", "arn:aws:ssm:eu-central-1:000000000000:parameter/app/a", ""}
	arn := addRole(t, a.Server, "reader")
	client := ssm.NewFromConfig(as(t, a.Server, arn))
	get := func() error {
		return of(t.Context(), client.GetParameter, &ssm.GetParameterInput{Name: aws.String("/app/a")})
	}
	if err := get(); errorCode(err) != "AccessDeniedException" {
		t.Errorf("no policies: %v", err)
	}
	for _, tt := range []struct {
		policies []json.RawMessage
		want     string
	}{
		{[]json.RawMessage{statements("Allow", read)}, ""},
		{[]json.RawMessage{statements("Deny", permit{"ssm:*", "*", ""}), statements("Allow", read)}, "on resource: " + read.resource + " with an explicit deny in an identity-based policy"},
		{[]json.RawMessage{statements("Allow", permit{read.action, read.resource, `{"StringEquals":{"aws:RequestedRegion":"eu-west-1"}}`})}, "because no identity-based policy"},
		{[]json.RawMessage{statements("Allow", permit{read.action, read.resource, `{"StringEquals":{"aws:requestedregion":"eu-central-1","aws:PrincipalAccount":"000000000000"},"ArnEquals":{"aws:PrincipalArn":"` + arn + `"}}`})}, ""},
	} {
		if err := a.UpdateRole(localaws.Role{Name: "reader", Policies: tt.policies, Trust: lambdaTrust}); err != nil {
			t.Fatal(err)
		}
		err := get()
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.policies, err, tt.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	s := startServer(t)
	const queue = "arn:aws:sqs:eu-central-1:000000000000:jobs"
	arn := addRole(t, s, "worker", statements("Allow",
		permit{"sqs:ReceiveMessage", queue, ""},
		permit{"xray:PutTraceSegments", "*", ""},
		permit{"kms:Decrypt", "*", `{"StringEquals":{"kms:ViaService":"sqs.eu-central-1.amazonaws.com"}}`},
		permit{"sqs:SendMessage", queue, ""},
	))
	for _, tt := range []struct {
		arn, action, resource string
		context               map[string]string
		want                  bool
	}{
		{arn, "sqs:ReceiveMessage", queue, nil, true},
		{arn, "sqs:ReceiveMessage", queue + "2", nil, false},
		{arn, "sqs:DeleteMessage", queue, nil, false},
		{arn, "xray:PutTraceSegments", "", nil, true},
		{arn, "sqs:ReceiveMessage", "", nil, false},
		{arn, "kms:Decrypt", s.KeyARN("alias/jobs"), nil, false},
		{arn, "kms:Decrypt", s.KeyARN("alias/jobs"), map[string]string{"KMS:viaservice": "sqs.eu-central-1.amazonaws.com"}, true},
		{arn + "x", "sqs:ReceiveMessage", queue, nil, false},
	} {
		if got := s.Allowed(tt.arn, tt.action, tt.resource, tt.context); got != tt.want {
			t.Errorf("Allowed(%s, %s, %v) = %v, want %v", tt.action, tt.resource, tt.context, got, tt.want)
		}
	}
	got, err := s.UnusedGrants(arn)
	if want := []string{"Allow3: action sqs:SendMessage", "Allow3: resource " + queue}; err != nil || !slices.Equal(got, want) {
		t.Errorf("unused: got %q, %v, want %q", got, err, want)
	}
	if _, err := s.UnusedGrants(arn + "x"); err == nil {
		t.Error("a role that is not there has grants")
	}
}

// A process gets its role's credentials, token included. What the role may not
// do is refused under the role's name.
func TestFunction_role(t *testing.T) {
	a := newAccount(t)
	bin := buildBootstrap()
	a.put("/app/a", "the value", "String")
	arn := addRole(t, a.Server, "agent-role", statements("Allow", permit{"ssm:GetParameter", "arn:aws:ssm:eu-central-1:000000000000:parameter/app/*", ""}))
	agent := startFunction(t, a.Server, localaws.FunctionConfig{Name: "agent", Binary: bin, Role: arn})
	poor := startFunction(t, a.Server, localaws.FunctionConfig{Name: "poor", Binary: bin, Role: addRole(t, a.Server, "poor-role")})
	if res := mustInvoke(t, agent, do("parameter")); string(res.Payload) != `"the value"` {
		t.Errorf("allowed: got %s", res.Payload)
	}
	const want = "User: arn:aws:sts::000000000000:assumed-role/poor-role/poor is not authorized to perform: ssm:GetParameter on resource: arn:aws:ssm:eu-central-1:000000000000:parameter/app/a because no identity-based policy allows the ssm:GetParameter action"
	if res := mustInvoke(t, poor, do("parameter")); !strings.Contains(res.ErrorMessage, want) {
		t.Errorf("refused: got %s, want %s", res.Payload, want)
	}
	var env []string
	if err := json.Unmarshal(mustInvoke(t, agent, do("env")).Payload, &env); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"AWS_ACCESS_KEY_ID=ASIA", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN="} {
		if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, want) }) {
			t.Errorf("the environment has no %s", want)
		}
	}
	if slices.Contains(env, "AWS_ACCESS_KEY_ID="+localaws.AccessKeyID) {
		t.Error("the process has the account's key")
	}
}

// Lambda and AgentCore refuse a role that they may not assume.
func TestTrust(t *testing.T) {
	s := startServer(t)
	bin := filepath.Join(t.TempDir(), "bootstrap") // never run
	if err := os.WriteFile(bin, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	source := func(account, arn string) string {
		return fmt.Sprintf(`,"Condition":{"StringEquals":{"aws:SourceAccount":%q},"ArnLike":{"aws:SourceArn":%q}}`, account, arn)
	}
	const agentcore = "bedrock-agentcore.amazonaws.com"
	for i, tt := range []struct {
		trust           json.RawMessage
		lambda, runtime bool
	}{
		{lambdaTrust, true, false},
		{trust("lambda.amazonaws.com", source("000000000000", "arn:aws:lambda:eu-central-1:000000000000:function:agent")), true, false},
		{trust("lambda.amazonaws.com", source("000000000000", "arn:aws:lambda:eu-central-1:000000000000:function:other")), false, false},
		{trust(agentcore, source("000000000000", "arn:aws:bedrock-agentcore:eu-central-1:000000000000:*")), false, true},
		{trust(agentcore, source("000000000001", "arn:aws:bedrock-agentcore:eu-central-1:000000000000:*")), false, false},
		{trust(agentcore, source("000000000000", "arn:aws:bedrock-agentcore:eu-west-1:000000000000:*")), false, false},
		{trust("bedrock.amazonaws.com", ""), false, false},
		{json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["lambda.amazonaws.com","` + agentcore + `"]},"Action":["sts:AssumeRole","sts:TagSession"]}]}`), true, true},
		{json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:TagSession"}]}`), false, false},
	} {
		arn, err := s.AddRole(localaws.Role{Name: fmt.Sprintf("r%d", i), Trust: tt.trust})
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.StartFunction(t.Context(), localaws.FunctionConfig{Name: "agent", Binary: bin, Role: arn})
		if err == nil {
			f.Close()
		}
		if (err == nil) != tt.lambda || err != nil && !strings.HasSuffix(err.Error(), "The role defined for the function cannot be assumed by Lambda.") {
			t.Errorf("%s: StartFunction: %v", tt.trust, err)
		}
		runtime, err := s.AddRuntime(localaws.Runtime{Name: "calculator", Target: "http://127.0.0.1:1", Role: arn})
		s.RemoveRuntime(runtime)
		if (err == nil) != tt.runtime || err != nil && !strings.Contains(err.Error(), "Role validation failed for '"+arn+"'") {
			t.Errorf("%s: AddRuntime: %v", tt.trust, err)
		}
	}
	if _, err := s.StartFunction(t.Context(), localaws.FunctionConfig{Name: "agent", Binary: bin, Role: "arn:aws:iam::000000000000:role/nobody"}); err == nil {
		t.Error("a function was started with a role that is not there")
	}
}

// A runtime without a JWT authorizer requires permission for the runtime and its
// endpoint, and one more action if the caller names a user.
func TestInvokeAgentRuntime_role(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) { rt.Authorizer, rt.Protocol = nil, localaws.ProtocolHTTP })
	mcp, err := d.AddRuntime(localaws.Runtime{Name: "mcp", Target: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	invoke := func(arn string, grants []permit, header ...string) (int, string) {
		role := addRole(t, d.Server, "caller", statements("Allow", grants...))
		defer d.RemoveRole("caller")
		creds, _ := as(t, d.Server, role).Credentials.Retrieve(t.Context())
		body := []byte(`{"jsonrpc":"2.0","id":7,"method":"ping"}`)
		req, err := http.NewRequest("POST", d.URL()+"/runtimes/"+strings.NewReplacer(":", "%3A", "/", "%2F").Replace(arn)+"/invocations", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		signRequestAs(t, creds, req, body, "bedrock-agentcore")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		text.ReadFrom(res.Body)
		return res.StatusCode, text.String()
	}
	const action, forUser = "bedrock-agentcore:InvokeAgentRuntime", "bedrock-agentcore:InvokeAgentRuntimeForUser"
	endpoint := d.arn + "/runtime-endpoint/DEFAULT"
	both := []permit{{action, d.arn, ""}, {action, endpoint, ""}}
	user := []string{"X-Amzn-Bedrock-AgentCore-Runtime-User-Id", "u"}
	for _, tt := range []struct {
		what   string
		grants []permit
		header []string
		status int
		want   string
	}{
		{"both", both, nil, 200, ""},
		{"runtime only", both[:1], nil, 403, action + " on resource: " + endpoint},
		{"endpoint only", both[1:], nil, 403, action + " on resource: " + d.arn},
		{"for a user", append(both, permit{forUser, d.arn + "*", ""}), user, 200, ""},
		{"for a user, not allowed", both, user, 403, forUser + " on resource: " + d.arn},
	} {
		if status, body := invoke(d.arn, tt.grants, tt.header...); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: got %d %s, want %d %s", tt.what, status, body, tt.status, tt.want)
		}
	}
	if status, body := invoke(mcp, both); status != 403 || !strings.Contains(body, `"code":-32002`) || !strings.Contains(body, "on resource: "+mcp) {
		t.Errorf("MCP: got %d %s", status, body)
	}
}
