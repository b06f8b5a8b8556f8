package doctor

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"agentcore-mcp-auth/pkg/agentcore"
)

// explain returns the meaning of a refusal. at is where the request went, if
// that is known.
func (r refusal) explain(a advice, at endpoint) Explanation {
	x := Explanation{What: r.String()}
	switch {
	case r.agent && agentCauses(r.kind, a) != nil:
		x.Causes = agentCauses(r.kind, a)
	case oauthText.MatchString(r.kind):
		x.Causes = oauthError(r.kind, a)
	case credentialCauses(r.kind, a) != nil:
		x.Causes = credentialCauses(r.kind, a)
	case r.code == agentcore.CodeForbidden, r.status == http.StatusForbidden, r.status == http.StatusUnauthorized, r.code == agentcore.CodeUnauthorized && r.status <= http.StatusOK:
		x.Causes = r.authorization(a, at)
	case r.code != 0:
		x.Causes = r.rpc(a, at)
	case r.kind != "" && r.status != http.StatusFailedDependency && r.status != http.StatusNotFound:
		x.Causes = r.exception(a, at)
	default:
		x.Causes = r.byStatus(a, at)
	}
	return x
}

// oauthError says what an error of a token endpoint means (RFC 6749, section
// 5.2).
// https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
func oauthError(code string, a advice) []Cause {
	switch code {
	case "invalid_client":
		return []Cause{
			{"the secret is wrong: rotated away, of another client, or pasted with a blank", a.mcpauth("rotate")},
			{"the client id is unknown to this user pool: the client was deleted, or the domain is another pool's", a.doctor()},
		}
	case "invalid_scope":
		return []Cause{
			{"the client may not ask for a scope that was asked for, or its resource server no longer has it", a.remake()},
		}
	case "unauthorized_client":
		return []Cause{
			{"the client may not use the client_credentials grant: it is one for users, or an update left the grant out", a.remake()},
		}
	case "invalid_grant":
		return []Cause{
			{"OAuth is switched off for the client (AllowedOAuthFlowsUserPoolClient)", a.remake()},
		}
	case "invalid_request", "unsupported_grant_type":
		return []Cause{
			{"the form of the request is wrong: grant_type missing, the client named both in the header and in the body, or a parameter twice", a.mcpauth("token", "--claims")},
			{"the domain is not that of the user pool", a.doctor()},
		}
	}
	return []Cause{{"the token endpoint wants something that was not sent", a.doctor()}}
}

var (
	claimText     = regexp.MustCompile(`Claim '([^']+)'`)
	iamText       = regexp.MustCompile(`is not authorized to perform: (\S+)(?: on resource: (\S+))?`)
	challengeText = regexp.MustCompile(`error="?(\w+)"?`)
)

// authorization says what a 401 or 403 means.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
func (r refusal) authorization(a advice, at endpoint) []Cause {
	challenge := strings.Join(r.challenges, " ")
	text := r.message + " " + r.kind
	authorizerOf := func(id string) string {
		if id == "" {
			id = "ID"
		}
		return a.aws(at.region, "bedrock-agentcore-control", "get-agent-runtime", "--agent-runtime-id", id, "--query", "authorizerConfiguration")
	}
	if m := claimText.FindStringSubmatch(text); m != nil {
		return r.claim(m[1], a)
	}
	switch m := challengeText.FindStringSubmatch(challenge); {
	case strings.Contains(text, "method mismatch"):
		return []Cause{
			{"the runtime has a JWT authorizer, and the request was signed with SigV4: AWS SDKs and InvokeAgentRuntime of the aws command line cannot send a bearer", authorizerOf(at.id)},
			{"the runtime has no JWT authorizer, and a bearer was sent: an update without the authorizer removes it", authorizerOf(at.id)},
		}
	case iamText.MatchString(text):
		return r.exception(a, at)
	case m != nil && m[1] == "insufficient_scope":
		return []Cause{
			{"the token is valid and has none of the scopes that are required", a.mcpauth("token", "--claims")},
			{"the server asks for a scope that the app client does not have", a.doctor()},
		}
	case strings.Contains(text, "Missing Authentication Token"):
		causes := []Cause{
			{"the request had no Authorization header: an agent with MCP_AUTH=none, an empty variable, or a proxy or redirect that took it away", a.doctor()},
		}
		if r.status == http.StatusForbidden {
			causes = append(causes, Cause{"the runtime takes AWS signatures only, or it is an API Gateway and has no such path", authorizerOf(at.id)})
		}
		return causes
	case strings.Contains(strings.ToLower(text), "expired"), r.status == http.StatusUnauthorized, r.code == agentcore.CodeUnauthorized:
		causes := []Cause{
			{"the token has expired, or is in its last minute, which AgentCore refuses too: it was fetched once and kept", a.mcpauth("token", "--claims")},
			{"the token is of another issuer than the authorizer's, so that its key or its iss is not known there", a.doctor()},
			{"the request had no header \"Authorization: Bearer TOKEN\", with one blank and one token", a.doctor()},
		}
		if r.fresh {
			return causes[1:]
		}
		return causes
	}
	return []Cause{
		{"a claim is not what the authorizer asks for: some front doors say 403 where a runtime says 401", a.doctor()},
		{"SigV4 where a bearer is wanted, or the other way round", authorizerOf(at.id)},
		{"a firewall or a policy on the resource refuses the caller's address or network", a.doctor()},
	}
}

