package agentcore

import (
	"fmt"
	"net/http"
	"time"
)

// Error is an answer with which the platform, or whatever stands in front of an
// MCP server, refused a request that a healthy server would have answered.
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

// Temporary reports whether the platform calls the condition one that passes:
// throttling, a conflict between operations on one session, and a container
// that is not up yet.
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

// SessionGone reports whether the session is not known any more, so that a new
// handshake is needed and the request has not been carried out.
func (e *Error) SessionGone() bool {
	return e.Status == http.StatusNotFound || e.Code == CodeNotFound
}
