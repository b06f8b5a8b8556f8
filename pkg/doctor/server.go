package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
)

// examineServer calls the MCP server without a token, which must be refused, and
// then as an agent does.
func (e *exam) examineServer(ctx context.Context) {
	var stranger answer
	e.step("endpoint.reachable", func() (c Check) {
		stranger, c = e.knock(ctx)
		return c
	}, "endpoint.form", "runtime.exists", "runtime.status")
	e.step("endpoint.closed", func() Check { return e.checkClosed(stranger) }, "endpoint.reachable")

	e.step("mcp.initialize", func() Check { return e.initialize(ctx) }, "endpoint.reachable", "runtime.protocol",
		"token.form", "token.issuer", "token.use", "token.client", "token.scope", "token.life",
		"authorizer.kind", "authorizer.discovery", "authorizer.clients", "authorizer.audience", "authorizer.scopes")
	var tools []tool
	e.step("mcp.tools", func() (c Check) {
		tools, c = e.listTools(ctx)
		return c
	}, "mcp.initialize")
	e.step("mcp.names", func() Check { return checkNames(tools, e.advice) }, "mcp.tools")
	e.step("mcp.schemas", func() Check { return checkSchemas(tools, e.advice) }, "mcp.tools")
	e.step("mcp.call", func() Check { return e.callTool(ctx, tools) }, "mcp.tools")
}

// knock sends a request without a token.
func (e *exam) knock(ctx context.Context) (answer, Check) {
	c := Check{Status: Fail, Expected: "an answer from " + clean(hostOf(e.endpoint.url)), Next: "curl -si -X POST " + quote(e.endpoint.url)}
	a, err := e.open("").ask(ctx, "initialize", greeting)
	switch {
	case err != nil:
		c.Found, c.Cause = e.network(err)
	case a.status == http.StatusNotFound, a.status == http.StatusOK && a.code == agentcore.CodeNotFound:
		c.Found = "404: " + e.clean(a.refusal().message)
		c.Cause, c.Next = "no runtime is at that address, or it has no endpoint of that name", e.advice.runtimes(e.endpoint.region)
		if scheme, _, _ := strings.Cut(e.endpoint.url, "://"); e.endpoint.arn == "" {
			c.Cause, c.Next = "the path is wrong; MCP servers mostly have /mcp", e.recordEndpoint(scheme+"://"+hostOf(e.endpoint.url)+"/mcp")
		}
	case a.status >= 300 && a.status < 400:
		c.Found, c.Cause = fmt.Sprintf("%d to %s", a.status, clean(hostOf(a.header.Get("Location")))), "no client follows a redirect with a token"
		if to := a.header.Get("Location"); strings.HasPrefix(to, "https://") {
			c.Next = e.recordEndpoint(to)
		}
	default:
		return a, pass(fmt.Sprintf("answered %d", a.status))
	}
	return a, c
}

// checkClosed checks that a request without a token was refused.
func (e *exam) checkClosed(a answer) Check {
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.code == agentcore.CodeUnauthorized, a.code == agentcore.CodeForbidden:
		return pass(fmt.Sprintf("a request without a token gets %d", a.status))
	case a.result != nil:
		c := Check{
			Status: Fail, Expected: "401 for a request without a token", Found: fmt.Sprintf("an answer, %d", a.status),
			Cause: "nothing checks tokens: anyone who knows the address can call the tools", Next: e.advice.doctor(),
		}
		if e.runtime != nil {
			c.Next = e.updateCommand()
		}
		return c
	}
	return Check{
		Status: Warn, Expected: "401 for a request without a token", Found: e.clean(fmt.Sprintf("%d %s", a.status, a.message)),
		Cause: "something answers before tokens are looked at", Next: e.advice.doctor(),
	}
}

// greeting is the parameters of initialize.
var greeting = map[string]any{
	"protocolVersion": protocolVersion,
	"capabilities":    map[string]any{},
	"clientInfo":      map[string]any{"name": "mcpauth-doctor", "version": "1"},
}

// refused completes the check of a request that was answered with an error.
func (e *exam) refused(c Check, a answer) Check {
	r := a.refusal()
	r.fresh = true
	first := r.explain(e.advice, e.endpoint).Causes[0]
	c.Status, c.Found, c.Cause, c.Next = Fail, e.clean(r.String()), first.Cause, first.Next
	if a.status < 300 && a.code == 0 { // there was an answer, but not of MCP
		c.Cause, c.Next = "what answers there is another service, or a server that breaks the protocol", e.logs()
	}
	if (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) && e.runtime == nil && e.endpoint.arn != "" && c.Next == e.advice.doctor() {
		// Running the doctor again would not help: first let it see what the
		// authorizer requires.
		c.Next = e.allow("bedrock-agentcore:GetAgentRuntime", e.endpoint.arn)
	}
	return c
}

