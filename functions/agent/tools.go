package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"agentcore-mcp-auth/pkg/calculator"
	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/toolbox"
	"agentcore-mcp-auth/pkg/trigger"
)

// direct is the name that answers give the server of a tool in the agent's own
// process.
const direct = "direct"

// requestTools offers the tools of the MCP servers and those in this process to
// one conversation. Call Tools before the other methods.
type requestTools struct {
	box    *toolbox.Toolbox
	direct []calculator.Tool
	only   []string // names of the only tools to offer, the model's or the server's; nil: all

	unavailable []string
	inProcess   map[string]calculator.Tool // by the name that the model sees
}

// Tools lists all tools. If a tool in this process has the name of an MCP
// server's tool, it gets a prefix.
func (r *requestTools) Tools(ctx context.Context) ([]converse.Tool, error) {
	catalogue, unavailable, err := r.box.Tools(ctx)
	if err != nil {
		return nil, err
	}
	r.unavailable = unavailable
	tools := make([]converse.Tool, 0, len(catalogue)+len(r.direct))
	for _, t := range catalogue {
		if !r.offers(t.Name, t.Tool) {
			continue
		}
		tools = append(tools, converse.Tool{Name: t.Name, Description: t.Description, InputSchema: t.InputSchema})
	}
	r.inProcess = make(map[string]calculator.Tool, len(r.direct))
	for _, t := range r.direct {
		name := t.Name
		if slices.ContainsFunc(catalogue, func(o toolbox.Tool) bool { return o.Name == name }) {
			name = direct + "__" + name
		}
		if !r.offers(name, t.Name) {
			continue
		}
		r.inProcess[name] = t
		tools = append(tools, converse.Tool{Name: name, Description: t.Description, InputSchema: t.InputSchema})
	}
	return tools, nil
}

// offers reports whether a tool with these names may be offered. A tool that is
// not offered cannot be called.
func (r *requestTools) offers(names ...string) bool {
	return r.only == nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(r.only, n) })
}

// event turns e into what streaming callers see: tools with their servers, and
// no tool results, which are for the model.
func (r *requestTools) event(e converse.Event) trigger.Event {
	server, tool := r.origin(e.Tool)
	switch e.Kind {
	case converse.EventToolUse:
		return trigger.ToolUse{ID: e.ID, Server: server, Tool: tool, Input: e.Input}
	case converse.EventToolResult:
		return trigger.ToolResult{ID: e.ID, Server: server, Tool: tool, DurationMS: e.Duration.Milliseconds(), Error: e.IsError}
	case converse.EventUsage:
		return trigger.Usage{InputTokens: e.Usage.InputTokens, OutputTokens: e.Usage.OutputTokens}
	default:
		return trigger.Delta{Text: e.Text}
	}
}

// Call runs a tool. A failure of the credentials ends the conversation, because
// the model cannot mend it; every other failure is for the model to read.
func (r *requestTools) Call(ctx context.Context, name string, input json.RawMessage) (converse.Result, error) {
	if t, ok := r.inProcess[name]; ok {
		text, err := t.Call(ctx, input)
		if err != nil {
			return converse.Result{Text: err.Error(), IsError: true}, nil
		}
		return converse.Result{Text: text}, nil
	}
	result, err := r.box.Call(ctx, name, input)
	switch {
	case err == nil:
		return converse.Result{Text: result.Text, IsError: result.IsError}, nil
	case ctx.Err() != nil, isCredentialError(err):
		return converse.Result{}, err
	default:
		return converse.Result{Text: err.Error(), IsError: true}, nil
	}
}

// origin returns a tool's server and its name there.
func (r *requestTools) origin(name string) (server, tool string) {
	if t, ok := r.inProcess[name]; ok {
		return direct, t.Name
	}
	t, _ := r.box.Lookup(name)
	return t.Server, cmp.Or(t.Tool, name)
}
