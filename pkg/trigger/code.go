package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
)

// Code names a kind of failure. It is part of the contract with callers.
type Code string

// The kinds of failures. An [Agent] chooses by them whether a queue tries again
// and what status a caller over HTTP sees.
const (
	InvalidRequest         Code = "invalid_request"         // the prompt, or another field, is missing or of another form
	RequestTooLarge        Code = "request_too_large"       // the prompt is over 256 KiB, or what was said before too long
	UnsupportedEvent       Code = "unsupported_event"       // an event of no known shape
	ConfigurationError     Code = "configuration_error"     // a setting or a parameter is missing or refused
	CredentialsUnavailable Code = "credentials_unavailable" // Parameter Store or the token endpoint cannot be reached, or throttles
	TokenRefused           Code = "token_refused"           // the token endpoint refused the client
	MCPAuthRefused         Code = "mcp_auth_refused"        // an MCP server refused the token, and a new one too
	MCPUnavailable         Code = "mcp_unavailable"         // a required MCP server cannot be connected to or listed
	ModelRefused           Code = "model_refused"           // Bedrock refused the request, the access or the model id
	ModelThrottled         Code = "model_throttled"         // by Bedrock, after the retries that fit
	ModelUnavailable       Code = "model_unavailable"       // the same of a failure that may pass
	ModelFailed            Code = "model_failed"            // the model's own output is unusable
	DeadlineExceeded       Code = "deadline_exceeded"       // no answer fits in the time left
	InternalError          Code = "internal_error"          // the rest; details are in the log alone
)

// Retryable reports whether the same request may succeed later.
func (c Code) Retryable() bool {
	switch c {
	case CredentialsUnavailable, MCPUnavailable, ModelThrottled, ModelUnavailable, DeadlineExceeded:
		return true
	}
	return false
}

// Status is the code's HTTP status. Credentials that were refused are ours, not
// the caller's, so 401 and 403 are not among them.
func (c Code) Status() int {
	switch c {
	case InvalidRequest, UnsupportedEvent:
		return http.StatusBadRequest
	case RequestTooLarge:
		return http.StatusRequestEntityTooLarge
	case TokenRefused, MCPAuthRefused, MCPUnavailable, ModelRefused, ModelFailed:
		return http.StatusBadGateway
	case CredentialsUnavailable, ModelThrottled, ModelUnavailable:
		return http.StatusServiceUnavailable
	case DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// blamesCaller reports whether only the request is to blame.
func (c Code) blamesCaller() bool {
	return c == InvalidRequest || c == RequestTooLarge || c == UnsupportedEvent
}

// permanent reports whether a queue need not deliver the record again. An
// internal error is not permanent, since its cause is not known.
func (c Code) permanent() bool { return !c.Retryable() && c != InternalError }

// Error is a failure as callers see it. Message is for them: it holds no
// secret and nothing from inside; what only the log may know is in Err.
type Error struct {
	Code    Code
	Message string
	Usage   Usage // so far
	Err     error // may be nil
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }
func (e *Error) Unwrap() error { return e.Err }

// MarshalJSON gives the error the form that callers get.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Code      Code   `json:"code"`
		Message   string `json:"message"`
		Retryable bool   `json:"retryable"`
		Usage     Usage  `json:"usage,omitzero"`
	}{e.Code, e.Message, e.Code.Retryable(), e.Usage})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Error) UnmarshalJSON(b []byte) error {
	var in struct {
		Code    Code
		Message string
		Usage   Usage
	}
	err := json.Unmarshal(b, &in)
	*e = Error{Code: in.Code, Message: in.Message, Usage: in.Usage}
	return err
}

// errorDocument is an error as the whole of an answer.
type errorDocument struct {
	Error *Error `json:"error"`
}

// public is e as callers over HTTP may see it. They can do nothing about a
// parameter's name or a server's address, and need not know them.
func (e *Error) public() *Error {
	if e.Code.blamesCaller() {
		return e
	}
	message := "the agent failed; its log has the details"
	switch e.Code {
	case ConfigurationError:
		message = "the agent is not set up; its log names the setting"
	case CredentialsUnavailable:
		message = "the agent cannot read its credentials; try again later"
	case TokenRefused, MCPAuthRefused:
		message = "the agent's own credentials were refused"
	case MCPUnavailable:
		message = "a server that the agent needs is not available; try again later"
	case ModelRefused:
		message = "the model refused the agent's request"
	case ModelThrottled, ModelUnavailable:
		message = "the model is busy; try again later"
	case ModelFailed:
		message = "the model gave no usable answer"
	case DeadlineExceeded:
		message = "no answer fits in the time left"
	}
	return &Error{Code: e.Code, Message: message, Usage: e.Usage}
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// internal hides err from callers.
func internal(err error) *Error {
	return &Error{Code: InternalError, Message: "the agent failed; its log has the details", Err: err}
}

// panicked is the failure that the value of a panic stands for, with the stack
// of the goroutine that recovers it.
func panicked(value any) *Error {
	return internal(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
}

// asError finds the failure that err stands for. An ended context counts as too
// little time, also where a caller that left ended it.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Code: DeadlineExceeded, Message: "no answer fits in the time left", Err: err}
	}
	return internal(err)
}
