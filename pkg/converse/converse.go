// Package converse runs a conversation with a model on Amazon Bedrock that may
// use tools: ask the model, run the tools it asks for, give it their results,
// until it answers.
//
// A conversation always ends, with an answer where possible. Turns, tool calls,
// tokens, repetitions and time are limited; at a limit the model is asked once
// more for the best answer it can give, and [Answer.StopReason] says which limit
// it was. Time is the context's deadline: nothing is started that cannot finish
// before it, and some of it is kept back for that last answer.
//
// A tool's fault is for the model to read and never ends a conversation: an
// unknown name, input that breaks the tool's schema, a failure, a panic, a
// timeout, an empty or an oversized result.
//
// Make one [Loop] with [New] in main, and call [Loop.Run] for each conversation,
// many at once if need be. The type of its error says who can mend it.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use.html
package converse

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
)

// Model answers one turn; *bedrockruntime.Client is one. It must return soon
// after its context has ended.
type Model interface {
	Converse(context.Context, *bedrockruntime.ConverseInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error)
}

// Streamer is a [Model] that can also answer piece by piece, as
// *bedrockruntime.Client can. It is used for requests that want events. Without
// it, a turn's text is one event.
type Streamer interface {
	ConverseStream(context.Context, *bedrockruntime.ConverseStreamInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseStreamOutput, error)
}

// Toolbox is the tools of one conversation.
type Toolbox interface {
	// Tools lists the tools that the model is offered; no other tool is called,
	// whatever the model asks for. The loop keeps the list, so what it points to
	// must not change afterwards.
	Tools(context.Context) ([]Tool, error)

	// Call runs a tool; input is a JSON object that the tool's schema admits. It
	// may be called from several goroutines at once. Its error ends the
	// conversation; a failure that the model should read is a Result with IsError.
	// The conversation does not wait for a Call that goes on after its context has
	// ended.
	Call(ctx context.Context, name string, input json.RawMessage) (Result, error)
}

// Tool is what the model is told about a tool.
type Tool struct {
	Name        string // [a-zA-Z0-9_-]{1,64}
	Description string
	InputSchema json.RawMessage // JSON Schema of an object
}

// Result is what a tool answered.
type Result struct {
	Text    string
	IsError bool
}

// Defaults of a Config's zero fields.
const (
	DefaultMaxTurns        = 10
	DefaultMaxToolCalls    = 100
	DefaultMaxRepeats      = 3
	DefaultMaxOutputTokens = 4096
	DefaultToolTimeout     = 30 * time.Second
	DefaultAnswerTime      = 8 * time.Second
	DefaultMaxResultBytes  = 64 << 10
	DefaultMaxContextBytes = 384 << 10 // some 100,000 tokens, half of the usual context window
)

// Config says how conversations are run. Model and ModelIDs are required. Other
// zero fields have the default that a constant says, such as [DefaultMaxTurns],
// or are off.
type Config struct {
	Model Model

	// ModelIDs are models, inference profiles or ARNs. A conversation begins with
	// the first and goes on to the next, round and round, when one is throttled
	// or unavailable.
	ModelIDs []string

	System           string // system prompt; empty: none
	MaxOutputTokens  int    // per model call
	Temperature      *float32
	GuardrailID      string // empty: no guardrail
	GuardrailVersion string // of GuardrailID
	ServiceTier      string // reserved, priority, default or flex; empty: the service's default
	CachePrompt      bool   // cache points after the system prompt and the tools; not every model takes them

	MaxTurns     int // model calls that may ask for tools
	MaxToolCalls int // tool uses of a conversation
	MaxRepeats   int // turns in which the model may ask for the same tool with the same input
	TokenBudget  int // input and output tokens of a conversation, the last answer included as far as that can be foreseen; 0: no limit

	ToolTimeout time.Duration // per tool call

	// AnswerTime is how long the model may need for an answer. This much is kept
	// back before the context's deadline; with less than half of it left no model
	// call is started.
	AnswerTime time.Duration

	MaxResultBytes  int // of one tool result
	MaxContextBytes int // of all that the model is given and says; tool results are cut to fit

	Logger *slog.Logger // what neither the model nor the caller is told, such as the stack of a panic; nil: discard
}

// Loop runs conversations. It holds the settings and the compiled tools of the
// last conversation; all else lives in one call of [Loop.Run]. It is safe for
// concurrent use.
type Loop struct {
	cfg  Config
	last atomic.Pointer[catalogue] // of the last conversation
}

// New makes a Loop.
func New(c Config) *Loop {
	c.MaxTurns = cmp.Or(c.MaxTurns, DefaultMaxTurns)
	c.MaxToolCalls = cmp.Or(c.MaxToolCalls, DefaultMaxToolCalls)
	c.MaxRepeats = cmp.Or(c.MaxRepeats, DefaultMaxRepeats)
	c.MaxOutputTokens = cmp.Or(c.MaxOutputTokens, DefaultMaxOutputTokens)
	c.ToolTimeout = cmp.Or(c.ToolTimeout, DefaultToolTimeout)
	c.AnswerTime = cmp.Or(c.AnswerTime, DefaultAnswerTime)
	c.MaxResultBytes = cmp.Or(c.MaxResultBytes, DefaultMaxResultBytes)
	c.MaxContextBytes = cmp.Or(c.MaxContextBytes, DefaultMaxContextBytes)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return &Loop{cfg: c}
}

// Answer is how a conversation ended.
type Answer struct {
	Output     string // the last text that the model said
	StopReason string // end_turn, stop_sequence, max_tokens, guardrail_intervened, content_filtered or one of the Stop constants
	ModelID    string // that answered last
	Turns      int    // model calls that were answered
	ToolCalls  []ToolCall
	Usage      Usage
}

// ToolCall is one tool use that was answered, also when the tool was not run
// because its name or input was wrong.
type ToolCall struct {
	Name     string
	Duration time.Duration
	IsError  bool
}

// Usage counts the tokens of all model calls. InputTokens are without those
// read from or written to the prompt cache.
type Usage struct {
	InputTokens, OutputTokens         int
	CacheReadTokens, CacheWriteTokens int
}

func (u Usage) total() int {
	return u.InputTokens + u.OutputTokens + u.CacheReadTokens + u.CacheWriteTokens
}
