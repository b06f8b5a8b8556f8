package cloudformation_test

import (
	"strings"
	"testing"

	. "agentcore-mcp-auth/pkg/localaws/cloudformation"
)

const exporting = `
Parameters:
  Name: {Type: String, Default: work}
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Name}}
Outputs:
  Queue: {Value: !GetAtt Queue.QueueName, Export: {Name: !Sub "${AWS::StackName}-queue"}}
`

const importing = `
Parameters:
  Base: {Type: String, Default: test}
Resources:
  Parameter:
    Type: AWS::SSM::Parameter
    Properties:
      Name: !Sub /${AWS::StackName}
      Type: String
      Value: !ImportValue
        Fn::Sub: ${Base}-queue
`

// What another stack imports can neither be changed nor deleted, until it no
// longer does.
func TestExport(t *testing.T) {
	a := newAccount(t)
	b := newStack(t, a.aws, "second")
	a.mustDeploy(exporting)
	b.mustDeploy(importing)
	if got := b.parameter("/second"); got != "work" {
		t.Errorf("got %q", got)
	}

	err := a.deploy(exporting, "Name=other")
	if err == nil || !strings.Contains(err.Error(), "Export test-queue cannot be updated or deleted as it is in use by second") || a.Status() != UpdateRollbackComplete {
		t.Errorf("got %v, %s", err, a.Status())
	}
	if a.Outputs()["Queue"] != "work" || !a.exists("AWS::SQS::Queue", "work") || a.exists("AWS::SQS::Queue", "other") {
		t.Errorf("got %v, %v", a.Outputs(), a.aws.Leftovers())
	}
	a.mustDeploy(exporting, "Name=work") // the same value
	if err := a.Delete(t.Context()); err == nil || !strings.Contains(err.Error(), "Delete canceled. Export test-queue cannot be") || a.Status() != UpdateComplete {
		t.Errorf("got %v, %s", err, a.Status())
	}

	// A stack whose first import fails does not hold the export.
	c := newStack(t, a.aws, "third")
	if err := c.deploy(importing + "  Broken: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true, QueueName: wrong}}\n"); err == nil {
		t.Error("a queue of a wrong name was made")
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.deploy(importing, "Base=nobody"); err == nil || !strings.Contains(err.Error(), "No export named nobody-queue found") {
		t.Errorf("got %v", err)
	}
	a.mustDeploy(exporting, "Name=other")

	// Only one stack can export a name.
	taken := strings.Replace(exporting, "!Sub \"${AWS::StackName}-queue\"", "test-queue", 1)
	if err := b.deploy(taken, "Name=b"); err == nil || !strings.Contains(err.Error(), "Export with name test-queue is already exported by stack test") {
		t.Errorf("got %v", err)
	}
	twice := taken + "  Again: {Value: x, Export: {Name: test-queue}}\n"
	if err := a.deploy(twice); err == nil || !strings.Contains(err.Error(), "Outputs/Queue/Export/Name: the name test-queue occurs twice") {
		t.Errorf("got %v", err)
	}
	a.mustDelete()
}
