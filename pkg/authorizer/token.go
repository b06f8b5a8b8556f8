package authorizer

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and matches names by case
)

// Claims is what an admitted token says.
type Claims struct {
	Issuer   string
	Subject  string // for a machine token, the client id again
	ClientID string
	TokenID  string // jti
	Scopes   []string
	Audience []string
	IssuedAt time.Time
	Expires  time.Time
}

func (c Claims) clone() Claims {
	c.Scopes, c.Audience = slices.Clone(c.Scopes), slices.Clone(c.Audience)
	return c
}

// token is a JWT that has been read but not yet believed. It is not changed
// after parse.
type token struct {
	Claims
	keyID     string
	use       string
	notBefore time.Time // zero when absent
	all       map[string]json.RawMessage
	jws       *jose.JSONWebSignature
}

// maxKeyID bounds a key id, which is only ever a map key. Cognito's have 44
// characters.
const maxKeyID = 256

// foreignKeys are the header members that bring or point at a key of the
// sender's choice (RFC 7515 section 4.1), and those that change how the rest is
// read (crit, and b64 of RFC 7797). No issuer that AgentCore works with sends
// one in an access token, so a token that has one is refused unread.
var foreignKeys = []string{"jwk", "jku", "x5u", "x5c", "crit", "b64"}

// parse reads a token without believing it. The error is a *Refusal.
func parse(bearer string) (*token, error) {
	parts := strings.Split(bearer, ".")
	if len(parts) != 3 {
		return nil, refuse(CheckForm, "%d parts between dots, want 3", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		// The decoder skips line breaks, which RFC 7515 section 2 does not allow.
		if part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, refuse(CheckForm, "part %d is empty or holds a line break", i+1)
		}
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, refuse(CheckForm, "part %d is not unpadded base64url", i+1)
		}
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(decoded[0], &header); err != nil || header == nil {
		return nil, refuse(CheckForm, "the header is not a JSON object with distinct members")
	}
	t := &token{}
	var alg string
	if json.Unmarshal(header["alg"], &alg) != nil || alg != string(jose.RS256) {
		return nil, refuse(CheckAlgorithm, "alg is %.40q, want %q", header["alg"], jose.RS256)
	}
	for _, name := range foreignKeys {
		if _, ok := header[name]; ok {
			return nil, refuse(CheckForm, "the header has %s, which is never followed", name)
		}
	}
	if json.Unmarshal(header["kid"], &t.keyID) != nil || t.keyID == "" || len(t.keyID) > maxKeyID {
		return nil, refuse(CheckKey, "kid is %.40q, want a string of 1 to %d characters", header["kid"], maxKeyID)
	}
	if err := json.Unmarshal(decoded[1], &t.all); err != nil || t.all == nil {
		return nil, refuse(CheckForm, "the payload is not a JSON object with distinct members")
	}
	if err := t.read(); err != nil {
		return nil, err
	}
	var err error
	if t.jws, err = jose.ParseSignedCompact(bearer, []jose.SignatureAlgorithm{jose.RS256}); err != nil {
		r := refuse(CheckForm, "is not a compact JWS")
		r.Err = err
		return nil, r
	}
	return t, nil
}

// read takes the claims out of t.all.
func (t *token) read() error {
	for _, c := range []struct {
		name string
		to   *string
	}{{"iss", &t.Issuer}, {"sub", &t.Subject}, {"client_id", &t.ClientID}, {"jti", &t.TokenID}, {"token_use", &t.use}} {
		if raw, ok := t.all[c.name]; ok && !isString(raw, c.to) {
			return refuse(CheckForm, "claim %s is not a string", c.name)
		}
	}
	for _, c := range []struct {
		name  string
		to    *time.Time
		check Check
		must  bool
	}{{"exp", &t.Expires, CheckExpiry, true}, {"iat", &t.IssuedAt, CheckTime, true}, {"nbf", &t.notBefore, CheckTime, false}} {
		raw, ok := t.all[c.name]
		if !ok && !c.must {
			continue
		}
		if !isSeconds(raw, c.to) {
			return refuseClaim(c.check, c.name, "%s is %.40q, want whole seconds since 1970", c.name, raw)
		}
	}
	// AgentCore reads scopes from the scope string or the scp list; aud is a
	// string or a list (RFC 7519 section 4.1.3).
	if raw, ok := t.all["scope"]; ok {
		var scope string
		if !isString(raw, &scope) {
			return refuseClaim(CheckScope, "scope", "scope is not a string")
		}
		t.Scopes = strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' })
	}
	if raw, ok := t.all["scp"]; ok {
		var scopes []string
		if !isStrings(raw, &scopes) {
			return refuseClaim(CheckScope, "scp", "scp is not a list of strings")
		}
		t.Scopes = append(t.Scopes, scopes...)
	}
	if raw, ok := t.all["aud"]; ok {
		var one string
		if isString(raw, &one) {
			t.Audience = []string{one}
		} else if !isStrings(raw, &t.Audience) {
			return refuseClaim(CheckAudience, "aud", "aud is neither a string nor a list of strings")
		}
	}
	return nil
}

