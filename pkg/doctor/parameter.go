package doctor

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

// parameter is one recorded parameter of the server.
type parameter struct {
	value   credstore.Secret
	kind    types.ParameterType
	version int64
}

type expectedParameter struct {
	name   string
	kind   types.ParameterType
	needed bool
	use    string // of a parameter that is not required: its purpose
}

// expected are the parameters of a machine client in the order of their checks.
var expected = []expectedParameter{
	{credstore.ClientID, types.ParameterTypeString, true, ""},
	{credstore.ClientSecret, types.ParameterTypeSecureString, true, ""},
	{credstore.DiscoveryURL, types.ParameterTypeString, true, ""},
	{credstore.Scope, types.ParameterTypeString, false, "without it a token has every scope of the client"},
	{credstore.UserPoolID, types.ParameterTypeString, false, "rotation and removal use it"},
	{credstore.Domain, types.ParameterTypeString, false, "a token endpoint at a custom domain is trusted because of it"},
	{credstore.Endpoint, types.ParameterTypeString, true, ""},
}

// checkID is the id of the check on one parameter.
func checkID(name string) string { return "parameter." + name }

// value returns a parameter's value in the clear.
func (e *exam) value(name string) string { return e.parameters[name].value.Reveal() }

// secrets returns the values that must not be shown.
func (e *exam) secrets() []string {
	var values []string
	for name, p := range e.parameters {
		if v := p.value.Reveal(); len(v) >= 6 && (name == credstore.ClientSecret || name == credstore.Password || p.kind == types.ParameterTypeSecureString) {
			values = append(values, v, strings.TrimSpace(v))
		}
	}
	if !e.token.IsZero() {
		values = append(values, e.token.Reveal())
	}
	return values
}

func (e *exam) path() string { return e.cfg.Prefix + "/" + e.cfg.Name + "/" }

// examineParameters reads the server's parameters as an agent does, and checks
// each.
func (e *exam) examineParameters(ctx context.Context) {
	needs := []string{"aws.identity"}
	if e.cfg.Name == "" {
		needs = append(needs, "stack") // without a name, the stack names the server
	}
	e.step("parameters", func() Check { return e.readParameters(ctx) }, needs...)
	for _, p := range expected {
		e.step(checkID(p.name), func() Check { return e.checkParameter(p) }, "parameters")
	}
	e.endpoint, _, _ = parseEndpoint(e.value(credstore.Endpoint), e.cfg.RuntimeBase)
	if e.stack != nil {
		for _, same := range []struct{ id, output, parameter string }{
			{"stack.client", "ClientId", credstore.ClientID},
			{"stack.discovery", "DiscoveryUrl", credstore.DiscoveryURL},
			{"stack.endpoint", "McpServerArn", credstore.Endpoint},
		} {
			e.step(same.id, func() Check { return e.compareStack(same.output, same.parameter) }, "stack", "parameters")
		}
	}
}

func (e *exam) readParameters(ctx context.Context) Check {
	ctx, cancel := context.WithTimeout(ctx, e.patience())
	defer cancel()
	c := Check{Status: Fail, Expected: "the parameters under " + e.path()}
	client := ssm.NewFromConfig(e.cfg.AWS)
	found, err := readPath(ctx, client, e.path(), true)
	if err != nil {
		return e.cannotRead(ctx, client, c, err)
	}
	e.parameters = found
	if len(found) == 0 {
		c.Found, c.Cause, c.Next = "none in "+e.cfg.AWS.Region, "the server has another --parameter-prefix, or has not been set up in this account and region", e.advice.mcpauth("setup")
		if others := e.neighbours(ctx, client); len(others) > 0 {
			c.Cause = "the name or --parameter-prefix is wrong, or the server has not been set up: under " + e.cfg.Prefix + " there are " + list(others)
		}
		return c
	}
	e.readOwner(ctx, client)
	if v := e.value(credstore.HeldUntil); v != "" {
		if until, err := time.Parse(time.RFC3339, v); err == nil && time.Now().Before(until) {
			c.Status, c.Found, c.Cause = Warn, "held until "+v, "the app client is being replaced; agents wait for it"
			c.Next = e.advice.doctor()
			return c
		}
	}
	text := fmt.Sprintf("%d under %s", len(found), e.path())
	switch {
	case e.advice.stackName() != "":
		text += ", of stack " + e.advice.stackName()
	case e.advice.known && e.advice.owner == "":
		text += ", with no known owner"
	}
	return pass(text)
}

