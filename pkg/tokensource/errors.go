package tokensource

import (
	"fmt"
	"time"
)

// ConfigError says that a setting, a parameter, or what an issuer says about
// itself is missing or cannot be used. Waiting does not mend it.
type ConfigError struct {
	Setting string // what to look at
	Err     error
}

func (e *ConfigError) Error() string { return fmt.Sprintf("%s: %v", e.Setting, e.Err) }
func (e *ConfigError) Unwrap() error { return e.Err }

// UnavailableError says that the credentials, the discovery document or the
// token endpoint could not be reached, or asked for patience. It may pass.
type UnavailableError struct {
	Doing      string
	Err        error
	RetryAfter time.Duration // what the endpoint asked for; 0: nothing
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("%s: %v", e.Doing, e.Err) }
func (e *UnavailableError) Unwrap() error { return e.Err }

// RefusedError says that the token endpoint refused the client, or Cognito the
// user.
type RefusedError struct {
	Code      string // of RFC 6749, section 5.2 (invalid_client, …), a Cognito exception, or the HTTP status
	Parameter string // the parameter to look at
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the token endpoint answered %s: check parameter %s", e.Code, e.Parameter)
}

// ChallengeError says that the resource refused our bearer or signature: with
// 401 after a new token too, or with 403.
type ChallengeError struct {
	Status    int
	Code      string // the challenge's error: invalid_token, insufficient_scope; empty: it has none
	Challenge string // the WWW-Authenticate header, at most 1 KiB and without the token
	RequestID string // the platform's, when it gave one
}

func (e *ChallengeError) Error() string {
	msg := fmt.Sprintf("the MCP server refused our authorization with %d", e.Status)
	if e.Challenge != "" {
		msg += ": " + e.Challenge
	}
	if e.RequestID != "" {
		msg += " (request " + e.RequestID + ")"
	}
	return msg
}
