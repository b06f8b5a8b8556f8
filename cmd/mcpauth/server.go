package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
)

// The ways to authenticate to an MCP server, as the agent's MCP_AUTH names them.
const (
	authMachine = "m2m"
	authUser    = "user"
	authIAM     = "iam"
	authNone    = "none"
)

// patience is the default time limit of a command that asks a server or a token
// endpoint. A container may need 30 seconds to start.
const patience = time.Minute

// server is the MCP server that a command talks to, and how it does.
type server struct {
	target
	url         string
	auth        string
	bearerEnv   string
	issuerHosts []string
	timeout     time.Duration

	at      string  // the recorded endpoint
	witness witness // watches the requests to it
}

func (s *server) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.name, "mcp-name", "", "name of the MCP server; its endpoint is recorded under it")
	f.StringVar(&s.url, "url", "", "URL or runtime ARN of an MCP server, in place of a name")
	f.StringVar(&s.auth, "auth", "", "m2m, user, iam or none; default: m2m for a name, none for a URL")
	f.StringVar(&s.bearerEnv, "bearer-env", "", "environment variable with a bearer token to send instead")
	cmd.MarkFlagsOneRequired("mcp-name", "url")
	cmd.MarkFlagsMutuallyExclusive("mcp-name", "url")
	cmd.MarkFlagsMutuallyExclusive("auth", "bearer-env")
	completeValues(cmd, "auth", authMachine, authUser, authIAM, authNone)
	s.sourceFlags(cmd)
	s.completeNames(cmd)
}

// sourceFlags adds the flags of a token source, the name excepted.
func (s *server) sourceFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&s.issuerHosts, "issuer-host", nil, "host of an issuer other than Cognito that may get the credentials")
	f.DurationVar(&s.timeout, "timeout", patience, "time limit of the whole command")
	s.awsFlags(cmd)
}

// check refuses flags that contradict each other, before any request is sent.
func (s *server) check() error {
	if s.auth == "" {
		s.auth = authNone
		if s.name != "" {
			s.auth = authMachine
		}
	}
	switch {
	case !slices.Contains([]string{authMachine, authUser, authIAM, authNone}, s.auth):
		return usagef("--auth %.40q: want m2m, user, iam or none", s.auth)
	case s.url != "" && (s.auth == authMachine || s.auth == authUser):
		return usagef("--auth %s needs --mcp-name, under which its credentials are recorded", s.auth)
	case s.bearerEnv != "" && os.Getenv(s.bearerEnv) == "":
		return usagef("--bearer-env: there is no environment variable %.80q, or it is empty", s.bearerEnv)
	case s.timeout <= 0:
		return usagef("--timeout %s: want more than 0", s.timeout)
	}
	if s.url != "" {
		_, err := locate(s.url)
		return err
	}
	return nil
}

// locate turns a recorded or given endpoint into the server's address.
func locate(endpoint string) (toolbox.Endpoint, error) {
	e := toolbox.Endpoint{URL: endpoint}
	if agentcore.IsARN(endpoint) {
		e.SteadySession = true
		var err error
		if e.URL, err = agentcore.InvocationURL(endpoint, "", runtimeBase()); err != nil {
			return e, &usageError{err}
		}
	}
	u, err := parseURL(e.URL)
	if err != nil {
		return e, err
	}
	if u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return e, usagef("%.200q: want an https URL (http only on a loopback address) or a runtime ARN", endpoint)
	}
	return e, nil
}

// parseURL parses a URL and refuses one with a user or password. Its errors do
// not quote the URL.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, usagef("the URL cannot be read: %w", errors.Unwrap(err))
	}
	if u.User != nil {
		return nil, usagef("the URL has a user name or a password in it: leave it out")
	}
	return u, nil
}

