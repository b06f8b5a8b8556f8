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
Transform: AWS::Serverless-2016-10-31
Parameters:
  Turns: {Type: String, Default: 3}
Resources:
  Repository: {Type: AWS::ECR::Repository, Properties: {EmptyOnDelete: true, ImageTagMutability: IMMUTABLE}}
  Publisher:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/image-publisher/
      Handler: bootstrap
      Runtime: provided.al2023
      Timeout: 60
      AutoPublishAlias: live
      Policies:
        - Statement:
            - {Effect: Allow, Action: "ecr:GetAuthorizationToken", Resource: "*"}
            - Effect: Allow
              Action: ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"]
              Resource: !GetAtt Repository.Arn
  Image:
    Type: Custom::MCPImage
    Properties:
      ServiceToken: !Ref Publisher.Alias
      RepositoryUri: !GetAtt Repository.RepositoryUri
      Binary: agent
      Version: !Ref Publisher.Version
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: bedrock-agentcore.amazonaws.com}}}
      Policies:
        - PolicyName: model
          PolicyDocument: {Statement: {Effect: Allow, Action: bedrock:InvokeModel, Resource: "*"}}
  Pull:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: pull
      Roles: [!Ref Role]
      PolicyDocument:
        Statement:
          - {Effect: Allow, Action: "ecr:GetAuthorizationToken", Resource: "*"}
          - {Effect: Allow, Action: ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource: !GetAtt Repository.Arn}
  Agent:
    Type: AWS::BedrockAgentCore::Runtime
    DependsOn: Pull
    Properties:
      AgentRuntimeName: agent
      AgentRuntimeArtifact: {ContainerConfiguration: {ContainerUri: !GetAtt Image.ImageUri}}
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
	return a.post("bedrock-agentcore", a.aws.URL()+"/runtimes/"+escaped+"/invocations", body)
}

// stream is invoke with the answer as it comes.
func (a *account) stream(arn, body string) (int, string) {
	a.t.Helper()
	escaped := strings.NewReplacer(":", "%3A", "/", "%2F").Replace(arn)
	return a.request("bedrock-agentcore", a.aws.URL()+"/runtimes/"+escaped+"/invocations", body, "text/event-stream")
}

func (a *account) post(service, url, body string) (int, string) {
	a.t.Helper()
	return a.request(service, url, body, "application/json, text/event-stream")
}

// request sends a signed request.
func (a *account) request(service, url, body, accept string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	cfg := a.aws.AWSConfig()
	creds, err := cfg.Credentials.Retrieve(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(a.t.Context(), creds, req, hex.EncodeToString(sum[:]), service, cfg.Region, time.Now()); err != nil {
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
	t.Parallel()
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

	// If a new container does not start, the old one stays.
	a.breakImages()
	err := a.deploy(agentOnAgentCore)
	if err == nil || !strings.Contains(err.Error(), "the container ended before it listened") || a.Status() != cloudformation.UpdateRollbackComplete {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if status, body := a.invoke(first["Arn"], `{"prompt":"greet Alice"}`); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	// An image that the role may not pull, or that does not exist.
	for change, want := range map[[2]string]string{
		{`, "ecr:GetDownloadUrlForLayer"`, ""}:                                "is not authorized to perform: ecr:GetDownloadUrlForLayer",
		{"!GetAtt Image.ImageUri", "!Sub '${Repository.RepositoryUri}:none'"}: "pulling image",
	} {
		a.restore("image-publisher")
		err := a.deploy(strings.NewReplacer(change[0], change[1], "MAX_TURNS: !Ref Turns", "MAX_TURNS: 2").Replace(agentOnAgentCore))
		if err == nil || !strings.Contains(err.Error(), want) || a.Status() != cloudformation.UpdateRollbackComplete {
			t.Errorf("got %v, %s, want %q", err, a.Status(), want)
		}
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _ := a.invoke(first["Arn"], `{"prompt":"greet Alice"}`); status != 404 {
		t.Errorf("got %d", status)
	}
	a.wantNothing()
}

// What is wrong with a runtime is refused before its image is pulled.
func TestAgentRuntime_refused(t *testing.T) {
	_, publisher, _ := strings.Cut(agentOnAgentCore, "  Repository:")
	publisher, _, _ = strings.Cut("  Repository:"+publisher, "  Role:")
	_, pull, _ := strings.Cut(agentOnAgentCore, "  Pull:")
	pull, _, _ = strings.Cut("  Pull:"+pull, "  Agent:")
	template := strings.NewReplacer(publisher, "", pull, "", "    DependsOn: Pull\n", "", "!GetAtt Image.ImageUri", "000000000000.dkr.ecr.eu-central-1.amazonaws.com/images:none").Replace(agentOnAgentCore)
	for _, test := range []struct{ from, to, want string }{
		{"", "", "pulling image"},
		{"Service: bedrock-agentcore.amazonaws.com", "Service: lambda.amazonaws.com", "Role validation failed"},
		{"/images:none", "/images", "want an image in ECR"},
		{"NetworkMode: PUBLIC", "NetworkMode: VPC", "only NetworkMode PUBLIC is implemented"},
		{"AgentRuntimeName: agent", "AgentRuntimeName: an-agent", "want a letter and up to 47"},
		{"DIRECT_TOOLS:", "direct-tools:", `EnvironmentVariables: "direct-tools"`},
		{"ProtocolConfiguration: HTTP", "ProtocolConfiguration: A2A", "localaws has MCP and HTTP"},
		{"ProtocolConfiguration: HTTP", "AuthorizerConfiguration: {CustomJWTAuthorizer: {DiscoveryUrl: \"http://example.com/.well-known/openid-configuration\", AllowedClients: [a]}}", "authorizer configuration"},
		{"ProtocolConfiguration: HTTP", "LifecycleConfiguration: {MaxLifetime: 59}", "want 60 to 28800 seconds"},
		{"ProtocolConfiguration: HTTP", "RequestHeaderConfiguration: {RequestHeaderAllowlist: []}", "RequestHeaderAllowlist: expected minimum item count: 1"},
		{"ProtocolConfiguration: HTTP", "AuthorizerConfiguration: {CustomJWTAuthorizer: {DiscoveryUrl: \"http://127.0.0.1/.well-known/openid-configuration\", AllowedClients: [a], AllowedScopes: []}}", "AllowedScopes: expected minimum item count: 1"},
		{"ProtocolConfiguration: HTTP", "Description: " + strings.Repeat("x", 1201), "at most 1200"},
		{"Resources:\n", "Resources:\n" + strings.NewReplacer("[!Ref Role]", "[somebody]", "!GetAtt Repository.Arn", "a").Replace(pull), `Roles: "somebody" is not of this stack`},
	} {
		a := newAccount(t)
		err := a.deploy(strings.Replace(template, test.from, test.to, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
		a.wantNothing()
	}
}
