package tokensource

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"agentcore-mcp-auth/pkg/credstore"
)

// machineGrant is the client-credentials grant (RFC 6749, section 4.4).
type machineGrant struct {
	wire     *wire
	issuers  issuerCache
	auth     clientAuth
	secret   string // the parameter with the client's secret; empty: it has none
	resource string // to send as RFC 8707 has it; empty: what the issuer was found with
	discover bool   // no discovery URL is needed
}

// clientAuth is one way to authenticate a client at a token endpoint: it adds
// the proof that a request to m's endpoint comes from c.
type clientAuth func(m metadata, c credstore.Credentials, form url.Values, header http.Header) error

func (g *machineGrant) needs() []string {
	names := []string{credstore.ClientID, g.secret}
	if !g.discover {
		names = append(names, credstore.DiscoveryURL)
	}
	return names
}

const asking = "asking the token endpoint"

// token asks the token endpoint for a token, in one request: the client
// authenticates in the one way that fits the metadata, and tries no other.
func (g *machineGrant) token(ctx context.Context, c credstore.Credentials, a ask) (Token, error) {
	m, kept, err := g.issuers.get(ctx, c, a)
	if err != nil {
		return Token{}, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	scopes := strings.Fields(c.Scope)
	if len(scopes) == 0 {
		scopes = a.scopes
	}
	scopes = append(slices.Clip(scopes), without(a.extra, scopes)...)
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	if g.resource != "" {
		form.Set("resource", g.resource)
	} else if m.resource != "" {
		form.Set("resource", m.resource)
	}
	header := http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"},
		"Accept":       {"application/json"},
	}
	if err := g.auth(m, c, form, header); err != nil {
		return Token{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, &ConfigError{Setting: "issuer " + m.Issuer, Err: errors.New("its token endpoint is not a URL")}
	}
	req.Header = header
	asked := g.wire.now()
	got, err := g.wire.send(ctx, asking, req)
	if err == nil {
		err = g.refused(m, got)
	}
	if err != nil {
		if kept {
			g.issuers.distrust() // the endpoint may have moved
		}
		return Token{}, err
	}
	t, err := parseToken(got, asked)
	if err != nil {
		return Token{}, &UnavailableError{Doing: asking, Err: err}
	}
	t.scopes = scopes
	return t, nil
}

// refused returns the error in a token endpoint's answer, if there is one, also
// with status 200. The answer's description is left out, since it may quote the
// request.
func (g *machineGrant) refused(m metadata, a answer) error {
	var e struct {
		Code string `json:"error"`
	}
	if err := a.json(&e); err != nil {
		e.Code = ""
	}
	if a.status == http.StatusOK && e.Code == "" {
		return nil
	}
	parameter := credstore.ClientID
	switch e.Code {
	case "invalid_client":
		if g.secret != "" {
			parameter = g.secret
		}
	case "invalid_scope":
		parameter = credstore.Scope
	case "invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_target":
	case "temporarily_unavailable", "server_error", "slow_down":
		return &UnavailableError{Doing: asking, Err: errors.New("it answered " + e.Code), RetryAfter: retryAfter(a.header, g.wire.now())}
	default:
		e.Code = strconv.Itoa(a.status)
		switch a.status {
		case http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		default: // not what a token endpoint answers, a redirect among it
			return &ConfigError{Setting: "issuer " + m.Issuer, Err: errors.New("its token endpoint answered " + e.Code)}
		}
	}
	return &RefusedError{Code: e.Code, Parameter: g.wire.path + parameter}
}

// sendSecret is client_secret_basic, or client_secret_post where the issuer does
// not list that (RFC 6749, section 2.3.1).
func sendSecret(m metadata, c credstore.Credentials, form url.Values, header http.Header) error {
	switch {
	// RFC 8414, section 2: without the list it is client_secret_basic.
	case len(m.AuthMethods) == 0, slices.Contains(m.AuthMethods, "client_secret_basic"):
		// Both are form-encoded before Basic.
		pair := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(c.ClientSecret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case slices.Contains(m.AuthMethods, "client_secret_post"):
		form.Set("client_id", c.ClientID)
		form.Set("client_secret", c.ClientSecret.Reveal())
	default:
		return &ConfigError{Setting: "issuer " + m.Issuer, Err: errors.New("its token endpoint takes neither client_secret_basic nor client_secret_post")}
	}
	return nil
}
