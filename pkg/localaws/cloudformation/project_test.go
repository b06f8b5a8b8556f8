package cloudformation_test

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"
	. "agentcore-mcp-auth/pkg/localaws/cloudformation"
)

const server = "/app/mcp/mcp_simple_calculator/"

// project is a template of the project's own.
func project(t testing.TB, name string) string {
	t.Helper()
	template, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(template)
}

// ask asks the agent function a sum, and wants a tool of the MCP server to have
// answered it.
func (a *account) ask() {
	a.t.Helper()
	res, err := a.Function("AgentFunction").Invoke(a.t.Context(), []byte(`{"prompt":"What is 2+2?"}`))
	if err != nil || res.FunctionError != "" {
		a.t.Errorf("got %s, %v\n%s", res.Payload, err, a.log)
	}
	a.wantSum(string(res.Payload))
}

func (a *account) wantSum(answer string) {
	a.t.Helper()
	if !strings.Contains(answer, "The sum of 2 + 2 = 4.") || !strings.Contains(answer, `"server":"mcp_simple_calculator"`) {
		a.t.Errorf("got %s\n%s", answer, a.log)
	}
}

// The project's template from its first deployment to its deletion. The agent
// answers with only the permissions of the template's roles.
func TestProject(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	template := project(t, "template.yaml")
	a.mustDeploy(template)
	a.ask()
	if got := a.parameter(server + "endpoint"); got != a.Outputs()["McpServerArn"] || got == "" {
		t.Errorf("got endpoint %q, want %v", got, a.Outputs())
	}
	status, body := a.post("lambda", a.Outputs()["AgentUrl"], `{"prompt":"What is 2+2?"}`)
	if status != 200 {
		t.Errorf("got %d", status)
	}
	a.wantSum(body)
	secret := a.parameter(server + "cognito_secret")

	// A new binary: the function gets it, and nothing else is touched.
	a.rebuild("cognito-setup", "second")
	a.mustDeploy(template)
	a.wantStates("CognitoSetupFunction", UpdateInProgress, UpdateComplete)
	a.wantStates("McpClient")
	a.wantStates("McpServer")
	if got := a.parameter(server + "cognito_secret"); got != secret {
		t.Error("the secret was rotated")
	}

	// A new publisher publishes, and the runtime stays when the image is the same.
	a.rebuild("image-publisher", "second")
	a.mustDeploy(template)
	a.wantStates("McpImage", UpdateInProgress, UpdateComplete)
	a.wantStates("McpServer")

	// A new SecretVersion rotates the secret of the client that there is.
	client := a.Outputs()["ClientId"]
	a.mustDeploy(template, "SecretVersion=2")
	a.wantStates("McpClient", UpdateInProgress, UpdateComplete)
	if got := a.parameter(server + "cognito_secret"); got == secret || got == "" || a.Outputs()["ClientId"] != client {
		t.Errorf("the secret was not rotated, or the client is another: %s", a.Outputs()["ClientId"])
	}
	a.ask()

	if err := a.Delete(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, a.log)
	}
	a.wantNothing()
}

// Everything that the template can have, then as little as it can.
func TestProject_options(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	template := project(t, "template.yaml")
	a.mustDeploy(template, "AgentHost=both", "SecretRotationDays=1", "AskByTopic=true", "AskBySchedule=rate(1 day)", "Monitoring=true",
		"AgentReservedConcurrency=5", "AlarmTopicArn=arn:aws:sns:eu-central-1:000000000000:alarms", "LogLevel=debug")
	a.ask()
	status, body := a.invoke(a.Outputs()["AgentRuntimeArn"], `{"prompt":"What is 2+2?"}`)
	if status != 200 {
		t.Errorf("got %d", status)
	}
	a.wantSum(body)

	a.mustDeploy(template, "AgentHost=agentcore", "SecretRotationDays=0", "AskByTopic=false", "AskBySchedule=", "Monitoring=false")
	a.inOrder("test UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "AgentFunctionBus DELETE_COMPLETE", "AgentFunction DELETE_COMPLETE", "AgentRole DELETE_COMPLETE", "test UPDATE_COMPLETE")
	_, body = a.invoke(a.Outputs()["AgentRuntimeArn"], `{"prompt":"What is 2+2?"}`)
	a.wantSum(body)
	if err := a.Delete(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, a.log)
	}
	a.wantNothing()
}

