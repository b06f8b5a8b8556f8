package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// maxStuck is how many calls of one tool may have been given up and still run
// before further calls of it are refused. They cannot be stopped, only counted.
const maxStuck = 64

// The ways in which a call ends early.
var (
	errTimeout  = errors.New("no answer in time")
	errStopping = errors.New("the server is stopping")
	errStuck    = errors.New("earlier calls hang")
	errExit     = errors.New("the handler ended its goroutine")
)

// panicError is a handler's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// contain installs middleware in s that keeps the faults of handlers away from
// callers and from each other. Requests that come by another transport pass
// through it untouched.
func (h *Handler) contain(s *server.MCPServer) {
	s.Use(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
		return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			c := callFrom(ctx)
			if c == nil {
				return next(ctx, req)
			}
			if result := h.checkArguments(ctx, c, &req); result != nil {
				c.outcome = "invalid_arguments"
				return result, nil
			}
			result, err := run(ctx, h, "tool "+req.Params.Name, func(ctx context.Context) (*mcp.CallToolResult, error) {
				return next(ctx, req)
			})
			if err == nil {
				if result != nil && result.IsError {
					c.outcome = "tool_error"
				}
				return result, nil
			}
			if asksClient(err) {
				return nil, err
			}
			text := c.fail(ctx, err)
			if c.missing != "" && c.modern {
				return nil, err // see mask
			}
			// The model sees a tool error and may try something else; a JSON-RPC
			// error would end the turn in many clients.
			return mcp.NewToolResultError(text), nil
		}
	})
	server.WithPromptHandlerMiddleware(func(next server.PromptHandlerFunc) server.PromptHandlerFunc {
		return func(ctx context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return guard(ctx, h, "prompt "+req.Params.Name, func(ctx context.Context) (*mcp.GetPromptResult, error) {
				return next(ctx, req)
			})
		}
	})(s)
	server.WithResourceHandlerMiddleware(func(next server.ResourceHandlerFunc) server.ResourceHandlerFunc {
		return func(ctx context.Context, req mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			return guard(ctx, h, "resources", func(ctx context.Context) ([]mcp.ResourceContents, error) {
				return next(ctx, req)
			})
		}
	})(s)
}

// guard runs the handler of a prompt or a resource.
func guard[T any](ctx context.Context, h *Handler, name string, f func(context.Context) (T, error)) (T, error) {
	c := callFrom(ctx)
	if c == nil {
		return f(ctx)
	}
	v, err := run(ctx, h, name, f)
	if err != nil && !asksClient(err) {
		err = errors.New(c.fail(ctx, err))
	}
	return v, err
}

// asksClient reports whether a handler's error is no failure but asks the
// client to do something, in a form that mcp-go knows.
func asksClient(err error) bool {
	value, pointer := mcp.URLElicitationRequiredError{}, (*mcp.URLElicitationRequiredError)(nil)
	return errors.As(err, &value) || errors.As(err, &pointer)
}

// run runs f until it returns, panics, runs out of time, or its caller hangs
// up. f keeps running when it is given up, so it owns what it was given.
func run[T any](ctx context.Context, h *Handler, name string, f func(context.Context) (T, error)) (T, error) {
	var none T
	if !h.mayRun(name) {
		return none, errStuck
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.cfg.CallTimeout, errTimeout)
	defer cancel()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errExit}
		defer func() {
			if p := recover(); p != nil {
				r = result{err: &panicError{p, debug.Stack()}}
			}
			done <- r
		}()
		r.v, r.err = f(ctx)
	}()
	var err error
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-h.cut.Done():
		err = errStopping
	}
	h.addStuck(name, 1)
	go func() {
		<-done
		h.addStuck(name, -1)
	}()
	return none, err
}

func (h *Handler) mayRun(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stuck[name] < maxStuck
}

func (h *Handler) addStuck(name string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stuck[name] += n; h.stuck[name] == 0 {
		delete(h.stuck, name)
	}
}

// checkArguments puts the arguments as they were sent into req and checks them
// against the tool's input schema. It returns a tool error when they do not
// fit, so that the model can mend them
// (https://modelcontextprotocol.io/seps/1303-input-validation-errors-as-tool-execution-errors).
func (h *Handler) checkArguments(ctx context.Context, c *call, req *mcp.CallToolRequest) *mcp.CallToolResult {
	if c.msg.huge {
		return mcp.NewToolResultError(fmt.Sprintf("invalid arguments: a number is too long: at most %d digits are possible once it is written out, "+
			"and %d for all that have an exponent beyond 400", maxNumber, maxZeros))
	}
	raw := c.arguments()
	if tool := h.mcp.GetTool(req.Params.Name); tool != nil { // otherwise it has just been deleted
		schema, err := h.schemas.compiled(tool.Tool)
		if err != nil {
			return mcp.NewToolResultError(c.fail(ctx, fmt.Errorf("input schema of tool %s: %w", tool.Tool.Name, err)))
		}
		if wrong := schema.check(raw); wrong != "" {
			return mcp.NewToolResultError(wrong)
		}
	}
	req.Params.RawArguments = raw
	if c.msg.wide != nil {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var doc any
		if err := d.Decode(&doc); err != nil {
			return mcp.NewToolResultError("invalid arguments: they are not JSON")
		}
		req.Params.Arguments = floats(doc)
	}
	return nil
}

// floats turns numbers into float64, as mcp-go decodes them, where they fit,
// and leaves those beyond it as they are. It changes v in place.
func floats(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = floats(e)
		}
	case []any:
		for i, e := range v {
			v[i] = floats(e)
		}
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}
