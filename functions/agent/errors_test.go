package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/toolbox"
	"agentcore-mcp-auth/pkg/trigger"
)

// A connection attempt that timed out has the error of an ended context. The
// error code blames the other side, unless the request's own time is over.
func TestRequestError_time(t *testing.T) {
	dialer := net.Dialer{Timeout: time.Nanosecond}
	_, slow := dialer.Dial("tcp", "127.0.0.1:1")
	if !errors.Is(slow, context.DeadlineExceeded) {
		t.Fatalf("got %v, want a timeout", slow)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	server := &toolbox.ServerError{Server: "search", Err: fmt.Errorf("connecting: %w", slow)}
	model := &converse.ModelError{Kind: converse.Unavailable, Err: slow}
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want trigger.Code
	}{
		{t.Context(), server, trigger.MCPUnavailable},
		{t.Context(), model, trigger.ModelUnavailable},
		{t.Context(), &converse.DeadlineError{Doing: "a model call"}, trigger.DeadlineExceeded},
		{over, server, trigger.DeadlineExceeded},
		{over, fmt.Errorf("waiting for the model: %w", over.Err()), trigger.DeadlineExceeded},
	} {
		usage := trigger.Usage{InputTokens: 7}
		got, ok := errors.AsType[*trigger.Error](requestError(tt.ctx, tt.err, usage))
		if !ok || got.Code != tt.want || got.Usage != usage {
			t.Errorf("%v, context %v: got %+v, want %s", tt.err, tt.ctx.Err(), got, tt.want)
		}
	}
}
