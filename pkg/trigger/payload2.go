package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// payload2 answers an event of payload format 2.0: of a Function URL or of an
// HTTP API, which share it.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func (h *Handler) payload2(ctx context.Context, from source, event json.RawMessage) (any, error) {
	// A response in the form that a stream needs is what a URL of the mode
	// RESPONSE_STREAM reads, errors included; all others read JSON.
	stream := h.Stream && from == fromFunctionURL
	var in events.LambdaFunctionURLRequest
	r := HTTPRequest{Header: http.Header{}, Stream: stream}
	var refusal *Error
	if err := json.Unmarshal(event, &in); err != nil {
		refusal = refuse(UnsupportedEvent, "the HTTP event is malformed")
	} else {
		r.Method = in.RequestContext.HTTP.Method
		// Headers that came twice have been joined with commas.
		for name, value := range in.Headers {
			r.Header.Add(name, value)
		}
		r.Body, refusal = eventBody(in.Body, in.IsBase64Encoded)
	}
	if from == fromHTTPAPI {
		var cancel context.CancelFunc
		ctx, cancel = h.frontBudget(ctx, in.RequestContext.TimeEpoch)
		defer cancel()
	}
	resp := h.serveEvent(ctx, from, r, refusal)
	if !stream {
		return h.proxyResponse(ctx, from, resp)
	}
	return &events.LambdaFunctionURLStreamingResponse{StatusCode: resp.Status, Headers: resp.Header, Body: resp.Body}, nil
}

// serveEvent answers the request that an event holds, unless reading the event
// has already refused it.
func (h *Handler) serveEvent(ctx context.Context, from source, r HTTPRequest, refusal *Error) HTTPResponse {
	if refusal != nil {
		h.logFailure(ctx, from, refusal)
		return failed(refusal.Code.Status(), refusal)
	}
	return h.serveHTTP(ctx, from, r)
}

// frontBudget ends a context when an API Gateway gives up. The gateway counts
// from when the request reached it. That moment is by another clock, and is old
// in an event that is sent again, so it counts only where it is plausible.
func (h *Handler) frontBudget(ctx context.Context, arrivedMS int64) (context.Context, context.CancelFunc) {
	limit := cmp.Or(h.FrontTimeout, 29*time.Second)
	start := time.Now()
	if arrived := time.UnixMilli(arrivedMS); arrived.Before(start) && arrived.Add(limit).After(start) {
		start = arrived
	}
	return context.WithDeadline(ctx, start.Add(limit))
}
