package localaws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// unimplementedInvoke are the members of an Invoke request that the stand-in
// refuses: it could only ignore them.
// https://docs.aws.amazon.com/lambda/latest/dg/API_Invoke.html
var unimplementedInvoke = []string{
	"X-Amz-Client-Context", "X-Amz-Tenant-Id", "X-Amz-Durable-Execution-Name",
}

// serveInvoke is the Lambda operation Invoke for functions of
// [Server.StartFunction].
func (p *functions) serveInvoke(w http.ResponseWriter, r *http.Request, rec *Record) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	var f *Function
	var kind string
	refusal := p.s.checkSignature(r, rec.RequestBody, "lambda")
	if refusal == nil {
		f, kind, refusal = p.checkInvoke(r, rec.RequestBody)
	}
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	if kind == "Event" {
		// Lambda retries a failed event; the stand-in runs it once.
		go func() {
			if _, err := f.Invoke(context.Background(), rec.RequestBody); err != nil {
				p.s.cfg.Logger.Error("asynchronous invocation", "function", f.cfg.Name, "error", err)
			}
		}()
		w.WriteHeader(http.StatusAccepted)
		return
	}
	res, err := f.Invoke(r.Context(), rec.RequestBody)
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

// unimplementedInInvoke refuses by name what the stand-in does not have.
func unimplementedInInvoke(what string) *apiError {
	return &apiError{http.StatusNotImplemented, "UnknownOperationException", "localaws does not implement " + what + " of Invoke"}
}

// checkInvoke finds the function and the invocation type of a request, or what
// is wrong with it.
func (p *functions) checkInvoke(r *http.Request, body []byte) (*Function, string, *apiError) {
	if r.Method != http.MethodPost {
		return nil, "", unimplementedInInvoke("method " + r.Method)
	}
	for k := range r.URL.Query() {
		if k != "Qualifier" {
			return nil, "", unimplementedInInvoke("the query parameter " + k)
		}
	}
	for _, h := range unimplementedInvoke {
		if r.Header.Get(h) != "" {
			return nil, "", unimplementedInInvoke("the header " + h)
		}
	}
	if t := r.Header.Get("X-Amz-Log-Type"); t != "" && t != "None" {
		return nil, "", unimplementedInInvoke("X-Amz-Log-Type " + t)
	}
	f, apiErr := p.find(r)
	if apiErr != nil {
		return nil, "", apiErr
	}
	kind, limit := r.Header.Get("X-Amz-Invocation-Type"), maxSyncPayload
	switch kind {
	case "", "RequestResponse":
		kind = "RequestResponse"
	case "Event":
		limit = maxAsyncPayload
	case "DryRun":
		return nil, "", unimplementedInInvoke("X-Amz-Invocation-Type DryRun")
	default:
		return nil, "", errorf("InvalidParameterValueException", "InvocationType %.40q: want RequestResponse, Event or DryRun", kind)
	}
	if len(body) > limit {
		return nil, "", &apiError{http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("%d byte payload is too large for the %s invocation type (limit %d bytes)", len(body), kind, limit)}
	}
	if len(body) > 0 && !json.Valid(body) { // none at all stands for {}
		return nil, "", errorf("InvalidRequestContentException", "Could not parse request body into json: not a JSON document")
	}
	return f, kind, nil
}

// find returns the function that a request names by name or by ARN, and by
// version or alias, unless the caller may not invoke it.
func (p *functions) find(r *http.Request) (*Function, *apiError) {
	_, escaped, _ := strings.Cut(r.URL.EscapedPath(), "/functions/")
	escaped = escaped[:max(0, strings.LastIndex(escaped, "/"))]
	asked, err := url.PathUnescape(escaped)
	if err != nil || strings.Contains(escaped, "/") {
		return nil, errorf("ValidationException", "FunctionName %.80q is neither a name nor an ARN", escaped)
	}
	name := strings.TrimPrefix(asked, p.arn(""))
	name = strings.TrimPrefix(name, Account+":function:")
	name, version, qualified := strings.Cut(name, ":")
	if q := r.URL.Query().Get("Qualifier"); q != "" {
		if qualified && q != version {
			return nil, errorf("InvalidParameterValueException", "the qualifier of the ARN and the parameter Qualifier differ")
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
		return nil, err
	}
	f := p.get(name, version)
	if f == nil {
		return nil, &apiError{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + arn}
	}
	return f, nil
}
