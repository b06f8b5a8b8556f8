package provision

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
)

// CommandLine is the owner of what is set up without a stack.
const CommandLine = "mcpauth"

// Provisioner sets up and removes servers for one owner under one parameter
// prefix. It holds no state and is safe for concurrent use; copy it to change a
// field.
//
// Its locks are the parameters under {prefix}/.lock/, a name that no server can
// have.
type Provisioner struct {
	Cognito  *cognitoidentityprovider.Client
	SSM      *ssm.Client
	Region   string
	Endpoint string // address that stands in for AWS, without a trailing slash; empty against AWS

	Prefix   string // parameter path under which servers live; default credstore.DefaultPrefix
	Owner    string // who owns what is made: a stack's id, or CommandLine (the default)
	Resource string // logical id of the owner's resource that it belongs to, or empty

	Logger *slog.Logger // default: discard

	// Backoff is the pause before a repeated attempt, counted from 0. The
	// default doubles from 100 ms to 5 s; half of it is random.
	Backoff func(attempt int) time.Duration
	// Wait pauses between two looks at something that takes time. The default
	// waits for d. If ctx ends first, it returns ctx's error.
	Wait func(ctx context.Context, d time.Duration) error
	Now  func() time.Time // default time.Now
}

// New makes a Provisioner with clients of its own and the package's retries.
// Recorded addresses are built on cfg's BaseEndpoint if that is set.
func New(cfg aws.Config) *Provisioner {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = awshttp.NewBuildableClient().WithTimeout(attemptTimeout)
	}
	p := &Provisioner{Region: cfg.Region, Endpoint: strings.TrimSuffix(aws.ToString(cfg.BaseEndpoint), "/")}
	cfg.Retryer = func() aws.Retryer { return p.retryer(repeatable) }
	p.Cognito, p.SSM = cognitoidentityprovider.NewFromConfig(cfg), ssm.NewFromConfig(cfg)
	return p
}

// Result is what exists after a run. It never holds a secret.
type Result struct {
	UserPoolID    string
	ClientID      string
	DiscoveryURL  string
	Issuer        string
	TokenEndpoint string
	Scope         string // space separated
	ParameterPath string // with a trailing slash
	Username      string // of [Provisioner.EnsureUser] only

	// SecretSince is when the client secret that [Provisioner.Rotate] or
	// [Provisioner.Tidy] found was written.
	SecretSince time.Time

	// Changes has one line for each change that the run made or would make.
	Changes []string
}

// OwnedError says that something exists already and does not belong to this
// owner.
type OwnedError struct {
	What  string // "the parameters under /app/mcp/calc/"
	Owner string // empty: it has no owner's tag
}

func (e *OwnedError) Error() string {
	if e.Owner == "" {
		return e.What + " exist and belong to no known owner: take them over with Adopt (--adopt), or choose another name"
	}
	return e.What + " belong to " + e.Owner + ": choose another name or prefix"
}

// errAgain says that another run interfered: look again.
var errAgain = errors.New("another run made the same thing at the same time")

// errLock says that another app client replaces the recorded one, or another
// secret the published one. That overwrites parameters, so only a lock can
// decide between two runs.
var errLock = errors.New("the server's lock is needed")

// holdTime is how long readers wait for a run that died while it replaced an app
// client. It is longer than writing the parameters takes.
const holdTime = time.Minute

// Ensure makes what exists match d and returns what it changed. It does not
// touch what matches d already, nor what another owner owns: if that is in the
// way, the error is an [*OwnedError]. After any other error, what was made
// stays, and the next Ensure continues from there.
func (p *Provisioner) Ensure(ctx context.Context, d Desired) (Result, error) {
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	if d.UserPoolID == "" {
		// Other runs may be setting up or removing other servers in the pool
		// right now. If nothing has to change, no lock is needed.
		res, err := p.ensure(ctx, d, true)
		if err != nil || len(res.Changes) == 0 {
			return res, err
		}
		unlock, err := p.lock(ctx, p.poolLock())
		if err != nil {
			return Result{}, err
		}
		defer unlock()
	}
	return p.ensure(ctx, d, false)
}

