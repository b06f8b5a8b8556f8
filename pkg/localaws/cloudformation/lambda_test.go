package cloudformation_test

import (
	"strings"
	"testing"
)

// published is a function with an alias and all that goes with one.
const published = `
Transform: AWS::Serverless-2016-10-31
Parameters:
  Requests: {Type: String}
  Memory: {Type: Number, Default: 128}
  Setting: {Type: String, Default: a}
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: {Effect: Allow, Action: sts:AssumeRole, Principal: {Service: lambda.amazonaws.com}}}
      Policies:
        - PolicyName: queues
          PolicyDocument:
            Statement:
              - {Effect: Allow, Action: "sqs:SendMessage", Resource: !GetAtt Dead.Arn}
              - {Effect: Allow, Action: ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], Resource: !GetAtt Work.Arn}
  Dead: {Type: AWS::SQS::Queue}
  Work: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 20}}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: bus}}
  Topic: {Type: AWS::SNS::Topic}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/custom/
      Handler: bootstrap
      Runtime: provided.al2023
      Role: !GetAtt Role.Arn
      Timeout: 20
      MemorySize: !Ref Memory
      AutoPublishAlias: live
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Dead.Arn}
      FunctionUrlConfig: {AuthType: AWS_IAM}
      EventInvokeConfig: {MaximumRetryAttempts: 0}
      Environment: {Variables: {REQUESTS: !Ref Requests, SETTING: !Ref Setting}}
      Events:
        Work: {Type: SQS, Properties: {Queue: !GetAtt Work.Arn}}
        Asked: {Type: EventBridgeRule, Properties: {EventBusName: !Ref Bus, Pattern: {source: [x]}}}
        Daily: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
        News: {Type: SNS, Properties: {Topic: !Ref Topic}}
  Thing:
    Type: Custom::Thing
    Properties:
      ServiceToken: !Ref Function.Alias
      Version: !Ref Function.Version
`

// Another binary is another version, which the alias and a custom resource that
// names it follow; one that is the same is not.
func TestVersions(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(published)
	a.wantRequests(0, "Create")
	if got := a.Function("Function").Version(); got != "1" {
		t.Errorf("got version %s", got)
	}
	if got := a.aws.Retries(a.Function("Function").Name(), "live"); got != 0 {
		t.Errorf("failed events are run again %d times, want 0", got)
	}
	a.mustDeploy(strings.Replace(published, "      EventInvokeConfig: {MaximumRetryAttempts: 0}\n", "", 1))
	if got := a.aws.Retries(a.Function("Function").Name(), "live"); got != 2 {
		t.Errorf("without a setting, failed events are run again %d times, want 2", got)
	}
	a.mustDeploy(published)
	a.wantRequests(1)

	a.rebuild("custom", "second")
	a.mustDeploy(published)
	a.wantRequests(1, "Update id-of-Thing")
	if got := a.requests()[1].Properties["Version"].(string); !strings.HasSuffix(got, ":2") {
		t.Errorf("got version %s", got)
	}
	if f := a.Function("Function"); f.Version() != "2" || a.aws.Function(f.Name()+":1") == nil || a.aws.Function(f.Name()).Version() != "$LATEST" {
		t.Errorf("got version %s", f.Version())
	}

	// What the translator makes of it: neither the value of a parameter in the
	// environment nor one in another property publishes a version, so the alias
	// stays with the old values.
	a.mustDeploy(published, "Setting=b", "Memory=256")
	if got := a.Function("Function").Version(); got != "2" {
		t.Errorf("got version %s", got)
	}

	a.rebuild("custom", "third")
	a.mustDeploy(published)
	if got := a.Function("Function").Version(); got != "3" {
		t.Errorf("got version %s", got)
	}
	a.mustDelete()
}

// A failed update restores the old binary and the old version.
func TestVersions_takenBack(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(published)
	a.rebuild("custom", "second")
	err := a.deploy(published + "  Broken: {Type: AWS::SQS::Queue, DependsOn: Thing, Properties: {FifoQueue: true, QueueName: wrong}}\n")
	if err == nil || a.Function("Function").Version() != "1" {
		t.Fatalf("got %v, version %s", err, a.Function("Function").Version())
	}
	a.wantRequests(1, "Update id-of-Thing", "Update id-of-Thing")
	if got := a.requests()[2].Properties["Version"].(string); !strings.HasSuffix(got, ":1") {
		t.Errorf("got version %s", got)
	}
	a.mustDelete()
}

// A permission that leaves the template does not count for the rule that stays.
func TestWiring_permissionLeaves(t *testing.T) {
	a := newAccount(t)
	const template = `
Transform: AWS::Serverless-2016-10-31
Resources:
  Function: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/custom/, Handler: bootstrap, Runtime: provided.al2023}}
  Rule: {Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 day), Targets: [{Id: a, Arn: !GetAtt Function.Arn}]}}
`
	a.mustDeploy(template + "  Permission: {Type: AWS::Lambda::Permission, Properties: {FunctionName: !Ref Function, Action: \"lambda:InvokeFunction\", Principal: events.amazonaws.com, SourceArn: !GetAtt Rule.Arn}}\n")
	if err := a.deploy(template); err == nil || !strings.Contains(err.Error(), "Rule (AWS::Events::Rule): no AWS::Lambda::Permission lets it invoke") {
		t.Errorf("got %v", err)
	}
	if a.id("Permission") == "" {
		t.Error("the permission is gone")
	}
	a.mustDelete()
}

