package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/calculator"
	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
	"agentcore-mcp-auth/pkg/trigger"
)

// agent answers requests. Its clients, token sources and sessions last as long
// as the process. It keeps nothing of a request.
type agent struct {
	loop   *converse.Loop
	box    *toolbox.Toolbox
	direct []calculator.Tool // run in this process
	logger *slog.Logger
}

func newAgent(cfg aws.Config, s settings, logger *slog.Logger) *agent {
	store := &credstore.Store{API: ssm.NewFromConfig(cfg), Prefix: s.prefix}
	base := newTransport()
	for i := range s.servers {
		server := &s.servers[i]
		r := &resolver{
			aws: cfg, set: store.Set(server.Name), auth: s.auth[server.Name], issuerHosts: s.issuerHosts,
			runtimeBase: s.runtimeBase, base: base, logger: logger,
		}
		server.Resolve = r.resolve
	}
	s.toolbox.Logger = logger
	loop := s.loop
	loop.Model = bedrockruntime.NewFromConfig(cfg, func(o *bedrockruntime.Options) { o.HTTPClient = plainBodies{o.HTTPClient} })
	loop.Logger = logger
	a := &agent{loop: converse.New(loop), box: toolbox.New(s.servers, s.toolbox), logger: logger}
	if s.directTools {
		a.direct = calculator.Tools()
	}
	return a
}

// plainBodies sends requests whose body is only read. The SDK's own body
// (smithy-go v1.28.8) fails its WriteTo when the answer begins before the body
// was seen to end; net/http then cuts the connection, and with it a stream.
type plainBodies struct{ bedrockruntime.HTTPClient }

func (c plainBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
	return c.HTTPClient.Do(req)
}

// newTransport returns a transport for MCP servers: it allows many concurrent
// calls to one host, and closes idle connections before the other side does.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     50 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}, // notices a connection that died in a freeze
	}
}

// resolver finds one MCP server and authenticates to it. The toolbox never calls
// it concurrently.
type resolver struct {
	aws         aws.Config
	set         *credstore.Set
	auth        string
	issuerHosts []string
	runtimeBase string
	base        http.RoundTripper
	logger      *slog.Logger

	last   credstore.Credentials // as read last
	url    string
	source *tokensource.Source // for url
}

// resolve reads the server's parameters and returns its address. If they cannot
// be read now but have been before, it returns the last address. It keeps the
// token source, which reads the same set, for as long as the address does not
// change.
func (r *resolver) resolve(ctx context.Context) (toolbox.Endpoint, error) {
	c, err := r.set.Refresh(ctx)
	if err != nil {
		err = tokensource.ReadError(r.set.Path(), err)
		if r.last.Endpoint == "" || !errors.As(err, new(*tokensource.UnavailableError)) {
			return toolbox.Endpoint{}, err
		}
		r.logger.Warn("calling the MCP server where it was", "error", err)
		c = r.last
	}
	r.last = c
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
	if e.Client, err = r.client(e.URL); err != nil {
		return toolbox.Endpoint{}, &tokensource.ConfigError{Setting: setting, Err: err}
	}
	return e, nil
}

// client returns a client that authenticates to the server at url as MCP_AUTH
// says.
func (r *resolver) client(url string) (*http.Client, error) {
	switch r.auth {
	case authNone:
		return &http.Client{Transport: r.base}, nil
	case authIAM:
		sign := tokensource.IAM{Credentials: r.aws.Credentials, Resource: url, Base: r.base}
		if r.runtimeBase != "" {
			sign.Region = r.aws.Region // the host of an override does not contain the region
		}
		return sign.Client()
	}
	if r.source == nil || r.url != url {
		source, err := tokensource.New(tokensource.Config{
			Credentials: r.set, Resource: url, User: r.auth == authUser, IssuerHosts: r.issuerHosts, Base: r.base, Logger: r.logger,
		})
		if err != nil {
			return nil, err
		}
		r.url, r.source = url, source
	}
	return r.source.Client(), nil
}

// Ask answers one request.
func (a *agent) Ask(ctx context.Context, req trigger.Request) (trigger.Answer, error) {
	tools := &requestTools{box: a.box, direct: a.direct, only: req.Tools}
	ask := converse.Request{Prompt: req.Prompt}
	for _, m := range req.Messages {
		ask.Messages = append(ask.Messages, converse.Message{Role: m.Role, Text: m.Text})
	}
	if req.Events != nil {
		ask.Events = func(e converse.Event) { req.Events(tools.event(e)) }
	}
	got, err := a.loop.Run(ctx, ask, tools)
	answer := trigger.Answer{
		Output:      got.Output,
		StopReason:  got.StopReason,
		Turns:       got.Turns,
		Usage:       trigger.Usage{InputTokens: got.Usage.InputTokens, OutputTokens: got.Usage.OutputTokens},
		Unavailable: tools.unavailable,
	}
	for _, c := range got.ToolCalls {
		server, tool := tools.origin(c.Name)
		answer.ToolCalls = append(answer.ToolCalls, trigger.ToolCall{
			Server: server, Tool: tool, DurationMS: c.Duration.Milliseconds(), Error: c.IsError,
		})
	}
	if err != nil {
		return answer, requestError(ctx, err, answer.Usage)
	}
	a.logger.Info("answered", "session_id", req.SessionID, "stop_reason", answer.StopReason, "turns", answer.Turns,
		"tool_calls", len(answer.ToolCalls), "input_tokens", answer.Usage.InputTokens, "output_tokens", answer.Usage.OutputTokens)
	return answer, nil
}
