package cloudformation_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	. "agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// things is a template with a custom resource, resources that depend on it, and
// one that can be made to fail after it.
const things = `
Transform: AWS::Serverless-2016-10-31
Parameters:
  Value: {Type: String, Default: one}
  Id: {Type: String, Default: ""}
  Fail: {Type: String, Default: ""}
  Silent: {Type: String, Default: ""}
  Break: {Type: String, Default: "no"}
  Requests: {Type: String}
Conditions:
  Break: !Equals [!Ref Break, "yes"]
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/custom/
      Handler: bootstrap
      Runtime: provided.al2023
      Timeout: 10
      Environment: {Variables: {REQUESTS: !Ref Requests}}
  Thing:
    Type: Custom::Thing
    Properties:
      ServiceToken: !GetAtt Function.Arn
      ServiceTimeout: 20
      Id: !Ref Id
      Fail: !Ref Fail
      Silent: !Ref Silent
      Flag: true
      Data: {Answer: !Ref Value, Number: 1.50}
  After:
    Type: AWS::SSM::Parameter
    Properties: {Name: /test/after, Type: String, Value: !Sub "${Thing.Answer} ${Thing}"}
  Broken:
    Type: AWS::SQS::Queue
    Condition: Break
    DependsOn: After
    Properties: {FifoQueue: true, QueueName: wrong}
Outputs:
  Answer: {Value: !GetAtt Thing.Answer}
`

// wantRequests compares the requests since the first n, by type and id.
func (a *account) wantRequests(n int, want ...string) {
	a.t.Helper()
	got := []string{}
	for _, r := range a.requests()[n:] {
		got = append(got, strings.TrimSpace(r.Type+" "+r.ID))
	}
	if !slices.Equal(got, want) {
		a.t.Errorf("got requests %q, want %q", got, want)
	}
}

func (a *account) parameter(name string) string { return a.aws.Parameters()[name].Value }

// The life of a custom resource: the content of each request, and no request if
// nothing has changed (case 13).
func TestCustom(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things)
	a.wantRequests(0, "Create")
	created := a.requests()[0]
	arn := a.Function("Function").ARN()
	one := map[string]any{
		"ServiceToken": arn, "ServiceTimeout": "20", "Id": "", "Fail": "", "Silent": "", "Flag": "true",
		"Data": map[string]any{"Answer": "one", "Number": "1.50"},
	}
	if !reflect.DeepEqual(created.Properties, one) || created.Old != nil || created.Stack != a.ID() || created.Name != "Thing" {
		t.Errorf("got %+v", created)
	}
	if got := a.parameter("/test/after"); got != "one id-of-Thing" || a.Outputs()["Answer"] != "one" {
		t.Errorf("got %q and %v", got, a.Outputs())
	}
	a.wantStates("test", CreateInProgress, CreateComplete)
	a.wantStates("Thing", CreateInProgress, CreateComplete)

	a.mustDeploy(things)
	a.wantRequests(1)
	a.wantStates("test", UpdateInProgress, UpdateCleanup, UpdateComplete)
	a.wantStates("Thing")

	a.mustDeploy(things, "Value=two")
	a.wantRequests(1, "Update id-of-Thing")
	updated := a.requests()[1]
	if data := updated.Properties["Data"].(map[string]any); data["Answer"] != "two" || !reflect.DeepEqual(updated.Old, one) {
		t.Errorf("got %+v", updated)
	}
	if got := a.parameter("/test/after"); got != "two id-of-Thing" || a.aws.Parameters()["/test/after"].Version != 2 {
		t.Errorf("got %q", got)
	}
	a.wantStates("After", UpdateInProgress, UpdateComplete)

	// A parameter that is not given keeps its value.
	a.mustDeploy(things)
	a.wantRequests(2)

	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantRequests(2, "Delete id-of-Thing")
	if got := a.Status(); got != DeleteComplete || len(a.Outputs()) > 0 || len(a.Resources()) > 0 {
		t.Errorf("got %s %v %v", got, a.Outputs(), a.Resources())
	}
	a.wantNothing()
}

// case 12: another id is another resource, and the old one is deleted when all
// else is done.
func TestCustom_replaced(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things)
	a.mustDeploy(things, "Id=second")
	a.wantRequests(1, "Update id-of-Thing", "Delete id-of-Thing")
	a.wantStates("Thing", UpdateInProgress, UpdateComplete, DeleteInProgress, DeleteComplete)
	if got := a.parameter("/test/after"); got != "one second" {
		t.Errorf("got %q", got)
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantRequests(3, "Delete second")
	a.wantNothing()
}

// case 8: a failed creation is undone: its custom resource is deleted by the id
// in the failed answer, or by a made-up one if there was none.
func TestCustom_creationFails(t *testing.T) {
	for _, test := range []struct{ parameter, reason string }{
		{"Fail=Create", "Message returned: as it was told to"},
		{"Silent=Create", "no answer to CloudFormation"},
	} {
		a := newAccount(t)
		err := a.deploy(things, test.parameter)
		if err == nil || !strings.Contains(err.Error(), test.reason) || !strings.HasSuffix(err.Error(), "rolled back") {
			t.Errorf("%s: got %v", test.parameter, err)
		}
		requests := a.requests()
		if len(requests) != 2 || requests[1].Type != "Delete" || requests[1].ID == "" || (requests[1].ID == "id-of-Thing") != (test.parameter == "Fail=Create") {
			t.Errorf("%s: got %+v", test.parameter, requests)
		}
		a.wantStates("test", CreateInProgress, RollbackInProgress, RollbackComplete)
		a.wantStates("Thing", CreateInProgress, CreateFailed, DeleteInProgress, DeleteComplete)
		a.wantStates("After")
		a.wantNothing()

		if err := a.deploy(things); err == nil || !strings.Contains(err.Error(), "ROLLBACK_COMPLETE state and can not be updated") {
			t.Errorf("got %v", err)
		}
		if err := a.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.mustDeploy(things)
	}
}

