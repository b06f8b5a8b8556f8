package tokensource_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cip "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/tokensource"
)

// pool is a user pool in the stand-in, with a machine client and a user, its
// parameters in the store, and a resource that takes its tokens.
type pool struct {
	srv          *localaws.Server
	cognito      *cip.Client
	store        *credstore.Store
	id, clientID string
	discoveryURL string
}

func newPool(t *testing.T) *pool {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &pool{srv: localaws.New(localaws.Config{})}
	must(p.srv.Start())
	t.Cleanup(func() { p.srv.Close() })
	ctx := t.Context()
	p.cognito = cip.NewFromConfig(p.srv.AWSConfig())
	p.store = &credstore.Store{API: ssm.NewFromConfig(p.srv.AWSConfig())}

	up, err := p.cognito.CreateUserPool(ctx, &cip.CreateUserPoolInput{PoolName: aws.String("pool")})
	must(err)
	p.id = aws.ToString(up.UserPool.Id)
	_, err = p.cognito.CreateUserPoolDomain(ctx, &cip.CreateUserPoolDomainInput{UserPoolId: &p.id, Domain: aws.String("mcp-test")})
	must(err)
	_, err = p.cognito.CreateResourceServer(ctx, &cip.CreateResourceServerInput{
		UserPoolId: &p.id, Identifier: aws.String("srv"), Name: aws.String("srv"),
		Scopes: []types.ResourceServerScopeType{
			{ScopeName: aws.String("invoke"), ScopeDescription: aws.String("call tools")},
			{ScopeName: aws.String("admin"), ScopeDescription: aws.String("change things")},
		},
	})
	must(err)
	machine, err := p.cognito.CreateUserPoolClient(ctx, &cip.CreateUserPoolClientInput{
		UserPoolId: &p.id, ClientName: aws.String("machine"), GenerateSecret: true,
		AllowedOAuthFlows: []types.OAuthFlowType{types.OAuthFlowTypeClientCredentials}, AllowedOAuthFlowsUserPoolClient: true,
		AllowedOAuthScopes: []string{"srv/invoke", "srv/admin"},
	})
	must(err)
	people, err := p.cognito.CreateUserPoolClient(ctx, &cip.CreateUserPoolClientInput{
		UserPoolId: &p.id, ClientName: aws.String("people"), ExplicitAuthFlows: []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowUserPasswordAuth},
	})
	must(err)
	_, err = p.cognito.AdminCreateUser(ctx, &cip.AdminCreateUserInput{UserPoolId: &p.id, Username: aws.String("testuser"), MessageAction: types.MessageActionTypeSuppress})
	must(err)
	_, err = p.cognito.AdminSetUserPassword(ctx, &cip.AdminSetUserPasswordInput{UserPoolId: &p.id, Username: aws.String("testuser"), Password: aws.String("Password-1+2"), Permanent: true})
	must(err)

	p.clientID = aws.ToString(machine.UserPoolClient.ClientId)
	p.discoveryURL = p.srv.URL() + "/" + p.id + "/.well-known/openid-configuration"
	must(p.store.Write(ctx, "srv", credstore.Credentials{}, credstore.Credentials{
		ClientID: p.clientID, ClientSecret: credstore.NewSecret(aws.ToString(machine.UserPoolClient.ClientSecret)),
		DiscoveryURL: p.discoveryURL, Scope: "srv/invoke",
		UserClientID: aws.ToString(people.UserPoolClient.ClientId), Username: "testuser", Password: credstore.NewSecret("Password-1+2"),
	}))
	return p
}

// guard serves a resource that admits the given clients and scopes, as AgentCore
// does.
func (p *pool) guard(t *testing.T, clients, scopes []string) string {
	t.Helper()
	a, err := authorizer.New(authorizer.Config{DiscoveryURL: p.discoveryURL, AllowedClients: clients, AllowedScopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })))
	t.Cleanup(srv.Close)
	return srv.URL + "/mcp"
}