func isString(raw json.RawMessage, to *string) bool {
	return len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, to) == nil
}

func isStrings(raw json.RawMessage, to *[]string) bool {
	var items []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return false
	}
	list := make([]string, len(items))
	for i, item := range items {
		if !isString(item, &list[i]) {
			return false
		}
	}
	*to = list
	return true
}

// isSeconds takes a whole number of up to twelve digits and nothing else.
func isSeconds(raw json.RawMessage, to *time.Time) bool {
	n, err := strconv.ParseUint(string(raw), 10, 40) // no sign, point or exponent
	if err != nil || raw[0] == '0' || len(raw) > 12 {
		return false
	}
	*to = time.Unix(int64(n), 0)
	return true
}

// admit applies every rule that follows the signature. The error is a
// *Refusal.
func (c *Config) admit(t *token) error {
	now := c.Now()
	switch left := t.Expires.Sub(now); {
	case t.use != "access":
		return refuseClaim(CheckUse, "token_use", "token_use is %.40q, want \"access\"; an id token is no access token", t.use)
	case left <= 0:
		return refuseClaim(CheckExpiry, "exp", "ended %s ago", (-left).Round(time.Second))
	case left < Margin:
		return refuseClaim(CheckExpiry, "exp", "ends in %s; AgentCore refuses a token with less than %s left", left.Round(time.Second), Margin)
	case left > maxLife+leeway, t.Expires.Sub(t.IssuedAt) > maxLife:
		return refuseClaim(CheckExpiry, "exp", "lives longer than %s", maxLife)
	case t.IssuedAt.Sub(now) > leeway:
		return refuseClaim(CheckTime, "iat", "iat is %s ahead of this clock", t.IssuedAt.Sub(now).Round(time.Second))
	case t.notBefore.Sub(now) > leeway:
		return refuseClaim(CheckTime, "nbf", "nbf is %s ahead of this clock", t.notBefore.Sub(now).Round(time.Second))
	case c.AllowedClients != nil && !slices.Contains(c.AllowedClients, t.ClientID):
		return refuseClaim(CheckClient, "client_id", "client_id %.80q is not among the %d allowed", t.ClientID, len(c.AllowedClients))
	case c.AllowedAudience != nil && !overlap(t.Audience, c.AllowedAudience):
		return refuseClaim(CheckAudience, "aud", "aud %.200q holds none of the %d allowed; Cognito machine tokens have no aud, use AllowedClients", t.Audience, len(c.AllowedAudience))
	}
	for _, rule := range c.CustomClaims {
		if !rule.matches(t.all[rule.Name]) {
			return refuseClaim(CheckClaim, rule.Name, "claim %q does not match %s %q", rule.Name, rule.Operator, rule.Values)
		}
	}
	// Last, so that a 403 is said only of a token in which all else is right.
	if c.AllowedScopes != nil && !overlap(t.Scopes, c.AllowedScopes) {
		r := refuseClaim(CheckScope, "scope", "scope %.200q holds none of %q", t.Scopes, c.AllowedScopes)
		r.Status = http.StatusForbidden
		return r
	}
	return nil
}

// matches reports whether a claim's value, nil when the token lacks it, is what
// the rule asks for.
func (c Claim) matches(raw json.RawMessage) bool {
	if c.Operator == Equals {
		var s string
		return isString(raw, &s) && s == c.Values[0]
	}
	var list []string
	return isStrings(raw, &list) && overlap(list, c.Values)
}

// overlap reports whether two lists share an element.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