// Key, path and pool change together with the policies that name them, and
// nothing is left in the old places. A given pool is used and stays.
func TestProject_moves(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	template := project(t, "template.yaml")
	pools := newStack(t, a.aws, "pools")
	pools.mustDeploy("Resources: {One: {Type: AWS::Cognito::UserPool, Properties: {UserPoolName: one}}, Two: {Type: AWS::Cognito::UserPool, Properties: {UserPoolName: two}}}")
	before := a.aws.Leftovers()
	const keys = "arn:aws:kms:eu-central-1:000000000000:key/"
	const key, multiRegion = keys + "00000000-0000-0000-0000-00000000000", keys + "mrk-00000000000000000000000000000001"
	for _, to := range []struct{ key, prefix, pool string }{
		{"", "/app/mcp", pools.id("One")},
		{"", "/app/mcp", pools.id("Two")},
		{key + "1", "/team/x", ""},
		{key + "2", "/team/x", ""},
		{"", "/team/x", ""},
		{multiRegion, "/team/x", ""},
		{multiRegion, "/team-x", ""},
		{"", "/team-x", pools.id("One")},
	} {
		a.mustDeploy(template, "KmsKeyArn="+to.key, "ParameterPrefix="+to.prefix, "ExistingUserPoolId="+to.pool)
		a.ask()
		secrets, clients := 0, 0
		for name, p := range a.aws.Parameters() {
			if strings.HasSuffix(name, "/cognito_secret") {
				secrets++
				if cmp.Or(p.KeyID, "alias/aws/ssm") != cmp.Or(to.key, "alias/aws/ssm") || !strings.HasPrefix(name, to.prefix) {
					t.Errorf("%+v: %s is under key %s", to, name, p.KeyID)
				}
			}
		}
		for _, line := range a.aws.Leftovers() {
			if strings.HasPrefix(line, "client ") {
				clients++
			}
		}
		if secrets != 1 || clients != 1 {
			t.Errorf("%+v: got %d secrets and %d app clients, want one of each", to, secrets, clients)
		}
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, a.log)
	}
	if got := a.aws.Leftovers(); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
}

