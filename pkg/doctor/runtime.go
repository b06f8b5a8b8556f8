package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

// examineEndpoint checks the address, and the runtime behind it if it is on
// AgentCore.
func (e *exam) examineEndpoint(ctx context.Context) {
	e.step("endpoint.form", e.checkEndpoint, checkID(credstore.Endpoint))
	if e.endpoint.arn == "" && !e.failed("endpoint.form") {
		return
	}
	e.step("endpoint.region", e.checkRegion, "endpoint.form")
	e.step("runtime.exists", func() Check { return e.describeRuntime(ctx) }, "endpoint.form")
}

func (e *exam) describeRuntime(ctx context.Context) Check {
	if e.endpoint.account != e.account {
		return skip("the control plane shows only this account's runtimes")
	}
	ctx, cancel := context.WithTimeout(ctx, e.patience())
	defer cancel()
	api := control.NewFromConfig(e.cfg.AWS, func(o *control.Options) { o.Region = e.endpoint.region })
	out, err := api.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: &e.endpoint.id})
	c := Check{Status: Fail, Expected: "runtime " + clean(e.endpoint.id) + " in " + e.endpoint.region}
	switch {
	case errors.As(err, new(*types.ResourceNotFoundException)):
		c.Found, c.Cause, c.Next = e.refusal(err), "the runtime has been deleted, or deployed again under another id", e.advice.runtimes(e.endpoint.region)
		if right := e.rightEndpoint(""); right != "" && right != e.endpoint.arn {
			c.Next, c.Repair = e.recordEndpoint(right), e.endpointRepair("")
		}
		return c
	case err != nil:
		return e.unreadable(c, err, "bedrock-agentcore:GetAgentRuntime", e.endpoint.arn)
	}
	e.runtime = out
	return pass(fmt.Sprintf("%s, version %s", clean(aws.ToString(out.AgentRuntimeName)), aws.ToString(out.AgentRuntimeVersion)))
}

// examineRuntime compares what the runtime requires with the token.
func (e *exam) examineRuntime(ctx context.Context) {
	if e.runtime == nil && !e.failed("runtime.exists") {
		return // there is no runtime, or it cannot be seen
	}
	e.step("runtime.status", e.checkStatus, "runtime.exists")
	e.step("runtime.protocol", e.checkProtocol, "runtime.exists")
	e.step("authorizer.kind", e.checkKind, "runtime.exists")
	ids := []string{"authorizer.discovery", "authorizer.clients", "authorizer.audience", "authorizer.scopes"}
	if needs := []string{"authorizer.kind", "token.form"}; e.failed(needs...) {
		for _, id := range ids {
			e.step(id, nil, needs...)
		}
		return
	}
	r := e.rules()
	e.done(r.examine(e.claims, e.issuerOf(ctx, r.discoveryURL), e.updateCommand()))
}

func (e *exam) checkStatus() Check {
	status := e.runtime.Status
	c := Check{Status: Fail, Expected: "READY", Found: string(status), Next: e.runtimeCommand()}
	if reason := aws.ToString(e.runtime.FailureReason); reason != "" {
		c.Found += ": " + e.clean(reason)
	}
	switch status {
	case types.AgentRuntimeStatusReady:
		return pass("READY")
	case types.AgentRuntimeStatusUpdating:
		c.Status, c.Cause = Warn, "it is being updated at the moment; the version before serves"
	case types.AgentRuntimeStatusUpdateFailed:
		c.Status, c.Cause = Warn, "the last update failed; the version before serves"
	case types.AgentRuntimeStatusCreating:
		c.Cause = "it is being made at the moment"
	case types.AgentRuntimeStatusCreateFailed:
		c.Cause = "its image, role or network is at fault; it never ran"
	default:
		c.Cause = "it is being deleted, or could not be"
	}
	return c
}

// runtimeCommand returns the command that shows the runtime in the control
// plane.
func (e *exam) runtimeCommand() string {
	return e.advice.aws(e.endpoint.region, "bedrock-agentcore-control", "get-agent-runtime", "--agent-runtime-id", e.endpoint.id, "--query", "[status,failureReason]")
}

func (e *exam) checkProtocol() Check {
	got := types.ServerProtocolHttp // the default
	if p := e.runtime.ProtocolConfiguration; p != nil {
		got = p.ServerProtocol
	}
	if got == types.ServerProtocolMcp {
		return pass("MCP")
	}
	return Check{
		Status: Fail, Expected: "protocol MCP", Found: "protocol " + clean(string(got)),
		Cause: "it is an agent's runtime, not an MCP server's, or it was made without --protocol-configuration",
		Next:  e.update("--protocol-configuration", `{"serverProtocol":"MCP"}`),
	}
}

