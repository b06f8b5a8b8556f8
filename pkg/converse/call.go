package converse

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	parallel = 16 // tools of one conversation that run at once

	// grace is how long to wait for a tool whose context has ended, so that one
	// that heeds it is not left running.
	grace = 20 * time.Millisecond
)

var (
	errToolTimeout = errors.New("the tool's time is up")
	errNoTime      = errors.New("the time left is for the answer")
)

// outcome is what came of one tool use.
type outcome struct {
	place    int // among the uses
	result   Result
	duration time.Duration
	err      error // ends the conversation
}

// runTools runs the tools of one turn, several at once, and returns their
// results in the order of the uses.
func (c *conversation) runTools(ctx context.Context, uses []use) ([]Result, error) {
	toolsCtx, cancel := c.time.tools(ctx, errNoTime)
	defer cancel()
	slots := make(chan struct{}, parallel)
	outcomes := make(chan outcome, len(uses))
	for i, u := range uses {
		go func() {
			slots <- struct{}{} // each is freed soon after the context's end
			defer func() { <-slots }()
			start := time.Now()
			result, err := c.call(toolsCtx, u)
			outcomes <- outcome{i, result, time.Since(start), err}
		}()
	}
	results := make([]Result, len(uses))
	calls := make([]ToolCall, len(uses))
	var fatal error
	for range uses {
		o := <-outcomes
		if o.err != nil {
			if fatal == nil {
				fatal = o.err
			}
			cancel() // one call that ends the conversation ends the others
		}
		if fatal != nil || ctx.Err() != nil {
			continue
		}
		u := uses[o.place]
		o.result.Text = presentable(o.result.Text, c.cfg.MaxResultBytes)
		results[o.place] = o.result
		calls[o.place] = ToolCall{Name: cut(u.name, maxName), Duration: o.duration, IsError: o.result.IsError}
		c.emit(Event{Kind: EventToolResult, Turn: c.answer.Turns, ID: u.id, Tool: u.name,
			Text: o.result.Text, IsError: o.result.IsError, Duration: o.duration})
	}
	if ctx.Err() != nil {
		return nil, interrupted(ctx, "tools")
	}
	if fatal != nil {
		return nil, fatal
	}
	c.answer.ToolCalls = append(c.answer.ToolCalls, calls...)
	return results, nil
}

// call runs one tool, if it may be run. It returns soon after the tool's time is
// up or ctx has ended, whatever the tool does.
func (c *conversation) call(ctx context.Context, u use) (Result, error) {
	t, known := c.tools.byName[u.name]
	switch {
	case u.fault != "":
		return Result{Text: u.fault, IsError: true}, nil
	case !known:
		return Result{Text: "There is no tool of that name.", IsError: true}, nil
	case ctx.Err() != nil || !c.time.forTool():
		return notRun(StopDeadline), nil
	}
	limit := c.cfg.ToolTimeout
	ctx, stop := context.WithTimeoutCause(ctx, limit, errToolTimeout)
	defer stop()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				c.cfg.Logger.Error("a tool panicked", "tool", u.name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
				o = outcome{result: Result{Text: "The tool broke down.", IsError: true}}
			}
			done <- o
		}()
		if fault := t.check(u.input); fault != "" {
			o.result = Result{Text: fault, IsError: true}
			return
		}
		o.result, o.err = c.box.Call(ctx, u.name, u.input)
	}()
	select {
	case o := <-done:
		return o.within(ctx, limit)
	case <-ctx.Done():
	}
	wait := time.NewTimer(grace)
	defer wait.Stop()
	select {
	case o := <-done:
		return o.within(ctx, limit)
	case <-wait.C:
		c.cfg.Logger.Warn("a tool ignores the end of its context and is left running", "tool", u.name)
		return outcome{err: context.Cause(ctx)}.within(ctx, limit)
	}
}

// within tells the tool's own error from one that only says that its time was
// up.
func (o outcome) within(ctx context.Context, limit time.Duration) (Result, error) {
	if o.err != nil {
		switch context.Cause(ctx) {
		case errToolTimeout:
			return Result{Text: fmt.Sprintf("The tool did not answer within %s.", limit), IsError: true}, nil
		case errNoTime:
			return Result{Text: "The tool did not answer in the time that was left.", IsError: true}, nil
		}
	}
	return o.result, o.err
}
