package localaws_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/localaws"
)

func (d *door) control() *control.Client {
	cfg := d.AWSConfig()
	cfg.RetryMaxAttempts, cfg.HTTPClient = 1, bodyInMemory{}
	return control.NewFromConfig(cfg)
}

// case 140: the control plane describes what the front door uses.
func TestGetAgentRuntime(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) {
		rt.HeaderAllowlist = []string{"X-Team"}
		rt.Authorizer.CustomClaims = []authorizer.Claim{
			{Name: "env", Operator: authorizer.Equals, Values: []string{"prod"}},
			{Name: "groups", Operator: authorizer.ContainsAny, Values: []string{"a", "b"}},
		}
	})
	id := d.arn[strings.LastIndex(d.arn, "/")+1:]
	out := try(t, d.control().GetAgentRuntime, &control.GetAgentRuntimeInput{AgentRuntimeId: &id})
	jwt, ok := out.AuthorizerConfiguration.(*types.AuthorizerConfigurationMemberCustomJWTAuthorizer)
	if !ok || *out.AgentRuntimeArn != d.arn || out.Status != types.AgentRuntimeStatusReady || out.ProtocolConfiguration.ServerProtocol != types.ServerProtocolMcp {
		t.Fatalf("got %+v", out)
	}
	if *jwt.Value.DiscoveryUrl != d.issuer+"/.well-known/openid-configuration" || jwt.Value.AllowedClients[0] != "client-1" ||
		jwt.Value.AllowedScopes[0] != "calculator/invoke" || jwt.Value.AllowedAudience != nil || len(jwt.Value.CustomClaims) != 2 {
		t.Errorf("got authorizer %+v", jwt.Value)
	}
	equals := jwt.Value.CustomClaims[0].AuthorizingClaimMatchValue
	if v, ok := equals.ClaimMatchValue.(*types.ClaimMatchValueTypeMemberMatchValueString); !ok || v.Value != "prod" || equals.ClaimMatchOperator != "EQUALS" {
		t.Errorf("got claim %+v", equals)
	}
	if got := refused(t, d.control().GetAgentRuntime, &control.GetAgentRuntimeInput{AgentRuntimeId: aws.String("calculator-0000000000")}); got != "ResourceNotFoundException" {
		t.Errorf("another id: got %s", got)
	}
	if got := refused(t, d.control().GetAgentRuntime, &control.GetAgentRuntimeInput{AgentRuntimeId: aws.String("calculator")}); got != "ValidationException" {
		t.Errorf("no id: got %s", got)
	}
	if got := refused(t, d.control().GetAgentRuntime, &control.GetAgentRuntimeInput{AgentRuntimeId: &id, AgentRuntimeVersion: aws.String("2")}); got != "UnknownMemberException" {
		t.Errorf("a version: got %s", got)
	}
	resp, err := http.Get(d.URL() + "/runtimes/" + id + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: got %d", resp.StatusCode)
	}
}

// A runtime whose first version never started takes no requests. After a failed
// update the previous version continues.
func TestRuntime_status(t *testing.T) {
	for status, want := range map[string]int{"CREATE_FAILED": 404, "CREATING": 404, "UPDATE_FAILED": 200, "UPDATING": 200} {
		d := newDoor(t, func(rt *localaws.Runtime) { rt.Status, rt.FailureReason = status, "the image is gone" })
		id := d.arn[strings.LastIndex(d.arn, "/")+1:]
		out := try(t, d.control().GetAgentRuntime, &control.GetAgentRuntimeInput{AgentRuntimeId: &id})
		if string(out.Status) != status || *out.FailureReason != "the image is gone" {
			t.Errorf("%s: got %s %s", status, out.Status, *out.FailureReason)
		}
		if resp, _ := d.do(d.request(call)); resp.StatusCode != want {
			t.Errorf("%s: a request got %d, want %d", status, resp.StatusCode, want)
		}
	}
	s := localaws.New(localaws.Config{})
	if _, err := s.AddRuntime(localaws.Runtime{Name: "r", Target: "http://127.0.0.1:1", Status: "GOOD"}); err == nil || !strings.Contains(err.Error(), "Status") {
		t.Errorf("an unknown status: got %v", err)
	}
}
