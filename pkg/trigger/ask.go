package trigger

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What is kept back of the time that an invocation has.
const (
	answerReserve  = 500 * time.Millisecond // to answer in
	publishReserve = 3 * time.Second        // to publish results in
)

// grace is how long an agent may take to stop once its time is up.
const grace = 100 * time.Millisecond

// keepBack ends a context before ctx does, so that there is time to answer: by
// reserve, or by a fifth of what is left where that is little.
func keepBack(ctx context.Context, reserve time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(reserve, max(0, time.Until(deadline)/5))))
}

// ask has the agent answer. It contains panics, and returns soon after ctx has
// ended even when the agent does not: an invocation that runs into Lambda's own
// timeout loses its process, and with it what other records came to.
func (h *Handler) ask(ctx context.Context, req Request) (Answer, *Error) {
	type outcome struct {
		answer Answer
		err    error
	}
	if events := req.Events; events != nil {
		var mu sync.Mutex // one event at a time, and none after the end
		over := false
		req.Events = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				events(e)
			}
		}
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			over = true
		}()
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("the agent ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				o.err = panicked(p)
			}
			done <- o
		}()
		o.answer, o.err = h.Agent.Ask(ctx, req)
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		select {
		case o = <-done:
		case <-time.After(grace):
			o.err = ctx.Err()
			h.logger().Error("the agent still runs after its time", "session_id", req.SessionID)
		}
	}
	if o.err != nil {
		return Answer{}, asError(o.err)
	}
	o.answer.SessionID = req.SessionID
	if o.answer.ToolCalls == nil {
		o.answer.ToolCalls = []ToolCall{}
	}
	return o.answer, nil
}
