// Package converse runs a conversation with a model on Amazon Bedrock that may
// use tools: ask the model, run the tools it asks for, give it their results,
// until it answers.
//
// A [Loop] holds settings only and is safe for concurrent use; all that belongs
// to one conversation lives in one call of [Loop.Run].
package converse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// Model answers one turn; *bedrockruntime.Client is one.
type Model interface {
	Converse(context.Context, *bedrockruntime.ConverseInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error)
}

// Toolbox is the tools of one conversation. Call may be called from several
// goroutines at once. Its error ends the conversation; what the model should
// read of a failure is a Result with IsError.
type Toolbox interface {
	Tools(context.Context) ([]Tool, error)
	Call(ctx context.Context, name string, input json.RawMessage) (Result, error)
}

// Tool is what the model is told of a tool.
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

// Defaults of a Loop's zero fields.
const (
	DefaultMaxTurns        = 10
	DefaultMaxOutputTokens = 4096
	DefaultToolTimeout     = 30 * time.Second
)

// parallel bounds how many tools of one turn run at once.
const parallel = 16

// Loop says how conversations are run.
type Loop struct {
	Model           Model
	ModelID         string        // model, inference profile or ARN
	System          string        // system prompt; empty: none
	MaxTurns        int           // model calls that may ask for tools
	MaxOutputTokens int           // per model call
	ToolTimeout     time.Duration // per tool call
}

// Why a conversation ended, beside the stop reasons of Bedrock.
const StopMaxTurns = "max_turns"

// Answer is how a conversation ended.
type Answer struct {
	Output     string
	StopReason string // end_turn, stop_sequence, max_tokens, guardrail_intervened, content_filtered or max_turns
	Turns      int    // model calls
	ToolCalls  []ToolCall
	Usage      Usage
}

// ToolCall is one tool that was run.
type ToolCall struct {
	Name     string
	Duration time.Duration
	IsError  bool
}

// Usage counts the tokens of all model calls.
type Usage struct {
	InputTokens, OutputTokens int
}

// conversation is the state of one Run.
type conversation struct {
	loop     *Loop
	tools    Toolbox
	config   *types.ToolConfiguration // nil: no tools
	messages []types.Message
	answer   Answer
}

// Run asks the model prompt and returns its answer. The Answer tells what was
// used so far also beside an error, which is a [*ModelError], what tools
// returned, or the context's.
func (l *Loop) Run(ctx context.Context, prompt string, tools Toolbox) (Answer, error) {
	c := &conversation{loop: l, tools: tools}
	offered, err := tools.Tools(ctx)
	if err != nil {
		return c.answer, err
	}
	if c.config, err = toolConfig(offered); err != nil {
		return c.answer, err
	}
	c.say(types.ConversationRoleUser, &types.ContentBlockMemberText{Value: prompt})
	err = c.run(ctx)
	return c.answer, err
}

func (c *conversation) say(role types.ConversationRole, content ...types.ContentBlock) {
	c.messages = append(c.messages, types.Message{Role: role, Content: content})
}

// run goes on until the model stops asking for tools. At the turn limit the
// open tool uses are answered with a notice and the model is asked once more,
// with its tools still configured, because Bedrock wants them there while the
// history has tool uses.
func (c *conversation) run(ctx context.Context) error {
	limit := cmp.Or(c.loop.MaxTurns, DefaultMaxTurns)
	for {
		message, stop, err := c.ask(ctx)
		if err != nil {
			return err
		}
		c.answer.Turns++
		c.answer.Output = text(message)
		c.answer.StopReason = string(stop)
		switch stop {
		case types.StopReasonToolUse:
		case types.StopReasonEndTurn, types.StopReasonStopSequence, types.StopReasonMaxTokens,
			types.StopReasonGuardrailIntervened, types.StopReasonContentFiltered:
			if c.answer.Turns > limit {
				c.answer.StopReason = StopMaxTurns
			}
			return nil
		default:
			return &ModelError{Kind: Failed, Message: fmt.Sprintf("the model stopped with %q", stop)}
		}
		uses := toolUses(message)
		if len(uses) == 0 {
			return &ModelError{Kind: Failed, Message: "the model stopped to use a tool and named none"}
		}
		if c.answer.Turns > limit {
			c.answer.StopReason = StopMaxTurns
			return nil // it was told that there are no further calls
		}
		c.messages = append(c.messages, message)
		results, err := c.results(ctx, uses, c.answer.Turns == limit)
		if err != nil {
			return err
		}
		c.say(types.ConversationRoleUser, results...)
	}
}

