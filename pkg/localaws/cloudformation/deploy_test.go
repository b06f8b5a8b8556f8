package cloudformation_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"

	. "agentcore-mcp-auth/pkg/localaws/cloudformation"
)

const queues = `
Parameters:
  Name: {Type: String, Default: work}
  Visible: {Type: Number, Default: 30}
  Extra: {Type: String, Default: "no"}
Conditions:
  Extra: !Equals [!Ref Extra, "yes"]
Resources:
  Dead: {Type: AWS::SQS::Queue, Properties: {QueueName: dead}}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Ref Name
      VisibilityTimeout: !Ref Visible
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3}
  Policy:
    Type: AWS::SQS::QueuePolicy
    Properties: {Queues: [!Ref Queue], PolicyDocument: {}}
  Extra:
    Type: AWS::SQS::Queue
    Condition: Extra
    Properties: {QueueName: extra}
  Parameter:
    Type: AWS::SSM::Parameter
    Properties: {Name: /test/queue, Type: String, Value: !GetAtt Queue.Arn}
`

// inOrder fails unless the steps, each a resource and its state, happened one
// after the other.
func (a *account) inOrder(steps ...string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := a.events
	for _, step := range steps {
		i := slices.IndexFunc(rest, func(e Event) bool { return e.LogicalID+" "+string(e.Status) == step })
		if i < 0 {
			a.t.Errorf("%s is not there after what came before it", step)
			return
		}
		rest = rest[i+1:]
	}
}

func (a *account) exists(resourceType, name string) bool {
	return slices.ContainsFunc(a.aws.Leftovers(), func(line string) bool {
		return strings.HasPrefix(line, resourceType+" ") && strings.HasSuffix(line, "/"+name)
	})
}

func TestDeploy_order(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(queues)
	a.inOrder("test CREATE_IN_PROGRESS", "Dead CREATE_COMPLETE", "Queue CREATE_IN_PROGRESS", "Queue CREATE_COMPLETE", "Policy CREATE_IN_PROGRESS", "Policy CREATE_COMPLETE", "test CREATE_COMPLETE")
	a.inOrder("Queue CREATE_COMPLETE", "Parameter CREATE_IN_PROGRESS")
	a.events = nil
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.inOrder("test DELETE_IN_PROGRESS", "Policy DELETE_COMPLETE", "Queue DELETE_IN_PROGRESS", "Queue DELETE_COMPLETE", "Dead DELETE_IN_PROGRESS", "test DELETE_COMPLETE")
	a.inOrder("Parameter DELETE_COMPLETE", "Queue DELETE_IN_PROGRESS")
	a.wantNothing()
}

// What a change does to a resource: nothing, an update in place, or another
// resource in its place.
func TestDeploy_update(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(queues)
	id := a.id("Queue")

	a.mustDeploy(queues, "Visible=60")
	a.wantStates("Queue", UpdateInProgress, UpdateComplete)
	a.wantStates("Parameter")
	if got := a.id("Queue"); got != id {
		t.Errorf("got id %s, want %s", got, id)
	}

	a.mustDeploy(queues, "Name=other", "Extra=yes")
	a.inOrder("Queue UPDATE_COMPLETE", "Policy UPDATE_COMPLETE", "test UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Queue DELETE_COMPLETE", "test UPDATE_COMPLETE")
	a.wantStates("Extra", CreateInProgress, CreateComplete)
	if got := a.parameter("/test/queue"); !strings.HasSuffix(got, ":other") {
		t.Errorf("got %s", got)
	}
	if a.exists("AWS::SQS::Queue", "work") || !a.exists("AWS::SQS::Queue", "other") || !a.exists("AWS::SQS::Queue", "extra") {
		t.Errorf("got %v", a.aws.Leftovers())
	}

	// What the template no longer has is deleted at the end.
	a.mustDeploy(queues, "Extra=no")
	a.inOrder("test UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Extra DELETE_IN_PROGRESS", "Extra DELETE_COMPLETE", "test UPDATE_COMPLETE")

	// A type is never changed in place.
	a.mustDeploy(strings.Replace(queues, "Type: AWS::SSM::Parameter\n    Properties: {Name: /test/queue, Type: String, Value: !GetAtt Queue.Arn}", "Type: AWS::SNS::Topic", 1))
	if got := a.id("Parameter"); !strings.HasPrefix(got, "arn:aws:sns:") || a.parameter("/test/queue") != "" {
		t.Errorf("got %s, %v", got, a.aws.Leftovers())
	}
	a.mustDelete()
}

