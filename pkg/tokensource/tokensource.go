// Package tokensource turns the credentials of a machine into bearer tokens for
// one MCP server, and keeps them good.
//
// A [Source] finds the token endpoint in the issuer's discovery document
// (OpenID Connect Discovery 1.0), asks it for a token with the
// client-credentials grant (RFC 6749, section 4.4) and keeps the token until
// shortly before it stops being good. Build one per process and server, in
// main:
//
//	source, err := tokensource.New(tokensource.Config{
//		Credentials: store.Set("my_server"),
//		Resource:    "https://mcp.example.com/mcp",
//	})
//	client := source.Client() // an *http.Client for any MCP client library
//
// It outlives every request: a fetch runs under a context and a time limit of
// its own, at most one at a time, and each caller waits for it until its own
// deadline. Failures are shared and backed off, so that a failing endpoint sees
// few requests however many callers there are. Renewal happens in the
// background while the old token still serves. All ages are judged by the wall
// clock, because a Lambda process can be frozen for hours between two lines.
//
// [Config] has the variants: a signed assertion in place of the secret (Key), an
// issuer found through the server itself (Discover), a user's password for
// development (User). For a server that takes AWS signatures and no bearer, see
// [IAM].
//
// The type of an error tells what to do: a [*ConfigError] or a [*RefusedError]
// is for an operator to mend, an [*UnavailableError] may pass, and a
// [*ChallengeError] says that the resource itself has refused us. No error, log
// line or printed value holds a secret or a token. A Source is safe for
// concurrent use.
//
// Runnable examples are in example_test.go; they need no AWS account.
package tokensource

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

// Credentials is where a Source gets the credentials from; *credstore.Set is
// one, [Static] another. All methods must be safe for concurrent use.
type Credentials interface {
	Get(context.Context) (credstore.Credentials, error)     // may answer from a cache
	Refresh(context.Context) (credstore.Credentials, error) // must not
	Path() string                                           // stands before parameter names in errors
}

// Static is Credentials that never change.
type Static credstore.Credentials

func (s Static) Get(context.Context) (credstore.Credentials, error) {
	return credstore.Credentials(s), nil
}
func (s Static) Refresh(context.Context) (credstore.Credentials, error) {
	return credstore.Credentials(s), nil
}
func (s Static) Path() string { return "" }

// Config says where credentials come from and what the tokens are for.
type Config struct {
	Credentials Credentials // required
	Resource    string      // URL of the MCP server; required. The bearer is sent to its origin and nowhere else

	// Discover finds the issuer through the resource's own metadata (RFC 9728)
	// in place of the credentials' discovery URL. No token is asked for before
	// the resource has answered 401.
	Discover bool

	// User signs in as the credentials' user (InitiateAuth with
	// USER_PASSWORD_AUTH) in place of the client-credentials grant. It is for
	// development.
	User bool

	// Key replaces the client secret by a signed assertion (private_key_jwt,
	// RFC 7523): ECDSA P-256 signs with ES256, RSA of 2048 bits or more with
	// RS256. A key that never leaves a KMS fits.
	Key   crypto.Signer
	KeyID string // the assertion's kid; optional

	// SendResource adds the resource parameter of RFC 8707 to token requests.
	// Discover always sends it. Cognito has no use for it on this grant.
	SendResource bool

	// StepUpScopes are what may be asked for beyond the credentials' scope when
	// the resource answers 403 with error="insufficient_scope". Empty: nothing.
	StepUpScopes []string

	// IssuerHosts are host names that may be an issuer or have its token
	// endpoint. Cognito's own, the credentials' domain and, for a resource on
	// this machine, loopback addresses need not be named.
	IssuerHosts []string

	Transport http.RoundTripper // for discovery and token requests; default: one with short time limits that dials no local address
	Base      http.RoundTripper // for requests to the resource; default http.DefaultTransport
	Now       func() time.Time  // default time.Now
	Logger    *slog.Logger      // default: discard; no secret or token is ever logged
}

// New makes a Source. It sends no request yet. A configuration that cannot work
// is refused as a [*ConfigError]: a resource that is neither https nor on a
// loopback address, variants that exclude each other, a key of another kind.
func New(cfg Config) (*Source, error) {
	if cfg.Credentials == nil {
		return nil, &ConfigError{Setting: "Credentials", Err: errors.New("required")}
	}
	resource, err := parseResource(cfg.Resource)
	if err != nil {
		return nil, err
	}
	if cfg.User && (cfg.Discover || cfg.Key != nil || cfg.StepUpScopes != nil) {
		return nil, &ConfigError{Setting: "User", Err: errors.New("goes with neither Discover nor Key nor StepUpScopes")}
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(nil)
	}
	if cfg.Base == nil {
		cfg.Base = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, origin: originOf(resource)}
	w := &wire{
		transport: cfg.Transport,
		now:       s.now,
		rule:      hostRule{resource: resource, named: cfg.IssuerHosts},
		path:      cfg.Credentials.Path(),
	}
	if cfg.User {
		s.grant = userGrant{w}
		return s, nil
	}
	m := &machineGrant{wire: w, auth: sendSecret, secret: credstore.ClientSecret, issuers: issuerCache{now: s.now, find: w.issuerAt}}
	if cfg.Key != nil {
		a, err := newAssertion(cfg.Key, cfg.KeyID, s.now)
		if err != nil {
			return nil, err
		}
		m.auth, m.secret = a.sign, ""
	}
	if cfg.SendResource {
		m.resource = canonical(resource)
	}
	if cfg.Discover {
		m.discover, m.issuers.find = true, w.issuerOf
	}
	s.grant = m
	return s, nil
}

// Format masks a Source in every fmt verb: it holds a token.
func (s *Source) Format(f fmt.State, _ rune) { io.WriteString(f, "tokensource for "+s.origin) }

// now is the wall clock: the monotonic reading, which stands still while a
// process is frozen, is dropped.
func (s *Source) now() time.Time { return s.cfg.Now().Round(0) }