// case 15: a failed update is undone by the reverse update.
func TestCustom_updateFails(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things)
	err := a.deploy(things, "Value=two", "Fail=Update")
	if err == nil || !strings.Contains(err.Error(), "Thing (Custom::Thing): Received response status [FAILED] from custom resource. Message returned: as it was told to") {
		t.Errorf("got %v", err)
	}
	a.wantRequests(1, "Update id-of-Thing", "Update id-of-Thing")
	there, back := a.requests()[1], a.requests()[2]
	if !reflect.DeepEqual(back.Properties, there.Old) || !reflect.DeepEqual(back.Old, there.Properties) {
		t.Errorf("got %+v, then %+v", there, back)
	}
	a.wantStates("test", UpdateInProgress, UpdateRollbackInProgress, UpdateRollbackCleanup, UpdateRollbackComplete)
	a.wantStates("Thing", UpdateInProgress, UpdateFailed, UpdateInProgress, UpdateComplete)
	if got := a.parameter("/test/after"); got != "one id-of-Thing" || a.Outputs()["Answer"] != "one" {
		t.Errorf("got %q and %v", got, a.Outputs())
	}
	a.mustDeploy(things, "Value=three")
	if got := a.Outputs()["Answer"]; got != "three" {
		t.Errorf("got %q", got)
	}
	a.mustDelete()
}

// case 12: if something fails after an update made a resource with another id,
// that resource is deleted and the previous one stays.
func TestCustom_replacementTakenBack(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things, "Id=first")
	err := a.deploy(things, "Id=second", "Break=yes")
	if err == nil || !strings.Contains(err.Error(), "Broken (AWS::SQS::Queue)") {
		t.Errorf("got %v", err)
	}
	a.wantRequests(1, "Update first", "Update second", "Delete second")
	a.wantStates("After", UpdateInProgress, UpdateComplete, UpdateInProgress, UpdateComplete)
	if got := a.parameter("/test/after"); got != "one first" || a.id("Thing") != "first" {
		t.Errorf("got %q, id %s", got, a.id("Thing"))
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantRequests(4, "Delete first")
	a.wantNothing()
}

// A stack whose rollback failed can only be deleted.
func TestCustom_rollbackFails(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things, "Fail=Update")
	err := a.deploy(things, "Value=two")
	if err == nil || !strings.Contains(err.Error(), "rolling back: ") || a.Status() != UpdateRollbackFailed {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if err := a.deploy(things); err == nil {
		t.Error("a stack in UPDATE_ROLLBACK_FAILED was updated")
	}
	a.mustDelete()
}

// A replacement that was made before, and is not undone, is deleted all the
// same.
func TestCustom_rollbackFails_replaced(t *testing.T) {
	a := newAccount(t)
	template := strings.Replace(things, "  Broken:\n", "  Queue: {Type: AWS::SQS::Queue, DependsOn: Thing, Properties: {QueueName: !Ref Value}}\n  Broken:\n", 1)
	template = strings.Replace(template, "DependsOn: After", "DependsOn: [After, Queue]", 1)
	a.mustDeploy(template, "Fail=Update")
	err := a.deploy(template, "Fail=", "Value=two", "Break=yes")
	if err == nil || a.Status() != UpdateRollbackFailed || !a.exists("AWS::SQS::Queue", "one") || !a.exists("AWS::SQS::Queue", "two") {
		t.Errorf("got %v, %s, %v", err, a.Status(), a.aws.Leftovers())
	}
	a.mustDelete()
}

// After a failed deletion, what the resource depends on stays, and the error
// says so.
func TestCustom_deletionFails(t *testing.T) {
	a := newAccount(t)
	a.mustDeploy(things, "Fail=Delete")
	err := a.Delete(t.Context())
	if err == nil || a.Status() != DeleteFailed {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if a.id("Thing") == "" || a.Function("Function") == nil || a.id("After") != "" {
		t.Errorf("got %v", a.Resources())
	}
	if err := a.deploy(things); err == nil {
		t.Error("a stack in DELETE_FAILED was updated")
	}
	a.Delete(t.Context())
	a.wantRequests(1, "Delete id-of-Thing", "Delete id-of-Thing")
}

func TestCustom_refused(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"ServiceToken: !GetAtt Function.Arn", "ServiceToken: !GetAtt Other.Arn", "Modifying service token is not allowed."},
		{"${Thing.Answer} ${Thing}", "${Thing.Question}", "${Thing.Question}: Thing has no attribute Question"},
		{"!GetAtt Thing.Answer}", "!GetAtt Thing.Question}", "Outputs/Answer/Value: Fn::GetAtt: Thing has no attribute Question"},
	} {
		a := newAccount(t)
		template := things + "\n"
		template = strings.Replace(template, "  Thing:\n", "  Other:\n    Type: AWS::Serverless::Function\n    Properties: {CodeUri: functions/custom/, Handler: bootstrap, Runtime: provided.al2023}\n  Thing:\n", 1)
		a.mustDeploy(template)
		err := a.deploy(strings.Replace(template, test.from, test.to, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) || a.Status() != UpdateRollbackComplete {
			t.Errorf("got %v, %s, want %q", err, a.Status(), test.want)
		}
		if got := a.parameter("/test/after"); got != "one id-of-Thing" {
			t.Errorf("got %q", got)
		}
		a.mustDelete()
	}
}