// runtimeBase returns the base URL that runtimes are invoked at; "" means AWS.
func runtimeBase() string {
	return cmp.Or(os.Getenv("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"), os.Getenv("AWS_ENDPOINT_URL"))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// open prepares the session to the server; so far it only reads Parameter Store.
// The caller closes the toolbox.
func (s *server) open(ctx context.Context, logger *slog.Logger) (*toolbox.Toolbox, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	e := toolbox.Endpoint{URL: s.url}
	var cfg aws.Config
	var err error
	if s.name != "" || s.auth == authIAM {
		if cfg, err = s.load(ctx); err != nil {
			return nil, err
		}
	}
	var set *credstore.Set
	if s.name != "" {
		var c credstore.Credentials
		if set, c, err = s.read(ctx, cfg); err != nil {
			return nil, err
		}
		s.at = c.Endpoint
		if e.URL = c.Endpoint; e.URL == "" {
			return nil, fmt.Errorf("%s%s is not recorded; see how to record it with: %s", set.Path(), credstore.Endpoint, s.command("doctor"))
		}
	}
	if e, err = locate(e.URL); err != nil {
		return nil, err
	}
	if e.Client, err = s.client(cfg, set, e.URL, logger); err != nil {
		return nil, err
	}
	s.witness.next = cmp.Or(e.Client.Transport, http.DefaultTransport)
	e.Client.Transport = &s.witness
	name := cmp.Or(s.name, "at "+s.url)
	return toolbox.New([]toolbox.Server{{
		Name: name, Allow: []string{"*"}, Resolve: func(context.Context) (toolbox.Endpoint, error) { return e, nil },
	}}, toolbox.Options{Logger: logger}), nil
}

// client returns a client that authenticates to the server at resource.
func (s *server) client(cfg aws.Config, set *credstore.Set, resource string, logger *slog.Logger) (*http.Client, error) {
	switch {
	case s.bearerEnv != "":
		return &http.Client{Transport: &bearer{credstore.NewSecret(os.Getenv(s.bearerEnv)), resource}}, nil
	case s.auth == authNone:
		return &http.Client{}, nil
	case s.auth == authIAM:
		sign := tokensource.IAM{Credentials: cfg.Credentials, Resource: resource}
		if runtimeBase() != "" {
			sign.Region = cfg.Region // the host of an override does not contain the region
		}
		return sign.Client()
	}
	source, err := s.source(set, resource, logger)
	if err != nil {
		return nil, err
	}
	return source.Client(), nil
}

// read reads the server's parameters.
func (s *server) read(ctx context.Context, cfg aws.Config) (*credstore.Set, credstore.Credentials, error) {
	set := (&credstore.Store{API: ssm.NewFromConfig(cfg), Prefix: s.prefix}).Set(s.name)
	c, err := set.Refresh(ctx)
	var missing *credstore.MissingError
	if err == nil && s.auth == authMachine && errors.As(c.Machine(), &missing) {
		return nil, c, fmt.Errorf("%w below %s; mend it with: %s", missing, set.Path(), s.command("doctor", "--fix"))
	}
	if err == nil && s.auth == authUser && c.UserClientID == "" {
		return nil, c, fmt.Errorf("%s has no test user; make one with: %s", s.name, s.command("setup", "--auth", "user"))
	}
	if err == nil && c.Endpoint != "" {
		if _, wrong := locate(c.Endpoint); wrong != nil { // the record is wrong, not the call
			return nil, c, fmt.Errorf("%s%s: %v; see how to record it again with: %s", set.Path(), credstore.Endpoint, wrong, s.command("doctor"))
		}
	}
	return set, c, s.setUp(err)
}

func (s *server) source(set *credstore.Set, resource string, logger *slog.Logger) (*tokensource.Source, error) {
	return tokensource.New(tokensource.Config{
		Credentials: set, Resource: resource, User: s.auth == authUser, IssuerHosts: s.issuerHosts, Logger: logger,
	})
}

// advise adds the next step to an error from a request to the server.
func (s *server) advise(err error) error {
	var refused *tokensource.RefusedError
	var challenge *tokensource.ChallengeError
	var platform *agentcore.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		if last := s.witness.last(); last != nil {
			return fmt.Errorf("%w; it did not pass within %s, allow more with --timeout", last, s.timeout)
		}
		return fmt.Errorf("no answer from %s within %s, allow more with --timeout", cmp.Or(s.name, s.url), s.timeout)
	case s.name != "" && (errors.As(err, &refused) || errors.As(err, &challenge) || errors.As(err, &platform)):
		return fmt.Errorf("%w; find the failing check with: %s", err, s.command("doctor"))
	case errors.Is(err, syscall.ECONNREFUSED) && s.url != "":
		return fmt.Errorf("%w; nothing listens there: start the server, or mend --url", err)
	case errors.Is(err, syscall.ECONNREFUSED) && s.at != "" && !errors.As(err, new(*tokensource.UnavailableError)):
		return fmt.Errorf("%w; nothing listens at %s: start the server, or see what else may be wrong with: %s", err, s.at, s.command("doctor"))
	case s.auth == authNone && errors.As(err, &platform) && platform.Unauthorized():
		return fmt.Errorf("%w; authenticate with --mcp-name, --bearer-env or --auth iam", err)
	}
	return err
}

// bearer sends a given token, to the server and nowhere else.
type bearer struct {
	token    credstore.Secret
	resource string
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	u, err := url.Parse(b.resource)
	if err != nil || req.URL.Host != u.Host || req.URL.Scheme != u.Scheme {
		return nil, fmt.Errorf("refusing to send the token to %s://%s", req.URL.Scheme, req.URL.Host)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return http.DefaultTransport.RoundTrip(req)
}

// witness remembers how the last request failed. When the time limit ends a
// series of retries, this is the cause to report.
type witness struct {
	next http.RoundTripper

	mu     sync.Mutex
	failed error
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case req.Context().Err() != nil: // ended by us: says nothing about the server
	case err != nil:
		w.failed = err
	case resp.StatusCode >= 400:
		w.failed = fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	return resp, err
}

func (w *witness) last() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// newLogger logs to stderr with --verbose, and nowhere without.
func newLogger(cmd *cobra.Command) *slog.Logger {
	out := io.Discard
	if on, _ := cmd.Flags().GetBool("verbose"); on {
		out = cmd.ErrOrStderr()
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ask opens the server, passes it to f and closes it, all within the time limit.
func (s *server) ask(cmd *cobra.Command, f func(context.Context, *toolbox.Toolbox, []toolbox.Tool) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
	defer cancel()
	box, err := s.open(ctx, newLogger(cmd))
	if err != nil {
		return s.advise(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		box.Close(ctx)
	}()
	tools, _, err := box.Tools(ctx)
	if err != nil {
		return s.advise(err)
	}
	slices.SortFunc(tools, func(a, b toolbox.Tool) int { return strings.Compare(a.Tool, b.Tool) })
	return f(ctx, box, tools)
}
