package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"agentcore-mcp-auth/events"
)

// folders are where the functions' programs come from.
var folders = map[string]string{
	"AgentFunction":          "agent",
	"AgentRuntime":           "agent",
	"CognitoSetupFunction":   "cognito-setup",
	"ImagePublisherFunction": "image-publisher",
	"McpServer":              "mcp-server",
}

// Each variable that the template sets is one that the program reads.
func TestTemplateVariables(t *testing.T) {
	tp := readTemplate(t)
	global, _ := at(tp.Globals, "Function", "Environment", "Variables").(map[string]any)
	checked := 0
	for id, folder := range folders {
		names := slices.Collect(maps.Keys(global))
		if strings.HasSuffix(id, "Function") {
			own, _ := at(tp.Resources, id, "Properties", "Environment", "Variables").(map[string]any)
			names = slices.AppendSeq(names, maps.Keys(own))
		} else {
			own, _ := at(tp.Resources, id, "Properties", "EnvironmentVariables").(map[string]any)
			names = slices.Collect(maps.Keys(own))
		}
		var source strings.Builder
		files, _ := filepath.Glob("functions/" + folder + "/*.go")
		if strings.HasPrefix(id, "Cognito") || strings.HasPrefix(id, "ImagePublisher") {
			files = append(files, "internal/cfnmain/cfnmain.go")
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				source.Write(text)
			}
		}
		for _, name := range names {
			checked++
			if strings.HasPrefix(name, "AWS_") { // the SDK's
				continue
			}
			if !strings.Contains(source.String(), `"`+name+`"`) {
				t.Errorf("%s sets %s, which functions/%s does not read", id, name, folder)
			}
		}
	}
	if checked < 12 {
		t.Errorf("checked %d variables only", checked)
	}
}

// Every function is built by a target of the makefile, for the architecture
// that the template names, into what Lambda starts.
func TestTemplateBuilds(t *testing.T) {
	tp := readTemplate(t)
	arch := list(at(tp.Globals, "Function", "Architectures"))
	if !slices.Equal(arch, []string{"arm64"}) || at(tp.Globals, "Function", "Handler") != "bootstrap" || at(tp.Globals, "Function", "Runtime") != "provided.al2023" {
		t.Errorf("functions run %v %v on %v", at(tp.Globals, "Function", "Runtime"), at(tp.Globals, "Function", "Handler"), arch)
	}
	functions := tp.ofType("AWS::Serverless::Function")
	if len(functions) != 3 {
		t.Errorf("%d functions, want 3", len(functions))
	}
	for id, r := range functions {
		if at(r, "Metadata", "BuildMethod") != "makefile" {
			t.Errorf("%s: BuildMethod %v, want makefile", id, at(r, "Metadata", "BuildMethod"))
		}
		if _, err := exec.LookPath("make"); err != nil {
			continue
		}
		dir := t.TempDir()
		out, err := exec.Command("make", "-n", "build-"+id, "ARTIFACTS_DIR="+dir).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", id, err, out)
		}
		for _, want := range []string{"GOARCH=arm64", "GOOS=linux", "CGO_ENABLED=0", "-trimpath", "-buildvcs=false", filepath.Join(dir, "bootstrap"), "./functions/" + folders[id]} {
			if !strings.Contains(string(out), want) {
				t.Errorf("make build-%s has no %s:\n%s", id, want, out)
			}
		}
	}
}

// case 143: what a policy allows is named. The statements on "*" are for
// actions that have no resource.
func TestTemplatePolicies(t *testing.T) {
	everything := map[string]string{
		"RegistryLogin": "ecr:GetAuthorizationToken",
		"DomainLookup":  "cognito-idp:DescribeUserPoolDomain",
		"Tracing":       "xray:PutTelemetryRecords xray:PutTraceSegments",
	}
	statements := 0
	walk(readTemplate(t).Resources, func(m map[string]any) {
		if m["Effect"] == nil || m["Principal"] != nil {
			return
		}
		statements++
		sid, _ := m["Sid"].(string)
		if sid == "" {
			t.Errorf("a statement has no Sid: %v", m)
		}
		actions := list(m["Action"])
		if !slices.IsSorted(actions) {
			t.Errorf("%s: actions are not in order", sid)
		}
		for _, a := range actions {
			if strings.ContainsAny(a, "*?") || !strings.Contains(a, ":") {
				t.Errorf("%s: action %q", sid, a)
			}
		}
		if m["Resource"] == "*" && everything[sid] != strings.Join(actions, " ") {
			t.Errorf("%s allows %q on *", sid, actions)
		}
	})
	if statements < 15 {
		t.Errorf("found %d statements only", statements)
	}
}

