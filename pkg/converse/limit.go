package converse

import (
	"context"
	"time"
)

// Why a conversation ended, beside the stop reasons of Bedrock: the limit at
// which the model was asked for its last answer.
const (
	StopMaxTurns      = "max_turns"
	StopMaxToolCalls  = "max_tool_calls"
	StopTokenBudget   = "token_budget"
	StopRepeatedCalls = "repeated_calls"
	StopDeadline      = "deadline"
)

// lastCall asks for the last answer. It stands after the tool results.
const lastCall = "There are no tool calls left. Answer now with what you know, and say what is missing."

// notRun is the result of a tool use that a limit forbids.
func notRun(limit string) Result {
	why := "there are no tool calls left"
	switch limit {
	case StopRepeatedCalls:
		why = "the same call has been made too often"
	case StopDeadline:
		why = "there is no time left"
	}
	return Result{Text: "Not run: " + why + ". Answer with what you know.", IsError: true}
}

// allowed says how many of the uses, from the first, may be run, and which
// limit forbids the others.
func (c *conversation) allowed(uses []use) (n int, limit string) {
	repeated := false
	asked := map[string]bool{} // in this turn, which counts once however often
	for _, u := range uses {
		key := u.name + "\n" + string(u.input)
		if !asked[key] {
			asked[key] = true
			c.repeats[key]++
			repeated = repeated || c.repeats[key] > c.cfg.MaxRepeats
		}
	}
	left := c.cfg.MaxToolCalls - len(c.answer.ToolCalls)
	switch {
	case c.answer.Turns >= c.cfg.MaxTurns:
		return 0, StopMaxTurns
	case c.cfg.TokenBudget > 0 && c.answer.Usage.total()+c.lastTurn > c.cfg.TokenBudget:
		return 0, StopTokenBudget // the next call takes at least what the last one did
	case repeated:
		return 0, StopRepeatedCalls
	case !c.time.forTool():
		return 0, StopDeadline
	case left < len(uses):
		return left, StopMaxToolCalls
	}
	return len(uses), ""
}

// minToolTime is the least that a tool call is started with.
const minToolTime = time.Second

// budget is the time of a conversation.
type budget struct {
	deadline time.Time // zero: none
	answer   time.Duration
}

func newBudget(ctx context.Context, answer time.Duration) budget {
	deadline, _ := ctx.Deadline()
	return budget{deadline, answer}
}

// has reports whether more than d is left.
func (b budget) has(d time.Duration) bool {
	return b.deadline.IsZero() || time.Until(b.deadline) > d
}

// forAnswer reports whether a model call can finish, after d.
func (b budget) forAnswer(d time.Duration) bool { return b.has(d + b.answer/2) }

// forTurn reports whether a model call can finish and an answer after it.
func (b budget) forTurn() bool { return b.has(b.answer * 3 / 2) }

// forTool reports whether a tool call can finish and an answer after it.
func (b budget) forTool() bool { return b.has(b.answer + minToolTime) }

// tools is the context of tool calls. It ends, with cause, in time for an
// answer.
func (b budget) tools(ctx context.Context, cause error) (context.Context, context.CancelFunc) {
	if b.deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, b.deadline.Add(-b.answer), cause)
}
