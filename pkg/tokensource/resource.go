package tokensource

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"agentcore-mcp-auth/pkg/credstore"
)

const (
	protectedResource   = "/.well-known/oauth-protected-resource"
	authorizationServer = "/.well-known/oauth-authorization-server"
)

// issuerOf finds the issuer that a resource names in its own metadata (RFC 9728,
// as the MCP authorization specification uses it).
type issuerOf struct {
	wire     *wire
	rule     hostRule
	resource *url.URL
}

// resourceMetadata is what we need of a resource's document (RFC 9728, section 2).
type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
}

func (f issuerOf) find(ctx context.Context, c credstore.Credentials, a ask) (metadata, error) {
	refuse := refusal("resource " + originOf(f.resource))
	places := f.wellKnown()
	if a.metadataURL != "" {
		u, err := parseURL(a.metadataURL)
		if err != nil {
			return metadata{}, refuse("the metadata URL in its challenge: %w", err)
		}
		if originOf(u) != originOf(f.resource) {
			return metadata{}, refuse("its challenge names metadata of another origin, %.200s", originOf(u))
		}
		places = []string{a.metadataURL}
	}
	var r resourceMetadata
	if err := f.first(ctx, "reading the resource's metadata", places, &r, refuse); err != nil {
		return metadata{}, err
	}
	if !f.isOurs(r.Resource) {
		return metadata{}, refuse("its metadata is of the resource %.200q", r.Resource)
	}
	issuer, at, err := f.choose(r.Servers)
	if err != nil {
		return metadata{}, refuse("%w", err)
	}
	var m metadata
	if err := f.first(ctx, "reading the issuer's metadata", issuerPlaces(at), &m, refuse); err != nil {
		return metadata{}, err
	}
	m.resource = r.Resource
	return m, m.check(refuse, issuer, at, f.rule, c.Domain)
}

// wellKnown are the places of a resource's metadata: for its path, then for its
// whole origin.
func (f issuerOf) wellKnown() []string {
	root := originURL(f.resource) + protectedResource
	if path := strings.TrimSuffix(f.resource.EscapedPath(), "/"); path != "" {
		return []string{root + path, root}
	}
	return []string{root}
}

// issuerPlaces are the places of an issuer's metadata: path-inserted RFC 8414,
// path-inserted and path-appended OpenID Connect. Cognito has the last only.
func issuerPlaces(issuer *url.URL) []string {
	root, path := originURL(issuer), strings.TrimSuffix(issuer.EscapedPath(), "/")
	places := []string{root + authorizationServer + path, root + openidConfiguration + path}
	if path != "" {
		places = append(places, root+path+openidConfiguration)
	}
	return places
}

func originURL(u *url.URL) string { return u.Scheme + "://" + u.Host }

// first reads into v the first of places that has a JSON document.
func (f issuerOf) first(ctx context.Context, doing string, places []string, v any, refuse func(string, ...any) error) error {
	for _, place := range places {
		status, err := readDocument(ctx, f.wire, doing, place, v)
		switch {
		case errors.Is(err, errNotJSON):
		case err != nil:
			return err
		case status == http.StatusOK:
			return nil
		}
	}
	return refuse("%s: there is none at %s", doing, strings.Join(places, ", "))
}

// isOurs reports whether resource is the one we talk to, or its origin, or a path
// above it: metadata at the root speaks for the whole origin.
func (f issuerOf) isOurs(resource string) bool {
	u, err := parseURL(resource)
	if err != nil || originOf(u) != originOf(f.resource) {
		return false
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	rest, ok := strings.CutPrefix(f.resource.EscapedPath(), path)
	return ok && (rest == "" || rest[0] == '/') && (u.RawQuery == "" || u.RawQuery == f.resource.RawQuery)
}

// choose returns the first authorization server that may get the credentials.
func (f issuerOf) choose(servers []string) (string, *url.URL, error) {
	err := errors.New("its metadata names no authorization server")
	for _, server := range servers {
		u, parseErr := parseURL(server)
		if parseErr == nil {
			// The credentials are for this resource, so its own host may have them.
			if parseErr = f.rule.issuer(u); parseErr == nil || strings.EqualFold(u.Host, f.resource.Host) && u.Scheme == f.resource.Scheme {
				return server, u, nil
			}
		}
		err = parseErr
	}
	return "", nil, err
}
