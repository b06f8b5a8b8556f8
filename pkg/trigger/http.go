package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// HTTPRequest is a request that came by HTTP, whatever brought it here.
type HTTPRequest struct {
	Method string
	Header http.Header
	Body   []byte

	// SessionID is the session's when the body names none; it may be empty.
	SessionID string

	// Stream says that Body of the response reaches the caller as it is read.
	Stream bool
}

// HTTPResponse is the answer to an [HTTPRequest].
type HTTPResponse struct {
	Status int
	Header map[string]string

	// Body is to be read and closed. Closing it ends a request under way.
	Body io.ReadCloser
}

// retryAfter is how many seconds a caller is told to wait before another try.
const retryAfter = "5"

const (
	jsonType = "application/json"
	sseType  = "text/event-stream"
)

// ServeRequest answers a request that came by HTTP: with JSON, or with
// server-sent events where the caller prefers text/event-stream. What fails
// before the first event has a status of its own; a failure after it is the
// last event.
func (h *Handler) ServeRequest(ctx context.Context, r HTTPRequest) HTTPResponse {
	return h.serveHTTP(ctx, fromAgentCore, r)
}

func (h *Handler) serveHTTP(ctx context.Context, from source, r HTTPRequest) HTTPResponse {
	ctx, cancel := keepBack(ctx, answerReserve)
	streaming := false
	defer func() {
		if !streaming {
			cancel()
		}
	}()
	req, status, refusal := readHTTP(r)
	if refusal != nil {
		h.logFailure(ctx, from, refusal, "status", status)
		return failed(status, refusal)
	}
	sse := prefersEvents(r.Header)
	if sse && r.Stream {
		streaming = true
		return h.stream(ctx, cancel, from, req)
	}
	var events bytes.Buffer // all at once, for a caller who prefers them where none can be sent as they happen
	if sse {
		req.Events = func(e Event) { writeEvent(&events, e.name(), e) }
	}
	answer, failure := h.ask(ctx, req)
	if failure != nil {
		h.logFailure(ctx, from, failure)
		return failed(failure.Code.Status(), failure.public())
	}
	if sse {
		writeEvent(&events, "done", answer)
		return response(http.StatusOK, sseType, events.Bytes())
	}
	body, err := json.Marshal(answer)
	if err != nil {
		failure = internal(fmt.Errorf("encoding the answer: %w", err))
		h.logFailure(ctx, from, failure)
		return failed(http.StatusInternalServerError, failure)
	}
	return response(http.StatusOK, jsonType, body)
}

// readHTTP reads a request and checks it by the rules that all fronts share. It
// does not look at the path: what a front routes here is meant for the agent.
func readHTTP(r HTTPRequest) (Request, int, *Error) {
	bad := func(status int, format string, args ...any) (Request, int, *Error) {
		return Request{}, status, refuse(InvalidRequest, format, args...)
	}
	if r.Method != http.MethodPost {
		return bad(http.StatusMethodNotAllowed, "the method %s is not allowed; use POST", cut(r.Method, 20))
	}
	// RFC 9110, section 5.3: a field that is no list must not come twice.
	types := r.Header.Values("Content-Type")
	if len(types) > 1 {
		return bad(http.StatusUnsupportedMediaType, "Content-Type was sent %d times; send %s once", len(types), jsonType)
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != jsonType {
		return bad(http.StatusUnsupportedMediaType, "the Content-Type must be %s", jsonType)
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return bad(http.StatusUnsupportedMediaType, "the charset must be utf-8") // RFC 8259, section 8.1
	}
	for _, e := range r.Header.Values("Content-Encoding") {
		if e != "" && !strings.EqualFold(e, "identity") {
			return bad(http.StatusUnsupportedMediaType, "a Content-Encoding is not supported; send the body as it is")
		}
	}
	req, refusal := decodeBody(r.Body)
	if refusal != nil {
		return Request{}, refusal.Code.Status(), refusal
	}
	if r.SessionID != "" && !decodeObject(r.Body).has("session_id") {
		if !validSessionID(r.SessionID) {
			return bad(http.StatusBadRequest, "the session id of the header must have 1 to %d characters", maxSessionID)
		}
		req.SessionID = r.SessionID
	}
	return req, 0, nil
}

// prefersEvents reports whether the caller prefers server-sent events to JSON.
// RFC 9110, section 12.5.1.
func prefersEvents(h http.Header) bool {
	quality := map[string]float64{}
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		quality[media] = max(quality[media], q)
	}
	return quality[sseType] > quality[jsonType]
}

// response is an answer whose body is complete.
func response(status int, contentType string, body []byte) HTTPResponse {
	return HTTPResponse{
		Status: status,
		Header: map[string]string{
			"Content-Type":           contentType,
			"Cache-Control":          "no-store",
			"X-Content-Type-Options": "nosniff",
		},
		Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// failed is an answer that is an error, with the error's own message.
func failed(status int, e *Error) HTTPResponse {
	body, _ := json.Marshal(errorDocument{e}) // strings and numbers
	r := response(status, jsonType, body)
	switch status {
	case http.StatusMethodNotAllowed:
		r.Header["Allow"] = http.MethodPost
	case http.StatusServiceUnavailable:
		r.Header["Retry-After"] = retryAfter
	}
	return r
}
