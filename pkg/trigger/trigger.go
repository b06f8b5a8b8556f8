// Package trigger turns what invokes the agent into a request, and the agent's
// answer into what that invoker expects: the result of a direct invocation, an
// HTTP response with a status that means something, server-sent events, a
// partial batch response, an event on a bus.
//
// [Handler] is the whole of it: [Handler.Invoke] is a Lambda function's handler,
// [Handler.ServeRequest] is for a server. Every invocation is answered, and an
// error is an error at every entry point, never the text of an answer. The [Code]
// of an [Agent]'s error decides which.
//
// Runnable examples are in example_test.go; they need no AWS account.
package trigger

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Request is a question to the agent.
type Request struct {
	Prompt    string
	SessionID string    // never empty
	Messages  []Message // what was said before, oldest first

	// Tools, unless it is nil, names the only tools that may be offered and called.
	Tools []string

	// Events, unless it is nil, is to be called with what happens as it happens.
	// Several goroutines may call it; calls after Ask has returned are ignored.
	// The agent waits for it.
	Events func(Event)
}

// Message is something said earlier in the conversation.
type Message struct {
	Role string `json:"role"`
	Text string `json:"text"`
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

// Agent answers requests. It stops soon after its context ends. A returned
// error that is not an [*Error] counts as internal, and its text stays in the
// log.
type Agent interface {
	Ask(context.Context, Request) (Answer, error)
}

// Handler serves invocations. Its zero fields but Agent have defaults. It is safe
// for concurrent use, and keeps nothing of a request but what its Ledger
// remembers.
type Handler struct {
	Agent  Agent
	Logger *slog.Logger // default: discard

	// Stream says that Function URLs of this function have the invoke mode
	// RESPONSE_STREAM. Lambda reads the answer differently then, so this must
	// match the URL's configuration.
	// https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
	Stream bool

	// FrontTimeout is how long an API Gateway waits. The agent gets what is left
	// of it, or of the function's own time if that is less. Default 29 s.
	FrontTimeout time.Duration

	// SchedulePrompt is the prompt of a schedule whose event has none.
	SchedulePrompt string

	// Parallel is how many records of a batch are worked on at once. Default 5.
	Parallel int

	// Results is where answers and failures of queues, topics and buses go. When
	// it is nil they go nowhere, and what failed for good is left to its source.
	Results *Bus

	// Ledger, unless it is nil, keeps records that come twice from being worked
	// on twice.
	Ledger Ledger
}

// Invoke answers one event, as a handler for lambda.StartWithOptions of
// github.com/aws/aws-lambda-go: with JSON, or with a stream where the event
// wants one. An error is what Lambda reports to the invoker: errorType is the
// code, errorMessage the message.
func (h *Handler) Invoke(ctx context.Context, event json.RawMessage) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, h.lambdaError(ctx, "", panicked(p))
		}
	}()
	source, fields, refusal := detect(event)
	if refusal != nil {
		return nil, h.lambdaError(ctx, source, refusal)
	}
	var failure *Error
	switch source {
	case fromDirect:
		answer, failure = h.direct(ctx, fields)
	case fromFunctionURL, fromHTTPAPI:
		return h.payload2(ctx, source, event)
	case fromRESTAPI:
		return h.payload1(ctx, event)
	case fromSQS:
		answer, failure = h.queue(ctx, fields)
	case fromEventBridge:
		answer, failure = h.event(ctx, fields)
	case fromSNS:
		answer, failure = h.topic(ctx, fields)
	}
	if failure != nil {
		return nil, h.lambdaError(ctx, source, failure)
	}
	out, failure := encode(answer)
	if failure != nil {
		return nil, h.lambdaError(ctx, source, failure)
	}
	return out, nil
}

// direct answers an event that is the request itself.
func (h *Handler) direct(ctx context.Context, fields object) (any, *Error) {
	req, refusal := decodeRequest(fields)
	if refusal != nil {
		return nil, refusal
	}
	ctx, cancel := keepBack(ctx, answerReserve)
	defer cancel()
	answer, failure := h.ask(ctx, req)
	if failure != nil {
		return nil, failure
	}
	return answer, nil
}

// maxAnswer is how large an invocation's result may be. A larger one would not
// only fail: the runtime client ends the process when Lambda refuses it.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxAnswer = 6 << 20

func encode(answer any) (json.RawMessage, *Error) {
	out, err := json.Marshal(answer)
	if err != nil {
		return nil, internal(fmt.Errorf("encoding the answer: %w", err))
	}
	if len(out) > maxAnswer {
		return nil, tooBig(len(out))
	}
	return out, nil
}

func tooBig(n int) *Error {
	return &Error{Code: InternalError, Message: fmt.Sprintf("the answer has %d bytes; %d are possible on this way", n, maxAnswer)}
}

// lambdaError gives e the form that the Lambda runtime passes on, and logs what
// the invoker does not get to see.
func (h *Handler) lambdaError(ctx context.Context, source source, e *Error) error {
	h.logFailure(ctx, source, e)
	return messages.InvokeResponse_Error{Type: string(e.Code), Message: e.Message}
}

// logFailure logs a failure; each is logged once, where it becomes an answer.
func (h *Handler) logFailure(ctx context.Context, source source, e *Error, more ...any) {
	level := slog.LevelError
	if e.Code.blamesCaller() {
		level = slog.LevelWarn
	}
	attrs := append([]any{"code", e.Code, "message", e.Message}, more...)
	if source != "" {
		attrs = append(attrs, "source", source)
	}
	if c, ok := lambdacontext.FromContext(ctx); ok {
		attrs = append(attrs, "request_id", c.AwsRequestID)
	}
	if e.Usage != (Usage{}) {
		attrs = append(attrs, "input_tokens", e.Usage.InputTokens, "output_tokens", e.Usage.OutputTokens)
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err.Error())
	}
	h.logger().Log(ctx, level, "request failed", attrs...)
}

func (h *Handler) logger() *slog.Logger {
	if h.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Logger
}