func (p *pool) count(service string) (n int) {
	for _, r := range p.srv.Records() {
		if r.Service == service {
			n++
		}
	}
	return n
}

func (p *pool) source(t *testing.T, cfg tokensource.Config) *tokensource.Source {
	t.Helper()
	cfg.Credentials = p.store.Set("srv")
	s, err := tokensource.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A rotation by way of two live secrets, against Parameter Store, Cognito and an
// authorizer.
func TestLocal_rotation(t *testing.T) { // case 36
	p := newPool(t)
	to := p.guard(t, []string{p.clientID}, []string{"srv/invoke"})
	s := p.source(t, tokensource.Config{Resource: to})
	if got, err := call(t.Context(), s.Client(), to, "hello"); err != nil || got != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	if got := p.count("oauth"); got != 1 {
		t.Errorf("cold: got %d token requests, want 1", got)
	}

	old, err := p.cognito.ListUserPoolClientSecrets(t.Context(), &cip.ListUserPoolClientSecretsInput{UserPoolId: &p.id, ClientId: &p.clientID})
	if err != nil {
		t.Fatal(err)
	}
	added, err := p.cognito.AddUserPoolClientSecret(t.Context(), &cip.AddUserPoolClientSecretInput{UserPoolId: &p.id, ClientId: &p.clientID})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := p.store.Read(t.Context(), "srv")
	if err != nil {
		t.Fatal(err)
	}
	next := stored
	next.ClientSecret = credstore.NewSecret(aws.ToString(added.ClientSecretDescriptor.ClientSecretValue))
	if err := p.store.Write(t.Context(), "srv", stored, next); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cognito.DeleteUserPoolClientSecret(t.Context(), &cip.DeleteUserPoolClientSecretInput{UserPoolId: &p.id, ClientId: &p.clientID, ClientSecretId: old.ClientSecrets[0].ClientSecretId}); err != nil {
		t.Fatal(err)
	}
	reads, tokens := p.count("ssm"), p.count("oauth")

	if _, err := p.source(t, tokensource.Config{Resource: to}).Token(t.Context()); err != nil {
		t.Errorf("a process that starts after the rotation: %v", err)
	}
	// This one has the old secret in its cache.
	stale := tokensource.Config{Credentials: cachedOld{p.store.Set("srv"), stored}, Resource: to}
	s, err = tokensource.New(stale)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call(t.Context(), s.Client(), to, "hello"); err != nil || got != "hello" {
		t.Fatalf("after the rotation: got %q, %v", got, err)
	}
	if gotReads, gotTokens := p.count("ssm")-reads, p.count("oauth")-tokens; gotReads != 2 || gotTokens != 3 {
		t.Errorf("got %d reads and %d token requests, want 2 and 3: one each at start, then one refused, one read, one granted", gotReads, gotTokens)
	}
}

// cachedOld is a set that still has in its cache what was stored before.
type cachedOld struct {
	*credstore.Set
	old credstore.Credentials
}

func (c cachedOld) Get(context.Context) (credstore.Credentials, error) { return c.old, nil }

func TestLocal_stepUp(t *testing.T) { // case 35
	p := newPool(t)
	to := p.guard(t, []string{p.clientID}, []string{"srv/admin"})
	s := p.source(t, tokensource.Config{Resource: to, StepUpScopes: []string{"srv/admin"}})
	if got, err := call(t.Context(), s.Client(), to, "hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := p.count("oauth"); got != 2 {
		t.Errorf("got %d token requests, want 2", got)
	}
}

func TestLocal_user(t *testing.T) {
	p := newPool(t)
	c, err := p.store.Read(t.Context(), "srv")
	if err != nil {
		t.Fatal(err)
	}
	to := p.guard(t, []string{c.UserClientID}, nil)
	s := p.source(t, tokensource.Config{Resource: to, User: true})
	if got, err := call(t.Context(), s.Client(), to, "hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := p.count("oauth"); got != 0 {
		t.Errorf("got %d token requests, want the user signed in instead", got)
	}
}
