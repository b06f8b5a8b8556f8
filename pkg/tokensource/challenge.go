package tokensource

import "strings"

// challenge is what we act on of a Bearer challenge (RFC 6750, section 3; RFC
// 9728, section 5.1).
type challenge struct {
	code        string   // error
	scopes      []string // scope
	metadataURL string   // resource_metadata
}

// parseChallenge reads the first Bearer challenge of WWW-Authenticate headers
// (RFC 9110, section 11.6.1), where one header may hold several challenges. What
// does not parse ends the reading; what was read before counts.
func parseChallenge(values []string) challenge {
	for _, v := range values {
		var params map[string]string // of the Bearer challenge being read
		for v != "" {
			var word string
			v = strings.TrimLeft(v, " \t,")
			word, v = cutToken(v)
			if word == "" {
				break
			}
			rest := strings.TrimLeft(v, " \t")
			if after, ok := strings.CutPrefix(rest, "="); ok {
				var value string
				if value, v, ok = cutValue(strings.TrimLeft(after, " \t")); !ok {
					break
				}
				if name := strings.ToLower(word); params != nil {
					if _, twice := params[name]; !twice {
						params[name] = value
					}
				}
				continue
			}
			// A word without a value is the scheme of the next challenge.
			if params != nil {
				break
			}
			if v = rest; strings.EqualFold(word, "Bearer") {
				params = map[string]string{}
			}
		}
		if params != nil {
			return challenge{params["error"], strings.Fields(params["scope"]), params["resource_metadata"]}
		}
	}
	return challenge{}
}

// cutToken takes a token of RFC 9110, section 5.6.2, off the front.
func cutToken(s string) (token, rest string) {
	i := strings.IndexFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// cutValue takes a token or a quoted string off the front.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
