package doctor

import (
	"fmt"
	"slices"

	"agentcore-mcp-auth/pkg/authorizer"
)

// rules are the requirements of a runtime's authorizer on a token. A nil list
// requires nothing.
type rules struct {
	discoveryURL               string
	clients, audiences, scopes []string
	claims                     []authorizer.Claim
	other                      []string // names of rules that are not read here
}

// examine compares a token with an authorizer's rules, one by one. issuer is the
// issuer in the authorizer's discovery document. All rules must hold.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/inbound-jwt-authorizer.html
func (r rules) examine(c claims, issuer, next string) []Check {
	var checks []Check
	add := func(id, good string, ok bool, want, got, cause string) {
		check := pass(good)
		if !ok {
			check = Check{Status: Fail, Expected: clean(want), Found: clean(got), Cause: cause, Next: next}
		}
		check.ID = id
		checks = append(checks, check)
	}
	add("authorizer.discovery", clean(r.discoveryURL), issuer == c.Issuer, "tokens of issuer "+issuer, "a token of issuer "+c.Issuer,
		"the runtime was deployed for another user pool; it answers 401, some front doors 403")
	add("authorizer.clients", among(r.clients, "any client"), r.clients == nil || slices.Contains(r.clients, c.ClientID),
		"client_id among "+list(r.clients), "client_id "+c.ClientID, "the app client was replaced since the runtime was deployed, or the runtime is another server's")
	cause := "the token is for another audience"
	if c.Audience == nil {
		cause = "Cognito's machine tokens have no aud, so that no audience ever matches: leave allowedAudience out"
	}
	add("authorizer.audience", among(r.audiences, "any audience"), r.audiences == nil || overlap(c.Audience, r.audiences),
		"aud among "+list(r.audiences), "aud "+orNone(c.Audience), cause)
	add("authorizer.scopes", among(r.scopes, "any scope"), r.scopes == nil || overlap(c.Scopes, r.scopes),
		"one of the scopes "+list(r.scopes), "scope "+orNone(c.Scopes), "the runtime asks for a scope that the client does not ask for, or may not have")
	for _, rule := range r.claims {
		raw := c.all[rule.Name]
		got := texts(raw)
		ok := overlap(got, rule.Values)
		if rule.Operator == authorizer.Equals {
			ok = len(raw) > 0 && raw[0] == '"' && ok
		}
		add("authorizer.claim."+clean(rule.Name), clean(rule.Name)+" "+list(rule.Values), ok,
			fmt.Sprintf("claim %s %s %s", rule.Name, rule.Operator, list(rule.Values)), "claim "+rule.Name+" "+orNone(got),
			"machine tokens have no such claim unless a pre token generation trigger adds it")
	}
	if r.other != nil {
		checks = append(checks, Check{ID: "authorizer.other", Status: Skip, Cause: "only a request tells whether these hold: " + list(r.other)})
	}
	return checks
}

func among(values []string, anything string) string {
	if values == nil {
		return anything
	}
	return list(values)
}

func orNone(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return list(values)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
