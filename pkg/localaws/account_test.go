package localaws_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	cognitotypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/localaws"
)

// account is a running stand-in and the real SDK clients on it, without
// retries.
type account struct {
	*localaws.Server
	t       *testing.T
	ssm     *ssm.Client
	cognito *cognitoidentityprovider.Client
	shift   atomic.Int64 // how far the stand-in's clock is ahead, in nanoseconds
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{t: t}
	a.Server = localaws.New(localaws.Config{Now: func() time.Time { return time.Now().Add(time.Duration(a.shift.Load())) }})
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	cfg := a.AWSConfig()
	cfg.RetryMaxAttempts = 1
	cfg.HTTPClient = bodyInMemory{}
	a.ssm = ssm.NewFromConfig(cfg)
	a.cognito = cognitoidentityprovider.NewFromConfig(cfg)
	return a
}

// bodyInMemory sends requests whose body net/http knows to be in memory.
//
// The SDK's own body (smithy-go v1.28.8, safeReadCloser) fails its last read
// when the answer comes before that read, which happens on loopback; net/http
// then closes the connection, and answers over 4 KB are cut off with "use of
// closed network connection". The SDK's retries hide that; these clients have
// none.
type bodyInMemory struct{}

func (bodyInMemory) Do(r *http.Request) (*http.Response, error) {
	again := r.Clone(r.Context())
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		again.Body = io.NopCloser(bytes.NewReader(b))
	}
	return http.DefaultClient.Do(again)
}

// try is the shape of every SDK call; it returns what must succeed.
func try[In, Out, Opt any](t *testing.T, call func(context.Context, *In, ...func(*Opt)) (*Out, error), in *In) *Out {
	t.Helper()
	out, err := call(t.Context(), in)
	if err != nil {
		t.Fatalf("%T: %v", in, err)
	}
	return out
}

// errorCode is the exception that an SDK call ended with, "" for none.
func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// refused calls and returns the exception it ends with.
func refused[In, Out, Opt any](t *testing.T, call func(context.Context, *In, ...func(*Opt)) (*Out, error), in *In) string {
	t.Helper()
	_, err := call(t.Context(), in)
	return errorCode(err)
}

func (a *account) pool(name string) *string {
	a.t.Helper()
	return try(a.t, a.cognito.CreateUserPool, &cognitoidentityprovider.CreateUserPoolInput{PoolName: &name}).UserPool.Id
}

func (a *account) domain(pool *string, prefix string) {
	a.t.Helper()
	try(a.t, a.cognito.CreateUserPoolDomain, &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: pool, Domain: &prefix})
}

func (a *account) resourceServer(pool *string, id string, scopes ...string) {
	a.t.Helper()
	in := &cognitoidentityprovider.CreateResourceServerInput{UserPoolId: pool, Identifier: &id, Name: &id}
	for _, s := range scopes {
		in.Scopes = append(in.Scopes, cognitotypes.ResourceServerScopeType{ScopeName: &s, ScopeDescription: &s})
	}
	try(a.t, a.cognito.CreateResourceServer, in)
}

// machineClient is a valid request for a client-credentials client.
func machineClient(pool *string, scopes ...string) *cognitoidentityprovider.CreateUserPoolClientInput {
	return &cognitoidentityprovider.CreateUserPoolClientInput{
		UserPoolId: pool, ClientName: aws.String("machine"), GenerateSecret: true,
		AllowedOAuthFlows:               []cognitotypes.OAuthFlowType{cognitotypes.OAuthFlowTypeClientCredentials},
		AllowedOAuthFlowsUserPoolClient: true, AllowedOAuthScopes: scopes,
	}
}

func sameItems[T comparable](got, want []T) bool {
	return len(got) == len(want) && !slices.ContainsFunc(want, func(w T) bool { return !slices.Contains(got, w) })
}
