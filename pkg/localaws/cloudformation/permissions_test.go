package cloudformation_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// unexercised lists the template's grants that nothing here can need, each with
// its reason.
var unexercised = map[string]string{
	"Parameters: action ssm:RemoveTagsFromResource": "for a client with RetainOnDelete, which a stack beside this one may have",
	"Logs: action logs:CreateLogGroup":              "AgentCore writes the container's log, and makes its group",
	"Logs: action logs:CreateLogStream":             "Lambda and AgentCore write the log",
	"Logs: action logs:DescribeLogStreams":          "AgentCore looks for the stream of a session",
	"Logs: action logs:PutLogEvents":                "Lambda and AgentCore write the log",
	"Logs: resource":                                "the group of the log",
	"LogGroups: action logs:DescribeLogGroups":      "AgentCore looks whether the group is there",
	"LogGroups: resource":                           "as above",
	"Tracing: action xray:PutTelemetryRecords":      "Lambda sends traces; it is refused a function without the other action alone",
	"Credentials: resource arn:aws:ssm:eu-central-1:000000000000:parameter/app/mcp/mcp_other":                     "a path is asked for with a slash at its end, and pages of AWS show it without",
	"Model: resource arn:aws:bedrock:eu-central-1::foundation-model/eu.anthropic.claude-sonnet-4-5-20250929-v1:0": "for a model that needs no profile",
}

// case 143: everything that the template's roles are allowed is needed by
// something that the stack does: no statement could be taken away.
func TestProject_permissions(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	template := project(t, "template.yaml")
	const key = "KmsKeyArn=arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000001"
	a.mustDeploy(template, "AgentHost=both", "SecretRotationDays=30", key)
	a.ask()
	if status, body := a.invoke(a.Outputs()["AgentRuntimeArn"], `{"prompt":"What is 2+2?"}`); status != 200 {
		t.Errorf("the agent on AgentCore: got %d %s", status, body)
	}
	if status, body := a.stream(a.Outputs()["AgentRuntimeArn"], `{"prompt":"What is 2+2?"}`); status != 200 || !strings.Contains(body, "event: done") {
		t.Errorf("the agent on AgentCore, streaming: got %d %s", status, body)
	}
	a.send("AgentFunction", "sqs.json", "")
	a.send("AgentFunction", "function-url.json", "text/event-stream") // asks for a stream of the model
	a.send("CognitoSetupFunction", "setup-rotate.json", "")

	// Somebody changed the client and the scopes; an update mends them.
	cognito := cognitoidentityprovider.NewFromConfig(a.aws.AWSConfig())
	pool, client := a.Outputs()["UserPoolId"], a.Outputs()["ClientId"]
	was, err := cognito.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: aws.String(pool), ClientId: aws.String(client)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cognito.UpdateUserPoolClient(t.Context(), &cognitoidentityprovider.UpdateUserPoolClientInput{
		UserPoolId: aws.String(pool), ClientId: aws.String(client), ClientName: was.UserPoolClient.ClientName, // the flow is gone
	})
	if err != nil {
		t.Fatal(err)
	}
	name := aws.String("mcp_simple_calculator")
	scopes, err := cognito.DescribeResourceServer(t.Context(), &cognitoidentityprovider.DescribeResourceServerInput{UserPoolId: aws.String(pool), Identifier: name})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cognito.UpdateResourceServer(t.Context(), &cognitoidentityprovider.UpdateResourceServerInput{
		UserPoolId: aws.String(pool), Identifier: name, Name: scopes.ResourceServer.Name,
		Scopes: []types.ResourceServerScopeType{{ScopeName: aws.String("other"), ScopeDescription: aws.String("other")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.mustDeploy(template, "AgentHost=both", "SecretRotationDays=30", key, "SecretVersion=2")
	a.mustDeploy(template, "AgentHost=both", "SecretRotationDays=30", key, "SecretVersion=3") // deletes the secret before the last
	a.ask()

	// Another name replaces the client, which deletes the one there was; then the
	// agent has two servers.
	a.mustDeploy(template, "AgentHost=both", "SecretRotationDays=30", key, "McpName=mcp_other")
	a.ask2()
	a.wantGrants()
}

// send sends a sample event to a function of the stack.
func (a *account) send(function, sample, accept string) {
	a.t.Helper()
	event, err := os.ReadFile("../../../events/" + sample)
	if err != nil {
		a.t.Fatal(err)
	}
	if accept != "" {
		event = []byte(strings.Replace(string(event), `"accept": "application/json"`, `"accept": "`+accept+`"`, 1))
	}
	res, err := a.Function(function).Invoke(a.t.Context(), event)
	if err != nil || res.FunctionError != "" || strings.Contains(string(res.Payload), "itemIdentifier") || strings.Contains(string(res.Payload), "event: error") {
		a.t.Errorf("%s: got %s, %v\n%s", sample, res.Payload, err, a.log)
	}
}

// ask2 asks the agent without looking which server answered.
func (a *account) ask2() {
	a.t.Helper()
	res, err := a.Function("AgentFunction").Invoke(a.t.Context(), []byte(`{"prompt":"What is 2+2?"}`))
	if err != nil || res.FunctionError != "" {
		a.t.Errorf("got %s, %v\n%s", res.Payload, err, a.log)
	}
}

// wantGrants wants every grant of the stack's roles to be needed or excused.
func (a *account) wantGrants() {
	a.t.Helper()
	excused := map[string]bool{}
	for _, r := range a.Resources() {
		if r.Type != "AWS::IAM::Role" {
			continue
		}
		arn, _ := r.Attributes["Arn"].(string)
		unused, err := a.aws.UnusedGrants(arn)
		if err != nil {
			a.t.Fatal(err)
		}
		for _, line := range unused {
			i := slices.IndexFunc(slices.Sorted(maps.Keys(unexercised)), func(known string) bool { return strings.HasPrefix(line, known) })
			if i < 0 {
				a.t.Errorf("%s: nothing needs %s", r.LogicalID, line)
				continue
			}
			excused[slices.Sorted(maps.Keys(unexercised))[i]] = true
		}
	}
	for known := range unexercised {
		if !excused[known] {
			a.t.Errorf("%s is needed, and has no place in the list", known)
		}
	}
}
