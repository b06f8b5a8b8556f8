package localaws

import (
	"cmp"
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// machineClaims are all claims of a client-credentials access token: there is no
// aud and no username.
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
type machineClaims struct {
	Subject  string `json:"sub"` // the client id
	TokenUse string `json:"token_use"`
	Scope    string `json:"scope"`
	AuthTime int64  `json:"auth_time"`
	Issuer   string `json:"iss"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	Version  int    `json:"version"`
	ID       string `json:"jti"`
	ClientID string `json:"client_id"`
}

// Error codes of the token endpoint.
// https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
const (
	invalidRequest       = "invalid_request"
	invalidClient        = "invalid_client"
	unauthorizedClient   = "unauthorized_client"
	unsupportedGrantType = "unsupported_grant_type"
	invalidScope         = "invalid_scope"
)

// SetTokenLife gives machine tokens the lifetime d from now on, whatever their
// client's setting is. Zero restores the setting. Cognito's least is five
// minutes; this lets tests see tokens expire sooner.
func (s *Server) SetTokenLife(d time.Duration) {
	s.cognito.mu.Lock()
	defer s.cognito.mu.Unlock()
	s.cognito.life = d
}

// serveToken is the token endpoint of a pool's domain, for the
// client-credentials grant. Like Cognito it ignores unknown parameters, such as
// resource (RFC 8707) and aws_client_metadata: a machine token has no audience.
func (p *userPools) serveToken(w http.ResponseWriter, r *http.Request, rec *Record) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || media != "application/x-www-form-urlencoded" {
		w.Header().Set("Allow", http.MethodPost)
		writePlainJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": invalidRequest})
		return
	}
	claims, key, code := p.grant(r, rec.RequestBody)
	if code != "" {
		writePlainJSON(w, http.StatusBadRequest, map[string]string{"error": code})
		return
	}
	writePlainJSON(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}{key().sign(claims), claims.Expires - claims.IssuedAt, "Bearer"})
}

// grant decides on a token request. A non-empty code is the reason for a
// refusal.
func (p *userPools) grant(r *http.Request, body []byte) (claims machineClaims, key func() *signingKey, code string) {
	form, ok := parseForm(body)
	if !ok {
		return claims, nil, invalidRequest
	}
	switch form["grant_type"] {
	case "client_credentials":
	case "":
		return claims, nil, invalidRequest
	case "authorization_code", "refresh_token": // no client of the stand-in may use them
		return claims, nil, unauthorizedClient
	default:
		return claims, nil, unsupportedGrantType
	}
	id, secret, code := clientCredentials(r.Header.Values("Authorization"), form)
	if code != "" {
		return claims, nil, code
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.domains[strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/oauth2/token")]
	if pool == nil {
		return claims, nil, invalidRequest
	}
	c := pool.clients[id]
	switch {
	case c == nil, !c.knows(secret):
		return claims, nil, invalidClient
	case !slices.Contains(c.AllowedOAuthFlows, "client_credentials"):
		return claims, nil, unauthorizedClient
	}
	granted, ok := grantedScopes(c.AllowedOAuthScopes, pool.scopes(), form["scope"])
	if !ok {
		return claims, nil, invalidScope
	}
	now := p.s.cfg.Now()
	return machineClaims{
		Subject: c.id, TokenUse: "access", Scope: strings.Join(granted, " "), AuthTime: now.Unix(),
		Issuer: baseURL(r) + "/" + pool.id, Expires: now.Add(cmp.Or(p.life, c.accessLifetime())).Unix(), IssuedAt: now.Unix(),
		Version: 2, ID: uuid.NewString(), ClientID: c.id,
	}, pool.signer(), ""
}

// parseForm reads a form body. A parameter must not occur twice. One without a
// value counts as missing (RFC 6749, section 3.2).
func parseForm(body []byte) (map[string]string, bool) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, false
	}
	form := map[string]string{}
	for k, v := range values {
		if len(v) > 1 {
			return nil, false
		}
		form[k] = v[0]
	}
	return form, true
}

// clientCredentials takes the client's id and secret from the Authorization
// header (client_secret_basic) or the form (client_secret_post). Using both is
// an invalid request (RFC 6749, section 2.3); a client_id in the form beside
// the header is allowed as long as it is the same.
func clientCredentials(authorization []string, form map[string]string) (id, secret, code string) {
	if len(authorization) == 0 {
		if form["client_id"] == "" {
			return "", "", invalidRequest
		}
		if form["client_secret"] == "" {
			return "", "", invalidClient
		}
		return form["client_id"], form["client_secret"], ""
	}
	if len(authorization) > 1 || form["client_secret"] != "" {
		return "", "", invalidRequest
	}
	id, secret, ok := parseBasic(authorization[0])
	switch {
	case !ok:
		return "", "", invalidClient
	case form["client_id"] != "" && form["client_id"] != id:
		return "", "", invalidRequest
	}
	return id, secret, ""
}

// parseBasic reads HTTP Basic as OAuth uses it: id and secret are form-encoded
// before they are joined (RFC 6749, section 2.3.1). Decoding does not change
// values without percent or plus, so clients that do not encode work too.
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if !strings.EqualFold(scheme, "Basic") || err != nil {
		return "", "", false
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	return id, secret, err1 == nil && err2 == nil
}

// grantedScopes returns the scopes asked for, or all of the client's. A scope
// that its resource server no longer has stays listed on the client but is never
// granted.
func grantedScopes(allowed []string, existing map[string]bool, asked string) ([]string, bool) {
	var granted []string
	if strings.TrimSpace(asked) == "" {
		for _, s := range allowed {
			if existing[s] {
				granted = append(granted, s)
			}
		}
		return granted, len(granted) > 0
	}
	for s := range strings.FieldsSeq(asked) {
		if !slices.Contains(allowed, s) || !existing[s] {
			return nil, false
		}
		if !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted, true
}
