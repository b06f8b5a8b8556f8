package tokensource

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// parseURL refuses a URL that a secret or a token must not be sent to: only
// https to a host name, or http(s) to a loopback address.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL") // the parser's own error quotes it
	}
	switch {
	case u.Host == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil:
		return nil, errors.New("must not carry a user name or password")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment")
	case isLoopback(u.Hostname()) && (u.Scheme == "http" || u.Scheme == "https"):
		return u, nil
	case u.Scheme != "https":
		return nil, errors.New("must be https (http only on a loopback address)")
	case !isName(u.Hostname()):
		return nil, errors.New("must name its host in ASCII, not as a number")
	}
	return u, nil
}

func parseResource(raw string) (*url.URL, error) {
	u, err := parseURL(raw)
	if err != nil {
		return nil, &ConfigError{Setting: "Resource", Err: err}
	}
	return u, nil
}

// isLoopback reports whether host is localhost or a loopback address in its
// canonical form.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isName reports whether host is a DNS name and not an IP address in any of the
// forms that resolvers take, such as 0x7f.1 or 2130706433: no public name ends
// in a label that starts with a digit. Outside ASCII there are further digits.
func isName(host string) bool {
	if strings.ContainsFunc(host, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}) {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndex(host, ".")+1:]
	return last != "" && (last[0] < '0' || last[0] > '9')
}

// originOf is the origin of u: its scheme, host and port, in lower case.
func originOf(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		switch scheme {
		case "http":
			port = "80"
		case "https":
			port = "443"
		}
	}
	return scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// canonical is the resource indicator for u (RFC 8707, section 2): scheme and
// host in lower case, no fragment, no lone slash for a path.
func canonical(u *url.URL) string {
	c := *u
	c.Scheme, c.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if c.Path == "/" {
		c.Path = ""
	}
	return c.String()
}

// Hosts of Amazon Cognito: of user pools, and of their prefix domains.
// https://docs.aws.amazon.com/general/latest/gr/cognito_identity.html
// https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain.html
var (
	cognitoIssuer = regexp.MustCompile(`^(issuer-)?cognito-idp(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)
	cognitoDomain = regexp.MustCompile(`^[a-z0-9-]+\.auth(-fips)?\.[a-z0-9-]+\.amazoncognito\.com(\.cn)?$`)
)

// hostRule says which hosts may hold an issuer, and with it get the client's
// secret. Names only: where they lead is for the dialer to check.
type hostRule struct {
	resource *url.URL
	named    []string
}

// issuer refuses a host that is neither Cognito's nor named. One on this machine
// is for a resource on this machine.
func (r hostRule) issuer(u *url.URL) error {
	host := strings.ToLower(u.Hostname())
	switch {
	case isLoopback(host):
		if !isLoopback(r.resource.Hostname()) {
			return errors.New("an issuer on this machine is for a resource on this machine only")
		}
		return nil
	case cognitoIssuer.MatchString(host), r.isNamed(host):
		return nil
	}
	return fmt.Errorf("host %.100q is not Amazon Cognito's: name it in IssuerHosts if it may get the credentials", host)
}

// tokenEndpoint refuses a token endpoint that is somewhere else than its issuer,
// unless it is where Cognito has them, at domain (a URL, or empty), or named.
func (r hostRule) tokenEndpoint(u, issuer *url.URL, domain string) error {
	host, issuerHost := strings.ToLower(u.Hostname()), strings.ToLower(issuer.Hostname())
	d, err := url.Parse(domain)
	switch {
	case isLoopback(host) != isLoopback(issuerHost):
		return errors.New("only one of it and the issuer is on this machine")
	case isLoopback(host), host == issuerHost, r.isNamed(host):
		return nil
	case cognitoIssuer.MatchString(issuerHost) && cognitoDomain.MatchString(host):
		return nil
	case err == nil && domain != "" && host == strings.ToLower(d.Hostname()):
		return nil
	}
	return fmt.Errorf("host %.100q is not the issuer's: for a custom domain, let the parameter cognito_domain name it", host)
}

func (r hostRule) isNamed(host string) bool {
	return slices.ContainsFunc(r.named, func(n string) bool { return strings.EqualFold(n, host) })
}