// claim returns the causes of a claim that does not match.
func (r refusal) claim(name string, a advice) []Cause {
	switch name {
	case "client_id":
		return []Cause{
			{"the authorizer's allowedClients do not have the token's client: the client was replaced, or the runtime is another server's", a.doctor()},
			{"an id token was sent, which has no client_id", a.mcpauth("token", "--claims")},
		}
	case "aud":
		return []Cause{{"the authorizer asks for an audience, and Cognito's machine tokens have none: leave allowedAudience out", a.doctor()}}
	case "scope", "scp":
		return []Cause{{"the token has none of the authorizer's allowedScopes", a.doctor()}}
	}
	return []Cause{{fmt.Sprintf("the authorizer asks for claim %s, which machine tokens have only if a pre token generation trigger adds it", clean(name)), a.mcpauth("token", "--claims")}}
}

// rpc says what a JSON-RPC error means, of AgentCore or of an MCP server.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
func (r refusal) rpc(a advice, at endpoint) []Cause {
	switch r.code {
	case agentcore.CodeUnauthorized:
		return r.authorization(a, at)
	case agentcore.CodeThrottled:
		return []Cause{
			{"too many requests or too many new sessions: a request without a constant Mcp-Session-Id starts a container of its own", a.doctor()},
			{"a quota of the account is used up", a.aws(at.region, "service-quotas", "list-service-quotas", "--service-code", "bedrock-agentcore", "--query", "Quotas[].[QuotaName,Value]")},
		}
	case agentcore.CodeNotFound:
		return r.notFound(a, at)
	case agentcore.CodeConflict:
		return []Cause{{"another request of the same session is under way; it passes", a.doctor()}}
	case agentcore.CodeValidation:
		return []Cause{{"a header or the query is not what AgentCore takes: a session id of 33 to 256 characters, a qualifier that exists", a.doctor()}}
	case agentcore.CodeRuntimeFailed:
		return []Cause{{"the server's container failed or answered with an error; only its log says why", logsCommand(a, at)}}
	case agentcore.CodeNotAcceptable:
		return []Cause{{"the Accept header does not name application/json and text/event-stream", a.doctor()}}
	case -32020, -32021, -32022:
		return []Cause{{"the server speaks another revision of MCP, or wants headers that repeat the body", a.doctor()}}
	case -32601:
		return []Cause{{"the server does not know the method: it is not an MCP server, or it speaks another revision", a.doctor()}}
	case -32602:
		return []Cause{{"the server does not know the tool, or not with these arguments", a.mcpauth("tools")}}
	case -32700, -32600:
		return []Cause{{"the body is not one JSON-RPC request", a.doctor()}}
	}
	return []Cause{{"the server, or AgentCore, failed", logsCommand(a, at)}}
}

func (r refusal) notFound(a advice, at endpoint) []Cause {
	runtimes := a.runtimes(at.region)
	return []Cause{
		{"the ARN in the path is not escaped, or twice: %3A for a colon and %2F for a slash, once", a.doctor()},
		{"the runtime is in another region, or has been deleted", runtimes},
		{"the qualifier names an endpoint that the runtime does not have", runtimes},
		{"the session is gone: the container ended after 15 idle minutes; a new handshake mends it", a.doctor()},
	}
}

