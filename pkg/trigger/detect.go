package trigger

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// source is what an event comes from.
type source string

const (
	fromDirect      source = "direct invocation"
	fromFunctionURL source = "Function URL"
	fromHTTPAPI     source = "HTTP API"
	fromRESTAPI     source = "REST API"
	fromSQS         source = "SQS"
	fromEventBridge source = "EventBridge"
	fromSNS         source = "SNS"
	fromAgentCore   source = "AgentCore"
)

// detect says what an event comes from. The first that fits holds:
//
//  1. A prompt or an input at the top: a direct invocation. No service puts
//     either there, so it is the invoker's own, or the constant input of a
//     schedule or a rule.
//  2. HTTP: payload format 2.0, then 1.0.
//  3. Records, all of one service: SQS, then SNS.
//  4. A detail-type and a source: EventBridge.
//
// Anything else is refused by the name of what it is, as far as that is known.
func detect(event []byte) (source, object, *Error) {
	fields := decodeObject(event)
	if fields == nil {
		return "", nil, refuse(UnsupportedEvent, `the event is not a JSON object; send {"prompt": "…"}`)
	}
	if fields.has("prompt") || fields.has("input") || onlyOf(fields, "session_id", "messages", "tools") {
		return fromDirect, fields, nil
	}
	if context := decodeObject(fields["requestContext"]); context != nil {
		s, refusal := detectHTTP(fields, context)
		return s, fields, refusal
	}
	if fields.has("Records") {
		s, refusal := detectRecords(fields["Records"])
		return s, fields, refusal
	}
	_, typed := fields.text("detail-type")
	_, sourced := fields.text("source")
	if typed && sourced {
		return fromEventBridge, fields, nil
	}
	if fields.has("RequestType") && fields.has("ResponseURL") {
		return "", nil, unsupported("an event of a CloudFormation custom resource")
	}
	names := strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
	return "", nil, unsupported("an event with the members " + cut(names, 200))
}

// detectHTTP tells apart what has a requestContext.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func detectHTTP(fields, context object) (source, *Error) {
	version, _ := fields.text("version")
	method, _ := fields.text("httpMethod")
	switch {
	case context.has("elb"):
		return "", unsupported("an event of an Application Load Balancer")
	case version == "2.0" && decodeObject(context["http"]) != nil:
		if domain, _ := context.text("domainName"); strings.Contains(domain, ".lambda-url.") {
			return fromFunctionURL, nil
		}
		return fromHTTPAPI, nil
	case method != "" && (version == "" || version == "1.0"):
		return fromRESTAPI, nil
	case context.has("connectionId"):
		return "", unsupported("an event of a WebSocket API")
	case version != "":
		return "", unsupported("an HTTP event of payload format version " + cut(version, 20))
	}
	return "", unsupported("an HTTP event of no known payload format")
}

// detectRecords tells apart what has Records. The services do not agree on how
// to spell the name of the member that names them.
func detectRecords(raw json.RawMessage) (source, *Error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return "", unsupported("an event with an empty list of Records, or with none")
	}
	var names []string
	for _, item := range list {
		record := decodeObject(item)
		name, ok := record.text("eventSource")
		if !ok {
			name, _ = record.text("EventSource")
		}
		if name == "" {
			name = "no known source"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch seen := strings.Join(names, " and "); seen {
	case "aws:sqs":
		return fromSQS, nil
	case "aws:sns":
		return fromSNS, nil
	default:
		return "", unsupported("an event with Records of " + cut(seen, 200))
	}
}

func unsupported(what string) *Error {
	return refuse(UnsupportedEvent, `%s is not served here; send {"prompt": "…"}`, what)
}

// onlyOf reports whether fields has no other members than these.
func onlyOf(fields object, names ...string) bool {
	for name := range fields {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return true
}

// cut shortens what an event is quoted with, and makes it one line of UTF-8.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	for i := range s {
		if i > n {
			return s[:i] + "…"
		}
	}
	return s
}
