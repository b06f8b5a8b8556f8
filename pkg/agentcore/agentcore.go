// Package agentcore is the contract of Amazon Bedrock AgentCore Runtime as a
// caller and a container see it: where a runtime is invoked, which headers
// carry sessions and identities, and which errors come back.
//
// A caller starts with [InvocationURL] and reads an [Error]; a container of
// protocol HTTP is a [Server], and one of protocol MCP uses package mcpserver.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
package agentcore

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Headers of a runtime invocation.
const (
	HeaderMCPSession     = "Mcp-Session-Id"                              // selects the microVM of an MCP runtime
	HeaderRuntimeSession = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id" // the same for HTTP runtimes; 33 to 256 characters
	HeaderRequestID      = "X-Amzn-Requestid"
)

// JSON-RPC error codes with which the platform, not the container, answers for
// an MCP runtime. All but the first two and CodeNotAcceptable come with HTTP
// status 200.
const (
	CodeUnauthorized  = -32001 // with 401: missing or invalid credentials
	CodeForbidden     = -32002 // with 403: access denied, wrong kind of authorization
	CodeThrottled     = -32003
	CodeNotFound      = -32004 // runtime, endpoint or session
	CodeConflict      = -32005 // may pass: "session operation in progress"
	CodeValidation    = -32006
	CodeRuntimeFailed = -32010 // the container failed; details are in its log
	CodeNotAcceptable = -32011 // with 406: the Accept header
)

// The codes of JSON-RPC 2.0 itself that say that nothing was carried out.
// https://www.jsonrpc.org/specification#error_object
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeMethodNotFound = -32601
	codeInvalidParams  = -32602
)

// arn is the form of a runtime's ARN, in any partition.
var arn = regexp.MustCompile(`^arn:(aws[a-z-]*):bedrock-agentcore:([a-z]{2,4}(?:-[a-z]+)+-\d):(\d{12}):runtime/([a-zA-Z][a-zA-Z0-9_]{0,99}-[a-zA-Z0-9]{10})$`)

// IsARN reports whether s is meant as an ARN, well-formed or not, rather than
// as a URL.
func IsARN(s string) bool { return strings.HasPrefix(s, "arn:") }

// InvocationURL is where the runtime is invoked: at base when that is not
// empty (an endpoint override, such as AWS_ENDPOINT_URL), otherwise at the
// service's address in the ARN's own region and partition. An empty qualifier
// means DEFAULT, the endpoint that every runtime has. The service insists on the
// ARN as one path element, escaped once; url.PathEscape would leave its colons.
// The error for a wrong ARN or base says what is wanted.
//
// The result is for parsing as a whole. Assigning it to the Path of a url.URL
// undoes the escapes.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
func InvocationURL(runtimeARN, qualifier, base string) (string, error) {
	m := arn.FindStringSubmatch(runtimeARN)
	if m == nil {
		return "", fmt.Errorf("runtime ARN %.200q: want arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/NAME-ID", runtimeARN)
	}
	if base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return "", fmt.Errorf("endpoint override %.200q: want an http or https URL without a query", base)
		}
	} else {
		base = "https://bedrock-agentcore." + m[2] + "." + suffix(m[1])
	}
	return strings.TrimRight(base, "/") + "/runtimes/" + url.QueryEscape(runtimeARN) +
		"/invocations?qualifier=" + url.QueryEscape(cmp.Or(qualifier, "DEFAULT")), nil
}

// suffix is the DNS suffix of a partition.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
func suffix(partition string) string {
	switch partition {
	case "aws-cn":
		return "amazonaws.com.cn"
	case "aws-iso":
		return "c2s.ic.gov"
	case "aws-iso-b":
		return "sc2s.sgov.gov"
	case "aws-iso-e":
		return "cloud.adc-e.uk"
	case "aws-iso-f":
		return "csp.hci.ic.gov"
	case "aws-eusc":
		return "amazonaws.eu"
	default:
		return "amazonaws.com"
	}
}
