package doctor

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// claims are the claims of a token that the checks use.
type claims struct {
	Issuer   string
	ClientID string
	Use      string
	Scopes   []string
	Audience []string
	Expires  time.Time
	Issued   time.Time
	all      map[string]json.RawMessage
}

// errNoJWT does not quote the text, which may be a secret.
var errNoJWT = errors.New("not a JWT: want three parts of base64url between dots, the first two of JSON")

// decode reads a JWT's claims without verifying its signature, which is the
// authorizer's task.
func decode(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errNoJWT
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	c := claims{}
	for i, to := range []any{&header, &c.all} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, to) != nil {
			return claims{}, errNoJWT
		}
	}
	if header.Algorithm == "" || c.all == nil {
		return claims{}, errNoJWT
	}
	text := func(name string) (s string) { json.Unmarshal(c.all[name], &s); return s }
	at := func(name string) time.Time {
		var n float64
		if json.Unmarshal(c.all[name], &n) != nil || n <= 0 || n > 1e11 {
			return time.Time{}
		}
		return time.Unix(int64(n), 0)
	}
	c.Issuer, c.ClientID, c.Use = text("iss"), text("client_id"), text("token_use")
	c.Expires, c.Issued = at("exp"), at("iat")
	c.Scopes = append(strings.Fields(text("scope")), texts(c.all["scp"])...)
	c.Audience = texts(c.all["aud"])
	return c, nil
}

// texts returns the strings of a claim that is a string or a list of strings.
func texts(raw json.RawMessage) []string {
	var one string
	var many []string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	json.Unmarshal(raw, &many)
	return many
}

// expectation is what a token should contain according to the parameters. Empty
// fields expect nothing.
type expectation struct {
	issuer, client string
	scopes         []string
}

// expectation returns what the parameters say about tokens. The issuer is the
// discovery document's, or that of the discovery URL if there is no document.
func (e *exam) expectation() expectation {
	issuer := cmp.Or(e.document.Issuer, strings.TrimSuffix(e.value(credstore.DiscoveryURL), openidConfiguration))
	return expectation{issuer, e.value(credstore.ClientID), strings.Fields(e.value(credstore.Scope))}
}

// margin is the remaining lifetime that AgentCore requires.
const margin = time.Minute

// examine compares a token with what is expected, claim by claim.
func (c claims) examine(want expectation, now time.Time, a advice) []Check {
	var checks []Check
	add := func(id string, ok bool, bad Check, good string) {
		if ok {
			bad = pass(good)
		} else {
			bad.Status = Fail
		}
		bad.ID = id
		checks = append(checks, bad)
	}
	add("token.issuer", c.Issuer != "" && (want.issuer == "" || c.Issuer == want.issuer), Check{
		Expected: "iss " + clean(want.issuer), Found: "iss " + clean(c.Issuer),
		Cause: "the token is of another user pool, or it spells the issuer differently from the issuer's document", Next: a.doctor(),
	}, clean(c.Issuer))
	use := c.Use
	if use == "" {
		use = "access: it has no token_use"
	}
	add("token.use", c.Use == "access" || c.Use == "", Check{
		Expected: "token_use access", Found: "token_use " + clean(c.Use),
		Cause: "it is an id token, which says who a user is and grants no access", Next: a.mcpauth("token", "--claims"),
	}, clean(use))
	add("token.client", c.ClientID != "" && (want.client == "" || c.ClientID == want.client), Check{
		Expected: "client_id " + clean(want.client), Found: "client_id " + clean(c.ClientID),
		Cause: "the token was given to another client, or is an id token, which has none", Next: a.mcpauth("token", "--claims"),
	}, clean(c.ClientID))
	lacking := slices.DeleteFunc(slices.Clone(want.scopes), func(s string) bool { return slices.Contains(c.Scopes, s) })
	add("token.scope", len(lacking) == 0, Check{
		Expected: "scope " + list(want.scopes), Found: "scope " + list(c.Scopes),
		Cause: "the token endpoint gave less than was asked for", Next: a.remake(),
	}, list(c.Scopes))
	return append(checks, c.life(now, a))
}

// life checks a token's times.
func (c claims) life(now time.Time, a advice) Check {
	left, whole := c.Expires.Sub(now), c.Expires.Sub(c.Issued)
	bad := Check{ID: "token.life", Status: Fail, Expected: "a token with more than " + margin.String() + " left", Next: a.mcpauth("token", "--claims")}
	switch {
	case c.Expires.IsZero():
		bad.Found, bad.Cause = "no exp", "the issuer's tokens never expire, and no authorizer accepts that"
	case c.Issued.Sub(now) > margin:
		bad.Expected, bad.Found = "a token that has been issued", "issued in "+c.Issued.Sub(now).Round(time.Second).String()
		bad.Cause, bad.Next = "this machine's clock, or the issuer's, is off", "date -u"
	case left <= 0:
		bad.Found = fmt.Sprintf("ended %s ago", (-left).Round(time.Second))
		bad.Cause = "it is an old token: fetch another"
	case left < margin:
		bad.Found = fmt.Sprintf("%s left", left.Round(time.Second))
		bad.Cause = "AgentCore refuses a token in its last minute: renew earlier"
	case !c.Issued.IsZero() && whole < 5*time.Minute:
		bad.Status, bad.Expected = Warn, "a life of five minutes or more, Cognito's least"
		bad.Found, bad.Cause = whole.String(), "agents fetch a token every few calls, and each costs"
	default:
		c := pass(fmt.Sprintf("%s left of %s", left.Round(time.Second), whole))
		c.ID = bad.ID
		return c
	}
	return bad
}

