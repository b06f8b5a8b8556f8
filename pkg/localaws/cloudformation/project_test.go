package cloudformation_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"
	. "agentcore-mcp-auth/pkg/localaws/cloudformation"
)

const (
	server    = "/app/mcp/mcp_simple_calculator/"
	imageName = "McpServerImageUri=000000000000.dkr.ecr.eu-central-1.amazonaws.com/mcp-server:1"
)

// project is the project's own template.
func project(t testing.TB) string {
	t.Helper()
	template, err := os.ReadFile("../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(template)
}

// ask asks the agent function a sum, and wants the MCP server's tool to have
// answered it.
func (a *account) ask() {
	a.t.Helper()
	res, err := a.Function("AgentFunction").Invoke(a.t.Context(), []byte(`{"prompt":"What is 2+2?"}`))
	if err != nil || res.FunctionError != "" || !strings.Contains(string(res.Payload), "The sum of 2 + 2 = 4.") || !strings.Contains(string(res.Payload), `"server":"mcp_simple_calculator"`) {
		a.t.Errorf("got %s, %v\n%s", res.Payload, err, a.log)
	}
}

// The project's template from its first deployment to nothing: what it sets up
// answers, with the policies of its own roles.
func TestProject(t *testing.T) {
	a := newAccount(t)
	template := project(t)
	a.mustDeploy(template, imageName, "SecretRotationDays=30")
	a.ask()
	if got := a.parameter(server + "endpoint"); got != a.Outputs()["McpServerArn"] || got == "" {
		t.Errorf("got endpoint %q, want %v", got, a.Outputs())
	}
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

	// A new SecretVersion rotates the secret of the client that there is.
	client := a.Outputs()["ClientId"]
	rotated := strings.Replace(template, "      Scopes: invoke\n", "      Scopes: invoke\n      SecretVersion: 2\n", 1)
	a.mustDeploy(rotated)
	a.wantStates("McpClient", UpdateInProgress, UpdateComplete)
	if got := a.parameter(server + "cognito_secret"); got == secret || got == "" || a.Outputs()["ClientId"] != client {
		t.Errorf("the secret was not rotated, or the client is another: %s", a.Outputs()["ClientId"])
	}
	a.ask()

	// Without the rotation's schedule, in the cleanup.
	a.mustDeploy(rotated, "SecretRotationDays=0")
	a.inOrder("test UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "RotatePermission DELETE_COMPLETE", "RotateSchedule DELETE_COMPLETE", "test UPDATE_COMPLETE")
	a.ask()

	if err := a.Delete(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, a.log)
	}
	a.wantNothing()
}

// moreServers is a stack of a second server, which joins the first stack's pool.
const moreServers = `
Parameters:
  UserPoolId: {Type: String}
  SetupFunctionArn: {Type: String}
Resources:
  McpClient:
    Type: Custom::MCPClient
    Properties:
      ServiceToken: !Ref SetupFunctionArn
      ServiceTimeout: 90
      McpName: second
      UserPoolId: !Ref UserPoolId
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: bedrock-agentcore.amazonaws.com}}}
  McpServer:
    Type: AWS::BedrockAgentCore::Runtime
    Properties:
      AgentRuntimeName: second
      AgentRuntimeArtifact: {ContainerConfiguration: {ContainerUri: !Sub "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/mcp-server:1"}}
      NetworkConfiguration: {NetworkMode: PUBLIC}
      ProtocolConfiguration: MCP
      RoleArn: !GetAtt Role.Arn
      AuthorizerConfiguration:
        CustomJWTAuthorizer:
          DiscoveryUrl: !GetAtt McpClient.DiscoveryUrl
          AllowedClients: [!GetAtt McpClient.ClientId]
          AllowedScopes: [!GetAtt McpClient.Scope]
Outputs:
  Scope: {Value: !GetAtt McpClient.Scope}
`

// case 11: a second stack's server comes and goes, and the first stack's stays.
func TestProject_secondServer(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(project(t), imageName)
	before := a.aws.Leftovers()
	b := newStack(t, a.aws, "second")
	b.mustDeploy(moreServers, "UserPoolId="+a.id("UserPool"), "SetupFunctionArn="+a.Function("CognitoSetupFunction").ARN())
	if got := b.Outputs()["Scope"]; got != "second/invoke" {
		t.Errorf("got %s", got)
	}
	a.ask()
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.aws.Leftovers(); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
	a.ask()
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantNothing()
}

// case 7: whatever fails, and wherever, the template leaves nothing behind.
func TestProject_creationFails(t *testing.T) {
	for name, test := range map[string]struct {
		fault    func(localaws.Record) *localaws.Fault
		template func(string) string
		want     string
	}{
		"the client": {
			fault: func(r localaws.Record) *localaws.Fault {
				if r.Operation == "CreateUserPoolClient" {
					return &localaws.Fault{Status: 400, Type: "LimitExceededException", Message: "The limit is reached."}
				}
				return nil
			},
			want: "McpClient (Custom::MCPClient): Received response status [FAILED] from custom resource. Message returned: ",
		},
		"the last parameter": {
			fault: func(r localaws.Record) *localaws.Fault {
				if r.Operation == "PutParameter" && strings.Contains(string(r.RequestBody), "/scope") {
					return &localaws.Fault{Status: 400, Type: "ParameterLimitExceeded", Message: "The limit is reached."}
				}
				return nil
			},
			want: "McpClient (Custom::MCPClient): Received response status [FAILED] from custom resource. Message returned: ",
		},
		"a permission that the role lacks": {
			template: func(s string) string {
				return strings.Replace(s, "                - cognito-idp:CreateResourceServer\n", "", 1)
			},
			want: "is not authorized to perform: cognito-idp:CreateResourceServer",
		},
		"the container": {
			template: func(s string) string { return s },
			want:     "McpServer (AWS::BedrockAgentCore::Runtime): the container ended before it listened",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			a.aws.SetFault(test.fault)
			template, image := project(t), imageName
			if test.template != nil {
				template = test.template(template)
			}
			if name == "the container" {
				image = strings.Replace(image, "mcp-server", "ends", 1)
			}
			err := a.deploy(template, image)
			if err == nil || !strings.Contains(err.Error(), test.want) || a.Status() != RollbackComplete {
				t.Errorf("got %v, %s", err, a.Status())
			}
			a.wantNothing()
			a.aws.SetFault(nil)
			if err := a.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.mustDeploy(project(t), imageName)
			a.ask()
		})
	}
}

