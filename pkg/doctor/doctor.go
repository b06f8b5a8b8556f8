// Package doctor finds out why an agent does not get through to an MCP server
// that wants machine credentials, and what to do about it.
//
// [Examine] follows the way of a request, from the caller's AWS credentials
// to a tool call: parameters, discovery document, app client, token, runtime,
// authorizer, MCP. Each stop is one [Check]. One that fails says what was
// expected, what was found, the likely cause and the next command. Checks that
// depend on a failed one are skipped, so the first failure is the one to mend.
//
// [Explain] says the same of a single refusal: an HTTP answer, an error text, or
// a token.
//
// Nothing that is returned holds a secret or a token.
//
// Runnable examples are in example_test.go; they need no AWS account.
package doctor

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	cognito "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// Status is how a check ended.
type Status string

// The statuses.
const (
	Pass Status = "pass"
	Warn Status = "warn" // works, or could not be examined
	Fail Status = "fail"
	Skip Status = "skip" // not examined
)

// Check is one stop on the way.
type Check struct {
	ID       string `json:"id"` // such as parameter.cognito_secret
	Status   Status `json:"status"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Cause    string `json:"cause,omitempty"` // the likely cause; for Skip the reason
	Next     string `json:"next,omitempty"`  // a command line

	// Repair fixes a failure without harm to what works; nil: none is known.
	Repair *Repair `json:"-"`
}

// Repair says what to write to fix a failure.
type Repair struct {
	Delete  []string          // parameters of a wrong type, which overwriting would keep
	Write   map[string]string // right values of parameters that are not secret
	Restore bool              // what provisioning made, as recorded
	Rotate  bool              // the client secret
}

// Config says what to examine.
type Config struct {
	AWS    aws.Config
	Name   string // of the MCP server; default: the stack's McpName
	Prefix string // of its parameters; default: the stack's, or credstore.DefaultPrefix

	// Stack is a stack of this project's template. Its outputs are compared with
	// what is recorded. Empty: there is none.
	Stack string

	// Model is asked for one token, which costs. Empty: no model is asked.
	Model string

	// RuntimeBase is the base URL that runtimes are invoked at, as in
	// [agentcore.InvocationURL]; empty: AWS.
	RuntimeBase string

	// IssuerHosts are hosts beside Cognito's that may get the client secret, as
	// in [tokensource.Config].
	IssuerHosts []string

	// Timeout bounds each request to the MCP server. All other requests have the
	// same limit, but at most ten seconds. The default is 40 s, because a cold
	// container may take 30 s to start.
	Timeout time.Duration

	Flags []string    // appended to suggested commands of this project: flags and their values, such as --profile and dev
	Each  func(Check) // called with every check as it ends; may be nil
}

// Report is the result of Examine.
type Report struct {
	Name, Prefix, Region string
	Checks               []Check
}

// Count is the number of checks with this status.
func (r Report) Count(s Status) (n int) {
	for _, c := range r.Checks {
		if c.Status == s {
			n++
		}
	}
	return n
}

// First returns the first check that failed, or nil.
func (r Report) First() *Check {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Status == Fail })
	if i < 0 {
		return nil
	}
	return &r.Checks[i]
}

// exam is the state of one examination.
type exam struct {
	cfg    Config
	advice advice
	http   *http.Client // without credentials; it follows no redirects
	ended  func() error // returns the reason to stop, or nil
	checks []Check
	root   map[string]string // the failed check that a check depends on, by the check's id

	identity, account string // of the caller
	stack             *Stack
	parameters        map[string]parameter
	document          document // of the issuer
	client            *cognito.UserPoolClientType
	token             credstore.Secret
	claims            claims
	endpoint          endpoint
	runtime           *control.GetAgentRuntimeOutput
	server            *conversation
}

// Examine makes all checks. It changes nothing, and sends requests only to the
// services that an agent calls, to CloudFormation and to the control planes. When
// ctx ends, the checks that are left are skipped.
func Examine(ctx context.Context, cfg Config) Report {
	e := newExam(ctx, cfg)
	e.examineAccount(ctx)
	e.examineParameters(ctx)
	e.examineIssuer(ctx)
	e.examineClient(ctx)
	e.examineToken(ctx)
	e.examineEndpoint(ctx)
	e.examineRuntime(ctx)
	e.examineServer(ctx)
	e.examineModel(ctx)
	return Report{Name: e.cfg.Name, Prefix: e.cfg.Prefix, Region: e.cfg.AWS.Region, Checks: e.checks}
}

func newExam(ctx context.Context, cfg Config) *exam {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 40 * time.Second
	}
	// Report a throttle soon: somebody is waiting.
	cfg.AWS.Retryer = func() aws.Retryer {
		return retry.AddWithMaxBackoffDelay(retry.AddWithMaxAttempts(retry.NewStandard(), 2), 200*time.Millisecond)
	}
	e := &exam{cfg: cfg, root: map[string]string{}, ended: ctx.Err}
	e.http = &http.Client{Timeout: e.patience(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	e.advice = newAdvice(cfg)
	return e
}

// patience returns the time limit for services without a cold start.
func (e *exam) patience() time.Duration { return min(e.cfg.Timeout, 10*time.Second) }

// step makes one check, unless a check that it needs failed or was skipped
// because of a failure.
func (e *exam) step(id string, check func() Check, needs ...string) {
	var c Check
	root := ""
	for _, n := range needs {
		if root = e.root[n]; root != "" {
			break
		}
	}
	switch {
	case e.ended() != nil:
	case root != "":
		c = skip(root + " failed")
	default:
		if c = check(); c.Status == Fail {
			root = id
		}
	}
	if err := e.ended(); err != nil { // a check that ctx cut off has not failed
		c, root = skip(err.Error()), id
	}
	c.ID = id
	if root != "" {
		e.root[id] = root
	}
	e.checks = append(e.checks, c)
	if e.cfg.Each != nil {
		e.cfg.Each(c)
	}
}

// done adds checks that have been made already.
func (e *exam) done(checks []Check) {
	for _, c := range checks {
		e.step(c.ID, func() Check { return c })
	}
}

// failed reports whether any of these checks failed, or was skipped because of a
// failure.
func (e *exam) failed(ids ...string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return e.root[id] != "" })
}

func pass(found string) Check  { return Check{Status: Pass, Found: found} }
func skip(reason string) Check { return Check{Status: Skip, Cause: reason} }
