package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"github.com/aws/smithy-go"
)

// apiError is what an AWS service answered instead of what was asked for; empty
// when none did.
func apiError(err error) (code, message string) {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode(), api.ErrorMessage()
	}
	return "", ""
}

// refusal is an error of an AWS service in one line.
func (e *exam) refusal(err error) string {
	code, message := apiError(err)
	if code == "" {
		return e.clean(err.Error())
	}
	return e.clean(code + ": " + message)
}

// network says what kept a request from being answered, and why.
func (e *exam) network(err error) (found, cause string) {
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("no address for %.100s", name.Name), "the name is misspelt, its region among it, or no name server or proxy can be reached"
	case isTimeout(err):
		return "no answer in time", "a firewall, a proxy or a subnet without a way out swallows the request"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "nothing listens there"
	case errors.As(err, &cert), errors.As(err, new(x509.UnknownAuthorityError)):
		return "a certificate that this machine does not trust", "a proxy intercepts TLS: have this machine trust the proxy's certificate authority"
	}
	return e.clean(err.Error()), "the connection broke, or is not let through"
}

// tokenForm is what bearer tokens and the secrets in headers look like.
var tokenForm = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)*|(?i:bearer|basic) +[A-Za-z0-9._~+/=-]{16,}`)

// userInfo is the user's name and password in a URL.
var userInfo = regexp.MustCompile(`://[^/?#@\s]+@`)

// maxQuote bounds what is quoted of anybody's text.
const maxQuote = 300

// clean is a stranger's text as it may be shown: in one line, short, without
// control characters, and without anything that looks like a token or a
// password.
func clean(s string) string {
	s = tokenForm.ReplaceAllString(s, "[secret]")
	s = userInfo.ReplaceAllString(s, "://[secret]@")
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxQuote {
		s = strings.ToValidUTF8(s[:maxQuote], "") + "…"
	}
	return s
}

// clean is a stranger's text without the secrets that the exam knows either.
func (e *exam) clean(s string) string {
	for _, secret := range e.secrets() {
		s = strings.ReplaceAll(s, secret, "[secret]")
	}
	return clean(s)
}

// list is a few of the values, for people.
func list(values []string) string {
	const most = 5
	shown := values
	if len(shown) > most {
		shown = shown[:most]
	}
	text := clean(strings.Join(shown, ", "))
	if n := len(values) - len(shown); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