// withoutLocks is what exists, except for locks: cognito-setup frees them, and
// deletes them with the server.
func (a *account) withoutLocks() []string {
	return slices.DeleteFunc(a.aws.Leftovers(), func(line string) bool { return strings.Contains(line, "/.lock/") })
}

// case 15: an update that fails leaves a stack that answers as before.
func TestProject_updateFails(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(project(t), imageName)
	client, secret := a.Outputs()["ClientId"], a.parameter(server+"cognito_secret")
	for name, change := range map[string]func() error{
		"the rotation": func() error {
			a.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Operation == "AddUserPoolClientSecret" {
					return &localaws.Fault{Status: 400, Type: "LimitExceededException", Message: "The limit is reached."}
				}
				return nil
			})
			defer a.aws.SetFault(nil)
			return a.deploy(strings.Replace(project(t), "      Scopes: invoke\n", "      Scopes: invoke\n      SecretVersion: 2\n", 1))
		},
		"the container": func() error { return a.deploy(project(t), strings.Replace(imageName, "mcp-server", "ends", 1)) },
		"another name": func() error { // a new client, and then a container that does not start
			return a.deploy(project(t), "McpName=other", strings.Replace(imageName, "mcp-server", "ends", 1))
		},
	} {
		before := a.withoutLocks()
		if err := change(); err == nil || a.Status() != UpdateRollbackComplete {
			t.Fatalf("%s: got %v, %s", name, err, a.Status())
		}
		if got := a.withoutLocks(); !slices.Equal(got, before) {
			t.Errorf("%s: got %q, want %q", name, got, before)
		}
		if a.Outputs()["ClientId"] != client || a.parameter(server+"cognito_secret") != secret {
			t.Errorf("%s: the client or its secret is another", name)
		}
		a.ask()
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantNothing()
}

// BenchmarkProject measures a whole deployment of the project's template, and
// the time until it is gone again.
func BenchmarkProject(b *testing.B) {
	template, err := Parse(strings.NewReader(project(b)))
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
		if err := s.Deploy(b.Context(), template, values([]string{imageName})); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		aws.Close()
		b.StartTimer()
	}
}
