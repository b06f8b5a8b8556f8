package authorizer

import (
	"fmt"
	"net/http"
)

// Check names one of the things that are checked.
type Check string

// The checks, in their order.
const (
	CheckHeader    Check = "authorization header" // there is exactly one, with scheme Bearer
	CheckForm      Check = "token form"           // a compact JWS of two JSON objects and a signature
	CheckAlgorithm Check = "algorithm"            // RS256
	CheckIssuer    Check = "issuer"
	CheckKeys      Check = "issuer's keys" // could be fetched
	CheckKey       Check = "signing key"   // is among the issuer's
	CheckSignature Check = "signature"
	CheckUse       Check = "token use" // an access token, not an id token
	CheckExpiry    Check = "expiry"
	CheckTime      Check = "issue time" // iat and nbf
	CheckClient    Check = "client"
	CheckAudience  Check = "audience"
	CheckScope     Check = "scope"
	CheckClaim     Check = "custom claim"
)

// Refusal says why a token may not pass. It is for the operator: the caller who
// presented the token is told the status and an error code, and nothing else.
type Refusal struct {
	Check  Check
	Reason string // holds no token; parts of one are quoted and cut short

	// Status is 401; 403 where the token is good but has none of the scopes
	// (RFC 6750 section 3.1); 503 where the issuer's keys cannot be fetched,
	// which says nothing about the token.
	//
	// A runtime on AgentCore answers 401 for the scope too.
	Status int

	// Claim is the name of the claim at fault, for CheckUse and what follows it.
	Claim string

	Err error // what went wrong underneath, if anything did
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("bearer token refused: %s: %s", r.Check, r.Reason)
}

func (r *Refusal) Unwrap() error { return r.Err }

func refuse(check Check, format string, args ...any) *Refusal {
	return &Refusal{Check: check, Reason: fmt.Sprintf(format, args...), Status: http.StatusUnauthorized}
}

// refuseClaim is a refusal on account of one claim.
func refuseClaim(check Check, claim, format string, args ...any) *Refusal {
	r := refuse(check, format, args...)
	r.Claim = claim
	return r
}