// case 143: each role may be taken by one service, and a runtime's only for
// this account.
func TestTemplateTrust(t *testing.T) {
	roles := readTemplate(t).ofType("AWS::IAM::Role")
	if len(roles) < 5 {
		t.Errorf("found %d roles only", len(roles))
	}
	for id, r := range roles {
		for _, s := range at(r, "Properties", "AssumeRolePolicyDocument", "Statement").([]any) {
			service := at(s, "Principal", "Service")
			want := "lambda.amazonaws.com"
			if strings.HasPrefix(id, "McpServer") || strings.HasPrefix(id, "AgentRuntime") {
				want = "bedrock-agentcore.amazonaws.com"
				if at(s, "Condition", "StringEquals", "aws:SourceAccount") == nil || at(s, "Condition", "ArnLike", "aws:SourceArn") == nil {
					t.Errorf("%s can be taken for any account", id)
				}
			}
			if service != want || at(s, "Action") != "sts:AssumeRole" {
				t.Errorf("%s trusts %v, want %s", id, service, want)
			}
		}
		if at(r, "Properties", "ManagedPolicyArns") != nil {
			t.Errorf("%s has managed policies", id)
		}
	}
}

// case 143, case 102: logs end some day, nothing is public, what fails is kept,
// and nothing that has data outlives the stack unasked.
func TestTemplateFunctions(t *testing.T) {
	tp := readTemplate(t)
	for id, r := range tp.ofType("AWS::Serverless::Function") {
		p := r["Properties"]
		if level := at(tp.Globals, "Function", "LoggingConfig", "ApplicationLogLevel"); level != "DEBUG" || at(p, "LoggingConfig", "ApplicationLogLevel") != nil {
			t.Errorf("Lambda drops what %s logs below %v, whatever LogLevel is", id, level)
		}
		group, _ := at(p, "LoggingConfig", "LogGroup", "Ref").(string)
		if at(tp.Resources, group, "Properties", "RetentionInDays") == nil {
			t.Errorf("%s logs to %q, which keeps everything for ever", id, group)
		}
		if role, _ := at(p, "Role", "GetAtt").(string); tp.ofType("AWS::IAM::Role")[strings.TrimSuffix(role, ".Arn")] == nil {
			t.Errorf("%s has no role of its own: %v", id, role)
		}
		if at(p, "EventInvokeConfig", "MaximumRetryAttempts") == nil {
			t.Errorf("%s leaves retries to Lambda's default", id)
		}
		if u := at(p, "FunctionUrlConfig"); u != nil && at(u, "AuthType") != "AWS_IAM" {
			t.Errorf("%s has a URL with AuthType %v", id, at(u, "AuthType"))
		}
	}
	agent := tp.Resources["AgentFunction"]
	for _, want := range []string{"DeadLetterQueue", "ReservedConcurrentExecutions", "Tracing", "FunctionUrlConfig"} {
		if at(agent, "Properties", want) == nil {
			t.Errorf("the agent has no %s", want)
		}
	}
	if mode := at(agent, "Properties", "FunctionUrlConfig", "InvokeMode"); mode != at(agent, "Properties", "Environment", "Variables", "INVOKE_MODE") {
		t.Errorf("the URL's InvokeMode is %v, the agent is told otherwise", mode)
	}
	walk(tp.Resources, func(m map[string]any) {
		if m["AuthType"] == "NONE" || m["AuthorizationType"] == "NONE" || m["Principal"] == "*" {
			t.Errorf("open to everybody: %v", m)
		}
	})
	for id, r := range tp.ofType("AWS::ECR::Repository") { // case 145
		if at(r, "Properties", "ImageTagMutability") != "IMMUTABLE" || at(r, "Properties", "ImageScanningConfiguration", "ScanOnPush") != "true" {
			t.Errorf("%s lets images be replaced, or does not scan them", id)
		}
	}
	for id, r := range tp.Resources {
		switch at(r, "Type") {
		case "AWS::Cognito::UserPool", "AWS::DynamoDB::Table", "AWS::ECR::Repository", "AWS::Logs::LogGroup", "AWS::SQS::Queue":
			if at(r, "DeletionPolicy") != "Delete" || at(r, "UpdateReplacePolicy") != "Delete" {
				t.Errorf("%s does not say what becomes of its data", id)
			}
		}
	}
}