// examineToken fetches a token as an agent does, and reads it.
func (e *exam) examineToken(ctx context.Context) {
	e.step("token.request", func() Check { return e.requestToken(ctx) },
		checkID(credstore.ClientID), checkID(credstore.ClientSecret), checkID(credstore.Scope),
		"discovery.issuer", "discovery.token_endpoint", "client.exists", "client.grant", "client.scopes")
	e.step("token.form", func() Check {
		var err error
		if e.claims, err = decode(e.token.Reveal()); err != nil {
			return Check{Status: Fail, Expected: "a JWT", Found: err.Error(), Cause: "the issuer gives out opaque tokens, which a JWT authorizer cannot read", Next: e.advice.doctor()}
		}
		return pass(fmt.Sprintf("a JWT of %d characters", len(e.token.Reveal())))
	}, "token.request")
	if e.failed("token.form") {
		for _, id := range []string{"token.issuer", "token.use", "token.client", "token.scope", "token.life"} {
			e.step(id, nil, "token.form")
		}
		return
	}
	checks := e.claims.examine(e.expectation(), time.Now(), e.advice)
	for i, c := range checks {
		if c.ID != "token.life" || c.Status != Fail {
			continue
		}
		// The token is new, so its age is not the cause.
		checks[i].Cause, checks[i].Next = "this machine's clock, or the issuer's, is off", "date -u"
		if whole := e.claims.Expires.Sub(e.claims.Issued); whole > 0 && whole <= margin {
			checks[i].Cause = "the issuer's tokens live no longer than " + whole.String()
			checks[i].Next = e.advice.mcpauth("setup", "--access-token-minutes", "60")
		}
	}
	e.done(checks)
}

func (e *exam) requestToken(ctx context.Context) Check {
	c := Check{Status: Fail, Expected: "an access token for client " + e.clean(e.value(credstore.ClientID))}
	resource := e.endpoint.url
	if resource == "" { // the token is sent nowhere then; the rules for issuers are the same
		resource = e.document.Issuer
	}
	source, err := tokensource.New(tokensource.Config{
		Resource:    resource,
		IssuerHosts: e.cfg.IssuerHosts,
		Credentials: tokensource.Static{
			ClientID: e.value(credstore.ClientID), ClientSecret: e.parameters[credstore.ClientSecret].value,
			DiscoveryURL: e.value(credstore.DiscoveryURL), Domain: e.value(credstore.Domain), Scope: e.value(credstore.Scope),
		},
	})
	var t tokensource.Token
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, e.patience())
		defer cancel()
		t, err = source.Token(ctx)
	}
	var refused *tokensource.RefusedError
	var unavailable *tokensource.UnavailableError
	switch {
	case err == nil:
		e.token = t.AccessToken
		return pass("the secret is accepted; a token until " + t.Expiry.Format(time.RFC3339))
	case errors.As(err, &refused):
		c.Found = "the token endpoint answered " + clean(refused.Code)
		first := oauthError(refused.Code, e.advice)[0]
		c.Cause, c.Next = first.Cause, first.Next
		if first.Next == e.advice.remake() {
			c = e.advice.remade(c)
		}
		if refused.Code == "invalid_client" && e.client != nil {
			c.Cause = "the secret in parameter " + credstore.ClientSecret + " is not, or no longer, one of the client's"
			if other := e.ownerOfSecret(ctx); other != "" {
				c.Cause = "parameter " + credstore.ClientSecret + " holds the secret of another client, " + other
			}
			c.Next = e.advice.mcpauth("rotate")
			if e.advice.owned() {
				c.Repair = &Repair{Rotate: true}
			}
		}
	case errors.As(err, &unavailable):
		c.Found, c.Cause = e.network(unavailable)
		if strings.Contains(c.Found, "answered 429") {
			c.Cause = "the account's quota of token requests is used up: an agent does not keep its token"
		} else if strings.Contains(c.Found, "answered 5") {
			c.Cause = "the token endpoint is overloaded or down"
		}
		c.Next = e.advice.doctor()
	default:
		c.Found, c.Cause = e.clean(err.Error()), "an agent does not send its secret there"
		c = e.advice.restored(c)
		if strings.Contains(c.Found, "IssuerHosts") {
			c.Cause = "an agent sends its secret only to Cognito and to the hosts in MCP_ISSUER_HOSTS"
			c.Next, c.Repair = "MCP_ISSUER_HOSTS="+quote(hostName(e.document.Issuer))+" "+e.advice.doctor(), nil
		}
	}
	return c
}

func hostName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