// case 11: a second stack's server comes and goes, and the first stack's stays.
func TestProject_moreServers(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	const key = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000001"
	a.mustDeploy(project(t, "template.yaml"), "KmsKeyArn="+key)
	before := a.without("image ")
	b := newStack(t, a.aws, "second")
	second := project(t, "docs/more-servers/template.yaml")
	b.mustDeploy(second, "BaseStack=test", "KmsKeyArn="+key)
	if got := a.aws.Parameters()["/app/mcp/mcp_second_calculator/cognito_secret"].KeyID; got != key {
		t.Errorf("the second server's secret is under key %q, want %s", got, key)
	}
	tidied, err := a.Function("CognitoSetupFunction").Invoke(t.Context(), []byte(`{"action":"tidy","mcp_name":"mcp_second_calculator","parameter_prefix":"/app/mcp"}`))
	if err != nil || tidied.FunctionError != "" {
		t.Errorf("got %s, %v", tidied.Payload, err)
	}
	a.mustDeploy(project(t, "template.yaml"), "MoreMcpServers=mcp_second_calculator")
	res, err := a.Function("AgentFunction").Invoke(t.Context(), []byte(`{"prompt":"What is 2+2?"}`))
	if err != nil || !strings.Contains(string(res.Payload), "The sum of 2 + 2 = 4.") || strings.Contains(string(res.Payload), "unavailable") {
		t.Errorf("got %s, %v", res.Payload, err)
	}

	// The base stack is free to have another server, which the second one gets
	// when it asks for it.
	was := b.parameter("/app/mcp/mcp_second_calculator/endpoint")
	a.carry(append(slices.Clone(images.server), "changed"...), images.agent)
	a.mustDeploy(project(t, "template.yaml"))
	a.wantStates("McpServer", UpdateInProgress, UpdateComplete)
	b.mustDeploy(second)
	b.wantStates("McpServer")
	b.mustDeploy(second, "ImageVersion=2")
	b.wantStates("McpServer", UpdateInProgress, UpdateComplete)
	if got := b.parameter("/app/mcp/mcp_second_calculator/endpoint"); got != was {
		t.Errorf("got endpoint %s, want %s", got, was)
	}

	if err := a.Delete(t.Context()); err == nil || !strings.Contains(err.Error(), "Delete canceled") {
		t.Errorf("a stack whose exports are imported: got %v", err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.mustDeploy(project(t, "template.yaml"), "MoreMcpServers=")
	if got := a.without("image "); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
	a.ask()
	a.mustDelete()
}

// refuse is a fault that refuses one operation whose body has a text.
func refuse(operation, text string) func(localaws.Record) *localaws.Fault {
	return func(r localaws.Record) *localaws.Fault {
		if r.Operation == operation && strings.Contains(string(r.RequestBody), text) {
			return &localaws.Fault{Status: 400, Type: "LimitExceededException", Message: "The limit is reached."}
		}
		return nil
	}
}

// case 7: whatever fails, and wherever, the template leaves nothing behind.
func TestProject_creationFails(t *testing.T) {
	t.Parallel()
	template := project(t, "template.yaml")
	for name, test := range map[string]struct {
		fault func(localaws.Record) *localaws.Fault
		from  string // what the template does without
		want  string
	}{
		"the client": {
			fault: refuse("CreateUserPoolClient", ""),
			want:  "McpClient (Custom::MCPClient): Received response status [FAILED] from custom resource. Message returned: ",
		},
		"the last parameter": {
			fault: refuse("PutParameter", "/scope"),
			want:  "McpClient (Custom::MCPClient): Received response status [FAILED] from custom resource. Message returned: ",
		},
		"a permission to push": {
			from: "                  - ecr:PutImage\n",
			want: "McpImage (Custom::MCPImage): Received response status [FAILED] from custom resource. Message returned: ",
		},
		"a permission to pull": {
			from: "              - ecr:GetDownloadUrlForLayer\n",
			want: "is not authorized to perform: ecr:GetDownloadUrlForLayer",
		},
		"the container": {
			want: "McpServer (AWS::BedrockAgentCore::Runtime): the container ended before it listened",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(template, test.from) {
				t.Fatalf("the template has no %q", test.from)
			}
			a := newAccount(t)
			a.aws.SetFault(test.fault)
			a.breakImages() // which also makes small ones
			err := a.deploy(strings.Replace(template, test.from, "", 1))
			if err == nil || !strings.Contains(err.Error(), test.want) || a.Status() != RollbackComplete {
				t.Errorf("got %v, %s", err, a.Status())
			}
			a.wantNothing()
			if err := a.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// case 15: an update that fails leaves a stack that answers as before.
func TestProject_updateFails(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	template := project(t, "template.yaml")
	a.mustDeploy(template)
	client, secret := a.Outputs()["ClientId"], a.parameter(server+"cognito_secret")
	const lock = "/.lock/" // cognito-setup frees it, and deletes it with what it guards: a server, or a pool of its own
	for name, change := range map[string]func() error{
		"the rotation": func() error {
			a.aws.SetFault(refuse("AddUserPoolClientSecret", ""))
			defer a.aws.SetFault(nil)
			return a.deploy(template, "SecretVersion=2")
		},
		"another name": func() error { // a new client, and then a name that is not one of a runtime
			return a.deploy(strings.Replace(template, "AgentRuntimeName: !Ref McpName", "AgentRuntimeName: not-a-name", 1), "McpName=other")
		},
	} {
		before := a.without(lock)
		if err := change(); err == nil || a.Status() != UpdateRollbackComplete {
			t.Fatalf("%s: got %v, %s", name, err, a.Status())
		}
		if got := a.without(lock); !slices.Equal(got, before) {
			t.Errorf("%s: got %q, want %q", name, got, before)
		}
		if a.Outputs()["ClientId"] != client || a.parameter(server+"cognito_secret") != secret {
			t.Errorf("%s: the client or its secret is another", name)
		}
		a.ask()
	}

	a.breakImages()
	if err := a.deploy(template); err == nil || a.Status() != UpdateRollbackComplete {
		t.Errorf("got %v, %s", err, a.Status())
	}
	a.ask()
	a.mustDelete()
}

// without is what exists, except for what has a text.
func (a *account) without(text string) []string {
	return slices.DeleteFunc(a.aws.Leftovers(), func(line string) bool { return strings.Contains(line, text) })
}

// BenchmarkProject measures a whole deployment of the project's template.
func BenchmarkProject(b *testing.B) {
	template, err := Parse(strings.NewReader(project(b, "template.yaml")))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		aws := localaws.New(localaws.Config{})
		if err := aws.Start(); err != nil {
			b.Fatal(err)
		}
		s, err := New(aws, Options{Name: "bench", Programs: binaries})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Deploy(b.Context(), template, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		aws.Close()
		b.StartTimer()
	}
}