// readPath reads all parameters directly below a path, with the same requests as
// an agent.
func readPath(ctx context.Context, client *ssm.Client, path string, decrypt bool) (map[string]parameter, error) {
	found := map[string]parameter{}
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: &path, WithDecryption: &decrypt, MaxResults: aws.Int32(10)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parameters {
			found[strings.TrimPrefix(aws.ToString(p.Name), path)] = parameter{credstore.NewSecret(aws.ToString(p.Value)), p.Type, p.Version}
		}
	}
	return found, nil
}

// cannotRead says what keeps the parameters from being read: the permission for
// Parameter Store, the permission for the key, or the key itself.
func (e *exam) cannotRead(ctx context.Context, client *ssm.Client, c Check, err error) Check {
	code, message := apiError(err)
	resource := fmt.Sprintf("arn:aws:ssm:%s:%s:parameter%s", e.cfg.AWS.Region, e.account, strings.TrimSuffix(e.path(), "/"))
	c = e.unreadable(c, err, "ssm:GetParametersByPath", resource)
	c.Status = Fail
	switch {
	case isDenied(code):
		if _, err := readPath(ctx, client, e.path(), false); err == nil || strings.Contains(message, "kms:") {
			c.Cause = "the parameters may be read, but the key of " + credstore.ClientSecret + " may not be used: " + denial(message, "kms:Decrypt is missing")
			c.Next = e.allow("kms:Decrypt", keyIn(message, e.cfg.AWS.Region, e.account))
		}
	case code == "InvalidKeyId", strings.HasPrefix(code, "KMS"):
		c.Cause = "the key that encrypts " + credstore.ClientSecret + " is disabled or deleted"
		c.Next = e.advice.aws("", "ssm", "describe-parameters", "--parameter-filters", "Key=Path,Values="+strings.TrimSuffix(e.path(), "/"), "--query", "Parameters[].[Name,KeyId]")
	}
	return c
}

// keyIn returns the key that a refusal names, or a pattern for all keys of the
// account.
func keyIn(message, region, account string) string {
	if m := regexp.MustCompile(`arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[a-zA-Z0-9-]+`).FindString(message); m != "" {
		return m
	}
	return "arn:aws:kms:" + region + ":" + account + ":key/*"
}

// neighbours returns the servers under the same prefix, if they can be listed.
func (e *exam) neighbours(ctx context.Context, client *ssm.Client) []string {
	out, err := client.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String(e.cfg.Prefix + "/"), Recursive: aws.Bool(true), MaxResults: aws.Int32(10)})
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range out.Parameters {
		name, _, _ := strings.Cut(strings.TrimPrefix(aws.ToString(p.Name), e.cfg.Prefix+"/"), "/")
		if !slices.Contains(names, name) && credstore.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// readOwner finds the owner of the set in the tags of the parameter that
// provisioning uses for that: the secret, or another one if the secret is not
// good. An unknown owner is not a fault.
func (e *exam) readOwner(ctx context.Context, client *ssm.Client) {
	anchors := slices.Clone(expected)
	slices.SortStableFunc(anchors, func(a, b expectedParameter) int { return cmp.Compare(a.kind, b.kind) }) // SecureString before String
	for _, p := range anchors {
		is, ok := e.parameters[p.name]
		if !ok || p.name == credstore.Endpoint || p.kind == types.ParameterTypeSecureString && is.kind != p.kind { // the deployer writes the endpoint
			continue
		}
		out, err := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String(e.path() + p.name)})
		if err != nil {
			return
		}
		e.advice.known = true
		for _, t := range out.TagList {
			if aws.ToString(t.Key) == provision.OwnerTag {
				e.advice.owner = aws.ToString(t.Value)
			}
		}
		return
	}
}