// case 2: a function answers CloudFormation before that gives up, and an answer
// that is lost costs little more than the function's time.
func TestTemplateServiceTimeout(t *testing.T) {
	tp := readTemplate(t)
	for kind, function := range map[string]string{"Custom::MCPClient": "CognitoSetupFunction", "Custom::MCPImage": "ImagePublisherFunction"} {
		var own int
		fmt.Sscan(at(tp.Resources, function, "Properties", "Timeout").(string), &own)
		for id, r := range tp.ofType(kind) {
			var service int
			fmt.Sscan(at(r, "Properties", "ServiceTimeout").(string), &service)
			if service < own+10 || service > own+60 || own == 0 {
				t.Errorf("%s: ServiceTimeout %d s, timeout of %s %d s", id, service, function, own)
			}
			// Lambda keeps an event that it has no concurrency for, by default for six
			// hours: a client made when CloudFormation has rolled back is nobody's.
			// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
			var age int
			text, _ := at(tp.Resources, function, "Properties", "EventInvokeConfig", "MaximumEventAgeInSeconds").(string)
			if fmt.Sscan(text, &age); kind == "Custom::MCPClient" && (age < 60 || age > service) {
				t.Errorf("%s runs events of up to %d s, CloudFormation waits %d s", function, age, service)
			}
		}
	}
}

// Neither program's images are pushed out of the repository by the other's.
func TestTemplateImages(t *testing.T) {
	tp := readTemplate(t)
	var policy struct {
		Rules []struct {
			Selection struct{ TagPrefixList []string }
		}
	}
	text, _ := at(tp.Resources, "Repository", "Properties", "LifecyclePolicy", "LifecyclePolicyText").(string)
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		t.Fatal(err)
	}
	images := tp.ofType("Custom::MCPImage")
	if len(policy.Rules) != len(images) {
		t.Errorf("%d rules for %d programs", len(policy.Rules), len(images))
	}
	for id, r := range images {
		program, _ := at(r, "Properties", "Binary").(string)
		counted := slices.ContainsFunc(policy.Rules, func(r struct {
			Selection struct{ TagPrefixList []string }
		}) bool {
			return slices.Equal(r.Selection.TagPrefixList, []string{program + "-"})
		})
		if !counted {
			t.Errorf("%s: no rule counts the images of %s alone", id, program)
		}
	}
}

// A client is made, changed and removed while the function may do it, and runs
// no event twice.
func TestTemplateClients(t *testing.T) {
	page, err := os.ReadFile("docs/more-servers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, more, _ := strings.Cut(string(page), "```yaml\n")
	more, _, _ = strings.Cut(more, "```")
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(more), &root); err != nil {
		t.Fatal(err)
	}
	clients := readTemplate(t).ofType("Custom::MCPClient")
	for id, r := range plain(root.Content[0]).(map[string]any) {
		if at(r, "Type") == "Custom::MCPClient" {
			clients[id] = r.(map[string]any)
		}
	}
	if len(clients) != 2 {
		t.Errorf("found %d clients, want the template's and the page's", len(clients))
	}
	for id, r := range clients {
		if got := list(at(r, "DependsOn")); !slices.Equal(got, []string{"CognitoSetupFunctionEventInvokeConfig", "PoolAccess", "ParameterAccess"}) {
			t.Errorf("%s depends on %q", id, got)
		}
		// Also on the domain: cognito-setup may make none in the stack's own pool.
		if got, want := at(r, "Properties", "DomainPrefix"), at(clients["McpClient"], "Properties", "DomainPrefix"); want == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s has DomainPrefix %v, want %v", id, got, want)
		}
		if got, want := at(r, "Properties", "KmsKeyId"), at(clients["McpClient"], "Properties", "KmsKeyId"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s has KmsKeyId %v, want %v", id, got, want)
		}
	}
}