// An update that fails halfway leaves everything as it was: what was changed,
// replaced and made.
func TestDeploy_updateTakenBack(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(queues)
	before := a.aws.Leftovers()
	value := a.aws.Parameters()["/test/queue"].Value

	broken := queues + "  Broken: {Type: AWS::SQS::Queue, DependsOn: [Parameter, Policy, Extra], Properties: {QueueName: work}}\n"
	err := a.deploy(strings.Replace(broken, "{QueueName: dead}", "{QueueName: dead, VisibilityTimeout: 60}", 1), "Name=other", "Extra=yes")
	if err == nil || !strings.Contains(err.Error(), "Broken (AWS::SQS::Queue): AWS::SQS::Queue https://sqs.eu-central-1.amazonaws.com/000000000000/work already exists") {
		t.Fatalf("got %v", err)
	}
	a.wantStates("test", UpdateInProgress, UpdateRollbackInProgress, UpdateRollbackCleanup, UpdateRollbackComplete)
	a.wantStates("Dead", UpdateInProgress, UpdateComplete, UpdateInProgress, UpdateComplete)
	a.inOrder("Queue UPDATE_COMPLETE", "test UPDATE_ROLLBACK_IN_PROGRESS", "Queue UPDATE_COMPLETE", "test UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "Queue DELETE_COMPLETE")
	if got := a.aws.Leftovers(); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
	if got := a.parameter("/test/queue"); got != value {
		t.Errorf("got %s, want %s", got, value)
	}
	a.mustDeploy(queues, "Name=other")
	a.mustDelete()
}

// The policies of a resource keep it when it is replaced, or leaves the stack.
func TestDeploy_retain(t *testing.T) {
	a := newAccount(t)
	template := strings.Replace(queues, "  Queue:\n", "  Queue:\n    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n", 1)
	a.mustDeploy(template)
	a.mustDeploy(template, "Name=other")
	a.inOrder("test UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Queue DELETE_SKIPPED")
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"AWS::SQS::Queue https://sqs.eu-central-1.amazonaws.com/000000000000/other", "AWS::SQS::Queue https://sqs.eu-central-1.amazonaws.com/000000000000/work"}
	if got := a.aws.Leftovers(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Two stacks cannot have the same name for a thing, and the first keeps it.
func TestDeploy_taken(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(queues)
	before := a.aws.Leftovers()
	b := newStack(t, a.aws, "second")
	if err := b.deploy(queues); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v", err)
	}
	if got := a.aws.Leftovers(); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
}

// case 10: what cannot be deleted stays, and can be deleted later.
func TestDelete_again(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(`
Resources:
  Pool: {Type: AWS::Cognito::UserPool, Properties: {UserPoolName: p}}
  Queue: {Type: AWS::SQS::Queue}
`)
	id, domain := a.id("Pool"), "by-hand"
	cognito := cognitoidentityprovider.NewFromConfig(a.aws.AWSConfig())
	if _, err := cognito.CreateUserPoolDomain(t.Context(), &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: &id, Domain: &domain}); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context()); err == nil || !strings.Contains(err.Error(), "domain configured that should be deleted first") || a.Status() != DeleteFailed {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if a.id("Pool") != id || a.id("Queue") != "" {
		t.Errorf("got %v", a.Resources())
	}
	if _, err := cognito.DeleteUserPoolDomain(t.Context(), &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: &id, Domain: &domain}); err != nil {
		t.Fatal(err)
	}
	a.mustDelete()
}

// Things that were removed by hand do not keep a stack from being deleted.
func TestDelete_gone(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(`
Resources:
  Pool: {Type: AWS::Cognito::UserPool, Properties: {UserPoolName: p}}
  Domain: {Type: AWS::Cognito::UserPoolDomain, Properties: {UserPoolId: !Ref Pool, Domain: some-domain}}
`)
	id, domain := a.id("Pool"), a.id("Domain")
	cognito := cognitoidentityprovider.NewFromConfig(a.aws.AWSConfig())
	if _, err := cognito.DeleteUserPoolDomain(t.Context(), &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: &id, Domain: &domain}); err != nil {
		t.Fatal(err)
	}
	if _, err := cognito.DeleteUserPool(t.Context(), &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: &id}); err != nil {
		t.Fatal(err)
	}
	a.mustDelete()
}

