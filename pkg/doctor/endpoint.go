package doctor

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

// endpoint is the address of the server.
type endpoint struct {
	url                 string // of POST requests
	arn                 string // of the runtime; empty: the server is not on AgentCore
	region, account, id string // in the ARN
}

var (
	runtimeARN  = regexp.MustCompile(`^arn:aws[a-z-]*:bedrock-agentcore:([a-z0-9-]+):(\d{12}):runtime/([^/]+)$`)
	runtimeID   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,99}-[a-zA-Z0-9]{10}$`)
	runtimeHost = regexp.MustCompile(`^bedrock-agentcore(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$`)
)

// parseEndpoint parses the endpoint parameter. cause says what is wrong with it,
// and right is the right value, if it can be derived.
func parseEndpoint(raw, base string) (e endpoint, cause, right string) {
	if strings.HasPrefix(raw, "arn%") {
		return e, "the ARN is escaped already, and would be escaped again: agents escape it themselves, once", unescape(raw)
	}
	if agentcore.IsARN(raw) {
		return ofARN(raw, base)
	}
	u, err := url.Parse(raw)
	switch {
	case runtimeID.MatchString(raw):
		return e, "it is a runtime's id, and its ARN is wanted", ""
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return e, "it is neither an ARN nor a URL", ""
	case u.User != nil:
		return e, "the URL holds a user name or a password", ""
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return e, "a token is sent with https only, or to this machine", ""
	}
	host := runtimeHost.FindStringSubmatch(strings.ToLower(u.Hostname()))
	rest, ofRuntime := strings.CutPrefix(u.EscapedPath(), "/runtimes/")
	if host == nil && !ofRuntime {
		return endpoint{url: raw}, "", ""
	}
	element, tail, found := strings.Cut(rest, "/invocations")
	arn := unescape(element)
	m := runtimeARN.FindStringSubmatch(arn)
	switch {
	case m == nil:
		return e, "the path has no runtime's ARN after /runtimes/", ""
	case !found || tail != "":
		return e, "the path does not end in /invocations", arn
	case strings.Contains(element, "%25"):
		return e, "the ARN in the path is escaped twice, which the service answers with 404", arn
	case strings.ContainsAny(element, ":/"):
		return e, "the ARN in the path is not escaped: the service wants %3A and %2F, and answers 404", arn
	case host != nil && host[1] != m[1]:
		return e, fmt.Sprintf("the runtime is in %s and the host in %s", m[1], host[1]), arn
	}
	return endpoint{raw, arn, m[1], m[2], m[3]}, "", ""
}

func ofARN(arn, base string) (e endpoint, cause, right string) {
	m := runtimeARN.FindStringSubmatch(arn)
	service := strings.Split(arn, ":")
	switch {
	case strings.Contains(arn, "/runtime-endpoint/"):
		return e, "it is the ARN of a runtime's endpoint: agents add the endpoint's name themselves", arn[:strings.Index(arn, "/runtime-endpoint/")]
	case strings.Contains(arn, ":gateway/"):
		return e, "it is the ARN of a gateway, which is called by its URL", ""
	case len(service) > 2 && service[2] != "bedrock-agentcore":
		return e, "it is the ARN of something in " + clean(service[2]), ""
	case m == nil:
		return e, "it is not a whole runtime ARN", ""
	}
	at, err := agentcore.InvocationURL(arn, "", base)
	if err != nil {
		return e, clean(err.Error()), ""
	}
	return endpoint{at, arn, m[1], m[2], m[3]}, "", ""
}

// unescape undoes all escaping, however often it was applied.
func unescape(s string) string {
	for range 4 {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == s {
			return s
		}
		s = plain
	}
	return s
}

// rightEndpoint returns the right value of the endpoint parameter: the stack's
// output, or the corrected value. It returns "" if neither is known.
func (e *exam) rightEndpoint(value string) string {
	if e.stack != nil && e.stack.Outputs["McpServerArn"] != "" {
		return e.stack.Outputs["McpServerArn"]
	}
	ok, _, right := parseEndpoint(value, e.cfg.RuntimeBase)
	if ok.url != "" && !placeholder.MatchString(value) {
		return value
	}
	return right
}

// endpointCommand returns the command that writes the right value, or one that
// helps to find it.
func (e *exam) endpointCommand(value string) string {
	if right := e.rightEndpoint(value); right != "" {
		return e.recordEndpoint(right)
	}
	return e.advice.runtimes("")
}

func (e *exam) recordEndpoint(value string) string {
	if e.advice.known && e.advice.owner == provision.CommandLine {
		return e.advice.mcpauth("setup", "--endpoint", value)
	}
	return e.put(credstore.Endpoint, value)
}

// put returns the command that writes one parameter.
func (e *exam) put(name, value string) string {
	return e.advice.aws("", "ssm", "put-parameter", "--overwrite", "--type", "String", "--name", e.path()+name, "--value", value)
}

func (e *exam) endpointRepair(value string) *Repair {
	if right := e.rightEndpoint(value); right != "" {
		return &Repair{Write: map[string]string{credstore.Endpoint: right}}
	}
	return nil
}

// checkEndpoint checks the form of the address.
func (e *exam) checkEndpoint() Check {
	raw := e.value(credstore.Endpoint)
	_, cause, _ := parseEndpoint(raw, e.cfg.RuntimeBase)
	if cause == "" {
		if e.endpoint.arn == "" {
			return pass("a URL at " + clean(hostOf(raw)))
		}
		return pass("runtime " + clean(e.endpoint.id))
	}
	return Check{
		Status: Fail, Expected: "the ARN of an AgentCore runtime, or the URL of an MCP server", Found: e.clean(raw),
		Cause: cause, Next: e.endpointCommand(raw), Repair: e.endpointRepair(raw),
	}
}

// checkRegion compares the runtime's region and account with those of its
// parameters.
func (e *exam) checkRegion() Check {
	at := e.endpoint
	switch {
	case at.region != e.cfg.AWS.Region:
		return Check{
			Status: Warn, Expected: "a runtime in " + e.cfg.AWS.Region, Found: "one in " + at.region,
			Cause: "that works if it is meant; otherwise the ARN is of another region's runtime, or --region of another region's parameters",
			Next:  e.advice.runtimes(""),
		}
	case at.account != e.account:
		return Check{
			Status: Warn, Expected: "a runtime of account " + e.account, Found: "one of account " + at.account,
			Cause: "that works if it is meant; its settings cannot be read from here",
			Next:  e.advice.runtimes(""),
		}
	}
	return pass(at.region + ", account " + at.account)
}