func (e *exam) initialize(ctx context.Context) Check {
	c := Check{Status: Fail, Expected: "a handshake of MCP with the token", Next: e.advice.doctor()}
	e.server = e.open(e.token.Reveal())
	begin := time.Now()
	a, err := e.server.ask(ctx, "initialize", greeting)
	if err != nil {
		c.Found, c.Cause = e.network(err)
		return c
	}
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
		ServerInfo      struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"serverInfo"`
	}
	if a.result == nil || json.Unmarshal(a.result, &result) != nil {
		return e.refused(c, a)
	}
	took := time.Since(begin).Round(time.Millisecond)
	e.server.version = result.ProtocolVersion
	if a, err = e.server.post(ctx, map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"}); err != nil {
		c.Found, c.Cause = e.network(err)
		return c
	} else if a.status >= 300 {
		return e.refused(c, a)
	}
	return pass(clean(fmt.Sprintf("%s %s, protocol %s, in %s", result.ServerInfo.Name, result.ServerInfo.Version, result.ProtocolVersion, took)))
}

// tool is one tool as the server lists it.
type tool struct {
	Name        string          `json:"name"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations struct {
		ReadOnly bool `json:"readOnlyHint"`
	} `json:"annotations"`
}

func (e *exam) listTools(ctx context.Context) ([]tool, Check) {
	c := Check{Status: Fail, Expected: "a list of tools", Next: e.advice.doctor()}
	var tools []tool
	params := map[string]any{}
	for range 20 {
		a, err := e.server.ask(ctx, "tools/list", params)
		if err != nil {
			c.Found, c.Cause = e.network(err)
			return nil, c
		}
		var page struct {
			Tools      []tool `json:"tools"`
			NextCursor string `json:"nextCursor"`
		}
		if a.result == nil {
			return nil, e.refused(c, a)
		}
		if json.Unmarshal(a.result, &page) != nil {
			c.Found, c.Cause, c.Next = "a result of another form", "the server breaks the protocol", e.logs()
			return nil, c
		}
		tools = append(tools, page.Tools...)
		if page.NextCursor == "" {
			break
		}
		params["cursor"] = page.NextCursor
	}
	if len(tools) == 0 {
		c.Status, c.Found, c.Cause, c.Next = Warn, "no tool", "the server offers nothing to this client", e.logs()
		return nil, c
	}
	var names []string
	for _, t := range tools {
		names = append(names, t.Name)
	}
	return tools, pass(fmt.Sprintf("%d: %s", len(tools), list(names)))
}

// logs returns the command that shows the container's log.
func (e *exam) logs() string { return logsCommand(e.advice, e.endpoint) }

// logsCommand returns the command that shows the log where AgentCore puts the
// container's output.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/observability-view.html
func logsCommand(a advice, at endpoint) string {
	if at.id == "" {
		return a.doctor()
	}
	return a.aws(at.region, "logs", "tail", "/aws/bedrock-agentcore/runtimes/"+at.id+"-DEFAULT", "--since", "15m")
}

// bedrockName matches the tool names that Bedrock accepts.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
var bedrockName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func checkNames(tools []tool, a advice) Check {
	var odd, twice []string
	seen := map[string]bool{}
	for _, t := range tools {
		if !bedrockName.MatchString(t.Name) {
			odd = append(odd, fmt.Sprintf("%.80q", t.Name))
		}
		if seen[t.Name] {
			twice = append(twice, t.Name)
		}
		seen[t.Name] = true
	}
	c := Check{Expected: "names of 1 to 64 letters, digits, _ or -, each once", Next: a.mcpauth("tools")}
	switch {
	case twice != nil:
		c.Status, c.Found, c.Cause = Fail, "more than once: "+list(twice), "the server registers tools twice, and an agent drops the second"
		return c
	case odd != nil:
		c.Status, c.Found = Warn, list(odd)
		c.Cause = "Bedrock refuses a whole request with such a name in it; this project's agent renames the tools, others do not"
		return c
	}
	return pass("all fit Bedrock's rule")
}

// checkSchemas checks that Bedrock accepts the input schemas: each must be an
// object without alternatives at the top.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolInputSchema.html
func checkSchemas(tools []tool, a advice) Check {
	var bad, odd []string
	for _, t := range tools {
		var members map[string]json.RawMessage
		json.Unmarshal(t.InputSchema, &members)
		switch {
		case string(members["type"]) != `"object"`:
			bad = append(bad, t.Name)
		case slices.ContainsFunc([]string{"anyOf", "oneOf", "allOf"}, func(k string) bool { return members[k] != nil }):
			odd = append(odd, t.Name)
		}
	}
	c := Check{Expected: `input schemas of type "object" without alternatives at the top`, Next: a.mcpauth("tools")}
	switch {
	case bad != nil:
		c.Status, c.Found, c.Cause = Fail, "another schema: "+list(bad), "the server's library made it from a type that is not a structure; agents leave these tools out"
		return c
	case odd != nil:
		c.Status, c.Found = Warn, "anyOf, oneOf or allOf at the top: "+list(odd)
		c.Cause = "Bedrock refuses a whole request with such a schema in it; this project's agent leaves the alternatives out, others do not"
		return c
	}
	return pass("all of type object")
}