// byStatus returns the causes of an HTTP status, if nothing else is known.
func (r refusal) byStatus(a advice, at endpoint) []Cause {
	switch s := r.status; {
	case s == http.StatusNotFound:
		return r.notFound(a, at)
	case s == http.StatusFailedDependency:
		return []Cause{
			{"the container did not start in 30 s, or failed: it does not listen on 0.0.0.0:8000, is not built for arm64, or takes too long", logsCommand(a, at)},
			{"a cold start that was just too slow; the next request finds it warm", a.doctor()},
		}
	case s == http.StatusNotAcceptable:
		return []Cause{{"the Accept header does not name application/json and text/event-stream", a.doctor()}}
	case s == http.StatusMethodNotAllowed:
		return []Cause{{"the endpoint takes POST only; a token endpoint says so of another Content-Type too", a.doctor()}}
	case s == http.StatusPaymentRequired, s == http.StatusTooManyRequests:
		return []Cause{{"too many requests, or a quota is used up: is a new token fetched for each call?", a.doctor()}}
	case s == http.StatusConflict:
		return []Cause{{"another request of the same session is under way; it passes", a.doctor()}}
	case s == http.StatusBadRequest:
		return []Cause{{"the request is malformed: a header, a session id or the body", a.doctor()}}
	case s < 300:
		return []Cause{{"this is not a refusal: the request was answered", a.doctor()}}
	case s < 400:
		return []Cause{{"the address redirects, and no client follows that with a token", a.doctor()}}
	case s >= 500:
		return []Cause{{"the server or a gateway before it is down or overloaded; it may pass", a.doctor()}}
	}
	return []Cause{{"this refusal is not known here", a.doctor()}}
}

// agentCauses returns the causes of an error code of this project's agent, for
// errors whose message does not tell more. It returns nil for other codes.
func agentCauses(code string, a advice) []Cause {
	switch code {
	case "configuration_error":
		return []Cause{{"a setting of the agent or a parameter of the server is missing or refused; the message names it", a.doctor()}}
	case "credentials_unavailable", "mcp_unavailable":
		return []Cause{{"Parameter Store, the token endpoint or the MCP server cannot be reached, or throttles", a.doctor()}}
	case "token_refused", "mcp_auth_refused":
		return []Cause{{"the token endpoint refuses the client, or the MCP server its token", a.doctor()}}
	case "model_refused", "model_failed":
		return []Cause{{"Bedrock refuses the model, or what it is asked", a.mcpauth("doctor", "--model", "MODEL")}}
	case "model_throttled", "model_unavailable":
		return []Cause{{"Bedrock is overloaded, or the account's quota is used up; it passes", a.mcpauth("doctor", "--model", "MODEL")}}
	case "deadline_exceeded":
		return []Cause{{"no answer fitted in the time that was left: a cold server, a slow tool, or a short timeout", a.doctor()}}
	case "invalid_request", "request_too_large", "unsupported_event":
		return []Cause{{"the question is not of a form that the agent takes; the message says what is", "mcpauth invoke --help"}}
	case "internal_error":
		return []Cause{{"the agent failed; only its log says why", "sam logs --tail"}}
	}
	return nil
}

// credentialCauses returns the causes of an AWS error about its own credentials,
// or nil for other errors.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func credentialCauses(kind string, a advice) []Cause {
	switch kind {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return []Cause{{"the temporary AWS credentials have expired", a.login()}}
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return []Cause{
			{"the AWS credentials are not valid: unknown, inactive, or of a region that is not enabled", "aws sts get-caller-identity"},
			{"this machine's clock is off", "date -u"},
		}
	}
	return nil
}

// exception says what an error of an AWS service means.
func (r refusal) exception(a advice, at endpoint) []Cause {
	if m := iamText.FindStringSubmatch(r.message); m != nil {
		resource := strings.TrimRight(m[2], ".,;")
		return []Cause{{"IAM: " + denial(r.message, "no policy allows it") + ": " + clean(m[1]), allowAnyone(r.message, m[1], resource)}}
	}
	switch {
	case r.kind == "ParameterNotFound", r.kind == "ResourceNotFoundException":
		return []Cause{{"it is not there: another region or account, a name misspelt, or deleted", a.doctor()}}
	case isDenied(r.kind):
		return []Cause{
			{"no access to the model, if Bedrock says it: its provider's form has not been sent, or the first caller had no rights on AWS Marketplace", a.profiles()},
			{"no policy allows it", "aws sts get-caller-identity"},
		}
	case isThrottle(r.kind):
		return []Cause{{"too many requests; it passes", a.doctor()}}
	case strings.Contains(r.message, "on-demand throughput"):
		return []Cause{{"the model can be used through an inference profile only", a.profiles()}}
	case r.status != 0:
		return r.byStatus(a, at)
	}
	return []Cause{{"this refusal is not known here", a.doctor()}}
}

// allowAnyone returns a command that gives the caller in IAM's message the
// missing permission.
func allowAnyone(message, action, resource string) string {
	m := regexp.MustCompile(`User: (arn:\S+) is not`).FindStringSubmatch(message)
	if m == nil {
		return "aws sts get-caller-identity"
	}
	if resource == "" {
		resource = "*"
	}
	return allow(m[1], action, resource)
}
