package localaws_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

func TestUserPoolClient_rules(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	var all []string
	for i := range 51 {
		all = append(all, fmt.Sprint("s", i))
	}
	a.resourceServer(pool, "m2m", append(all, "invoke")...)
	for i := range all {
		all[i] = "m2m/" + all[i]
	}
	type input = cognitoidentityprovider.CreateUserPoolClientInput
	units := func(unit string) *types.TokenValidityUnitsType {
		return &types.TokenValidityUnitsType{AccessToken: types.TimeUnitsType(unit)}
	}
	for _, tt := range []struct {
		what   string
		change func(*input)
		want   string
	}{
		{"good", func(in *input) {}, ""},
		{"unknown scope", func(in *input) { in.AllowedOAuthScopes = []string{"m2m/none"} }, "ScopeDoesNotExistException"},
		{"unknown resource server", func(in *input) { in.AllowedOAuthScopes = []string{"other/invoke"} }, "ScopeDoesNotExistException"},
		{"user scope", func(in *input) { in.AllowedOAuthScopes = []string{"openid"} }, "InvalidOAuthFlowException"},
		{"no scopes", func(in *input) { in.AllowedOAuthScopes = nil }, "InvalidParameterException"},
		{"no flows", func(in *input) { in.AllowedOAuthFlows = nil }, "InvalidParameterException"},
		{"51 scopes", func(in *input) { in.AllowedOAuthScopes = all }, "LimitExceededException"},
		{"50 scopes", func(in *input) { in.AllowedOAuthScopes = all[:50] }, ""},
		{"same scope twice", func(in *input) { in.AllowedOAuthScopes = []string{"m2m/invoke", "m2m/invoke"} }, "InvalidParameterException"},
		{"with another flow", func(in *input) { in.AllowedOAuthFlows = append(in.AllowedOAuthFlows, types.OAuthFlowTypeCode) }, "InvalidOAuthFlowException"},
		{"four flows", func(in *input) { in.AllowedOAuthFlows = slices.Repeat(in.AllowedOAuthFlows, 4) }, "InvalidParameterException"},
		{"without a secret", func(in *input) { in.GenerateSecret = false }, "InvalidOAuthFlowException"},
		{"OAuth not enabled", func(in *input) { in.AllowedOAuthFlowsUserPoolClient = false }, "InvalidParameterException"},
		{"unknown flow", func(in *input) { in.AllowedOAuthFlows = []types.OAuthFlowType{"token"} }, "InvalidParameterException"},
		{"unimplemented flow", func(in *input) { in.AllowedOAuthFlows = []types.OAuthFlowType{types.OAuthFlowTypeCode} }, "UnknownMemberException"},
		{"unimplemented member", func(in *input) { in.CallbackURLs = []string{"https://a.example"} }, "UnknownMemberException"},
		{"two ways to a secret", func(in *input) { in.ClientSecret = aws.String(strings.Repeat("s", 30)) }, "InvalidParameterException"},
		{"chosen secret", func(in *input) { in.GenerateSecret, in.ClientSecret = false, aws.String(strings.Repeat("s+", 32)) }, ""},
		{"short secret", func(in *input) { in.GenerateSecret, in.ClientSecret = false, aws.String(strings.Repeat("s", 23)) }, "InvalidParameterException"},
		{"long secret", func(in *input) { in.GenerateSecret, in.ClientSecret = false, aws.String(strings.Repeat("s", 65)) }, "InvalidParameterException"},
		{"bad secret", func(in *input) { in.GenerateSecret, in.ClientSecret = false, aws.String(strings.Repeat("s", 30)+"-") }, "InvalidParameterException"},
		{"bad name", func(in *input) { in.ClientName = aws.String("a/b") }, "InvalidParameterException"},
		{"5 minutes", func(in *input) { in.AccessTokenValidity, in.TokenValidityUnits = aws.Int32(5), units("minutes") }, ""},
		{"299 seconds", func(in *input) { in.AccessTokenValidity, in.TokenValidityUnits = aws.Int32(299), units("seconds") }, "InvalidParameterException"},
		{"24 hours", func(in *input) { in.AccessTokenValidity = aws.Int32(24) }, ""},
		{"25 hours", func(in *input) { in.AccessTokenValidity = aws.Int32(25) }, "InvalidParameterException"},
		{"1 day", func(in *input) { in.AccessTokenValidity, in.TokenValidityUnits = aws.Int32(1), units("days") }, ""},
		{"86400 days", func(in *input) { in.AccessTokenValidity, in.TokenValidityUnits = aws.Int32(86400), units("days") }, "InvalidParameterException"},
		{"unknown unit", func(in *input) { in.TokenValidityUnits = units("weeks") }, "InvalidParameterException"},
		{"refresh 11 years", func(in *input) { in.RefreshTokenValidity = 4015 }, "InvalidParameterException"},
		{"refresh overflow", func(in *input) { in.RefreshTokenValidity = 315360000 }, "InvalidParameterException"},
		{"id token 2 days", func(in *input) { in.IdTokenValidity = aws.Int32(48) }, "InvalidParameterException"},
		{"mixed auth flows", func(in *input) {
			in.ExplicitAuthFlows = []types.ExplicitAuthFlowsType{"USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH"}
		}, "InvalidParameterException"},
		{"unknown provider", func(in *input) { in.SupportedIdentityProviders = []string{"Facebook"} }, "InvalidParameterException"},
	} {
		in := machineClient(pool, "m2m/invoke")
		tt.change(in)
		if got := refused(t, a.cognito.CreateUserPoolClient, in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

// Case 14: an update resets what it leaves out. Case 20: the secret can be read
// back.
func TestUserPoolClient_update(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.resourceServer(pool, "m2m", "invoke")
	in := machineClient(pool, "m2m/invoke")
	in.AccessTokenValidity = aws.Int32(2)
	made := try(t, a.cognito.CreateUserPoolClient, in).UserPoolClient
	if id, secret := aws.ToString(made.ClientId), aws.ToString(made.ClientSecret); !regexp.MustCompile(`^[a-z0-9]{26}$`).MatchString(id) || !regexp.MustCompile(`^[a-z0-9]{51}$`).MatchString(secret) {
		t.Errorf("got an id of %d and a secret of %d characters, want 26 and 51 lower-case letters and digits", len(id), len(secret))
	}
	describe := func() *types.UserPoolClientType {
		return try(t, a.cognito.DescribeUserPoolClient, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: pool, ClientId: made.ClientId}).UserPoolClient
	}
	if got, want := aws.ToString(describe().ClientSecret), aws.ToString(made.ClientSecret); got != want {
		t.Error("DescribeUserPoolClient answers another secret than CreateUserPoolClient")
	}

	// A refused update changes nothing.
	if got, want := refused(t, a.cognito.UpdateUserPoolClient, &cognitoidentityprovider.UpdateUserPoolClientInput{UserPoolId: pool, ClientId: made.ClientId,
		AllowedOAuthFlowsUserPoolClient: true, AllowedOAuthFlows: in.AllowedOAuthFlows, AllowedOAuthScopes: []string{"m2m/none"}}), "ScopeDoesNotExistException"; got != want {
		t.Errorf("update with an unknown scope: got %q, want %q", got, want)
	}
	if got := describe(); len(got.AllowedOAuthScopes) != 1 || aws.ToInt32(got.AccessTokenValidity) != 2 {
		t.Errorf("after a refused update: got scopes %v, validity %d, want what it was", got.AllowedOAuthScopes, aws.ToInt32(got.AccessTokenValidity))
	}
	try(t, a.cognito.UpdateUserPoolClient, &cognitoidentityprovider.UpdateUserPoolClientInput{UserPoolId: pool, ClientId: made.ClientId})
	got := describe()
	if got.AllowedOAuthFlowsUserPoolClient == nil || *got.AllowedOAuthFlowsUserPoolClient || len(got.AllowedOAuthFlows)+len(got.AllowedOAuthScopes) != 0 || got.AccessTokenValidity != nil {
		t.Errorf("after an empty update: got %+v, want the defaults", got)
	}
	if aws.ToString(got.ClientName) != "machine" || aws.ToString(got.ClientSecret) != aws.ToString(made.ClientSecret) {
		t.Error("an empty update changed the name or the secret")
	}
}

// Case 21: two live secrets at most, never none.
func TestUserPoolClientSecrets(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.resourceServer(pool, "m2m", "invoke")
	client := try(t, a.cognito.CreateUserPoolClient, machineClient(pool, "m2m/invoke")).UserPoolClient
	public := try(t, a.cognito.CreateUserPoolClient, &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: pool, ClientName: aws.String("public")}).UserPoolClient
	add := func(id, secret *string) (*types.ClientSecretDescriptorType, string) {
		out, err := a.cognito.AddUserPoolClientSecret(t.Context(), &cognitoidentityprovider.AddUserPoolClientSecretInput{UserPoolId: pool, ClientId: id, ClientSecret: secret})
		if err != nil {
			return nil, errorCode(err)
		}
		return out.ClientSecretDescriptor, ""
	}
	list := func() (ids []string) {
		for _, d := range try(t, a.cognito.ListUserPoolClientSecrets, &cognitoidentityprovider.ListUserPoolClientSecretsInput{UserPoolId: pool, ClientId: client.ClientId}).ClientSecrets {
			if d.ClientSecretValue != nil {
				t.Error("ListUserPoolClientSecrets shows a value")
			}
			ids = append(ids, aws.ToString(d.ClientSecretId))
		}
		return ids
	}
	remove := func(id string) string {
		return refused(t, a.cognito.DeleteUserPoolClientSecret, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{UserPoolId: pool, ClientId: client.ClientId, ClientSecretId: &id})
	}

	if _, got := add(public.ClientId, nil); got != "InvalidParameterException" {
		t.Errorf("secret for a public client: got %q, want InvalidParameterException", got)
	}
	if _, got := add(client.ClientId, client.ClientSecret); got != "InvalidParameterException" {
		t.Errorf("the same secret again: got %q, want InvalidParameterException", got)
	}
	original := list()[0]
	if got, want := remove(original), "InvalidParameterException"; got != want {
		t.Errorf("removing the last secret: got %q, want %q", got, want)
	}
	added, code := add(client.ClientId, nil)
	if code != "" || len(aws.ToString(added.ClientSecretValue)) != 51 || !strings.HasPrefix(aws.ToString(added.ClientSecretId), *client.ClientId+"--") {
		t.Fatalf("add: got %v, %q, want a generated secret of 51 characters", added, code)
	}
	if _, got := add(client.ClientId, nil); got != "LimitExceededException" {
		t.Errorf("third secret: got %q, want LimitExceededException", got)
	}
	if got, want := remove("x--1"), "ResourceNotFoundException"; got != want {
		t.Errorf("removing an unknown secret: got %q, want %q", got, want)
	}
	if got := remove(original); got != "" {
		t.Errorf("removing the original: got %q, want success", got)
	}
	chosen, code := add(client.ClientId, aws.String("a_secret_of_the_callers_own"))
	if code != "" || chosen.ClientSecretValue != nil {
		t.Errorf("chosen secret: got value shown %t, %q, want none", chosen.ClientSecretValue != nil, code)
	}
	if got, want := list(), []string{*added.ClientSecretId, *chosen.ClientSecretId}; !sameItems(got, want) {
		t.Errorf("got secrets %q, want %q", got, want)
	}
	// What the service shows now is not documented, but an older secret that is
	// no longer live would be wrong.
	if got := try(t, a.cognito.DescribeUserPoolClient, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: pool, ClientId: client.ClientId}).UserPoolClient.ClientSecret; got != nil {
		t.Error("DescribeUserPoolClient shows a secret after the original was removed")
	}
}