// An interrupted deployment ends without a rollback, and what was made can still
// be deleted.
func TestDeploy_interrupted(t *testing.T) {
	a := newAccount(t)
	ctx, cancel := context.WithCancel(t.Context())
	template := parse(t, queues)
	second, err := New(a.aws, Options{Name: "second", OnEvent: func(e Event) {
		if e.LogicalID == "Dead" {
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Deploy(ctx, template, nil); err == nil || !strings.HasSuffix(err.Error(), "nothing was rolled back") || second.Status() != CreateFailed {
		t.Errorf("got %v, %s", err, second.Status())
	}
	if !a.exists("AWS::SQS::Queue", "dead") {
		t.Errorf("got %v", a.aws.Leftovers())
	}
	if err := second.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantNothing()
}

// Made-up names are unique, fit the limit, and say where they come from.
func TestNames(t *testing.T) {
	long := strings.Repeat("n", 100)
	a := newStack(t, newAccount(t).aws, "stack-"+long)
	a.mustDeploy(`
Resources:
  ` + long + `: {Type: AWS::SQS::Queue}
  Role: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: lambda.amazonaws.com}}}}}
  Role` + long + `: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: lambda.amazonaws.com}}}}}
  Repository: {Type: AWS::ECR::Repository}
  Fifo: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}
`)
	for id, most := range map[string]int{long: 80, "Role": 64, "Role" + long: 64, "Repository": 256, "Fifo": 80} {
		name := a.id(id)
		name = name[strings.LastIndex(name, "/")+1:]
		if len(name) > most || !strings.HasPrefix(name, "stack-nnn") {
			t.Errorf("%s: got %s of %d characters, want %d at most", id, name, len(name), most)
		}
	}
	if name := a.id("Repository"); name != strings.ToLower(name) {
		t.Errorf("got %s", name)
	}
	if name := a.id("Fifo"); !strings.HasSuffix(name, ".fifo") {
		t.Errorf("got %s", name)
	}
}

func TestNew_refused(t *testing.T) {
	a := newAccount(t)
	for _, name := range []string{"", "1x", "a_b", strings.Repeat("a", 129)} {
		if _, err := New(a.aws, Options{Name: name}); err == nil || !strings.Contains(err.Error(), "stack name") {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if err := a.Delete(t.Context()); err != nil || a.Status() != "" {
		t.Errorf("a stack that was never deployed: got %v, %s", err, a.Status())
	}
	var r io.Reader = &failing{}
	if _, err := Parse(r); err == nil || !strings.Contains(err.Error(), "reading the template: unexpected EOF") {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(strings.NewReader(strings.Repeat("#", 1<<20+1))); err == nil || !strings.Contains(err.Error(), "1048576 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(strings.NewReader("Description: " + strings.Repeat("x", 1025) + "\nResources: {Q: {Type: AWS::SQS::Queue}}")); err == nil || !strings.Contains(err.Error(), "Description: 1025 bytes") {
		t.Errorf("got %v", err)
	}
	many := "Transform: AWS::Serverless-2016-10-31\nResources:\n"
	for i := range 251 { // each with a role
		many += fmt.Sprintf("  F%d: {Type: AWS::Serverless::Function, Properties: {CodeUri: f, Handler: bootstrap, Runtime: provided.al2023}}\n", i)
	}
	if _, err := Parse(strings.NewReader(many)); err == nil || !strings.Contains(err.Error(), "502 after the transform") {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A stack that is closed leaves no process behind, whether or not it was deleted.
func TestClose(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.mustDeploy(strings.NewReplacer("Binary: agent", "Binary: mcp-server", "ProtocolConfiguration: HTTP", "ProtocolConfiguration: MCP").Replace(agentOnAgentCore))
	arn, ping := a.Outputs()["Arn"], `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	if status, body := a.invoke(arn, ping); status != 200 || strings.Contains(body, "error") {
		t.Errorf("got %d %s", status, body)
	}
	publisher := a.Function("Publisher")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, body := a.invoke(arn, ping); !strings.Contains(body, "-32010") {
		t.Errorf("the container answers: %s", body)
	}
	if _, err := publisher.PID(t.Context()); err == nil {
		t.Error("the function is still there")
	}
}

// What the services refuse in the properties of types that do nothing here.
func TestTypes_refused(t *testing.T) {
	alarm := func(properties string) string {
		return `{Type: AWS::CloudWatch::Alarm, Properties: {ComparisonOperator: GreaterThanThreshold, ` + properties + `}}`
	}
	for _, test := range []struct{ resource, want string }{
		{`{Type: AWS::SQS::Queue, Properties: {QueueName: q.fifo}}`, "ends in .fifo"},
		{`{Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 43201}}`, "VisibilityTimeout: want 0 to 43200"},
		{`{Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: none}}}`, "RedrivePolicy: there is no queue or topic"},
		{`{Type: AWS::SQS::QueuePolicy, Properties: {Queues: [none], PolicyDocument: {}}}`, "there is no queue none"},
		{`{Type: AWS::SNS::TopicPolicy, Properties: {Topics: [none], PolicyDocument: {}}}`, "there is no topic none"},
		{`{Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 2}}`, "RetentionInDays 2: want one of"},
		{`{Type: AWS::SQS::Queue, Properties: {QueueName: a.b}}`, "QueueName"},
		{`{Type: AWS::SNS::Topic, Properties: {TopicName: news.fifo}}`, "TopicName"},
		{`{Type: AWS::Events::EventBus, Properties: {Name: a/b}}`, "buses of partners"},
		{`{Type: AWS::Lambda::Function, Properties: {Code: {S3Bucket: b, S3Key: k}, Role: r, Handler: bootstrap, Runtime: provided.al2023, LoggingConfig: {LogFormat: Text, ApplicationLogLevel: INFO}}}`, "log levels are for LogFormat JSON"},
		{`{Type: AWS::Lambda::Function, Properties: {Code: {S3Bucket: b, S3Key: k}, Role: r, Handler: bootstrap, Runtime: provided.al2023, LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: info}}}`, "ApplicationLogLevel \"info\""},
		{`{Type: AWS::Lambda::Function, Properties: {Code: {S3Bucket: b, S3Key: k}, Role: r, Handler: bootstrap, Runtime: provided.al2023, ReservedConcurrentExecutions: 0}}`, "want 1 or more"},
		{`{Type: AWS::SQS::Queue, Properties: {MaximumMessageSize: 1023}}`, "MaximumMessageSize: want 1024 to 1048576"},
		{`{Type: AWS::SQS::Queue, Properties: {MessageRetentionPeriod: 59}}`, "MessageRetentionPeriod: want 60 to 1209600"},
		{`{Type: AWS::SQS::Queue, Properties: {ContentBasedDeduplication: true}}`, "is for a FIFO queue"},
		{`{Type: AWS::CloudWatch::Alarm, Properties: {ComparisonOperator: x, EvaluationPeriods: 1}}`, "ComparisonOperator"},
		{alarm(`EvaluationPeriods: 1`), "want a MetricName or Metrics"},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Statistic: Sum, Period: 60, Threshold: 0`), "want a Namespace beside it"},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Namespace: n, Statistic: Total`), "Statistic \"Total\""},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Namespace: n, Statistic: Sum, Period: 90, Threshold: 0`), "a multiple of 60"},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Namespace: n, Statistic: Sum, Period: 60`), "Threshold is missing"},
		{alarm(`EvaluationPeriods: 1, DatapointsToAlarm: 2, MetricName: m, Namespace: n, Statistic: Sum, Period: 60, Threshold: 0`), "DatapointsToAlarm of at most as many"},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Namespace: n, Statistic: Sum, Period: 60, Threshold: 0, TreatMissingData: bad`), "TreatMissingData \"bad\""},
		{alarm(`EvaluationPeriods: 1, MetricName: m, Namespace: n, Statistic: Sum, Period: 60, Threshold: 0, AlarmActions: [none]`), "want an ARN"},
		{`{Type: AWS::Logs::MetricFilter, Properties: {LogGroupName: none, FilterPattern: x, MetricTransformations: []}}`, "The specified log group does not exist."},
		{`{Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: "{"}}`, "want a JSON document"},
		{`{Type: AWS::DynamoDB::Table, Properties: {KeySchema: []}}`, "only PAY_PER_REQUEST is implemented"},
		{`{Type: AWS::Events::EventBus, Properties: {Name: default}}`, "the default event bus exists already"},
		{`{Type: AWS::Events::Rule, Properties: {}}`, "want an EventPattern or a ScheduleExpression"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day), EventBusName: b}}`, "only on the default event bus"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day), State: SOMETIMES}}`, "want ENABLED or DISABLED"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day), Targets: [{Id: a, Arn: "arn:aws:lambda:eu-central-1:000000000000:function:none"}]}}`, "Function not found"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 days)}}`, "ScheduleExpression is not valid"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: "cron(0 7 * * *)"}}`, "ScheduleExpression is not valid"},
		{`{Type: AWS::Events::Rule, Properties: {EventPattern: {source: test}}}`, "\"source\" must be an object or an array"},
		{`{Type: AWS::Events::Rule, Properties: {EventPattern: {detail: {kind: []}}}}`, "empty arrays are not allowed"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(2 days), Targets: [{Id: a, Arn: b}, {Id: a, Arn: c}]}}`, "each Id once"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: "cron(0 7 * * ? *)", Targets: [{Id: a, Arn: b, Input: "{}", InputPath: "$"}]}}`, "want one of Input, InputPath"},
		{`{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day), Targets: [{Id: a, Arn: b, Input: "{"}]}}`, "Input: want JSON"},
		{`{Type: AWS::Scheduler::Schedule, Properties: {ScheduleExpression: daily, FlexibleTimeWindow: {Mode: "OFF"}, Target: {Arn: a, RoleArn: r}}}`, "Invalid Schedule Expression daily"},
		{`{Type: AWS::Scheduler::Schedule, Properties: {ScheduleExpression: "at(2030-01-01T00:00:00)", FlexibleTimeWindow: {Mode: FLEXIBLE}, Target: {Arn: a, RoleArn: r}}}`, "with MaximumWindowInMinutes"},
		{`{Type: AWS::Scheduler::Schedule, Properties: {ScheduleExpression: rate(1 day), FlexibleTimeWindow: {Mode: "OFF"}, Target: {Arn: "arn:aws:lambda:eu-central-1:000000000000:function:none", RoleArn: r}}}`, "Function not found"},
		{`{Type: AWS::Lambda::Function, Properties: {Code: {S3Bucket: b, S3Key: k}, Role: r, Handler: bootstrap, Runtime: provided.al2023}}`, "there is no s3://b/k; write an AWS::Serverless::Function with a CodeUri"},
		{`{Type: AWS::Lambda::Permission, Properties: {FunctionName: none, Action: "lambda:InvokeFunction", Principal: events.amazonaws.com}}`, "Function not found: none"},
		{`{Type: AWS::Lambda::Version, Properties: {FunctionName: none}}`, "Function not found: none"},
		{`{Type: AWS::Lambda::Alias, Properties: {FunctionName: none, Name: live, FunctionVersion: 1}}`, "Function not found: none"},
		{`{Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}, Policies: [{PolicyName: a/b, PolicyDocument: {}}]}}`, `PolicyName "a/b"`},
		{`{Type: AWS::IAM::Policy, Properties: {PolicyName: a b, Roles: [r], PolicyDocument: {}}}`, `PolicyName "a b"`},
		{`{Type: AWS::IAM::RolePolicy, Properties: {PolicyName: ` + strings.Repeat("n", 129) + `, RoleName: r, PolicyDocument: {}}}`, `PolicyName "nnn`},
		{`{Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}`, "Statement: want at least one"},
		{`{Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}, ManagedPolicyArns: ["arn:aws:iam::aws:policy/AdministratorAccess"]}}`, "AdministratorAccess is not implemented; write the statements"},
		{`{Type: AWS::SSM::Parameter, Properties: {Type: SecureString, Value: x}}`, "want String or StringList"},
		{`{Type: AWS::SSM::Parameter, Properties: {Name: /aws/x, Type: String, Value: x}}`, "be prefixed with"},
		{`{Type: AWS::Cognito::UserPool, Properties: {MfaConfiguration: "ON"}}`, "MfaConfiguration"},
		{`{Type: AWS::Cognito::UserPoolDomain, Properties: {UserPoolId: eu-central-1_none, Domain: d}}`, "does not exist"},
		{`{Type: "Custom::X", Properties: {ServiceToken: none}}`, "Function not found: none"},
	} {
		a := newAccount(t)
		err := a.deploy("Resources:\n  R: " + test.resource)
		if err == nil || !strings.Contains(err.Error(), test.want) || a.Status() != RollbackComplete {
			t.Errorf("%s: got %v, %s, want %q", test.resource, err, a.Status(), test.want)
		}
		a.wantNothing()
	}
}