// case 98: a message comes back after six times the function's time, not
// before, and is given up after some attempts.
func TestTemplateQueue(t *testing.T) {
	tp := readTemplate(t)
	queue := at(tp.Resources, "AskQueue", "Properties")
	var visible, timeout, receives int
	fmt.Sscan(at(queue, "VisibilityTimeout").(string), &visible)
	fmt.Sscan(at(tp.Resources, "AgentFunction", "Properties", "Timeout").(string), &timeout)
	fmt.Sscan(at(queue, "RedrivePolicy", "maxReceiveCount").(string), &receives)
	if visible != 6*timeout || timeout == 0 {
		t.Errorf("visibility timeout %d s, function timeout %d s", visible, timeout)
	}
	if receives < 5 || at(queue, "RedrivePolicy", "deadLetterTargetArn", "GetAtt") != "DeadLetters.Arn" {
		t.Errorf("messages are given up after %d attempts to %v", receives, at(queue, "RedrivePolicy", "deadLetterTargetArn"))
	}
	source := at(tp.Resources, "AgentFunction", "Properties", "Events", "Queue", "Properties")
	if at(source, "ScalingConfig", "MaximumConcurrency") == nil || !slices.Equal(list(at(source, "FunctionResponseTypes")), []string{"ReportBatchItemFailures"}) {
		t.Errorf("the queue's event source is %v", source)
	}
}

// Each rule that has a dead-letter queue may write to it: EventBridge would drop
// the event otherwise, and say nothing.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
func TestTemplateDeadLetters(t *testing.T) {
	tp := readTemplate(t)
	want := map[string]bool{}
	for id, r := range tp.ofType("AWS::Events::Rule") {
		for _, target := range at(r, "Properties", "Targets").([]any) {
			if at(target, "DeadLetterConfig") != nil {
				want[id+".Arn"] = true
			}
		}
	}
	for id, r := range tp.ofType("AWS::Serverless::Function") {
		events, _ := at(r, "Properties", "Events").(map[string]any)
		for name, e := range events {
			if at(e, "Properties", "DeadLetterConfig") != nil {
				want[id+name+".Arn"] = true
			}
		}
	}
	got := map[string]bool{}
	for _, s := range at(tp.Resources, "DeadLettersPolicy", "Properties", "PolicyDocument", "Statement").([]any) {
		if at(s, "Principal", "Service") == "events.amazonaws.com" && at(s, "Action") == "sqs:SendMessage" && at(s, "Resource", "GetAtt") == "DeadLetters.Arn" {
			walk(at(s, "Condition", "ArnEquals", "aws:SourceArn"), func(m map[string]any) {
				if arn, ok := m["GetAtt"].(string); ok {
					got[arn] = true
				}
			})
		}
	}
	if len(want) != 2 || !maps.Equal(got, want) {
		t.Errorf("the queue takes events of %v, want %v", got, want)
	}
}

// case 108: what the agent puts on the bus is nothing that the bus's rule
// matches.
func TestTemplateBus(t *testing.T) {
	rule := at(readTemplate(t).Resources, "AgentFunction", "Properties", "Events", "Bus", "Properties", "Pattern", "detail-type")
	if got := list(rule); !slices.Equal(got, []string{"Agent Ask"}) {
		t.Errorf("the rule matches %q", got)
	}
}

// case 131: the runtime admits one client and one scope, and asks for
// no audience, which Cognito's machine tokens do not have.
func TestTemplateAuthorizer(t *testing.T) {
	jwt := at(readTemplate(t).Resources, "McpServer", "Properties", "AuthorizerConfiguration", "CustomJWTAuthorizer")
	want := map[string]any{
		"DiscoveryUrl":   map[string]any{"GetAtt": "McpClient.DiscoveryUrl"},
		"AllowedClients": []any{map[string]any{"GetAtt": "McpClient.ClientId"}},
		"AllowedScopes":  []any{map[string]any{"GetAtt": "McpClient.Scope"}},
	}
	got, _ := json.Marshal(jwt)
	if w, _ := json.Marshal(want); string(got) != string(w) {
		t.Errorf("got %s, want %s", got, w)
	}
}