func TestUserPoolClient_quota(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	in := &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: pool, ClientName: aws.String("c")}
	for range 1000 {
		try(t, a.cognito.CreateUserPoolClient, in)
	}
	if got, want := refused(t, a.cognito.CreateUserPoolClient, in), "LimitExceededException"; got != want {
		t.Errorf("client 1001: got %q, want %q", got, want)
	}
}

// Readers, token requests, rotation and updates at once, for the race detector;
// no request may fail.
func TestCognito_concurrent(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.domain(pool, "agents-1")
	a.resourceServer(pool, "m2m", "invoke")
	in := machineClient(pool, "m2m/invoke")
	c := try(t, a.cognito.CreateUserPoolClient, in).UserPoolClient
	ctx := t.Context()
	var wg sync.WaitGroup
	for what, f := range map[string]func() error{
		"token": func() error {
			if got := a.token("agents-1", *c.ClientId, *c.ClientSecret, grant); got.status != 200 {
				return errors.New(got.body)
			}
			return nil
		},
		"describe": func() error {
			_, err := a.cognito.DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: pool, ClientId: c.ClientId})
			return err
		},
		"update": func() error {
			_, err := a.cognito.UpdateUserPoolClient(ctx, &cognitoidentityprovider.UpdateUserPoolClientInput{UserPoolId: pool, ClientId: c.ClientId,
				AllowedOAuthFlows: in.AllowedOAuthFlows, AllowedOAuthScopes: in.AllowedOAuthScopes, AllowedOAuthFlowsUserPoolClient: true})
			return err
		},
		"tag": func() error {
			_, err := a.cognito.UpdateUserPool(ctx, &cognitoidentityprovider.UpdateUserPoolInput{UserPoolId: pool, UserPoolTags: map[string]string{"a": "b"}})
			return err
		},
		"rotate": func() error {
			out, err := a.cognito.AddUserPoolClientSecret(ctx, &cognitoidentityprovider.AddUserPoolClientSecretInput{UserPoolId: pool, ClientId: c.ClientId})
			if err != nil {
				return err
			}
			_, err = a.cognito.DeleteUserPoolClientSecret(ctx, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{UserPoolId: pool, ClientId: c.ClientId,
				ClientSecretId: out.ClientSecretDescriptor.ClientSecretId})
			return err
		},
		"leftovers": func() error { a.Leftovers(); return nil },
	} {
		wg.Go(func() {
			for range 20 {
				if err := f(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestUsers(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	newClient := func(change func(*cognitoidentityprovider.CreateUserPoolClientInput)) *types.UserPoolClientType {
		in := &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: pool, ClientName: aws.String("users"),
			ExplicitAuthFlows: []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowUserPasswordAuth}}
		change(in)
		return try(t, a.cognito.CreateUserPoolClient, in).UserPoolClient
	}
	public := newClient(func(*cognitoidentityprovider.CreateUserPoolClientInput) {})
	hiding := newClient(func(in *cognitoidentityprovider.CreateUserPoolClientInput) {
		in.PreventUserExistenceErrors = types.PreventUserExistenceErrorTypesEnabled
	})
	secret := newClient(func(in *cognitoidentityprovider.CreateUserPoolClientInput) { in.GenerateSecret = true })
	srpOnly := newClient(func(in *cognitoidentityprovider.CreateUserPoolClientInput) {
		in.ExplicitAuthFlows = []types.ExplicitAuthFlowsType{types.ExplicitAuthFlowsTypeAllowUserSrpAuth}
	})
	signIn := func(c *types.UserPoolClientType, password string, more ...string) (*cognitoidentityprovider.InitiateAuthOutput, string) {
		params := map[string]string{"USERNAME": "dev", "PASSWORD": password}
		for i := 0; i < len(more); i += 2 {
			params[more[i]] = more[i+1]
		}
		out, err := a.cognito.InitiateAuth(t.Context(), &cognitoidentityprovider.InitiateAuthInput{ClientId: c.ClientId, AuthFlow: types.AuthFlowTypeUserPasswordAuth, AuthParameters: params})
		return out, errorCode(err)
	}
	wantCode := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	user := func(password string) *cognitoidentityprovider.AdminCreateUserInput {
		return &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: pool, Username: aws.String("dev"), TemporaryPassword: &password, MessageAction: types.MessageActionTypeSuppress}
	}
	_, code := signIn(public, "Passw0rd!")
	wantCode("unknown user", code, "UserNotFoundException")
	_, code = signIn(hiding, "Passw0rd!")
	wantCode("unknown user, existence hidden", code, "NotAuthorizedException")
	wantCode("weak password", refused(t, a.cognito.AdminCreateUser, user("password")), "InvalidPasswordException")
	long := user("Temp0rary!")
	long.UserAttributes = []types.AttributeType{{Name: aws.String("name"), Value: aws.String(strings.Repeat("n", 2049))}}
	wantCode("long attribute", refused(t, a.cognito.AdminCreateUser, long), "InvalidParameterException")
	wantCode("no client id", refused(t, a.cognito.InitiateAuth, &cognitoidentityprovider.InitiateAuthInput{ClientId: aws.String("a b"), AuthFlow: types.AuthFlowTypeUserPasswordAuth,
		AuthParameters: map[string]string{"USERNAME": "dev", "PASSWORD": "p"}}), "InvalidParameterException")
	try(t, a.cognito.AdminCreateUser, user("Temp0rary!"))
	wantCode("same user", refused(t, a.cognito.AdminCreateUser, user("Temp0rary!")), "UsernameExistsException")

	out, code := signIn(public, "Temp0rary!")
	if code != "" || out.AuthenticationResult != nil || out.ChallengeName != types.ChallengeNameTypeNewPasswordRequired {
		t.Errorf("temporary password: got %q and %v, want the challenge NEW_PASSWORD_REQUIRED", code, out)
	}
	set := func(password string) string {
		return refused(t, a.cognito.AdminSetUserPassword, &cognitoidentityprovider.AdminSetUserPasswordInput{UserPoolId: pool, Username: aws.String("dev"), Password: &password, Permanent: true})
	}
	wantCode("no symbol", set("Passw0rd"), "InvalidPasswordException")
	wantCode("good password", set("Passw0rd!"), "")
	get := try(t, a.cognito.AdminGetUser, &cognitoidentityprovider.AdminGetUserInput{UserPoolId: pool, Username: aws.String("dev")})
	wantCode("status", string(get.UserStatus), "CONFIRMED")

	_, code = signIn(public, "wrong")
	wantCode("wrong password", code, "NotAuthorizedException")
	_, code = signIn(srpOnly, "Passw0rd!")
	wantCode("flow not enabled", code, "InvalidParameterException")
	_, code = signIn(secret, "Passw0rd!")
	wantCode("no secret hash", code, "NotAuthorizedException")
	_, code = signIn(secret, "Passw0rd!", "SECRET_HASH", secretHash("dev", secret))
	wantCode("secret hash", code, "")
	out, code = signIn(public, "Passw0rd!")
	wantCode("sign in", code, "")
	claims := a.verify(pool, aws.ToString(out.AuthenticationResult.AccessToken))
	wantCode("username", fmt.Sprint(claims["username"]), "dev")
	id := a.verify(pool, aws.ToString(out.AuthenticationResult.IdToken))
	wantCode("the two keys are one", fmt.Sprint(keyID(t, *out.AuthenticationResult.IdToken) == keyID(t, *out.AuthenticationResult.AccessToken)), "false")
	for claim, want := range map[string]any{"token_use": "id", "aud": *public.ClientId, "cognito:username": "dev", "sub": claims["sub"], "iss": claims["iss"], "client_id": nil, "scope": nil} {
		wantCode(claim+" of the id token", fmt.Sprint(id[claim]), fmt.Sprint(want))
	}
	wantCode("token_use", fmt.Sprint(claims["token_use"]), "access")
	wantCode("client_id", fmt.Sprint(claims["client_id"]), *public.ClientId)

	try(t, a.cognito.AdminDeleteUser, &cognitoidentityprovider.AdminDeleteUserInput{UserPoolId: pool, Username: aws.String("dev")})
	wantCode("deleted user", refused(t, a.cognito.AdminGetUser, &cognitoidentityprovider.AdminGetUserInput{UserPoolId: pool, Username: aws.String("dev")}), "UserNotFoundException")
}