// placeholder matches what people and scripts write before there is a value.
var placeholder = regexp.MustCompile(`(?i)^(<.*>|\$?\{.*\}|x{3,}|\*{3,}|-+|\.{3}|todo.*|tbd|fixme|none|null|nil|undefined|placeholder.*|.*placeholder|dummy.*|change.?me.*|replace.?me.*|replace.?with.*|your[-_ ].*|example|test|secret|password)$`)

func (e *exam) checkParameter(want expectedParameter) Check {
	name, kind := want.name, want.kind
	p, ok := e.parameters[name]
	value := p.value.Reveal()
	trimmed := strings.Trim(value, " \t\r\n\"'\u00a0\ufeff")
	secret := kind == types.ParameterTypeSecureString
	c := e.advice.restored(Check{Status: Fail, Expected: fmt.Sprintf("a %s at %s%s", kind, e.path(), name)})
	if name == credstore.Endpoint {
		c.Next, c.Repair = e.endpointCommand(trimmed), e.endpointRepair(trimmed)
	}
	switch {
	case !ok && !want.needed:
		c.Status, c.Found, c.Cause = Warn, "no such parameter", "somebody removed it, or another tool made the set: "+want.use
		return c
	case !ok:
		c.Found, c.Cause = "no such parameter", "somebody removed it, or the set-up stopped half-way"
		if name == credstore.Endpoint {
			c.Cause = "the server's address is not recorded yet; record it with: " + e.recordEndpoint("ARN-or-URL")
		} else if name == credstore.ClientID && e.value(credstore.UserClientID) != "" {
			c.Cause = "only a test user is set up, for agents with MCP_AUTH=user; this examines machine credentials"
		}
		return c
	case secret && p.kind != kind, p.kind == types.ParameterTypeStringList:
		c.Found, c.Cause = "a "+string(p.kind), "a script or the console wrote it, and Parameter Store does not change a type"
		if secret {
			c.Cause = "anyone who may read the parameter sees the secret in the clear: " + c.Cause
		}
		c.Next = e.advice.aws("", "ssm", "delete-parameter", "--name", e.path()+name) + " && " + e.advice.restore()
		if c.Repair != nil {
			c.Repair = &Repair{Delete: []string{name}, Restore: true}
		}
		return c
	case placeholder.MatchString(trimmed):
		c.Found, c.Cause = "a placeholder", "a script wrote it before there was a value"
		if !secret {
			c.Found += fmt.Sprintf(", %s", e.clean(fmt.Sprintf("%.40q", value)))
		}
	case trimmed != value:
		c.Found, c.Cause = "blanks, line breaks or quotes around the value", "it was pasted, or written with echo and without -n"
	case name != credstore.Scope && strings.ContainsAny(value, " \t\r\n"):
		c.Found, c.Cause = "a value with a blank or a line break in it", "it was pasted together with something else"
	case secret:
		return pass(fmt.Sprintf("%s, %d characters, version %d", p.kind, len(value), p.version))
	default:
		return pass(e.clean(value))
	}
	if secret { // nobody knows the right value: rotate
		c.Next = e.advice.mcpauth("rotate")
		if c.Repair != nil {
			c.Repair = &Repair{Rotate: true}
		}
	}
	return c
}

// compareStack compares an output of the stack with the recorded parameter.
func (e *exam) compareStack(output, name string) Check {
	want, ok := e.stack.Outputs[output]
	got := strings.TrimSpace(e.value(name))
	c := Check{Status: Fail, Expected: e.clean(want), Found: e.clean(got), Cause: "somebody has written parameter " + name + " since the stack was deployed"}
	switch {
	case !ok:
		return skip("the stack has no output " + output)
	case got == want:
		return pass("as in output " + output)
	case got == "":
		return skip("parameter " + name + " is missing")
	case name == credstore.Endpoint:
		c.Next, c.Repair = e.recordEndpoint(want), &Repair{Write: map[string]string{name: want}}
	default:
		c = e.advice.restored(c)
	}
	return c
}