// What Lambda and the services in front of it refuse, or accept and silently
// never do.
func TestWiring_refused(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{`{Effect: Allow, Action: "sqs:SendMessage", Resource: !GetAtt Dead.Arn}`, `{Effect: Allow, Action: "sqs:SendMessage", Resource: !GetAtt Work.Arn}`,
			"The provided execution role does not have permissions to call SendMessage on SQS"},
		{`"sqs:DeleteMessage", `, "", "The provided execution role does not have permissions to call DeleteMessage on SQS"},
		{"VisibilityTimeout: 20", "VisibilityTimeout: 19", "Queue visibility timeout: 19 seconds is less than Function timeout: 20 seconds"},
		{"Service: lambda.amazonaws.com", "Service: events.amazonaws.com", "cannot be assumed by Lambda"},
		{"Handler: bootstrap", "Handler: main", "only provided.al2023 with bootstrap is implemented"},
		{"Timeout: 20\n", "Timeout: 901\n", "want at most 15 minutes"},
		{"EventBusName: !Ref Bus", "EventBusName: none", "Event bus none does not exist."},
		{"REQUESTS: !Ref Requests", "AWS_REGION: here", "variable AWS_REGION is reserved by Lambda"},
		{"Topic: !Ref Topic", "Topic: arn:aws:sns:eu-central-1:000000000000:none", "there is no topic"},
		{"TargetArn: !GetAtt Dead.Arn", "TargetArn: arn:aws:sqs:eu-central-1:000000000000:none", "there is no queue or topic"},
		{"ServiceToken: !Ref Function.Alias", "ServiceToken: !GetAtt Dead.Arn", "Function not found"},
		{"FunctionUrlConfig: {AuthType: AWS_IAM}", "FunctionUrlConfig: {AuthType: AWS_IAM, InvokeMode: BOTH}", "want BUFFERED or RESPONSE_STREAM"},
		{"Resources:\n", "Resources:\n  Rule:\n    Type: AWS::Events::Rule\n    Properties: {ScheduleExpression: rate(1 day), Targets: [{Id: a, Arn: !GetAtt Function.Arn}]}\n",
			"Rule (AWS::Events::Rule): no AWS::Lambda::Permission lets it invoke"},
		{"Resources:\n", "Resources:\n  Sub: {Type: AWS::SNS::Subscription, Properties: {TopicArn: !Ref Topic, Protocol: lambda, Endpoint: !GetAtt Function.Arn}}\n",
			"Sub (AWS::SNS::Subscription): no AWS::Lambda::Permission lets it invoke"},
		{"Queue: !GetAtt Work.Arn", "Queue: !GetAtt Work.Arn, BatchSize: 11", "Maximum batch window in seconds must be greater than 0"},
		{"Queue: !GetAtt Work.Arn", "Queue: !GetAtt Work.Arn, BatchSize: 10001, MaximumBatchingWindowInSeconds: 1", "BatchSize: want 1 to 10000"},
		{"Queue: !GetAtt Work.Arn", "Queue: !GetAtt Work.Arn, FunctionResponseTypes: [ReportFailures]", "want ReportBatchItemFailures"},
		{"VisibilityTimeout: 20", "VisibilityTimeout: 20, RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn}", "want a deadLetterTargetArn and a maxReceiveCount"},
		{"VisibilityTimeout: 20", "VisibilityTimeout: 20, RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 1001}", "maxReceiveCount of 1 to 1000"},
		{"Resources:\n", "Resources:\n  Sub: {Type: AWS::SNS::Subscription, Properties: {TopicArn: !Ref Topic, Protocol: pigeon}}\n", "Protocol \"pigeon\""},
		{"Resources:\n", "Resources:\n  Sub: {Type: AWS::SNS::Subscription, Properties: {TopicArn: !Ref Topic, Protocol: email, Endpoint: a@b, RawMessageDelivery: true}}\n", "RawMessageDelivery is not for"},
		{"Resources:\n", "Resources:\n  Daily: {Type: AWS::Scheduler::Schedule, Properties: {ScheduleExpression: rate(1 day), FlexibleTimeWindow: {Mode: \"OFF\"}, Target: {Arn: !GetAtt Function.Arn, RoleArn: !GetAtt Role.Arn}}}\n",
			"may not invoke arn:aws:lambda:"},
		{"Resources:\n", "Resources:\n  Logs: {Type: AWS::Logs::LogGroup}\n  Filter: {Type: AWS::Logs::MetricFilter, Properties: {LogGroupName: !Ref Logs, FilterPattern: x, MetricTransformations: [{MetricName: m, MetricNamespace: n, MetricValue: 1, DefaultValue: 0, Dimensions: [{Key: k, Value: $.v}]}]}}\n",
			"no DefaultValue beside them"},
	} {
		a := newAccount(t)
		err := a.deploy(strings.Replace(published, test.from, test.to, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
		a.wantNothing()
	}
}
