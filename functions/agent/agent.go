package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
	"agentcore-mcp-auth/pkg/trigger"
)

// agent answers requests. Its clients, token sources and sessions are made once
// per process; nothing of a request outlives it.
type agent struct {
	loop   converse.Loop
	box    *toolbox.Toolbox
	logger *slog.Logger
}

func newAgent(cfg aws.Config, s settings, logger *slog.Logger) *agent {
	store := &credstore.Store{API: ssm.NewFromConfig(cfg), Prefix: s.prefix}
	base := newTransport()
	for i := range s.servers {
		server := &s.servers[i]
		r := &resolver{set: store.Set(server.Name), auth: s.auth[server.Name], runtimeBase: s.runtimeBase, base: base, logger: logger}
		server.Resolve = r.resolve
	}
	loop := s.loop
	loop.Model = bedrockruntime.NewFromConfig(cfg)
	return &agent{loop: loop, box: toolbox.New(s.servers, toolbox.Options{Logger: logger}), logger: logger}
}

// newTransport is for the MCP servers: many calls at once to one host, and idle
// connections given up before the other side does.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     50 * time.Second,
		ForceAttemptHTTP2:   true,
	}
}

// resolver finds one MCP server and authenticates to it. The toolbox calls it
// once at a time.
type resolver struct {
	set         *credstore.Set
	auth        string
	runtimeBase string
	base        http.RoundTripper
	logger      *slog.Logger

	url    string
	source *tokensource.Source // for url
}

// resolve reads the server's parameters and returns where it is. The token
// source, which reads the same set, is kept for as long as the server stays
// where it is.
func (r *resolver) resolve(ctx context.Context) (toolbox.Endpoint, error) {
	c, err := r.set.Refresh(ctx)
	if err != nil {
		return toolbox.Endpoint{}, parameterError(r.set.Path(), err)
	}
	setting := "parameter " + r.set.Path() + credstore.Endpoint
	if c.Endpoint == "" {
		return toolbox.Endpoint{}, &tokensource.ConfigError{Setting: setting, Err: errors.New("not there: it holds the ARN of the server's runtime, or its URL")}
	}
	e := toolbox.Endpoint{URL: c.Endpoint}
	if agentcore.IsARN(c.Endpoint) {
		e.SteadySession = true
		if e.URL, err = agentcore.InvocationURL(c.Endpoint, "", r.runtimeBase); err != nil {
			return toolbox.Endpoint{}, &tokensource.ConfigError{Setting: setting, Err: err}
		}
	}
	if r.auth == authNone {
		e.Client = &http.Client{Transport: r.base, CheckRedirect: refuseRedirect}
		return e, nil
	}
	if r.source == nil || r.url != e.URL {
		source, err := tokensource.New(tokensource.Config{Credentials: r.set, Resource: e.URL, Base: r.base, Logger: r.logger})
		if err != nil {
			return toolbox.Endpoint{}, &tokensource.ConfigError{Setting: setting, Err: err}
		}
		r.url, r.source = e.URL, source
	}
	e.Client = r.source.Client()
	return e, nil
}

func refuseRedirect(req *http.Request, _ []*http.Request) error {
	return fmt.Errorf("refusing a redirect to %s", req.URL.Host)
}

// parameterError sorts what Parameter Store answers into what an operator has
// to mend and what may pass.
func parameterError(path string, err error) error {
	var api smithy.APIError
	if errors.Is(err, credstore.ErrNotFound) || errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException" {
		return &tokensource.ConfigError{Setting: "parameters " + path, Err: err}
	}
	return &tokensource.UnavailableError{Doing: "reading parameters " + path, Err: err}
}

// Ask answers one request.
func (a *agent) Ask(ctx context.Context, req trigger.Request) (trigger.Answer, error) {
	tools := &requestTools{box: a.box}
	got, err := a.loop.Run(ctx, req.Prompt, tools)
	answer := trigger.Answer{
		Output:      got.Output,
		StopReason:  got.StopReason,
		Turns:       got.Turns,
		Usage:       trigger.Usage{InputTokens: got.Usage.InputTokens, OutputTokens: got.Usage.OutputTokens},
		Unavailable: tools.unavailable,
	}
	for _, c := range got.ToolCalls {
		t, _ := a.box.Lookup(c.Name)
		answer.ToolCalls = append(answer.ToolCalls, trigger.ToolCall{
			Server: t.Server, Tool: cmp.Or(t.Tool, c.Name), DurationMS: c.Duration.Milliseconds(), Error: c.IsError,
		})
	}
	if err != nil {
		return answer, requestError(err, answer.Usage)
	}
	a.logger.Info("answered", "session_id", req.SessionID, "stop_reason", answer.StopReason, "turns", answer.Turns,
		"tool_calls", len(answer.ToolCalls), "input_tokens", answer.Usage.InputTokens, "output_tokens", answer.Usage.OutputTokens)
	return answer, nil
}

// requestTools offers the toolbox to one conversation.
type requestTools struct {
	box *toolbox.Toolbox

	mu          sync.Mutex // guards what follows
	unavailable []string
}

func (r *requestTools) Tools(ctx context.Context) ([]converse.Tool, error) {
	catalogue, unavailable, err := r.box.Tools(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.unavailable = unavailable
	r.mu.Unlock()
	tools := make([]converse.Tool, len(catalogue))
	for i, t := range catalogue {
		tools[i] = converse.Tool{Name: t.Name, Description: t.Description, InputSchema: t.InputSchema}
	}
	return tools, nil
}

// Call runs a tool. What a credential is to blame for ends the conversation,
// because the model cannot mend it; every other failure is the model's to read.
func (r *requestTools) Call(ctx context.Context, name string, input json.RawMessage) (converse.Result, error) {
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
