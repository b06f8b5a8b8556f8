package tokensource

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signingName is what AgentCore's data plane is called in a signature.
const signingName = "bedrock-agentcore"

// maxSigned bounds a request body, which has to be read whole to be signed.
// AgentCore takes payloads of up to 100 MB; MCP requests are far below.
const maxSigned = 32 << 20

// IAM says how to call a runtime that has no JWT authorizer: with requests
// signed for service bedrock-agentcore (Signature Version 4).
type IAM struct {
	Credentials aws.CredentialsProvider // required; an aws.Config's caches and renews
	Resource    string                  // URL of the MCP server; required. Nothing is signed for another origin
	Region      string                  // default: the one in Resource's host
	Base        http.RoundTripper       // default http.DefaultTransport
	Now         func() time.Time        // default time.Now
}

// signingTransport signs what goes through it. It is safe for concurrent use.
type signingTransport struct {
	cfg    IAM
	origin string
	signer *v4.Signer
}

var runtimeHost = regexp.MustCompile(`^bedrock-agentcore(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$`)

// Client returns an HTTP client for the resource that signs each request and
// follows no redirect. A 401 or 403 is returned as a [*ChallengeError]: signing
// again would not mend it. A configuration that cannot work is refused as a
// [*ConfigError].
func (c IAM) Client() (*http.Client, error) {
	u, err := parseResource(c.Resource)
	if err != nil {
		return nil, err
	}
	if c.Credentials == nil {
		return nil, &ConfigError{Setting: "Credentials", Err: errors.New("required")}
	}
	if m := runtimeHost.FindStringSubmatch(u.Hostname()); c.Region == "" && m != nil {
		c.Region = m[1]
	}
	if c.Region == "" {
		return nil, &ConfigError{Setting: "Region", Err: errors.New("required: the resource's host does not name one")}
	}
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &signingTransport{cfg: c, origin: originOf(u), signer: v4.NewSigner()}
	return &http.Client{Transport: t}, nil
}

// Format masks a signingTransport in every fmt verb: it can hold keys.
func (t *signingTransport) Format(f fmt.State, _ rune) { io.WriteString(f, "signatures for "+t.origin) }

func (t *signingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := sameOrigin(req, t.origin); err != nil {
		return nil, err
	}
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	creds, err := t.cfg.Credentials.Retrieve(req.Context())
	if err != nil {
		return nil, &UnavailableError{Doing: "reading AWS credentials", Err: err}
	}
	out := req.Clone(req.Context())
	out.Header.Del("Authorization")
	out.Body, out.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	hash := sha256.Sum256(body)
	if err := t.signer.SignHTTP(req.Context(), creds, out, hex.EncodeToString(hash[:]), signingName, t.cfg.Region, t.cfg.Now()); err != nil {
		return nil, fmt.Errorf("signing a request to %s: %w", t.origin, err)
	}
	resp, _, err := forward(t.cfg.Base, req, out, creds.SessionToken)
	return resp, err
}

// readBody reads the body of req whole and closes it.
func readBody(req *http.Request) ([]byte, error) {
	if !hasBody(req) {
		return nil, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxSigned+1))
	if err != nil {
		return nil, fmt.Errorf("reading the request to sign: %w", err)
	}
	if len(body) > maxSigned {
		return nil, fmt.Errorf("refusing to sign a request of over %d bytes", maxSigned)
	}
	return body, nil
}
