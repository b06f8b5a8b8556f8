package agentcore

import (
	"fmt"
	"net/http"
	"time"
)

// Error is an answer with which the platform, whatever stands in front of an
// MCP server, or the server itself refused a request or gave up on it.
type Error struct {
	Status     int           // HTTP status
	Code       int           // JSON-RPC error code; 0: none
	Message    string        // the answer's own words, cut to a readable length
	RequestID  string        // for AWS support; may be empty
	RetryAfter time.Duration // what the answer asked for; 0: nothing
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("answered %d", e.Status)
	if e.Code != 0 {
		msg += fmt.Sprintf(" with JSON-RPC error %d", e.Code)
	}
	if e.Message != "" {
		msg += ": " + e.Message
	}
	if e.RequestID != "" {
		msg += " (request " + e.RequestID + ")"
	}
	return msg
}

// Temporary reports whether the condition is one that passes: throttling, a
// conflict between operations on one session, a container that is not up yet,
// a gateway without an answer. It says nothing of whether the request was
// carried out; see [Error.Refused].
func (e *Error) Temporary() bool {
	switch e.Code {
	case CodeThrottled, CodeConflict:
		return true
	}
	switch e.Status {
	case http.StatusConflict, http.StatusFailedDependency, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Refused reports whether the request was certainly not carried out: it was
// turned away before any tool could run. A failed container (CodeRuntimeFailed)
// and gateways that lost the answer (500, 502, 504) leave that open.
// https://www.rfc-editor.org/rfc/rfc9110.html#name-client-error-4xx
func (e *Error) Refused() bool {
	switch {
	case e.Code == CodeRuntimeFailed:
		return false
	case e.Status == http.StatusRequestTimeout: // some proxies say it of a slow answer
		return false
	case e.Status >= 300 && e.Status < 500, e.Status == http.StatusNotImplemented, e.Status == http.StatusServiceUnavailable:
		return true
	}
	switch e.Code {
	case CodeUnauthorized, CodeForbidden, CodeThrottled, CodeNotFound, CodeConflict, CodeValidation, CodeNotAcceptable,
		codeParse, codeInvalidRequest, codeMethodNotFound, codeInvalidParams:
		return true
	}
	return false
}

// Unauthorized reports whether the caller's credentials were refused, or were
// good but not for this. The platform's codes count only without an HTTP status
// that says otherwise: other MCP servers use the same numbers for their own ends.
func (e *Error) Unauthorized() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusOK:
		return e.Code == CodeUnauthorized || e.Code == CodeForbidden
	}
	return false
}

// SessionGone reports whether the session is not known any more, so that a new
// handshake is needed. A method that the server does not have is another thing,
// though it also comes with 404.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
func (e *Error) SessionGone() bool {
	return e.Code == CodeNotFound || e.Status == http.StatusNotFound && e.Code != codeMethodNotFound
}
