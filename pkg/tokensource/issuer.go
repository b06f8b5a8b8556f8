package tokensource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

const (
	openidConfiguration = "/.well-known/openid-configuration"

	// metadataLife is how long metadata is used without asking again, and
	// metadataLastGood how long when asking again gets no answer.
	metadataLife     = 24 * time.Hour
	metadataLastGood = 72 * time.Hour

	// refreshTimeout bounds asking again while there is a last good copy.
	refreshTimeout = 3 * time.Second
)

// metadata is what we need of an issuer's document (RFC 8414, section 2, or
// OpenID Connect Discovery 1.0, section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	TokenEndpoint string   `json:"token_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	SigningAlgs   []string `json:"token_endpoint_auth_signing_alg_values_supported"`

	resource string // as its own metadata names it; empty: not asked
}

// issuerCache keeps the last good metadata.
type issuerCache struct {
	now  func() time.Time
	find func(context.Context, credstore.Credentials, ask) (metadata, error)

	mu   sync.Mutex // guards what follows
	kept metadata
	of   string // the key of kept; empty: nothing is kept
	read time.Time
	old  bool // kept is to be read again
}

// get returns the metadata for c, and whether it is a kept copy.
func (i *issuerCache) get(ctx context.Context, c credstore.Credentials, a ask) (metadata, bool, error) {
	by := c.DiscoveryURL + "\n" + c.Domain + "\n" + a.metadataURL
	now := i.now()
	i.mu.Lock()
	kept, read, old := i.kept, i.read, i.old
	has := i.of == by && (window{read, read.Add(metadataLastGood)}).holds(now)
	i.mu.Unlock()
	if has && !old && now.Sub(read) < metadataLife {
		return kept, true, nil
	}
	if has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
	}
	m, err := i.find(ctx, c, a)
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) && has {
		return kept, true, nil
	}
	if err != nil {
		return metadata{}, false, err
	}
	i.mu.Lock()
	i.kept, i.of, i.read, i.old = m, by, now, false
	i.mu.Unlock()
	return m, false, nil
}

// distrust has the metadata read again before its time, because the endpoint
// that it names refuses or does not answer.
func (i *issuerCache) distrust() {
	i.mu.Lock()
	i.old = true
	i.mu.Unlock()
}

// issuerAt finds the issuer at the credentials' discovery URL.
func (w *wire) issuerAt(ctx context.Context, c credstore.Credentials, _ ask) (metadata, error) {
	refuse := refusal("parameter " + w.path + credstore.DiscoveryURL)
	u, err := parseURL(c.DiscoveryURL)
	if err != nil {
		return metadata{}, refuse("%w", err)
	}
	if err := w.rule.issuer(u); err != nil {
		return metadata{}, refuse("%w", err)
	}
	issuer, ok := strings.CutSuffix(c.DiscoveryURL, openidConfiguration)
	if !ok {
		return metadata{}, refuse("does not end in %s", openidConfiguration)
	}
	var m metadata
	status, err := w.readDocument(ctx, "reading the discovery document", c.DiscoveryURL, &m)
	switch {
	case errors.Is(err, errNotJSON):
		return metadata{}, refuse("the discovery document: %w", err)
	case err != nil:
		return metadata{}, err
	case status != http.StatusOK:
		return metadata{}, refuse("the discovery document answered %d", status)
	}
	return m, m.check(refuse, issuer, u, w.rule, c.Domain)
}

// check refuses metadata of another issuer than the one that was asked, and a
// token endpoint that must not get the secret.
//
// OpenID Connect Discovery 1.0, section 4.3, and RFC 8414, section 3.3: the
// issuer must be exactly the one that was asked.
func (m metadata) check(refuse func(string, ...any) error, issuer string, at *url.URL, rule hostRule, domain string) error {
	if m.Issuer != issuer {
		return refuse("the issuer's document is of %.200q, not of %.200q", m.Issuer, issuer)
	}
	if m.TokenEndpoint == "" {
		return refuse("the issuer's document names no token endpoint; a Cognito user pool has one once it has a domain")
	}
	u, err := parseURL(m.TokenEndpoint)
	if err == nil {
		err = rule.tokenEndpoint(u, at, domain)
	}
	if err != nil {
		return refuse("the token endpoint in the issuer's document: %w", err)
	}
	return nil
}

// refusal makes ConfigErrors about one setting.
func refusal(setting string) func(format string, args ...any) error {
	return func(format string, args ...any) error {
		return &ConfigError{Setting: setting, Err: fmt.Errorf(format, args...)}
	}
}

// readDocument reads a JSON document into v when the status is 200, and returns
// the status. The error is errNotJSON or an [*UnavailableError].
func (w *wire) readDocument(ctx context.Context, doing, from string, v any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return 0, errNotJSON
	}
	req.Header.Set("Accept", "application/json")
	a, err := w.send(ctx, doing, req)
	if err != nil || a.status != http.StatusOK {
		return a.status, err
	}
	return a.status, a.json(v)
}
