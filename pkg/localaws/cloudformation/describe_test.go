package cloudformation_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// described returns the stack as DescribeStacks shows it.
func (a *account) described() string {
	a.t.Helper()
	client := cloudformation.NewFromConfig(a.aws.AWSConfig(), func(o *cloudformation.Options) { o.RetryMaxAttempts = 1 })
	out, err := client.DescribeStacks(a.t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("test")})
	if err != nil {
		return err.Error()
	}
	st := out.Stacks[0]
	line := string(st.StackStatus) + " " + aws.ToString(st.Description)
	for _, p := range st.Parameters {
		line += " " + *p.ParameterKey + "=" + *p.ParameterValue
	}
	for _, o := range st.Outputs {
		line += " " + *o.OutputKey + "=" + *o.OutputValue + " (" + aws.ToString(o.Description) + aws.ToString(o.ExportName) + ")"
	}
	if *st.StackId != a.ID() {
		line += " " + *st.StackId
	}
	return line
}

// DescribeStacks shows the stack, and masks NoEcho parameters.
func TestDescribeStacks(t *testing.T) {
	a := newAccount(t)
	template := "Description: some queue\n" + strings.Replace(exporting, "Parameters:\n", "Parameters:\n  Secret: {Type: String, NoEcho: true, Default: hunter2}\n", 1)
	a.mustDeploy(template)
	if got, want := a.described(), "CREATE_COMPLETE some queue Name=work Secret=**** Queue=work (test-queue)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := a.deploy(template+"Conditions: {A: !Equals [a, a]}\n", "Name=other", "Secret=x"); err != nil {
		t.Error(err)
	}
	if got, want := a.described(), "UPDATE_COMPLETE some queue Name=other Secret=**** Queue=other (test-queue)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	other := newStack(t, a.aws, "test")
	if err := other.deploy(template); err == nil || !strings.Contains(err.Error(), "Stack [test] already exists") {
		t.Errorf("got %v", err)
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.described(); !strings.Contains(got, "Stack with id test does not exist") {
		t.Errorf("got %s", got)
	}
	other.mustDeploy(template)
}
