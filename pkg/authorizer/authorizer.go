// Package authorizer decides whether a bearer JWT may pass, as the custom JWT
// authorizer of Amazon Bedrock AgentCore does: a discovery document names the
// issuer and its keys, and every configured rule (clients, audiences, scopes,
// custom claims) must hold together.
//
// Where AgentCore leaves something open, this package takes the strict side:
// RS256 only, exact issuer, access tokens only, and no token that ends within
// [Margin].
//
//	a, err := authorizer.New(authorizer.Config{
//		DiscoveryURL:   "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example/.well-known/openid-configuration",
//		AllowedClients: []string{"3example23"},
//		AllowedScopes:  []string{"calculator/invoke"},
//	})
//	...
//	http.Handle("/", a.Protect("/mcp", server))
//
// An [Authorizer] is safe for concurrent use. It refuses with a [*Refusal], which
// tells the operator why; the caller gets a status and an error code of RFC 6750.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/inbound-jwt-authorizer.html
package authorizer

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Margin is the life a token must have left. AgentCore refuses a token that
	// is about to end, so a token within the margin is refused here too.
	Margin = time.Minute

	// leeway is how far the issuer's clock may be ahead of ours.
	leeway = time.Minute

	// maxLife is the longest life a token may be given: what Cognito allows.
	// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
	maxLife = 24 * time.Hour

	// maxToken bounds a token before anything reads it. A Cognito machine token
	// is about one kilobyte.
	maxToken = 16 << 10

	// maxVerified bounds the number of tokens whose signature is remembered.
	maxVerified = 1024
)

const discoverySuffix = "/.well-known/openid-configuration"

// Config says whom to admit. At least one of the four rules must be there, and
// all that are there must hold. A list that is present but empty is refused,
// as AgentCore refuses it: leave the field nil instead.
type Config struct {
	// DiscoveryURL ends in /.well-known/openid-configuration; what precedes
	// that is the issuer, which the document and every token must name exactly.
	// https, or http on a loopback address.
	DiscoveryURL string

	AllowedClients  []string // client_id is one of these
	AllowedAudience []string // aud holds one of these; a Cognito machine token has no aud
	AllowedScopes   []string // scope holds one of these, whole
	CustomClaims    []Claim  // every one of these matches

	// ResourceURL is the resource as clients call it, for [Authorizer.Protect]:
	// https, or http on a loopback address. Default: as the client asks for it.
	ResourceURL string

	HTTPClient *http.Client     // default: a plain one. A fetch may take ten seconds in all and follows no redirect either way
	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default: discard
}

// Operator is how a custom claim is compared.
type Operator string

// The operators of AgentCore's custom claims. Equals is for a claim that is a
// string, the others for one that is a list of strings.
const (
	Equals      Operator = "EQUALS"
	Contains    Operator = "CONTAINS"
	ContainsAny Operator = "CONTAINS_ANY"
)

// Claim is one rule on a claim of the issuer's own.
type Claim struct {
	Name     string
	Operator Operator
	Values   []string // exactly one, except for ContainsAny
}

// Authorizer checks tokens. It is safe for concurrent use and holds no
// goroutine between fetches of keys.
type Authorizer struct {
	cfg      Config
	issuer   string
	resource *url.URL // nil: as the client asks for it
	keys     *keySet

	mu       sync.Mutex // guards verified
	verified map[[sha256.Size]byte]verified
}

// verified is a token whose signature by key has been checked. Every other rule
// is applied anew each time, and so is the signature once the issuer has another
// key of that id.
type verified struct {
	token *token
	key   *rsa.PublicKey
}

// New makes an authorizer. A rule that cannot hold, or that AgentCore would
// refuse, is an error that names its field. New opens no connection: the
// discovery document and the keys are fetched when the first token comes.
func New(cfg Config) (*Authorizer, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("authorizer configuration: %w", err)
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	// The wall clock: the monotonic one stands still while a process is frozen.
	cfg.Now = func() time.Time { return now().Round(0) }
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	cfg.AllowedClients = slices.Clone(cfg.AllowedClients)
	cfg.AllowedAudience = slices.Clone(cfg.AllowedAudience)
	cfg.AllowedScopes = slices.Clone(cfg.AllowedScopes)
	cfg.CustomClaims = slices.Clone(cfg.CustomClaims)
	issuer := strings.TrimSuffix(cfg.DiscoveryURL, discoverySuffix)
	var resource *url.URL
	if cfg.ResourceURL != "" {
		resource, _ = checkURL(cfg.ResourceURL) // has been checked
	}
	return &Authorizer{
		cfg:      cfg,
		issuer:   issuer,
		resource: resource,
		keys:     &keySet{discoveryURL: cfg.DiscoveryURL, issuer: issuer, client: &client, now: cfg.Now, log: cfg.Logger},
		verified: map[[sha256.Size]byte]verified{},
	}, nil
}

// Issuer is the issuer whose tokens are accepted.
func (a *Authorizer) Issuer() string { return a.issuer }

// isMatchValue reports whether AgentCore accepts a value to match a custom claim
// with.
func isMatchValue(v string) bool {
	foreign := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	return v != "" && len(v) <= 255 && !strings.ContainsFunc(v, foreign)
}

