package localaws

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

// RuntimeFault is a failure of the AgentCore front door, named like the
// exception in the service's API. The caller of an HTTP runtime sees its status
// and x-amzn-ErrorType. The caller of an MCP runtime sees a JSON-RPC error,
// mostly with status 200.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
type RuntimeFault string

// The faults that Runtime.Fail can cause.
const (
	FaultThrottled         RuntimeFault = "ThrottlingException"
	FaultQuota             RuntimeFault = "ServiceQuotaExceededException"
	FaultNotFound          RuntimeFault = "ResourceNotFoundException"
	FaultConflict          RuntimeFault = "ConflictException"
	FaultRetryableConflict RuntimeFault = "RetryableConflictException" // a session operation is in progress
	FaultValidation        RuntimeFault = "ValidationException"
	FaultContainer         RuntimeFault = "RuntimeClientError"      // the container failed
	FaultStart             RuntimeFault = "RuntimeStartError"       // the container did not start in time: 424 for MCP too
	FaultInternal          RuntimeFault = "InternalServerException" // anything else
)

// Faults that only a request itself can cause.
const (
	faultUnauthorized RuntimeFault = "UnauthorizedException"
	faultAccessDenied RuntimeFault = "AccessDeniedException"
	faultAccept       RuntimeFault = "NotAcceptableException"
)

// faultForm is the form of a fault in the two protocols.
type faultForm struct {
	status    int // HTTP runtimes
	mcpStatus int
	code      int // JSON-RPC; 0: the HTTP form for MCP too
	message   string
}

var faultForms = map[RuntimeFault]faultForm{
	faultUnauthorized:      {401, 401, -32001, "Missing Authentication Token"},
	faultAccessDenied:      {403, 403, -32002, "Access denied"},
	FaultThrottled:         {429, 200, -32003, "Rate exceeded"},
	FaultQuota:             {402, 200, -32003, "The service quota is exceeded"},
	FaultNotFound:          {404, 200, -32004, "No endpoint or agent found with that qualifier or session"},
	FaultConflict:          {409, 200, -32005, "The request conflicts with the state of the session"},
	FaultRetryableConflict: {409, 200, -32005, "A session operation is in progress; retry the request"},
	FaultValidation:        {400, 200, -32006, "The request is not valid"},
	FaultContainer:         {424, 200, -32010, "Received error from runtime. Please check your CloudWatch logs for more information."},
	faultAccept:            {406, 406, -32011, "Accept must name application/json and text/event-stream"},
	FaultInternal:          {500, 200, -32603, "An internal error occurred"},
	FaultStart:             {424, 424, 0, "Runtime initialization time exceeded. Please make sure that initialization completes in 30s."},
}

// answer writes the answer to one caller of a runtime.
type answer struct {
	w    http.ResponseWriter
	rt   *runtime
	body []byte // of the request
}

// fault answers with a fault and its usual message.
func (a *answer) fault(f RuntimeFault) { a.refuse(f, "") }

// refuse answers with a fault. An empty message means the usual one.
func (a *answer) refuse(f RuntimeFault, message string) {
	form, ok := faultForms[f]
	if !ok {
		form, message = faultForms[FaultInternal], fmt.Sprintf("localaws knows no runtime fault %q", string(f))
	}
	if message == "" {
		message = form.message
	}
	typ := string(f)
	if f == FaultStart {
		typ = string(FaultContainer) // one exception for both; only the text differs
	}
	if a.rt.Protocol != ProtocolMCP || form.code == 0 {
		writeError(a.w, &apiError{form.status, typ, message})
		return
	}
	a.w.Header().Set("Content-Type", "application/json")
	a.w.WriteHeader(form.mcpStatus)
	json.NewEncoder(a.w).Encode(map[string]any{
		"jsonrpc": "2.0",
		"id":      requestID(a.body),
		"error":   map[string]any{"code": form.code, "message": message},
	})
}

// requestID returns the id of a JSON-RPC request as it was written, or null if
// none can be read (JSON-RPC 2.0 section 5).
func requestID(body []byte) json.RawMessage {
	var members map[string]json.RawMessage // a struct would ignore the case of names
	json.Unmarshal(body, &members)
	if id := members["id"]; len(id) > 0 && (id[0] == '"' || id[0] == '-' || '0' <= id[0] && id[0] <= '9') {
		return id
	}
	return json.RawMessage("null")
}

// headerLengths are the API model's limits for the headers that are members of
// InvokeAgentRuntime. Limit and message of the session id were measured.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
var headerLengths = []struct {
	header, member string
	min, max       int
}{
	{sessionHeader, "runtimeSessionId", 33, 256},
	{userHeader, "runtimeUserId", 1, 1024},
	{mcpSessionHeader, "mcpSessionId", 1, 1024},
	{"Mcp-Protocol-Version", "mcpProtocolVersion", 1, 1024},
	{"Content-Type", "contentType", 1, 256},
	{"Accept", "accept", 1, 256},
	{"X-Amzn-Trace-Id", "traceId", 0, 128},
	{"Traceparent", "traceParent", 0, 128},
	{"Tracestate", "traceState", 0, 512},
	{"Baggage", "baggage", 0, 8192},
}

// session returns the session id of a request, or a new one if the request has
// none, and sets the id in the answer's headers. invalid says what is wrong with
// the request's id.
//
// An MCP runtime answers each request with a new id, even if the request had one
// (observed in the service, against its documentation). A client that always
// adopts the newest id loses its session with a stateful server.
func (a *answer) session(r *http.Request) (id, invalid string) {
	name := sessionHeader
	if a.rt.Protocol == ProtocolMCP {
		name = mcpSessionHeader
		a.w.Header().Set(name, uuid.NewString())
	}
	for _, h := range []string{sessionHeader, mcpSessionHeader} {
		if len(r.Header.Values(h)) > 1 {
			return "", "more than one header " + h
		}
	}
	for _, l := range headerLengths {
		if v := r.Header.Get(l.header); v != "" && (len(v) < l.min || len(v) > l.max) {
			return "", fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length between %d and %d", l.member, l.min, l.max)
		}
	}
	if id = r.Header.Get(name); id == "" {
		id = uuid.NewString()
	}
	if a.rt.Protocol != ProtocolMCP {
		a.w.Header().Set(name, id)
	}
	return id, ""
}
