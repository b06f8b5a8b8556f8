package tokensource

import (
	"regexp"
	"strings"
)

// challenge is what we act on of a Bearer challenge (RFC 6750, section 3; RFC
// 9728, section 5.1).
type challenge struct {
	code        string   // error
	scopes      []string // scope
	metadataURL string   // resource_metadata
}

// challengeWord is a word at the front of a WWW-Authenticate header (RFC 9110,
// sections 5.6.2 and 11.6.1): a scheme, or a parameter with a quoted or a plain
// value. The token68 of another scheme reads as one or the other.
var challengeWord = regexp.MustCompile(`(?s)^[ \t,]*([-!#$%&'*+./^_|~\w` + "`" + `]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([-!#$%&'*+./^_|~\w` + "`" + `]*)=*))?`)

var quotedPair = regexp.MustCompile(`(?s)\\(.)`)

// parseChallenge reads the first Bearer challenge of WWW-Authenticate headers,
// where one header may hold several challenges. What does not parse ends the
// reading; what was read before counts.
func parseChallenge(values []string) challenge {
	for _, v := range values {
		var params map[string]string // of the Bearer challenge being read
		for m := challengeWord.FindStringSubmatchIndex(v); m != nil; m = challengeWord.FindStringSubmatchIndex(v) {
			word, isParameter := v[m[2]:m[3]], m[4] >= 0 || m[6] >= 0
			if !isParameter && params != nil {
				break // the next challenge's scheme
			}
			if !isParameter && strings.EqualFold(word, "Bearer") {
				params = map[string]string{}
			}
			name := strings.ToLower(word)
			if _, twice := params[name]; isParameter && params != nil && !twice {
				if m[4] >= 0 {
					params[name] = quotedPair.ReplaceAllString(v[m[4]:m[5]], "$1")
				} else {
					params[name] = v[m[6]:m[7]]
				}
			}
			v = v[m[1]:]
		}
		if params != nil {
			return challenge{params["error"], strings.Fields(params["scope"]), params["resource_metadata"]}
		}
	}
	return challenge{}
}
