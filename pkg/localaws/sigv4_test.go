package localaws_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/localaws"
)

// shiftedSigner signs with a clock that is off, or for another service.
type shiftedSigner struct {
	by      time.Duration
	service string
}

func (s shiftedSigner) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	if s.service != "" {
		service = s.service
	}
	return v4.NewSigner().SignHTTP(ctx, c, r, hash, service, region, at.Add(s.by), opts...)
}

// tamper changes a request after it has been signed.
type tamper func(*http.Request)

func (f tamper) Do(r *http.Request) (*http.Response, error) {
	f(r)
	return bodyInMemory{}.Do(r)
}

// case 140: an invalid signature is refused as AWS refuses it.
func TestSignature(t *testing.T) {
	a := newAccount(t)
	a.put("/p", "v", "String")
	key := func(id, secret, token string) func(*ssm.Options) {
		return func(o *ssm.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token) }
	}
	signer := func(s shiftedSigner) func(*ssm.Options) { return func(o *ssm.Options) { o.HTTPSignerV4 = s } }
	sent := func(change func(*http.Request)) func(*ssm.Options) {
		return func(o *ssm.Options) { o.HTTPClient = tamper(change) }
	}
	for _, tt := range []struct {
		what   string
		change func(*ssm.Options)
		want   string
	}{
		{"good", func(*ssm.Options) {}, ""},
		{"four minutes old", signer(shiftedSigner{by: -4 * time.Minute}), ""},
		{"six minutes old", signer(shiftedSigner{by: -6 * time.Minute}), "InvalidSignatureException"},
		{"six minutes ahead", signer(shiftedSigner{by: 6 * time.Minute}), "InvalidSignatureException"},
		{"for another service", signer(shiftedSigner{service: "cognito-idp"}), "InvalidSignatureException"},
		{"for another region", func(o *ssm.Options) { o.Region = "us-east-1" }, "InvalidSignatureException"},
		{"another key", key("AKIAANOTHER", localaws.SecretAccessKey, ""), "UnrecognizedClientException"},
		{"session token", key(localaws.AccessKeyID, localaws.SecretAccessKey, "token"), "UnrecognizedClientException"},
		{"wrong secret", key(localaws.AccessKeyID, "wrong", ""), "InvalidSignatureException"},
		{"changed body", sent(func(r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(b), "/p", "/q", 1)))
		}), "InvalidSignatureException"},
		{"changed target", sent(func(r *http.Request) { r.Header.Set("X-Amz-Target", "AmazonSSM.DeleteParameter") }), "InvalidSignatureException"},
		{"changed date", sent(func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z"))
		}), "InvalidSignatureException"},
		{"unsigned target", sent(func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";x-amz-target", "", 1))
		}), "InvalidSignatureException"},
		{"another header, unsigned", sent(func(r *http.Request) { r.Header.Set("X-Amz-User-Agent", "me") }), "InvalidSignatureException"},
		{"two signatures", sent(func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }), "IncompleteSignatureException"},
		{"no header", sent(func(r *http.Request) { r.Header.Del("Authorization") }), "MissingAuthenticationTokenException"},
		{"no date", sent(func(r *http.Request) { r.Header.Del("X-Amz-Date") }), "IncompleteSignatureException"},
		{"bearer", sent(func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }), "IncompleteSignatureException"},
		{"no signature", sent(func(r *http.Request) {
			h, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature=")
			r.Header.Set("Authorization", h)
		}), "IncompleteSignatureException"},
	} {
		cfg := a.AWSConfig()
		cfg.RetryMaxAttempts = 1
		client := ssm.NewFromConfig(cfg, tt.change) // a client of its own: signers remember keys by their id
		if got := refused(t, client.GetParameter, &ssm.GetParameterInput{Name: aws.String("/p")}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
	if got := a.Parameters(); len(got) != 1 {
		t.Errorf("got %d parameters after refused requests, want 1", len(got))
	}
	_, err := a.cognito.ListUserPools(t.Context(), &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(1)},
		func(o *cognitoidentityprovider.Options) {
			o.HTTPClient = tamper(func(r *http.Request) { r.Header.Del("Authorization") })
		})
	if got, want := errorCode(err), "MissingAuthenticationTokenException"; got != want {
		t.Errorf("Cognito, anonymous: got %q, want %q", got, want)
	}
}
