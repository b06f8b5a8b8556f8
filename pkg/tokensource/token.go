package tokensource

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

const (
	// renewBefore is how long before its end a token is renewed, unless a
	// tenth of its life is more. Twice AgentCore's cut-off, so that the old
	// token still serves while the new one is fetched.
	renewBefore = 2 * time.Minute

	// minLeft is what a token must have left to be handed out. AgentCore
	// refuses one with under a minute left.
	minLeft = 65 * time.Second

	// defaultLife is assumed when the answer has no usable expires_in
	// (RFC 6749, section 5.1, only recommends it), and is Cognito's least.
	defaultLife = 5 * time.Minute
	minLife     = time.Second
	maxLife     = 24 * time.Hour // Cognito's most

	// maxToken bounds an access token. Cognito's for a machine has about one
	// kilobyte.
	maxToken = 16 << 10
)

// Token is an access token and the time at which it ends.
type Token struct {
	AccessToken credstore.Secret
	Expiry      time.Time

	bearer      credstore.Secret // the whole of the header's value
	scopes      []string         // asked for
	asked       time.Time
	renewAt     time.Time
	usableUntil time.Time
}

// newToken works out when a token asked for at that time has to be renewed, and
// until when it may be handed out. For very short lives both are fractions of
// the life, so that no life leads to a fetch per call. Renewal is early by up to
// a tenth more, at random, so that processes which started together do not renew
// together.
func newToken(access string, asked time.Time, life time.Duration) Token {
	expiry := asked.Add(life)
	lead := min(max(life/10, renewBefore), life*3/4)
	lead += rand.N(min(lead, life-lead)/10 + 1)
	return Token{
		AccessToken: credstore.NewSecret(access),
		bearer:      credstore.NewSecret("Bearer " + access),
		Expiry:      expiry,
		asked:       asked,
		renewAt:     expiry.Add(-lead),
		usableUntil: expiry.Add(-min(minLeft, life/2)),
	}
}

// usable reports whether t may be handed out.
func (t Token) usable(now time.Time) bool { return now.Before(t.usableUntil) }

// due reports whether t is to be renewed: it is close to its end, or the clock
// has been set back since, so that its end cannot be relied on.
func (t Token) due(now time.Time) bool { return !now.Before(t.renewAt) || now.Before(t.asked) }

// life reads expires_in, a number of seconds, which some issuers put in quotes.
// A missing or senseless one is replaced, and one over a day is cut.
func life(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	switch {
	case err != nil || !(seconds > 0): // also not a number
		return defaultLife
	case seconds > maxLife.Seconds():
		return maxLife
	default:
		return max(time.Duration(seconds*float64(time.Second)), minLife)
	}
}

// parseToken reads the successful answer of a token endpoint (RFC 6749, section
// 5.1). Its errors quote nothing of the answer.
func parseToken(a answer, asked time.Time) (Token, error) {
	var t struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if err := a.json(&t); err != nil {
		return Token{}, err
	}
	return checkToken(t.AccessToken, t.TokenType, t.ExpiresIn, asked)
}

func checkToken(access, kind string, expiresIn json.RawMessage, asked time.Time) (Token, error) {
	switch {
	case !strings.EqualFold(kind, "Bearer"):
		return Token{}, errors.New("its token type is not Bearer")
	case !validToken(access):
		return Token{}, errors.New("its access token is empty, too long or has characters that no token has")
	}
	return newToken(access, asked, life(expiresIn)), nil
}

// validToken reports whether t is a b64token of RFC 6750, section 2.1, and so
// can be put into a header.
func validToken(t string) bool {
	if t == "" || len(t) > maxToken {
		return false
	}
	for _, b := range []byte(t) {
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~+/=", b) >= 0) {
			return false
		}
	}
	return true
}
