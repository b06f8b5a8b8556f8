package tokensource_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"agentcore-mcp-auth/pkg/tokensource"
)

// broken is a key in a KMS that answers with sig, or cannot be reached.
type broken struct {
	crypto.Signer
	sig []byte
	err error
}

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.sig, b.err }

// A key that does not sign may do so later. Nothing is sent that it has not
// signed.
func TestToken_privateKeyJWT_noSignature(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("the KMS is not there")
	for name, key := range map[string]broken{"unreachable": {ec, nil, gone}, "another form": {ec, make([]byte, 64), nil}} {
		i := newIssuer()
		i.document = func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }
		_, err := newSource(t, i, tokensource.Config{Key: key}).Token(short(t))
		var unavailable *tokensource.UnavailableError
		if !errors.As(err, &unavailable) || key.err != nil && !errors.Is(err, gone) || !strings.Contains(err.Error(), "signing the client assertion") {
			t.Errorf("%s: got %v, want an UnavailableError", name, err)
		}
		if n := len(i.requests()); n != 0 {
			t.Errorf("%s: %d token requests", name, n)
		}
	}
}

// What cannot be signed is not sent.
func TestIAM_notSigned(t *testing.T) {
	sent := 0
	base := roundTripFunc(func(*http.Request) (*http.Response, error) { sent++; return httptest.NewRecorder().Result(), nil })
	gone := errors.New("no role here")
	for name, tt := range map[string]struct {
		creds aws.CredentialsProviderFunc
		body  io.Reader
		check func(error) bool
	}{
		"no credentials": {
			func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, gone }, strings.NewReader("x"),
			func(err error) bool {
				var u *tokensource.UnavailableError
				return errors.As(err, &u) && errors.Is(err, gone)
			},
		},
		"too large": {
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "key"}, nil
			},
			io.LimitReader(rand.Reader, 33<<20), func(err error) bool { return strings.Contains(err.Error(), "refusing to sign a request of over") },
		},
		"cut off": {
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "key"}, nil
			},
			iotest.ErrReader(io.ErrUnexpectedEOF), func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) },
		},
	} {
		c, err := tokensource.IAM{Credentials: tt.creds, Resource: resourceURL, Region: "eu-central-1", Base: base}.Client()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Post(resourceURL, "application/json", tt.body)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !tt.check(err) || sent != 0 {
			t.Errorf("%s: got error %v, %d sent", name, err, sent)
		}
	}
}