// Every sample event has a resource of the template that sends its like.
func TestTemplateTriggers(t *testing.T) {
	tp := readTemplate(t)
	elsewhere := map[string]string{ // samples of what a stack of the user's own may send
		"http-api.json":  "an API Gateway in front",
		"rest-api.json":  "an API Gateway in front",
		"scheduler.json": "EventBridge Scheduler, which needs a role for each schedule",
		"sqs-fifo.json":  "a queue that keeps an order",
	}
	triggers := map[string]any{
		"ask.json":          at(tp.Outputs, "AgentFunction"),
		"cfn-create.json":   at(tp.Resources, "McpClient", "Properties", "ServiceToken"),
		"cfn-update.json":   at(tp.Resources, "McpClient", "Properties", "SecretVersion"),
		"cfn-delete.json":   at(tp.Resources, "McpClient"),
		"eventbridge.json":  at(tp.Resources, "AgentFunction", "Properties", "Events", "Bus"),
		"function-url.json": at(tp.Resources, "AgentFunction", "Properties", "FunctionUrlConfig"),
		"image-create.json": at(tp.Resources, "McpImage", "Properties", "ServiceToken"),
		"schedule.json":     at(tp.Resources, "ScheduleRule", "Properties", "ScheduleExpression"),
		"setup-rotate.json": at(tp.Resources, "RotateSchedule", "Properties", "ScheduleExpression"),
		"setup-tidy.json":   at(tp.Resources, "TidySchedule", "Properties", "ScheduleExpression"),
		"sns.json":          at(tp.Resources, "TopicSubscription"),
		"sqs.json":          at(tp.Resources, "AgentFunction", "Properties", "Events", "Queue"),
	}
	names, err := fs.Glob(events.FS, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if triggers[name] == nil && elsewhere[name] == "" {
			t.Errorf("nothing in the template sends %s", name)
		}
	}
}

// A replaced secret is removed from every stack, however it was replaced.
func TestTemplateTidying(t *testing.T) {
	for _, id := range []string{"TidySchedule", "TidyPermission"} {
		if r := readTemplate(t).Resources[id]; r == nil || at(r, "Condition") != nil {
			t.Errorf("%s is not in every stack: %v", id, r)
		}
	}
	// Another server's secret can be rotated too, with mcpauth.
	for _, file := range []string{"docs/more-servers/template.yaml", "docs/more-servers.md"} {
		text := readText(t, file)
		for _, want := range []string{`"action":"tidy"`, "ScheduleExpression: rate(1 day)", "SourceArn: !GetAtt"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s: a replaced secret stays alive", file, want)
			}
		}
	}
}

// What is called by an event may be called by its sender, and by no other.
func TestTemplatePermissions(t *testing.T) {
	permissions := readTemplate(t).ofType("AWS::Lambda::Permission")
	if len(permissions) == 0 {
		t.Error("found no permission")
	}
	for id, r := range permissions {
		if at(r, "Properties", "SourceArn") == nil || at(r, "Properties", "Action") != "lambda:InvokeFunction" {
			t.Errorf("%s lets more in than its sender: %v", id, at(r, "Properties"))
		}
	}
}

// Every parameter is in a group of the console's form, has a description, and
// is used.
func TestTemplateParameters(t *testing.T) {
	tp := readTemplate(t)
	grouped := map[string]bool{}
	for _, g := range at(tp.Metadata, "AWS::CloudFormation::Interface", "ParameterGroups").([]any) {
		for _, name := range list(at(g, "Parameters")) {
			grouped[name] = true
		}
	}
	if len(grouped) != len(tp.Parameters) {
		t.Errorf("%d parameters in groups, %d in all", len(grouped), len(tp.Parameters))
	}
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range tp.Parameters {
		if !grouped[name] || at(p, "Description") == nil || at(p, "Default") == nil {
			t.Errorf("parameter %s needs a group, a description and a default", name)
		}
		if !regexp.MustCompile(`!Ref ` + name + `\b|\$\{` + name + `\}`).Match(text) {
			t.Errorf("parameter %s is not used", name)
		}
	}
}

