// Package trigger turns what invokes the agent into a request, and the agent's
// answer into what that invoker expects.
package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/uuid"
)

const (
	maxPrompt    = 256 << 10 // bytes
	maxSessionID = 256       // characters
)

// Request is a question to the agent.
type Request struct {
	Prompt    string
	SessionID string // never empty
}

// Answer is the agent's answer, in the form every entry point gives it.
type Answer struct {
	Output      string     `json:"output"`
	SessionID   string     `json:"session_id"`
	StopReason  string     `json:"stop_reason"`
	Turns       int        `json:"turns"`
	ToolCalls   []ToolCall `json:"tool_calls"`
	Usage       Usage      `json:"usage"`
	Unavailable []string   `json:"unavailable,omitempty"` // optional MCP servers that could not be used
}

// ToolCall is one tool that the agent ran.
type ToolCall struct {
	Server     string `json:"server"`
	Tool       string `json:"tool"`
	DurationMS int64  `json:"duration_ms"`
	Error      bool   `json:"error"`
}

// Usage counts tokens over all model calls of an answer.
type Usage struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
}

// Code names a kind of failure. It is part of the contract with callers.
type Code string

const (
	InvalidRequest         Code = "invalid_request"
	RequestTooLarge        Code = "request_too_large"
	UnsupportedEvent       Code = "unsupported_event"
	ConfigurationError     Code = "configuration_error"
	CredentialsUnavailable Code = "credentials_unavailable"
	TokenRefused           Code = "token_refused"
	MCPAuthRefused         Code = "mcp_auth_refused"
	MCPUnavailable         Code = "mcp_unavailable"
	ModelRefused           Code = "model_refused"
	ModelThrottled         Code = "model_throttled"
	ModelUnavailable       Code = "model_unavailable"
	ModelFailed            Code = "model_failed"
	DeadlineExceeded       Code = "deadline_exceeded"
	InternalError          Code = "internal_error"
)

// Retryable reports whether the same request may succeed later.
func (c Code) Retryable() bool {
	switch c {
	case CredentialsUnavailable, MCPUnavailable, ModelThrottled, ModelUnavailable, DeadlineExceeded:
		return true
	}
	return false
}

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

// Agent answers requests. A returned error that is not an [*Error] counts as
// internal, and its text stays in the log.
type Agent interface {
	Ask(context.Context, Request) (Answer, error)
}

// Handler serves Lambda invocations. It is a lambda.Handler of
// github.com/aws/aws-lambda-go and safe for concurrent use.
type Handler struct {
	Agent  Agent
	Logger *slog.Logger
}

// Invoke answers one event. An error is what Lambda reports to the invoker:
// errorType is the code, errorMessage the message.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := h.direct(ctx, payload)
	if err != nil {
		return nil, h.lambdaError(err)
	}
	return json.Marshal(answer)
}

// direct answers an event that is the request itself.
func (h *Handler) direct(ctx context.Context, payload []byte) (Answer, error) {
	fields, err := decodeObject(payload)
	if err != nil {
		return Answer{}, err
	}
	if err := refuseOtherShapes(fields); err != nil {
		return Answer{}, err
	}
	req, err := decodeRequest(fields)
	if err != nil {
		return Answer{}, err
	}
	answer, err := h.Agent.Ask(ctx, req)
	answer.SessionID = req.SessionID
	if answer.ToolCalls == nil {
		answer.ToolCalls = []ToolCall{}
	}
	return answer, err
}

// lambdaError gives err the form that the Lambda runtime passes on, and logs
// what the invoker does not get to see.
func (h *Handler) lambdaError(err error) error {
	e := asError(err)
	level := slog.LevelError
	if e.Code == InvalidRequest || e.Code == RequestTooLarge || e.Code == UnsupportedEvent {
		level = slog.LevelWarn
	}
	attrs := []any{"code", e.Code, "message", e.Message}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err.Error())
	}
	h.Logger.Log(context.Background(), level, "request failed", attrs...)
	return messages.InvokeResponse_Error{Type: string(e.Code), Message: e.Message}
}

func asError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Code: InternalError, Message: "the agent failed; its log has the details", Err: err}
}

// decodeObject splits an event into its members.
func decodeObject(payload []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil || fields == nil {
		return nil, &Error{Code: UnsupportedEvent, Message: `the event is not a JSON object; send {"prompt": "…"}`}
	}
	return fields, nil
}

// refuseOtherShapes refuses what is not a request, and says what was seen.
func refuseOtherShapes(fields map[string]json.RawMessage) error {
	_, prompt := fields["prompt"]
	_, input := fields["input"]
	if prompt || input {
		return nil
	}
	names := slices.Sorted(maps.Keys(fields))
	if len(names) == 0 || len(names) == 1 && names[0] == "session_id" {
		return &Error{Code: InvalidRequest, Message: `no prompt; send {"prompt": "…"}`}
	}
	seen := strings.Join(names[:min(len(names), 8)], ", ")
	return &Error{Code: UnsupportedEvent, Message: fmt.Sprintf(`an event with the members %.200s is of no known kind; send {"prompt": "…"}`, seen)}
}

// decodeRequest reads and checks a request.
func decodeRequest(fields map[string]json.RawMessage) (Request, error) {
	refuse := func(format string, args ...any) (Request, error) {
		return Request{}, &Error{Code: InvalidRequest, Message: fmt.Sprintf(format, args...)}
	}
	var prompt string
	given := false
	for _, name := range []string{"prompt", "input"} {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		if !utf8.Valid(raw) {
			return refuse("%s is not valid UTF-8", name)
		}
		s, ok := decodeString(raw)
		if !ok {
			return refuse("%s must be a string", name)
		}
		if given && s != prompt {
			return refuse("prompt and input differ; send one of them")
		}
		prompt, given = s, true
	}
	if strings.TrimSpace(prompt) == "" {
		return refuse("the prompt is empty")
	}
	if len(prompt) > maxPrompt {
		return Request{}, &Error{Code: RequestTooLarge, Message: fmt.Sprintf("the prompt is over %d bytes", maxPrompt)}
	}
	id := uuid.NewString()
	if raw, ok := fields["session_id"]; ok {
		s, ok := decodeString(raw)
		if n := utf8.RuneCountInString(s); !ok || n < 1 || n > maxSessionID {
			return refuse("session_id must be a string of 1 to %d characters", maxSessionID)
		}
		id = s
	}
	return Request{Prompt: prompt, SessionID: id}, nil
}

// decodeString decodes a JSON string, and nothing else: encoding/json would let
// null pass as an empty one.
func decodeString(raw json.RawMessage) (string, bool) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}
