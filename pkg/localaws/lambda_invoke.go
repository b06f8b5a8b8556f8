package localaws

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// unimplementedInvoke are the members of an Invoke request that the stand-in
// does not implement and so refuses.
// https://docs.aws.amazon.com/lambda/latest/dg/API_Invoke.html
var unimplementedInvoke = []string{
	"X-Amz-Client-Context", "X-Amz-Tenant-Id", "X-Amz-Durable-Execution-Name",
}

// serveInvoke is the Lambda operation Invoke for functions of
// [Server.StartFunction].
func (p *functions) serveInvoke(w http.ResponseWriter, r *http.Request, rec *Record) {
	id := uuid.NewString() // the function sees the same id
	w.Header().Set("X-Amzn-Requestid", id)
	var inv invoked
	refusal := p.s.checkSignature(r, rec.RequestBody, "lambda")
	if refusal == nil {
		inv, refusal = p.checkInvoke(r, rec.RequestBody)
	}
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	f := inv.function
	if inv.kind == "Event" {
		go p.runEvent(inv, id, rec.RequestBody)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	res, err := f.invoke(r.Context(), id, rec.RequestBody)
	if err != nil {
		writeError(w, &apiError{http.StatusInternalServerError, "ServiceException", err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amz-Executed-Version", f.version)
	if res.FunctionError != "" {
		w.Header().Set("X-Amz-Function-Error", res.FunctionError)
	}
	w.Write(res.Payload)
}

// invoked is the target of an Invoke request.
type invoked struct {
	function        *Function
	name, qualifier string // as in the request; $LATEST if it gives only a name
	kind            string // RequestResponse or Event
}

// SetRetries sets how often a failed event of an asynchronous invocation of this
// version or alias is retried: the MaximumRetryAttempts of an EventInvokeConfig,
// 0 to 2. nil means Lambda's default, 2.
func (s *Server) SetRetries(name, qualifier string, most *int) error {
	if most != nil && (*most < 0 || *most > len(retryAfter)) {
		return fmt.Errorf("want 0 to %d, not %d", len(retryAfter), *most)
	}
	p := s.funcs
	p.mu.Lock()
	defer p.mu.Unlock()
	if most == nil {
		delete(p.retries, name+":"+qualifier)
	} else {
		p.retries[name+":"+qualifier] = *most
	}
	return nil
}

// Retries returns how often a failed event of an asynchronous invocation is
// retried.
func (s *Server) Retries(name, qualifier string) int {
	p := s.funcs
	p.mu.Lock()
	defer p.mu.Unlock()
	if most, set := p.retries[name+":"+qualifier]; set {
		return most
	}
	return len(p.retryAfter)
}

// runEvent runs the event of an asynchronous invocation. If the function fails,
// it runs the event again after a delay, with the code of that time. The final
// failure is only logged: there is no dead-letter queue.
func (p *functions) runEvent(inv invoked, id string, event []byte) {
	most := p.s.Retries(inv.name, inv.qualifier)
	for tries := 0; inv.function != nil; inv.function = p.get(inv.name, inv.qualifier) {
		res, err := inv.function.invoke(p.closed, id, event)
		if errors.Is(err, errFunctionClosed) && p.closed.Err() == nil {
			continue // the function was replaced or removed
		}
		if err == nil && res.FunctionError == "" || p.closed.Err() != nil {
			return
		}
		p.s.cfg.Logger.Error("asynchronous invocation failed", "function", inv.name, "request", id, "error", cmp.Or(res.ErrorType, res.FunctionError, fmt.Sprint(err)))
		if tries == most || !pause(p.closed, p.retryAfter[tries]) {
			return
		}
		tries++
	}
}

// unimplementedInInvoke refuses by name what the stand-in does not implement.
func unimplementedInInvoke(what string) *apiError {
	return &apiError{http.StatusNotImplemented, "UnknownOperationException", "localaws does not implement " + what + " of Invoke"}
}

// checkInvoke returns the target of an Invoke request, or what is wrong with the
// request.
func (p *functions) checkInvoke(r *http.Request, body []byte) (invoked, *apiError) {
	if r.Method != http.MethodPost {
		return invoked{}, unimplementedInInvoke("method " + r.Method)
	}
	for k := range r.URL.Query() {
		if k != "Qualifier" {
			return invoked{}, unimplementedInInvoke("the query parameter " + k)
		}
	}
	for _, h := range unimplementedInvoke {
		if r.Header.Get(h) != "" {
			return invoked{}, unimplementedInInvoke("the header " + h)
		}
	}
	if t := r.Header.Get("X-Amz-Log-Type"); t != "" && t != "None" {
		return invoked{}, unimplementedInInvoke("X-Amz-Log-Type " + t)
	}
	inv, apiErr := p.find(r)
	if apiErr != nil {
		return invoked{}, apiErr
	}
	limit := maxSyncPayload
	switch inv.kind = cmp.Or(r.Header.Get("X-Amz-Invocation-Type"), "RequestResponse"); inv.kind {
	case "RequestResponse":
	case "Event":
		limit = maxAsyncPayload
	case "DryRun":
		return invoked{}, unimplementedInInvoke("X-Amz-Invocation-Type DryRun")
	default:
		return invoked{}, errorf("InvalidParameterValueException", "InvocationType %.40q: want RequestResponse, Event or DryRun", inv.kind)
	}
	if len(body) > limit {
		return invoked{}, &apiError{http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("%d byte payload is too large for the %s invocation type (limit %d bytes)", len(body), inv.kind, limit)}
	}
	if len(body) > 0 && !json.Valid(body) { // no body means {}
		return invoked{}, errorf("InvalidRequestContentException", "Could not parse request body into json: not a JSON document")
	}
	return inv, nil
}

// find returns the function that a request names by name or ARN and by version
// or alias, if the caller may invoke it.
func (p *functions) find(r *http.Request) (invoked, *apiError) {
	_, escaped, _ := strings.Cut(r.URL.EscapedPath(), "/functions/")
	escaped = escaped[:max(0, strings.LastIndex(escaped, "/"))]
	asked, err := url.PathUnescape(escaped)
	if err != nil || strings.Contains(escaped, "/") {
		return invoked{}, errorf("ValidationException", "FunctionName %.80q is neither a name nor an ARN", escaped)
	}
	name := strings.TrimPrefix(asked, p.arn(""))
	name = strings.TrimPrefix(name, Account+":function:")
	name, version, qualified := strings.Cut(name, ":")
	if q := r.URL.Query().Get("Qualifier"); q != "" {
		if qualified && q != version {
			return invoked{}, errorf("InvalidParameterValueException", "the qualifier of the ARN and the parameter Qualifier differ")
		}
		version, qualified = q, true
	}
	arn := p.arn(name)
	if qualified {
		arn += ":" + version
	} else {
		version = latest
	}
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
	if err := p.s.authorize(r, access{action: "lambda:InvokeFunction", resources: []string{arn}}); err != nil {
		return invoked{}, err
	}
	f := p.get(name, version)
	if f == nil {
		return invoked{}, &apiError{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + arn}
	}
	return invoked{function: f, name: name, qualifier: version}, nil
}