// The deployer's policy has what making the resources takes, and fits into one
// managed policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func TestDeployerPolicy(t *testing.T) {
	text, err := os.ReadFile("docs/deployer-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy any
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	var characters bytes.Buffer
	if err := json.Compact(&characters, bytes.ReplaceAll(text, []byte("ACCOUNT"), []byte("000000000000"))); err != nil || characters.Len() > 6144 {
		t.Errorf("docs/deployer-policy.json has %d characters, at most 6144 are allowed; %v", characters.Len(), err)
	}
	creates := map[string]string{ // resource types, and what making one takes
		// What its handlers call in the account of whoever deploys.
		// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/service-linked-roles.html
		"AWS::BedrockAgentCore::Runtime": "bedrock-agentcore:CreateAgentRuntime bedrock-agentcore:CreateAgentRuntimeEndpoint bedrock-agentcore:CreateWorkloadIdentity " +
			"bedrock-agentcore:DeleteAgentRuntime bedrock-agentcore:DeleteAgentRuntimeEndpoint bedrock-agentcore:DeleteWorkloadIdentity " +
			"bedrock-agentcore:GetAgentRuntimeEndpoint bedrock-agentcore:UpdateAgentRuntimeEndpoint iam:CreateServiceLinkedRole iam:PassRole",
		"AWS::CloudWatch::Alarm":       "cloudwatch:PutMetricAlarm",
		"AWS::CloudWatch::Dashboard":   "cloudwatch:PutDashboard",
		"AWS::Cognito::UserPool":       "cognito-idp:CreateUserPool",
		"AWS::Cognito::UserPoolDomain": "cognito-idp:CreateUserPoolDomain",
		"AWS::DynamoDB::Table":         "dynamodb:CreateTable",
		"AWS::ECR::Repository":         "ecr:CreateRepository",
		"AWS::Events::EventBus":        "events:CreateEventBus",
		"AWS::Events::Rule":            "events:PutRule",
		"AWS::IAM::Policy":             "iam:PutRolePolicy",
		"AWS::IAM::Role":               "iam:CreateRole",
		"AWS::IAM::RolePolicy":         "iam:PutRolePolicy",
		"AWS::Lambda::Permission":      "lambda:AddPermission",
		"AWS::Logs::LogGroup":          "logs:CreateLogGroup",
		"AWS::Logs::MetricFilter":      "logs:PutMetricFilter",
		"AWS::SNS::Subscription":       "sns:Subscribe",
		"AWS::SNS::Topic":              "sns:CreateTopic",
		"AWS::SQS::Queue":              "sqs:CreateQueue",
		"AWS::SQS::QueuePolicy":        "sqs:SetQueueAttributes",
		"AWS::SSM::Parameter":          "ssm:PutParameter",
		"AWS::Serverless::Function":    "lambda:CreateFunction",
		"Custom::MCPClient":            "lambda:InvokeFunction",
		"Custom::MCPImage":             "lambda:InvokeFunction",
	}
	// What the handlers that read a resource call: the permissions of "read" in
	// the types' schemas, but for those of features that the template leaves out.
	// https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
	reads := map[string]string{
		"AWS::Cognito::UserPool": "cognito-idp:DescribeUserPool cognito-idp:GetUserPoolMfaConfig",
		"AWS::DynamoDB::Table": "dynamodb:DescribeContinuousBackups dynamodb:DescribeContributorInsights dynamodb:DescribeKinesisStreamingDestination " +
			"dynamodb:DescribeTable dynamodb:DescribeTimeToLive dynamodb:GetResourcePolicy dynamodb:ListTagsOfResource",
		"AWS::ECR::Repository":  "ecr:DescribeRepositories ecr:GetLifecyclePolicy ecr:GetRepositoryPolicy ecr:ListTagsForResource",
		"AWS::Events::EventBus": "events:DescribeEventBus events:ListTagsForResource",
		"AWS::Events::Rule":     "events:DescribeRule events:ListTagsForResource events:ListTargetsByRule",
		"AWS::Logs::LogGroup":   "logs:DescribeIndexPolicies logs:DescribeLogGroups logs:DescribeResourcePolicies logs:GetDataProtectionPolicy logs:ListTagsForResource",
		"AWS::SNS::Topic":       "sns:GetDataProtectionPolicy sns:GetTopicAttributes sns:ListSubscriptionsByTopic sns:ListTagsForResource",
		"AWS::SQS::Queue":       "sqs:GetQueueAttributes sqs:ListQueueTags",
		"AWS::SSM::Parameter":   "ssm:GetParameters ssm:ListTagsForResource",
		"AWS::Serverless::Function": "lambda:GetAlias lambda:GetEventSourceMapping lambda:GetFunction lambda:GetFunctionCodeSigningConfig lambda:GetFunctionEventInvokeConfig " +
			"lambda:GetFunctionRecursionConfig lambda:GetFunctionScalingConfig lambda:GetFunctionUrlConfig lambda:GetProvisionedConcurrencyConfig lambda:GetRuntimeManagementConfig",
	}
	var allowed []string
	walk(policy, func(m map[string]any) {
		if m["Effect"] != "Allow" {
			return
		}
		allowed = append(allowed, list(m["Action"])...)
		for _, a := range list(m["Action"]) {
			everything := m["Resource"] == "*"
			if strings.Contains(a, "*") && (everything || !reading.MatchString(a)) || everything && named.MatchString(a) {
				t.Errorf("docs/deployer-policy.json allows %s on %v", a, m["Resource"])
			}
		}
		// The runtime that is to be made has no name for IAM yet.
		// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrockagentcore.html
		if slices.Contains(list(m["Action"]), "bedrock-agentcore:CreateAgentRuntime") && m["Resource"] != "*" {
			t.Errorf("bedrock-agentcore:CreateAgentRuntime is allowed on %v only", m["Resource"])
		}
	})
	for id, r := range readTemplate(t).Resources {
		typ, _ := at(r, "Type").(string)
		if creates[typ] == "" {
			t.Errorf("%s: what does making a %s take?", id, typ)
		}
		for action := range strings.FieldsSeq(creates[typ] + " " + reads[typ]) {
			allows := func(a string) bool {
				start, wildcard := strings.CutSuffix(a, "*")
				return a == action || wildcard && strings.HasPrefix(action, start)
			}
			if !slices.ContainsFunc(allowed, allows) {
				t.Errorf("%s: nobody with docs/deployer-policy.json can make and read a %s (%q)", id, typ, action)
			}
		}
	}
}