// Plan returns what Ensure would do. It writes nothing.
func (p *Provisioner) Plan(ctx context.Context, d Desired) (Result, error) {
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	return p.ensure(ctx, d, true)
}

func (p *Provisioner) ensure(ctx context.Context, d Desired, dry bool) (Result, error) {
	var changes []string
	var poolID string
	lost, locked := false, false
	for attempt := 0; ; attempt++ {
		r := p.newRun(d, dry)
		r.lost, r.locked = lost, locked
		res, err := r.ensure(ctx)
		lost = lost || r.created
		changes = append(changes, r.changes...)
		res.Changes = changes
		poolID = cmp.Or(res.UserPoolID, poolID)
		if errors.Is(err, errLock) {
			unlock, err := p.lock(ctx, d.Name)
			if err != nil {
				return res, err
			}
			defer unlock()
			locked = true
			continue // and look again
		}
		if !isAgain(err) || attempt == 5 {
			if owned := (*OwnedError)(nil); errors.As(err, &owned) && lost {
				// Another owner's run was faster: remove what this one made.
				_, removeErr := p.newRun(d, false).removeFromPool(ctx, poolID, recorded{})
				err = errors.Join(err, removeErr)
			}
			return res, err
		}
		if err := p.wait(ctx, p.backoff(attempt)); err != nil {
			return res, fmt.Errorf("waiting for another run: %w", err)
		}
	}
}

// run is the state of one run.
type run struct {
	*Provisioner
	d       Desired
	dry     bool // only look
	sealed  bool // read no secrets
	changes []string

	locked    bool     // the run has the server's lock
	lost      bool     // this run made an app client, but another client's secret was published first
	created   bool     // the app client was made by this run
	published bool     // so was the secret's parameter, with a secret that needs no rotation
	surplus   []string // app clients of a concurrent or crashed run that are not needed
}

func (p *Provisioner) newRun(d Desired, dry bool) *run {
	if d.Scopes == nil {
		d.Scopes = []string{"invoke"}
	}
	d.AccessTokenMinutes = cmp.Or(d.AccessTokenMinutes, 60)
	return &run{Provisioner: p, d: d, dry: dry}
}