func (e *exam) checkKind() Check {
	switch e.runtime.AuthorizerConfiguration.(type) {
	case *types.AuthorizerConfigurationMemberCustomJWTAuthorizer:
		return pass("bearer tokens (custom JWT)")
	case nil:
		return Check{
			Status: Fail, Expected: "a JWT authorizer", Found: "none: callers sign with SigV4",
			Cause: "the runtime takes AWS signatures and answers a bearer with 403, method mismatch; an update without the authorizer removes it",
			Next:  e.updateCommand(),
		}
	}
	return Check{Status: Fail, Expected: "a JWT authorizer", Found: "an authorizer that is not known here", Cause: "the service is newer than this program", Next: e.runtimeCommand()}
}

// rules returns the requirements of the runtime's authorizer.
func (e *exam) rules() rules {
	member, ok := e.runtime.AuthorizerConfiguration.(*types.AuthorizerConfigurationMemberCustomJWTAuthorizer)
	if !ok {
		return rules{}
	}
	jwt := member.Value
	r := rules{discoveryURL: aws.ToString(jwt.DiscoveryUrl), clients: jwt.AllowedClients, audiences: jwt.AllowedAudience, scopes: jwt.AllowedScopes}
	for _, c := range jwt.CustomClaims {
		rule := authorizer.Claim{Name: aws.ToString(c.InboundTokenClaimName)}
		if match := c.AuthorizingClaimMatchValue; match != nil {
			rule.Operator = authorizer.Operator(match.ClaimMatchOperator)
			switch v := match.ClaimMatchValue.(type) {
			case *types.ClaimMatchValueTypeMemberMatchValueString:
				rule.Values = []string{v.Value}
			case *types.ClaimMatchValueTypeMemberMatchValueStringList:
				rule.Values = v.Value
			}
		}
		r.claims = append(r.claims, rule)
	}
	if jwt.AllowedWorkloadConfiguration != nil {
		r.other = append(r.other, "allowedWorkloadConfiguration")
	}
	return r
}

// issuerOf returns the issuer of a discovery URL. It reads the document if that
// has not been read already.
func (e *exam) issuerOf(ctx context.Context, discoveryURL string) string {
	issuer := strings.TrimSuffix(discoveryURL, openidConfiguration)
	if issuer == e.document.Issuer {
		return issuer
	}
	var d document
	if _, _, body, err := e.fetch(ctx, discoveryURL); err == nil && json.Unmarshal(body, &d) == nil && d.Issuer != "" {
		return d.Issuer
	}
	return issuer
}

// updateCommand returns the command that gives the runtime an authorizer for the
// recorded client and scope only.
func (e *exam) updateCommand() string {
	recorded := provision.Result{DiscoveryURL: e.value(credstore.DiscoveryURL), ClientID: e.value(credstore.ClientID), Scope: e.value(credstore.Scope)}
	return e.update("--authorizer-configuration", string(recorded.AuthorizerConfiguration()))
}

// update returns the command that changes one setting of the runtime.
// UpdateAgentRuntime resets omitted settings, so the command reads the present
// ones and sends them again. It does not print the environment.
func (e *exam) update(flag, value string) string {
	out := e.runtime
	members := []string{}
	for name, there := range map[string]bool{
		"agentRuntimeArtifact":          true,
		"agentRuntimeId":                true,
		"networkConfiguration":          true,
		"roleArn":                       true,
		"allowedPorts":                  out.AllowedPorts != nil,
		"authorizerConfiguration":       out.AuthorizerConfiguration != nil,
		"capacityProviderConfiguration": out.CapacityProviderConfiguration != nil,
		"description":                   out.Description != nil,
		"environmentVariables":          out.EnvironmentVariables != nil,
		"filesystemConfigurations":      out.FilesystemConfigurations != nil,
		"lifecycleConfiguration":        out.LifecycleConfiguration != nil,
		"metadataConfiguration":         out.MetadataConfiguration != nil,
		"platformVersion":               out.PlatformVersion != nil,
		"protocolConfiguration":         out.ProtocolConfiguration != nil,
		"requestHeaderConfiguration":    out.RequestHeaderConfiguration != nil,
	} {
		if there {
			members = append(members, name+":"+name)
		}
	}
	slices.Sort(members)
	get := e.advice.aws(e.endpoint.region, "bedrock-agentcore-control", "get-agent-runtime", "--agent-runtime-id", e.endpoint.id, "--output", "json", "--query", "{"+strings.Join(members, ",")+"}")
	return e.advice.aws(e.endpoint.region, "bedrock-agentcore-control", "update-agent-runtime", flag, value) + ` --cli-input-json "$(` + get + `)"`
}
