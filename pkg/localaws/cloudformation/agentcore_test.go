package cloudformation_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// agentOnAgentCore is the agent as a container, without MCP servers.
const agentOnAgentCore = `
Parameters:
  Image: {Type: String, Default: agent}
  Turns: {Type: String, Default: 3}
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: bedrock-agentcore.amazonaws.com}}}
      Policies:
        - PolicyName: model
          PolicyDocument: {Statement: {Effect: Allow, Action: bedrock:InvokeModel, Resource: "*"}}
  Agent:
    Type: AWS::BedrockAgentCore::Runtime
    Properties:
      AgentRuntimeName: agent
      AgentRuntimeArtifact: {ContainerConfiguration: {ContainerUri: !Sub "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/${Image}:1"}}
      NetworkConfiguration: {NetworkMode: PUBLIC}
      ProtocolConfiguration: HTTP
      RoleArn: !GetAtt Role.Arn
      EnvironmentVariables: {BEDROCK_MODEL_ID: eu.anthropic.claude-sonnet-4-5-20250929-v1:0, DIRECT_TOOLS: true, MAX_TURNS: !Ref Turns}
Outputs:
  Arn: {Value: !GetAtt Agent.AgentRuntimeArn}
  Version: {Value: !GetAtt Agent.AgentRuntimeVersion}
  Id: {Value: !Ref Agent}
`

// invoke asks a runtime with the account's own signature.
func (a *account) invoke(arn, body string) (int, string) {
	a.t.Helper()
	escaped := strings.NewReplacer(":", "%3A", "/", "%2F").Replace(arn)
	req, err := http.NewRequestWithContext(a.t.Context(), "POST", a.aws.URL()+"/runtimes/"+escaped+"/invocations", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	cfg := a.aws.AWSConfig()
	creds, err := cfg.Credentials.Retrieve(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(a.t.Context(), creds, req, hex.EncodeToString(sum[:]), "bedrock-agentcore", cfg.Region, time.Now()); err != nil {
		a.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// A runtime runs with its role and the template's environment; a change of it
// is another version under the same ARN.
func TestAgentRuntime(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(agentOnAgentCore)
	first := a.Outputs()
	status, body := a.invoke(first["Arn"], `{"prompt":"What is 2+2?"}`)
	if status != 200 || !strings.Contains(body, "The sum of 2 + 2 = 4.") {
		t.Errorf("got %d %s\n%s", status, body, a.log)
	}
	if !strings.HasSuffix(first["Arn"], "/"+first["Id"]) || first["Version"] != "1" {
		t.Errorf("got %v", first)
	}

	a.mustDeploy(agentOnAgentCore, "Turns=1")
	second := a.Outputs()
	if second["Arn"] != first["Arn"] || second["Version"] != "2" {
		t.Errorf("got %v", second)
	}
	status, body = a.invoke(first["Arn"], `{"prompt":"What is 2+2?"}`)
	if status != 200 || !strings.Contains(body, `"stop_reason":"max_turns"`) {
		t.Errorf("got %d %s", status, body)
	}

	// A new container that does not come up leaves the old one.
	err := a.deploy(agentOnAgentCore, "Image=ends")
	if err == nil || !strings.Contains(err.Error(), "the container ended before it listened") || a.Status() != cloudformation.UpdateRollbackComplete {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if status, body := a.invoke(first["Arn"], `{"prompt":"greet Alice"}`); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _ := a.invoke(first["Arn"], `{"prompt":"greet Alice"}`); status != 404 {
		t.Errorf("got %d", status)
	}
	a.wantNothing()
}

func TestAgentRuntime_refused(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"Service: bedrock-agentcore.amazonaws.com", "Service: lambda.amazonaws.com", "Role validation failed"},
		{"${Image}:1", "${Image}", "want an image in ECR"},
		{"NetworkMode: PUBLIC", "NetworkMode: VPC", "only NetworkMode PUBLIC is implemented"},
		{"AgentRuntimeName: agent", "AgentRuntimeName: an-agent", "want a letter and up to 47"},
		{"DIRECT_TOOLS:", "direct-tools:", `EnvironmentVariables: "direct-tools"`},
		{"Default: agent", "Default: ends", "the container ended before it listened"},
		{"ProtocolConfiguration: HTTP", "ProtocolConfiguration: A2A", "localaws has MCP and HTTP"},
		{"ProtocolConfiguration: HTTP", "AuthorizerConfiguration: {CustomJWTAuthorizer: {DiscoveryUrl: \"http://example.com/.well-known/openid-configuration\", AllowedClients: [a]}}", "authorizer configuration"},
		{"ProtocolConfiguration: HTTP", "LifecycleConfiguration: {MaxLifetime: 59}", "want 60 to 28800 seconds"},
	} {
		a := newAccount(t)
		err := a.deploy(strings.Replace(agentOnAgentCore, test.from, test.to, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
		a.wantNothing()
	}
}