// named are changes to what CloudFormation names by the stack.
var named = regexp.MustCompile(`^(logs:(Create|Delete|Put|Tag)|cloudwatch:(DeleteAlarms|PutMetricAlarm))`)

// reading is the one kind of wildcard that the deployer's policy has, for the
// stack's own resources: reading how they are set up, not what they hold.
var reading = regexp.MustCompile(`^((lambda|sns):Get|(dynamodb|events):Describe|(events|sns):List)\*$`)

// samconfig.toml and events/env.json name nothing that the template does not
// have.
func TestTemplateSettings(t *testing.T) {
	tp := readTemplate(t)
	config, err := os.ReadFile("samconfig.toml")
	if err != nil {
		t.Fatal(err)
	}
	overrides := regexp.MustCompile(`(?m)^\s+"(\w+)=([^"]*)",$`).FindAllStringSubmatch(string(config), -1)
	if len(overrides) < 5 {
		t.Errorf("found %d parameter overrides only", len(overrides))
	}
	for _, o := range overrides {
		p, ok := tp.Parameters[o[1]]
		if !ok {
			t.Errorf("samconfig.toml sets %s", o[1])
			continue
		}
		if pattern, ok := at(p, "AllowedPattern").(string); ok && !regexp.MustCompile(pattern).MatchString(o[2]) {
			t.Errorf("samconfig.toml sets %s to %q, not %s", o[1], o[2], pattern)
		}
		if values := at(p, "AllowedValues"); values != nil && !slices.Contains(list(values), o[2]) {
			t.Errorf("samconfig.toml sets %s to %q, none of %v", o[1], o[2], values)
		}
	}
	text, err := os.ReadFile("events/env.json")
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]map[string]string
	if err := json.Unmarshal(text, &env); err != nil {
		t.Fatal(err)
	}
	global, _ := at(tp.Globals, "Function", "Environment", "Variables").(map[string]any)
	for id, variables := range env {
		own, _ := at(tp.Resources, id, "Properties", "Environment", "Variables").(map[string]any)
		for name := range variables { // sam leaves out what is not declared
			if own[name] == nil && global[name] == nil {
				t.Errorf("events/env.json sets %s of %s, which the template does not declare", name, id)
			}
		}
	}
}
