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

// apiError returns the code and the message of an AWS error, or empty strings if
// err is none.
func apiError(err error) (code, message string) {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode(), api.ErrorMessage()
	}
	return "", ""
}

// refusal returns an error of an AWS service in one line.
func (e *exam) refusal(err error) string {
	code, message := apiError(err)
	if code == "" {
		return e.clean(err.Error())
	}
	return e.clean(code + ": " + message)
}

// network returns what kept a request from being answered, and the likely cause.
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

// tokenForm matches what looks like a bearer token or like a secret in a header.
var tokenForm = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)*|(?i:bearer|basic) +[A-Za-z0-9._~+/=-]{16,}`)

// userInfo matches a user name and password in a URL.
var userInfo = regexp.MustCompile(`://[^/?#@\s]+@`)

// maxQuote bounds quotations of other people's text.
const maxQuote = 300

// clean makes other people's text safe to show: one short line without control
// characters, and without anything that looks like a token or a password.
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

// clean also removes the secrets that the examination knows.
func (e *exam) clean(s string) string {
	for _, secret := range e.secrets() {
		s = strings.ReplaceAll(s, secret, "[secret]")
	}
	return clean(s)
}

// list joins the first few values for people to read.
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
