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

// resourceMetadata is what we need of a resource's document (RFC 9728, section 2).
type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
}

// issuerOf finds the issuer that the resource names in its own metadata (RFC
// 9728, as the MCP authorization specification uses it).
func (w *wire) issuerOf(ctx context.Context, c credstore.Credentials, a ask) (metadata, error) {
	resource := w.rule.resource
	refuse := refusal("resource " + originOf(resource))
	places := resourcePlaces(resource)
	if a.metadataURL != "" {
		u, err := parseURL(a.metadataURL)
		if err != nil {
			return metadata{}, refuse("the metadata URL in its challenge: %w", err)
		}
		if originOf(u) != originOf(resource) {
			return metadata{}, refuse("its challenge names metadata of another origin, %.200s", originOf(u))
		}
		places = []string{a.metadataURL}
	}
	r, err := first[resourceMetadata](ctx, w, "reading the resource's metadata", places, refuse)
	if err != nil {
		return metadata{}, err
	}
	if !covers(r.Resource, resource) {
		return metadata{}, refuse("its metadata is of the resource %.200q", r.Resource)
	}
	issuer, at, err := w.rule.choose(r.Servers)
	if err != nil {
		return metadata{}, refuse("%w", err)
	}
	m, err := first[metadata](ctx, w, "reading the issuer's metadata", issuerPlaces(at), refuse)
	if err != nil {
		return metadata{}, err
	}
	m.resource = r.Resource
	return m, m.check(refuse, issuer, at, w.rule, c.Domain)
}

// resourcePlaces are the places of a resource's metadata: for its path, then for
// its whole origin.
func resourcePlaces(resource *url.URL) []string {
	root := originURL(resource) + protectedResource
	if path := strings.TrimSuffix(resource.EscapedPath(), "/"); path != "" {
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

// first reads the first of places that has a JSON document of the form of T.
func first[T any](ctx context.Context, w *wire, doing string, places []string, refuse func(string, ...any) error) (none T, err error) {
	for _, place := range places {
		var v T
		status, err := w.readDocument(ctx, doing, place, &v)
		switch {
		case errors.Is(err, errNotJSON):
		case err != nil:
			return none, err
		case status == http.StatusOK:
			return v, nil
		}
	}
	return none, refuse("%s: there is none at %s", doing, strings.Join(places, ", "))
}

// covers reports whether metadata of the resource called name speaks for ours: it
// is that, or its origin, or a path above it.
func covers(name string, resource *url.URL) bool {
	u, err := parseURL(name)
	if err != nil || originOf(u) != originOf(resource) {
		return false
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	rest, ok := strings.CutPrefix(resource.EscapedPath(), path)
	return ok && (rest == "" || rest[0] == '/') && (u.RawQuery == "" || u.RawQuery == resource.RawQuery)
}

// choose returns the first authorization server that may get the credentials.
func (r hostRule) choose(servers []string) (string, *url.URL, error) {
	err := errors.New("its metadata names no authorization server")
	for _, server := range servers {
		u, parseErr := parseURL(server)
		if parseErr == nil {
			// The credentials are for this resource, so its own host may have them.
			if parseErr = r.issuer(u); parseErr == nil || strings.EqualFold(u.Host, r.resource.Host) && u.Scheme == r.resource.Scheme {
				return server, u, nil
			}
		}
		err = parseErr
	}
	return "", nil, err
}
