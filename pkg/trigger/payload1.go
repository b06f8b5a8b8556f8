package trigger

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/aws/aws-lambda-go/events"
)

// payload1 answers an event of payload format 1.0: of a REST API, or of an HTTP
// API that asks for it.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
func (h *Handler) payload1(ctx context.Context, event json.RawMessage) (any, error) {
	var in struct {
		HTTPMethod        string
		Headers           map[string]string
		MultiValueHeaders map[string][]string
		Body              string
		IsBase64Encoded   bool
		RequestContext    struct{ RequestTimeEpoch int64 }
	}
	r := HTTPRequest{Header: http.Header{}}
	var refusal *Error
	if err := json.Unmarshal(event, &in); err != nil {
		refusal = refuse(UnsupportedEvent, "the HTTP event is malformed")
	} else {
		r.Method = in.HTTPMethod
		for name, values := range in.MultiValueHeaders {
			for _, value := range values {
				r.Header.Add(name, value)
			}
		}
		if len(in.MultiValueHeaders) == 0 {
			for name, value := range in.Headers {
				r.Header.Add(name, value)
			}
		}
		r.Body, refusal = eventBody(in.Body, in.IsBase64Encoded)
	}
	ctx, cancel := h.frontBudget(ctx, in.RequestContext.RequestTimeEpoch)
	defer cancel()
	return h.proxyResponse(ctx, fromRESTAPI, h.serveEvent(ctx, fromRESTAPI, r, refusal))
}

// eventBody is the body of the request that an event holds.
func eventBody(body string, isBase64 bool) ([]byte, *Error) {
	if !isBase64 {
		return []byte(body), nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, refuse(InvalidRequest, "the body is not base64, although isBase64Encoded says so")
	}
	return raw, nil
}

// proxyResponse gives a response the form that Function URLs without streaming
// and both payload formats share. All that is answered is text, so
// isBase64Encoded is always false.
func (h *Handler) proxyResponse(ctx context.Context, from source, resp HTTPResponse) (any, error) {
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, h.lambdaError(ctx, from, asError(err))
	}
	out, refusal := encode(events.LambdaFunctionURLResponse{StatusCode: resp.Status, Headers: resp.Header, Body: string(body), Cookies: []string{}})
	if refusal != nil {
		h.logFailure(ctx, from, refusal)
		return h.proxyResponse(ctx, from, failed(http.StatusInternalServerError, refusal))
	}
	return out, nil
}