// check refuses a configuration by the name of the field, all faults at once.
func (c Config) check() error {
	var errs []error
	if u, err := checkURL(c.DiscoveryURL); err != nil {
		errs = append(errs, fmt.Errorf("DiscoveryURL: %w", err))
	} else if !strings.HasSuffix(c.DiscoveryURL, discoverySuffix) {
		errs = append(errs, fmt.Errorf("DiscoveryURL %.200q: must end in %s", c.DiscoveryURL, discoverySuffix))
	} else if u.RawQuery != "" || u.ForceQuery {
		errs = append(errs, fmt.Errorf("DiscoveryURL %.200q: must have no query", c.DiscoveryURL))
	}
	if c.ResourceURL != "" {
		if u, err := checkURL(c.ResourceURL); err != nil {
			errs = append(errs, fmt.Errorf("ResourceURL: %w", err))
		} else if u.RawQuery != "" || u.ForceQuery { // RFC 9728 section 1.2 advises against one
			errs = append(errs, fmt.Errorf("ResourceURL %.200q: must have no query", c.ResourceURL))
		}
	}
	if c.AllowedClients == nil && c.AllowedAudience == nil && c.AllowedScopes == nil && c.CustomClaims == nil {
		errs = append(errs, errors.New("no rule: set AllowedClients, AllowedAudience, AllowedScopes or CustomClaims"))
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"AllowedClients", c.AllowedClients}, {"AllowedAudience", c.AllowedAudience}, {"AllowedScopes", c.AllowedScopes}} {
		if list.values != nil && len(list.values) == 0 {
			errs = append(errs, fmt.Errorf("%s: must not be empty; leave it out to allow any", list.name))
		}
		for _, v := range list.values {
			if v == "" || strings.ContainsAny(v, " \t\r\n\"\\") {
				errs = append(errs, fmt.Errorf("%s: %.80q is empty or holds a blank, a quote or a backslash", list.name, v))
			}
		}
	}
	if c.CustomClaims != nil && len(c.CustomClaims) == 0 {
		errs = append(errs, errors.New("CustomClaims: must not be empty; leave it out to allow any"))
	}
	for i, rule := range c.CustomClaims {
		if err := rule.check(); err != nil {
			errs = append(errs, fmt.Errorf("CustomClaims[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (c Claim) check() error {
	switch {
	case c.Name == "" || len(c.Name) > 255:
		return fmt.Errorf("Name %.80q: want 1 to 255 characters", c.Name)
	case c.Operator != Equals && c.Operator != Contains && c.Operator != ContainsAny:
		return fmt.Errorf("Operator %.80q: want %s, %s or %s", c.Operator, Equals, Contains, ContainsAny)
	case len(c.Values) == 0 || len(c.Values) > 255 || c.Operator != ContainsAny && len(c.Values) != 1:
		return fmt.Errorf("%d Values: want one, or up to 255 for %s", len(c.Values), ContainsAny)
	}
	for _, v := range c.Values {
		if !isMatchValue(v) {
			return fmt.Errorf("value %.80q: AgentCore matches letters, digits, '_', '.' and '-' only; for a scope use AllowedScopes", v)
		}
	}
	return nil
}

// checkURL refuses an address that must not be fetched: anything but https, or
// http on a loopback address, and any with a user or a fragment in it.
func checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL") // which may hold a password
	}
	switch {
	case u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%.200q: want neither user nor fragment", u.Redacted())
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%.200q: want an https URL", raw)
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("%.200q has no host", raw)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%.200q: http is allowed on a loopback address only, use https", raw)
	}
	return u, nil
}

// isLoopback reports whether a host name can only be this machine's own.
func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// Check returns the claims of a token that may pass; otherwise its error is a
// [*Refusal]. The token is the bare JWT, without "Bearer".
func (a *Authorizer) Check(ctx context.Context, bearer string) (Claims, error) {
	if len(bearer) > maxToken {
		return Claims{}, refuse(CheckForm, "%d bytes long, at most %d are read", len(bearer), maxToken)
	}
	id := sha256.Sum256([]byte(bearer))
	a.mu.Lock()
	seen := a.verified[id] // zero when unknown
	a.mu.Unlock()
	t := seen.token
	if t == nil {
		var err error
		if t, err = parse(bearer); err != nil {
			return Claims{}, err
		}
	}
	// The issuer comes first, so that a token of another issuer costs no fetch;
	// nothing is believed before the signature is checked.
	if t.Issuer != a.issuer {
		return Claims{}, refuse(CheckIssuer, "iss is %.200q, want %q", t.Issuer, a.issuer)
	}
	key, err := a.keys.find(ctx, t.keyID)
	if err != nil {
		return Claims{}, err
	}
	if seen.key != key && (seen.key == nil || !seen.key.Equal(key)) { // mostly it is the very same key
		if _, err := t.jws.Verify(key); err != nil {
			return Claims{}, refuse(CheckSignature, "does not match the issuer's key %.80q", t.keyID)
		}
	}
	if err := a.cfg.admit(t); err != nil {
		return Claims{}, err
	}
	if seen.key != key {
		a.remember(id, verified{t, key})
	}
	return t.Claims.clone(), nil
}

// remember keeps a verified token. When there are too many it drops those that
// have ended, or else any.
func (a *Authorizer) remember(id [sha256.Size]byte, v verified) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.verified[id]; !ok && len(a.verified) >= maxVerified {
		now := a.cfg.Now()
		for old, o := range a.verified {
			if o.token.Expires.Before(now.Add(Margin)) {
				delete(a.verified, old)
			}
		}
		for old := range a.verified {
			if len(a.verified) < maxVerified {
				break
			}
			delete(a.verified, old)
		}
	}
	a.verified[id] = v
}
