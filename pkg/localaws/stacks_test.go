package localaws_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/localaws"
)

func TestDescribeStacks(t *testing.T) {
	s := startServer(t)
	client := cloudformation.NewFromConfig(s.AWSConfig(), func(o *cloudformation.Options) { o.RetryMaxAttempts = 1 })
	describe := func(name *string) ([]string, error) {
		out, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: name})
		var found []string
		if err == nil {
			for _, st := range out.Stacks {
				line := *st.StackName + " " + string(st.StackStatus)
				for _, p := range st.Parameters {
					line += " " + *p.ParameterKey + "=" + *p.ParameterValue
				}
				for _, o := range st.Outputs {
					line += " " + *o.OutputKey + "=" + *o.OutputValue + " " + aws.ToString(o.ExportName)
				}
				if st.LastUpdatedTime != nil {
					line += " updated"
				}
				found = append(found, line)
			}
		}
		return found, err
	}
	check := func(what string, got []string, err error, want ...string) {
		t.Helper()
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got %q, %v, want %q", what, got, err, want)
		}
	}
	got, err := describe(nil)
	check("none", got, err)
	id, err := s.AddStack(localaws.Stack{Name: "agent-b", Outputs: []localaws.StackOutput{{Key: "Url", Value: "https://x/?a=1&b=<2>", ExportName: "b-url"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddStack(localaws.Stack{Name: "agent-a", Status: "ROLLBACK_COMPLETE", Parameters: map[string]string{"B": "2", "A": "1"}}); err != nil {
		t.Fatal(err)
	}
	got, err = describe(nil)
	check("all", got, err, "agent-a ROLLBACK_COMPLETE A=1 B=2", "agent-b CREATE_COMPLETE Url=https://x/?a=1&b=<2> b-url")
	got, err = describe(&id)
	check("by id", got, err, "agent-b CREATE_COMPLETE Url=https://x/?a=1&b=<2> b-url")
	again, err := s.AddStack(localaws.Stack{Name: "agent-b", Status: "UPDATE_COMPLETE"})
	if err != nil || again != id {
		t.Errorf("the update gave %s, %v, want %s", again, err, id)
	}
	got, err = describe(aws.String("agent-b"))
	check("updated", got, err, "agent-b UPDATE_COMPLETE updated")

	s.RemoveStack("agent-b")
	for _, tt := range []struct {
		what           string
		in             cloudformation.DescribeStacksInput
		options        func(*cloudformation.Options)
		code, wantText string
	}{
		{"gone", cloudformation.DescribeStacksInput{StackName: aws.String("agent-b")}, nil, "ValidationError", "Stack with id agent-b does not exist"},
		{"a member that it has not", cloudformation.DescribeStacksInput{NextToken: aws.String("x")}, nil, "UnknownMemberException", "NextToken"},
		{"another key", cloudformation.DescribeStacksInput{}, func(o *cloudformation.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("AKIAOTHER", "x", "")
		}, "InvalidClientTokenId", "security token"},
		{"another region", cloudformation.DescribeStacksInput{}, func(o *cloudformation.Options) { o.Region = "us-east-1" }, "SignatureDoesNotMatch", "region"},
	} {
		_, err := client.DescribeStacks(t.Context(), &tt.in, func(o *cloudformation.Options) {
			if tt.options != nil {
				tt.options(o)
			}
		})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != tt.code || !strings.Contains(api.ErrorMessage(), tt.wantText) {
			t.Errorf("%s: %v, want %s with %q", tt.what, err, tt.code, tt.wantText)
		}
	}
	if _, err := client.ListStacks(t.Context(), &cloudformation.ListStacksInput{}); err == nil || !strings.Contains(err.Error(), "does not implement ListStacks") {
		t.Errorf("ListStacks: %v", err)
	}
	s.SetFault(func(localaws.Record) *localaws.Fault {
		return &localaws.Fault{Status: 400, Type: "Throttling", Message: "Rate exceeded"}
	})
	if _, err := describe(nil); err == nil || !strings.Contains(err.Error(), "api error Throttling: Rate exceeded") {
		t.Errorf("a fault: %v", err)
	}
	s.SetFault(nil)

	res, err := http.Post(s.URL()+"/", "application/x-www-form-urlencoded", strings.NewReader("Action=DescribeStacks&Version=2010-05-15"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 403 || !strings.Contains(string(body), "<Code>MissingAuthenticationToken</Code>") {
		t.Errorf("unsigned: %d %s", res.StatusCode, body)
	}

	for _, st := range []localaws.Stack{
		{Name: "1st"}, {Name: "a_b"}, {Name: "a", Status: "DONE"},
		{Name: "a", Outputs: []localaws.StackOutput{{Key: "a-b"}}}, {Name: "a", Outputs: []localaws.StackOutput{{Key: "a"}, {Key: "a"}}},
	} {
		if _, err := s.AddStack(st); err == nil {
			t.Errorf("%+v was taken", st)
		}
	}
}

// A role that may describe one stack is told that it does not exist, and learns
// nothing about any other.
func TestDescribeStacks_role(t *testing.T) {
	s := startServer(t)
	arn := "arn:aws:cloudformation:eu-central-1:" + localaws.Account + ":stack/"
	client := cloudformation.NewFromConfig(as(t, s, addRole(t, s, "one", statements("Allow", permit{"cloudformation:DescribeStacks", arn + "mine/*", ""}))))
	for name, want := range map[string]string{"mine": "ValidationError", "other": "AccessDenied", arn + "mine/1": "ValidationError", arn + "other/1": "AccessDenied", "": "AccessDenied"} {
		in := &cloudformation.DescribeStacksInput{}
		if name != "" {
			in.StackName = &name
		}
		_, err := client.DescribeStacks(t.Context(), in)
		if got := errorCode(err); got != want {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	if _, err := s.AddStack(localaws.Stack{Name: "mine"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("mine")}); err != nil {
		t.Error(err)
	}
}
