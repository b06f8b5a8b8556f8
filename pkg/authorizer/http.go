package authorizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Bearer takes the token out of a request's Authorization header: exactly one
// header, scheme Bearer in any case, one space, one token of at most 16 KiB. A
// token anywhere else, the query included, is not seen. The error is a
// [*Refusal].
//
// RFC 6750 section 2.1
func Bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", refuse(CheckHeader, "there is none")
	}
	if len(values) > 1 {
		return "", refuse(CheckHeader, "there are %d, want 1", len(values))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", refuse(CheckHeader, "the scheme is not Bearer")
	}
	if len(token) > maxToken {
		return "", refuse(CheckHeader, "the token is %d bytes long, at most %d are read", len(token), maxToken)
	}
	if !isB64Token(token) {
		return "", refuse(CheckHeader, "what follows Bearer is not one token")
	}
	return token, nil
}

// isB64Token reports whether a text is the b64token of RFC 6750. It does not
// mind where the equal signs are.
func isB64Token(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return text != ""
}

type claimsKey struct{}

// FromContext returns the claims of the token with which a request passed
// [Authorizer.Handler].
func FromContext(ctx context.Context) (Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(Claims)
	return c, ok
}

// Handler serves with next the requests whose bearer passes, and answers the
// others itself: 401 or 403 with a challenge that points to the metadata
// document at metadataURL (RFC 9728 section 5.1), or 503. The reason is in the
// log, with a hash of the token and the X-Request-Id of the answer, if it has
// one; it is not in the answer. An empty metadataURL is left out of the
// challenge.
//
// The token ends here: next sees no Authorization header, so that nothing behind
// can log it or pass it on.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#access-token-privilege-restriction
func (a *Authorizer) Handler(metadataURL string, next http.Handler) http.Handler {
	return a.handler(func(*http.Request) string { return metadataURL }, next)
}

func (a *Authorizer) handler(metadataURL func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := Bearer(r)
		var claims Claims
		if err == nil {
			claims, err = a.Check(r.Context(), token)
		}
		if err == nil {
			r = r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims))
			r.Header.Del("Authorization")
			next.ServeHTTP(w, r)
			return
		}
		refusal := err.(*Refusal)
		a.cfg.Logger.WarnContext(r.Context(), "bearer refused", "check", refusal.Check, "reason", refusal.Reason,
			"status", refusal.Status, "token_sha256", hash(token), "request_id", w.Header().Get("X-Request-Id"))
		a.deny(w, refusal, token != "", metadataURL(r))
	})
}

// hash is enough of a token's digest to recognise it in two logs.
func hash(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// deny answers a request that may not pass. The error code in the challenge and
// the body is one of RFC 6750 section 3.1; a request without a token gets none.
func (a *Authorizer) deny(w http.ResponseWriter, refusal *Refusal, hadToken bool, metadataURL string) {
	var params []string
	code := "unauthorized"
	switch {
	case refusal.Status == http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
		w.Header().Set("Retry-After", fmt.Sprint(int(coldRetry.Seconds())))
	case refusal.Status == http.StatusForbidden:
		code = "insufficient_scope"
		params = append(params, `error="insufficient_scope"`, fmt.Sprintf(`scope="%s"`, strings.Join(a.cfg.AllowedScopes, " ")))
	case hadToken:
		code = "invalid_token"
		params = append(params, `error="invalid_token"`)
	}
	if metadataURL != "" {
		params = append(params, fmt.Sprintf(`resource_metadata="%s"`, strings.NewReplacer(`"`, "%22", `\`, "%5C").Replace(metadataURL)))
	}
	if refusal.Status != http.StatusServiceUnavailable {
		w.Header().Set("WWW-Authenticate", strings.TrimSpace("Bearer "+strings.Join(params, ", ")))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(refusal.Status)
	json.NewEncoder(w).Encode(map[string]string{"error": code})
}

// Metadata is the document that tells a client where to get a token for a
// resource (RFC 9728 section 2). It is an [http.Handler] that serves itself to
// anybody.
type Metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported,omitempty"`
}

// Metadata describes the resource at the given URL, which is what clients call.
func (a *Authorizer) Metadata(resource string) Metadata {
	return Metadata{
		Resource:             resource,
		AuthorizationServers: []string{a.issuer},
		Scopes:               append([]string(nil), a.cfg.AllowedScopes...),
		BearerMethods:        []string{"header"},
	}
}

func (m Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the metadata document is read with GET", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(m)
}