// change records a change and, except in a dry run, makes it.
func (r *run) change(what string, do func() error) error {
	r.changes = append(r.changes, what)
	if r.dry {
		return nil
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.logger().Info(what, "mcp_name", r.d.Name)
	return nil
}

func (r *run) ensure(ctx context.Context) (Result, error) {
	set, err := r.read(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := r.admit(set); err != nil {
		return Result{}, err
	}
	found := set // ensureSecret changes set
	pool, err := r.ensurePool(ctx, set)
	if err != nil {
		return Result{}, err
	}
	res := Result{UserPoolID: aws.ToString(pool.Id)}
	domain, err := r.ensureDomain(ctx, pool, set)
	if err != nil {
		return res, err
	}
	fresh, err := r.ensureResourceServer(ctx, pool, set)
	if err != nil {
		return res, err
	}
	client, err := r.ensureClient(ctx, pool, &set, fresh)
	if err != nil {
		return res, err
	}
	held := !set.HeldUntil.IsZero() // by a run that did not finish
	if set.ClientID != "" && set.ClientID != aws.ToString(client.ClientId) && !r.dry {
		if err := r.store().Hold(ctx, r.d.Name, r.now().Add(holdTime)); err != nil {
			return res, err
		}
		held = true
	}
	if err := r.ensureSecret(ctx, &set, client); err != nil {
		return res, err
	}
	for _, id := range r.surplus {
		if err := r.deleteClient(ctx, res.UserPoolID, id); err != nil {
			return res, err
		}
	}

	want := credstore.Credentials{
		ClientID:     aws.ToString(client.ClientId),
		ClientSecret: set.ClientSecret, // written by ensureSecret
		DiscoveryURL: r.issuer(res.UserPoolID) + openidConfiguration,
		Domain:       domain,
		UserPoolID:   res.UserPoolID,
		Scope:        strings.Join(r.scopes(), " "),
	}
	res.ClientID, res.DiscoveryURL, res.Scope = want.ClientID, want.DiscoveryURL, want.Scope
	res.Issuer, res.TokenEndpoint = r.issuer(res.UserPoolID), domain+"/oauth2/token"
	res.ParameterPath = r.store().Path(r.d.Name)
	if differ := want.Differences(set.Credentials); len(differ) > 0 {
		if err := r.change("write parameters "+strings.Join(differ, ", "), func() error {
			return r.store().Write(ctx, r.d.Name, set.Credentials, want)
		}); err != nil {
			return res, err
		}
	}
	if held && !r.dry {
		if err := r.store().Release(ctx, r.d.Name); err != nil {
			return res, err
		}
	}
	if err := r.adoptParameters(ctx, found); err != nil {
		return res, err
	}
	return res, r.ensureRotation(ctx, found, client)
}

// label returns the name of the server's app client and of its resource server.
// It shows that this owner owns them; see the package comment.
func (r *run) label() string { return r.labelFor("mcp") }

// userLabel is the label of the app client and the user of user authentication.
// It differs from every label of a machine client, whatever the servers' names.
func (r *run) userLabel() string { return r.labelFor("mcpuser") }

func (r *run) labelFor(kind string) string {
	parts := []string{r.owner(), r.Resource, r.prefix(), r.d.Name}
	if kind != "mcp" {
		parts = append(parts, kind)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return kind + "-" + r.d.Name + "-" + hex.EncodeToString(sum[:16])
}

// scopes are the OAuth names of the desired scopes.
func (r *run) scopes() []string {
	names := make([]string, len(r.d.Scopes))
	for i, s := range r.d.Scopes {
		names[i] = r.d.Name + "/" + s
	}
	return names
}

// machine is the only OAuth flow of the clients made here.
var machine = []types.OAuthFlowType{types.OAuthFlowTypeClientCredentials}

func (p *Provisioner) owner() string  { return cmp.Or(p.Owner, CommandLine) }
func (p *Provisioner) prefix() string { return cmp.Or(p.Prefix, credstore.DefaultPrefix) }

func (p *Provisioner) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

func (p *Provisioner) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

func (p *Provisioner) wait(ctx context.Context, d time.Duration) error {
	if p.Wait != nil {
		return p.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (p *Provisioner) backoff(attempt int) time.Duration {
	if p.Backoff != nil {
		return p.Backoff(attempt)
	}
	d := min(5*time.Second, 100*time.Millisecond<<min(attempt, 6))
	return d/2 + rand.N(d/2)
}

// openidConfiguration is the path of the discovery document below the issuer.
const openidConfiguration = "/.well-known/openid-configuration"

// issuer returns the issuer of a user pool's tokens, which its documents are
// below.
// https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
func (p *Provisioner) issuer(userPoolID string) string {
	if p.Endpoint != "" {
		return p.Endpoint + "/" + userPoolID
	}
	return "https://cognito-idp." + p.Region + "." + dnsSuffix(p.Region) + "/" + userPoolID
}

// domainURL returns the address of a user pool's prefix domain.
// https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
func (p *Provisioner) domainURL(prefix string) string {
	switch {
	case p.Endpoint != "":
		return p.Endpoint + "/" + prefix
	case strings.HasPrefix(p.Region, "us-gov-"):
		return "https://" + prefix + ".auth-fips." + p.Region + ".amazoncognito.com"
	default:
		return "https://" + prefix + ".auth." + p.Region + ".amazoncognito.com"
	}
}

func dnsSuffix(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}
