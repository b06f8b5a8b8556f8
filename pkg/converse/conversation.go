package converse

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// conversation is the state of one Run.
type conversation struct {
	loop    *Loop
	cfg     *Config
	request Request
	box     Toolbox
	tools   *catalogue
	time    budget

	messages  []types.Message
	size      int // bytes of text in messages
	maxTokens int // of the next model call
	model     int // into ModelIDs
	author    int // model that has answered last; -1: none
	lastTurn  int // tokens that the last model call took
	repeats   map[string]int
	answer    Answer
}

// Run has one conversation. Its error is a [*RequestError], a [*ModelError], a
// [*DeadlineError], what tools returned, or the cause of the context's
// cancellation; beside an error the Answer still tells what was used so far. When
// the context ends, Run returns within 50 milliseconds, and nothing goes on but a
// tool call that ignores its context.
func (l *Loop) Run(ctx context.Context, request Request, tools Toolbox) (Answer, error) {
	c := &conversation{
		loop: l, cfg: &l.cfg, request: request, box: tools,
		time: newBudget(ctx, l.cfg.AnswerTime), maxTokens: l.cfg.MaxOutputTokens, author: -1, repeats: map[string]int{},
	}
	err := c.open(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	return c.answer, err
}

// open gathers what the first model call needs.
func (c *conversation) open(ctx context.Context) (err error) {
	if c.messages, c.size, err = c.request.opening(c.cfg.MaxContextBytes); err != nil {
		return err
	}
	if len(c.cfg.ModelIDs) == 0 {
		return &ModelError{Kind: Refused, Message: "no model id is set"}
	}
	offered, err := c.box.Tools(ctx)
	if err != nil {
		return err
	}
	c.tools, err = c.loop.catalogue(offered)
	return err
}

// run goes on until the model stops asking for tools. At a limit the open tool
// uses are answered with a notice and the model is asked once more; its tools
// stay configured, because Bedrock wants them there while the history has tool
// uses.
func (c *conversation) run(ctx context.Context) error {
	limit := ""      // the Stop constant, once this is the last model call
	widened := false // a turn that was cut short has been asked for again
	again := false   // this call asks for it again
	for {
		reply, err := c.ask(ctx)
		if m, ok := err.(*ModelError); ok && again && m.Kind == Refused {
			return c.end(types.StopReasonMaxTokens, limit) // the model does not take that much room
		}
		if err != nil {
			return err
		}
		again = false
		c.note(reply)
		message, uses, err := takeTurn(reply.message)
		if err != nil {
			return err
		}
		if reply.stop == types.StopReasonEndTurn && len(uses) > 0 {
			reply.stop = types.StopReasonToolUse // https://github.com/strands-agents/sdk-python/issues/644
		}
		switch reply.stop {
		case types.StopReasonToolUse:
			if len(uses) == 0 {
				return &ModelError{Kind: Failed, Message: "the model stopped to use a tool and named none"}
			}
		case types.StopReasonMaxTokens:
			if len(uses) == 0 || widened || limit != "" {
				return c.end(reply.stop, limit)
			}
			// The last tool use is cut short and must not be run. Its turn is asked
			// for again, once in a conversation, with more room.
			widened, again, c.maxTokens = true, true, min(2*c.maxTokens, math.MaxInt32)
			continue
		case types.StopReasonEndTurn, types.StopReasonStopSequence, types.StopReasonGuardrailIntervened, types.StopReasonContentFiltered:
			return c.end(reply.stop, limit)
		default: // malformed output, a full context window, or what this SDK does not know
			return &ModelError{Kind: Failed, ModelID: c.answer.ModelID, Message: fmt.Sprintf("it stopped with %q", reply.stop)}
		}
		if limit != "" {
			return c.end(reply.stop, limit) // it was told that there are no further calls
		}
		c.messages = append(c.messages, message)
		c.size += size(message)
		if limit, err = c.useTools(ctx, uses); err != nil {
			return err
		}
	}
}

// end says why the conversation ended: the limit, if there is one, unless the
// answer to the last question was taken from the model.
func (c *conversation) end(stop types.StopReason, limit string) error {
	c.answer.StopReason = string(stop)
	if limit != "" && stop != types.StopReasonGuardrailIntervened && stop != types.StopReasonContentFiltered {
		c.answer.StopReason = limit
	}
	return nil
}

// note adds a model call to the answer.
func (c *conversation) note(r reply) {
	c.answer.Turns++
	c.answer.ModelID = c.cfg.ModelIDs[c.model]
	if t := text(r.message); strings.TrimSpace(t) != "" {
		c.answer.Output = t
	}
	if r.usage == nil {
		return
	}
	turn := Usage{
		InputTokens:      int(aws.ToInt32(r.usage.InputTokens)),
		OutputTokens:     int(aws.ToInt32(r.usage.OutputTokens)),
		CacheReadTokens:  int(aws.ToInt32(r.usage.CacheReadInputTokens)),
		CacheWriteTokens: int(aws.ToInt32(r.usage.CacheWriteInputTokens)),
	}
	c.lastTurn = turn.total()
	u := &c.answer.Usage
	u.InputTokens += turn.InputTokens
	u.OutputTokens += turn.OutputTokens
	u.CacheReadTokens += turn.CacheReadTokens
	u.CacheWriteTokens += turn.CacheWriteTokens
	c.emit(Event{Kind: EventUsage, Turn: c.answer.Turns, Usage: *u})
}

// useTools answers the tool uses of a turn, all in one user message and in
// their order. limit is set when the next model call has to be the last; the
// message then says so.
func (c *conversation) useTools(ctx context.Context, uses []use) (limit string, err error) {
	n, limit := c.allowed(uses)
	for _, u := range uses {
		c.emit(Event{Kind: EventToolUse, Turn: c.answer.Turns, ID: u.id, Tool: u.name, Input: u.input})
	}
	results, err := c.runTools(ctx, uses[:n])
	if err != nil {
		return "", err
	}
	for _, u := range uses[n:] {
		r := notRun(limit)
		results = append(results, r)
		c.emit(Event{Kind: EventToolResult, Turn: c.answer.Turns, ID: u.id, Tool: u.name, Text: r.Text, IsError: true})
	}
	if limit == "" && !c.time.forTurn() {
		limit = StopDeadline
	}
	shorten(results, c.cfg.MaxContextBytes-c.size)
	blocks := make([]types.ContentBlock, len(uses), len(uses)+1)
	for i, r := range results {
		c.size += len(r.Text)
		blocks[i] = resultBlock(uses[i], r)
	}
	if limit != "" {
		blocks = append(blocks, &types.ContentBlockMemberText{Value: lastCall})
	}
	c.messages = append(c.messages, types.Message{Role: types.ConversationRoleUser, Content: blocks})
	return limit, nil
}

func resultBlock(u use, r Result) types.ContentBlock {
	status := types.ToolResultStatusSuccess
	if r.IsError {
		status = types.ToolResultStatusError
	}
	return &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
		ToolUseId: aws.String(u.id),
		Status:    status,
		Content:   []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: r.Text}},
	}}
}
