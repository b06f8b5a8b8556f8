package localaws

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxSkew is how old or how far ahead a signature may be.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
const maxSkew = 5 * time.Minute

// checkSignature refuses a request without a valid Signature Version 4 for
// service and the stand-in's region, made with the account's or a role's
// credentials. The refusals are those that AWS services share.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
//
// The age of a signature is measured by the clock of the machine, not by
// Config.Now, because SDKs sign by that clock.
func (s *Server) checkSignature(r *http.Request, body []byte, service string) *apiError {
	// Services of the AWS JSON protocol answer 400, those of REST-JSON 403.
	refusal := func(typ, message string) *apiError {
		status := http.StatusForbidden
		if r.Header.Get("X-Amz-Target") != "" {
			status = http.StatusBadRequest
		}
		return &apiError{Status: status, Type: typ, Message: message}
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 || header[0] == "" {
		return refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	auth, ok := parseAuthorization(header[0])
	if !ok || len(header) > 1 {
		return refusal("IncompleteSignatureException", "Authorization is not of the form AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…")
	}
	signedAt, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return refusal("IncompleteSignatureException", "X-Amz-Date is missing or not of the form 20060102T150405Z")
	}
	creds, known := s.credentialsOf(auth.accessKeyID)
	switch age := time.Since(signedAt); {
	case !known, r.Header.Get("X-Amz-Security-Token") != creds.SessionToken:
		return refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
	case auth.date != signedAt.Format("20060102"):
		return refusal("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	case auth.region != s.cfg.Region:
		return refusal("InvalidSignatureException", "Credential should be scoped to a valid region, such as "+s.cfg.Region+".")
	case auth.service != service:
		return refusal("InvalidSignatureException", "Credential should be scoped to correct service: '"+service+"'.")
	case age > maxSkew:
		return refusal("InvalidSignatureException", "Signature expired: "+signedAt.Format(time.RFC3339)+" is too long ago.")
	case age < -maxSkew:
		return refusal("InvalidSignatureException", "Signature not yet current: "+signedAt.Format(time.RFC3339)+" is in the future.")
	}
	// The host and all of x-amz-* must be signed.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request
	if !slices.Contains(auth.signedHeaders, "host") {
		return refusal("InvalidSignatureException", "host must be among the SignedHeaders")
	}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(auth.signedHeaders, name) {
			return refusal("InvalidSignatureException", name+" must be among the SignedHeaders, as every x-amz- header")
		}
	}
	want, ok := sign(r, body, creds, auth, signedAt)
	if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(auth.signature)) != 1 {
		return refusal("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return nil
}

// authorization is a parsed Signature Version 4 Authorization header.
type authorization struct {
	accessKeyID, date, region, service string
	signedHeaders                      []string
	signature                          string
}

func parseAuthorization(header string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return a, false
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return a, false
	}
	return authorization{
		accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"),
		signature:     fields["Signature"],
	}, true
}

// sign signs r again with the SDK's own signer, which also signs a session
// token. It covers the headers that the caller signed and the body that arrived.
func sign(r *http.Request, body []byte, creds aws.Credentials, auth authorization, at time.Time) (signature string, ok bool) {
	again := &http.Request{
		Method: r.Method,
		Host:   r.Host,
		Header: http.Header{},
		// Opaque keeps the path as it was sent, percent-encoding included.
		URL: &url.URL{Opaque: "//" + r.Host + r.URL.EscapedPath(), RawQuery: r.URL.RawQuery},
	}
	for _, name := range auth.signedHeaders {
		switch name {
		case "host":
		case "content-length": // net/http removes it from the headers; the signer reads it from the request
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(r.Context(), creds, again, hex.EncodeToString(hash[:]), auth.service, auth.region, at)
	if err != nil {
		return "", false
	}
	got, ok := parseAuthorization(again.Header.Get("Authorization"))
	return got.signature, ok && slices.Equal(got.signedHeaders, auth.signedHeaders)
}
