package authorizer

import (
	"net/http"
	"net/url"
	"strings"
)

// MetadataPath is where the metadata of a resource is found: followed by the
// resource's own path, or alone for a client that looks no further (RFC 9728
// section 3.1).
const MetadataPath = "/.well-known/oauth-protected-resource"

// Protect guards the resource at one path of a server, with and without a slash
// at its end, as [Authorizer.Handler] does, and publishes its metadata to
// anybody. Every other path is not found: next may be one that serves whatever
// path it is asked for, and none of them without a token.
//
// Clients are told [Config].ResourceURL. Without that, it is the path on the
// host that the client has asked, over http if that is a loopback name and over
// https otherwise.
func (a *Authorizer) Protect(path string, next http.Handler) http.Handler {
	resource := func(r *http.Request) *url.URL {
		if a.resource != nil {
			return a.resource
		}
		u := &url.URL{Scheme: "https", Host: r.Host, Path: path}
		if isLoopback(u.Hostname()) {
			u.Scheme = "http"
		}
		return u
	}
	documents := map[string]bool{MetadataPath: true, MetadataPath + path: true}
	if a.resource != nil {
		documents[MetadataPath+strings.TrimSuffix(a.resource.Path, "/")] = true
	}
	guarded := a.handler(func(r *http.Request) string {
		u := *resource(r)
		u.Path = MetadataPath + strings.TrimSuffix(u.Path, "/")
		return u.String()
	}, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == path, r.URL.Path == path+"/":
			guarded.ServeHTTP(w, r)
		case documents[r.URL.Path]:
			a.Metadata(resource(r).String()).ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