// ask makes one model call.
func (c *conversation) ask(ctx context.Context) (types.Message, types.StopReason, error) {
	in := &bedrockruntime.ConverseInput{
		ModelId:         aws.String(c.loop.ModelID),
		Messages:        c.messages,
		ToolConfig:      c.config,
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(int32(cmp.Or(c.loop.MaxOutputTokens, DefaultMaxOutputTokens)))},
	}
	if c.loop.System != "" {
		in.System = []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: c.loop.System}}
	}
	out, err := c.loop.Model.Converse(ctx, in)
	if err != nil {
		if ctx.Err() != nil {
			return types.Message{}, "", fmt.Errorf("waiting for the model: %w", context.Cause(ctx))
		}
		return types.Message{}, "", modelError(err)
	}
	if out.Usage != nil {
		c.answer.Usage.InputTokens += int(aws.ToInt32(out.Usage.InputTokens))
		c.answer.Usage.OutputTokens += int(aws.ToInt32(out.Usage.OutputTokens))
	}
	message, ok := out.Output.(*types.ConverseOutputMemberMessage)
	if !ok {
		return types.Message{}, "", &ModelError{Kind: Failed, Message: "the model answered without a message"}
	}
	return message.Value, out.StopReason, nil
}

// results runs the tools of one turn, several at once, and returns one result
// per tool use in the order in which they were asked for. When it is the last
// turn nothing is run and each result says so.
func (c *conversation) results(ctx context.Context, uses []types.ToolUseBlock, last bool) ([]types.ContentBlock, error) {
	blocks := make([]types.ContentBlock, len(uses))
	if last {
		for i, use := range uses {
			blocks[i] = resultBlock(use, Result{Text: "Not run: there are no tool calls left. Answer with what you know.", IsError: true})
		}
		return blocks, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	calls := make([]ToolCall, len(uses))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, use := range uses {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := time.Now()
			result, err := c.call(ctx, use)
			if err != nil {
				cancel(err) // one call that ends the conversation ends the others
				return
			}
			calls[i] = ToolCall{Name: aws.ToString(use.Name), Duration: time.Since(start), IsError: result.IsError}
			blocks[i] = resultBlock(use, result)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	c.answer.ToolCalls = append(c.answer.ToolCalls, calls...)
	return blocks, nil
}

// call runs one tool within its time limit. A panic or a timeout is the tool's
// failure and not the conversation's.
func (c *conversation) call(ctx context.Context, use types.ToolUseBlock) (result Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, err = Result{Text: "The tool broke down.", IsError: true}, nil
		}
	}()
	input, err := toolInput(use)
	if err != nil {
		return Result{Text: err.Error(), IsError: true}, nil
	}
	limit := cmp.Or(c.loop.ToolTimeout, DefaultToolTimeout)
	callCtx, cancel := context.WithTimeoutCause(ctx, limit, errToolTimeout)
	defer cancel()
	result, err = c.tools.Call(callCtx, aws.ToString(use.Name), input)
	if err != nil && errors.Is(context.Cause(callCtx), errToolTimeout) {
		return Result{Text: fmt.Sprintf("The tool did not answer within %s.", limit), IsError: true}, nil
	}
	if err == nil && result.Text == "" {
		result.Text = "The tool answered with nothing." // Bedrock refuses an empty result
	}
	return result, err
}

var errToolTimeout = errors.New("the tool's time is up")

func resultBlock(use types.ToolUseBlock, r Result) types.ContentBlock {
	status := types.ToolResultStatusSuccess
	if r.IsError {
		status = types.ToolResultStatusError
	}
	return &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
		ToolUseId: use.ToolUseId,
		Status:    status,
		Content:   []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: r.Text}},
	}}
}

// toolInput returns the input as the JSON bytes that the model sent. Only the
// document's own marshaller keeps them: decoding into a map would turn numbers
// into floats or strings.
func toolInput(use types.ToolUseBlock) (json.RawMessage, error) {
	if use.Input == nil {
		return json.RawMessage("{}"), nil
	}
	raw, err := use.Input.MarshalSmithyDocument()
	if err != nil || len(raw) == 0 || raw[0] != '{' {
		return nil, errors.New("the input of a tool must be a JSON object")
	}
	return raw, nil
}

// toolConfig tells Bedrock of the tools. It is nil without any, because an
// empty list is refused.
func toolConfig(tools []Tool) (*types.ToolConfiguration, error) {
	if len(tools) == 0 {
		return nil, nil
	}
	config := &types.ToolConfiguration{}
	for _, t := range tools {
		// The SDK encodes the schema from decoded values; raw bytes would
		// become an array of numbers.
		var schema any
		if err := json.Unmarshal(t.InputSchema, &schema); err != nil {
			return nil, fmt.Errorf("schema of tool %s: %w", t.Name, err)
		}
		spec := types.ToolSpecification{
			Name:        aws.String(t.Name),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(schema)},
		}
		if t.Description != "" { // an empty one is refused
			spec.Description = aws.String(t.Description)
		}
		config.Tools = append(config.Tools, &types.ToolMemberToolSpec{Value: spec})
	}
	return config, nil
}

func toolUses(m types.Message) []types.ToolUseBlock {
	var uses []types.ToolUseBlock
	for _, b := range m.Content {
		if use, ok := b.(*types.ContentBlockMemberToolUse); ok {
			uses = append(uses, use.Value)
		}
	}
	return uses
}

func text(m types.Message) string {
	var s string
	for _, b := range m.Content {
		if t, ok := b.(*types.ContentBlockMemberText); ok {
			s += t.Value
		}
	}
	return s
}
