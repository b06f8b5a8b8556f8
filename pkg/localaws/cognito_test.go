package localaws_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/localaws"
)

func TestUserPool(t *testing.T) {
	a := newAccount(t)
	out := try(t, a.cognito.CreateUserPool, &cognitoidentityprovider.CreateUserPoolInput{
		PoolName: aws.String("agents"), DeletionProtection: types.DeletionProtectionTypeActive, UserPoolTags: map[string]string{"owner": "stack-1"},
	}).UserPool
	if id := aws.ToString(out.Id); !strings.HasPrefix(id, "eu-central-1_") || len(id) != len("eu-central-1_")+9 {
		t.Errorf("got pool id %q, want eu-central-1_ and nine more", id)
	}
	if got, want := aws.ToString(out.Arn), "arn:aws:cognito-idp:eu-central-1:"+localaws.Account+":userpool/"+*out.Id; got != want {
		t.Errorf("got ARN %q, want %q", got, want)
	}
	if d := time.Since(aws.ToTime(out.CreationDate)); d < 0 || d > time.Minute {
		t.Errorf("got creation date %s, want now", out.CreationDate)
	}
	// case 27
	remove := func() string {
		return refused(t, a.cognito.DeleteUserPool, &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: out.Id})
	}
	if got, want := remove(), "InvalidParameterException"; got != want {
		t.Errorf("delete with deletion protection: got %q, want %q", got, want)
	}
	// Omitted members go back to their defaults, tags and protection included.
	try(t, a.cognito.UpdateUserPool, &cognitoidentityprovider.UpdateUserPoolInput{UserPoolId: out.Id})
	after := try(t, a.cognito.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: out.Id}).UserPool
	if after.DeletionProtection != types.DeletionProtectionTypeInactive || len(after.UserPoolTags) != 0 || aws.ToString(after.Name) != "agents" {
		t.Errorf("after an empty update: got protection %s, tags %v, name %s, want INACTIVE, none, agents", after.DeletionProtection, after.UserPoolTags, *after.Name)
	}
	// case 10
	a.domain(out.Id, "agents-1")
	if got, want := remove(), "InvalidParameterException"; got != want {
		t.Errorf("delete with a domain: got %q, want %q", got, want)
	}
	try(t, a.cognito.DeleteUserPoolDomain, &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: out.Id, Domain: aws.String("agents-1")})
	if got := remove(); got != "" {
		t.Errorf("delete: got %q, want success", got)
	}
	if got := a.Leftovers(); len(got) != 0 {
		t.Errorf("got leftovers %q, want none", got)
	}
}

func TestUserPool_rules(t *testing.T) {
	a := newAccount(t)
	for _, tt := range []struct {
		what string
		in   cognitoidentityprovider.CreateUserPoolInput
		want string
	}{
		{"empty name", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("")}, "InvalidParameterException"},
		{"long name", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String(strings.Repeat("n", 129))}, "InvalidParameterException"},
		{"bad name", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a/b")}, "InvalidParameterException"},
		{"reserved tag", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), UserPoolTags: map[string]string{"aws:x": ""}}, "InvalidParameterException"},
		{"bad protection", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), DeletionProtection: "YES"}, "InvalidParameterException"},
		{"short passwords", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), Policies: &types.UserPoolPolicyType{
			PasswordPolicy: &types.PasswordPolicyType{MinimumLength: aws.Int32(5)}}}, "InvalidParameterException"},
		{"second factor", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), MfaConfiguration: types.UserPoolMfaTypeOn}, "UnknownMemberException"},
		{"triggers", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), LambdaConfig: &types.LambdaConfigType{}}, "UnknownMemberException"},
		{"nested unknown", cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("a"), AdminCreateUserConfig: &types.AdminCreateUserConfigType{
			InviteMessageTemplate: &types.MessageTemplateType{}}}, "UnknownMemberException"},
	} {
		if got := refused(t, a.cognito.CreateUserPool, &tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
	if got := a.Leftovers(); len(got) != 0 {
		t.Errorf("got leftovers %q, want none", got)
	}
}

// Every operation on a missing object says so.
func TestCognito_notFound(t *testing.T) {
	a := newAccount(t)
	c := a.cognito
	pool, none, secretID := a.pool("p"), aws.String("eu-central-1_NotThere1"), aws.String("x--1")
	id := aws.String("nosuchclient")
	arn := aws.String("arn:aws:cognito-idp:eu-central-1:" + localaws.Account + ":userpool/" + *none)
	name := aws.String("n")
	for what, got := range map[string]string{
		"DescribeUserPool":                  refused(t, c.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: none}),
		"UpdateUserPool":                    refused(t, c.UpdateUserPool, &cognitoidentityprovider.UpdateUserPoolInput{UserPoolId: none}),
		"DeleteUserPool":                    refused(t, c.DeleteUserPool, &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: none}),
		"CreateUserPoolDomain":              refused(t, c.CreateUserPoolDomain, &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: none, Domain: name}),
		"CreateResourceServer":              refused(t, c.CreateResourceServer, &cognitoidentityprovider.CreateResourceServerInput{UserPoolId: none, Identifier: name, Name: name}),
		"ListResourceServers":               refused(t, c.ListResourceServers, &cognitoidentityprovider.ListResourceServersInput{UserPoolId: none}),
		"DescribeResourceServer":            refused(t, c.DescribeResourceServer, &cognitoidentityprovider.DescribeResourceServerInput{UserPoolId: pool, Identifier: name}),
		"UpdateResourceServer":              refused(t, c.UpdateResourceServer, &cognitoidentityprovider.UpdateResourceServerInput{UserPoolId: pool, Identifier: name, Name: name}),
		"DeleteResourceServer":              refused(t, c.DeleteResourceServer, &cognitoidentityprovider.DeleteResourceServerInput{UserPoolId: pool, Identifier: name}),
		"CreateUserPoolClient":              refused(t, c.CreateUserPoolClient, &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: none, ClientName: name}),
		"ListUserPoolClients":               refused(t, c.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: none}),
		"DescribeUserPoolClient":            refused(t, c.DescribeUserPoolClient, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: pool, ClientId: id}),
		"UpdateUserPoolClient":              refused(t, c.UpdateUserPoolClient, &cognitoidentityprovider.UpdateUserPoolClientInput{UserPoolId: pool, ClientId: id}),
		"DeleteUserPoolClient":              refused(t, c.DeleteUserPoolClient, &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: pool, ClientId: id}),
		"AddUserPoolClientSecret":           refused(t, c.AddUserPoolClientSecret, &cognitoidentityprovider.AddUserPoolClientSecretInput{UserPoolId: pool, ClientId: id}),
		"ListUserPoolClientSecrets":         refused(t, c.ListUserPoolClientSecrets, &cognitoidentityprovider.ListUserPoolClientSecretsInput{UserPoolId: pool, ClientId: id}),
		"DeleteUserPoolClientSecret":        refused(t, c.DeleteUserPoolClientSecret, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{UserPoolId: pool, ClientId: id, ClientSecretId: secretID}),
		"TagResource":                       refused(t, c.TagResource, &cognitoidentityprovider.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"a": "b"}}),
		"UntagResource":                     refused(t, c.UntagResource, &cognitoidentityprovider.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"a"}}),
		"ListTagsForResource":               refused(t, c.ListTagsForResource, &cognitoidentityprovider.ListTagsForResourceInput{ResourceArn: arn}),
		"AdminCreateUser in an absent pool": refused(t, c.AdminCreateUser, &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: none, Username: name}),
		"InitiateAuth": refused(t, c.InitiateAuth, &cognitoidentityprovider.InitiateAuthInput{ClientId: id, AuthFlow: types.AuthFlowTypeUserPasswordAuth,
			AuthParameters: map[string]string{"USERNAME": "u", "PASSWORD": "p"}}),
	} {
		if want := "ResourceNotFoundException"; got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	if got, want := refused(t, c.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: aws.String("no pool id")}), "InvalidParameterException"; got != want {
		t.Errorf("malformed pool id: got %q, want %q", got, want)
	}
}

// Case 17: names are not unique and lists have pages.
func TestCognito_paging(t *testing.T) {
	a := newAccount(t)
	for range 130 {
		a.pool("same name")
	}
	pools, calls := map[string]bool{}, 0
	for pages := cognitoidentityprovider.NewListUserPoolsPaginator(a.cognito, &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(60)}); pages.HasMorePages(); calls++ {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.UserPools {
			pools[aws.ToString(p.Id)] = true
		}
	}
	if len(pools) != 130 || calls != 3 {
		t.Errorf("ListUserPools: got %d pools in %d calls, want 130 in 3", len(pools), calls)
	}

	pool, other := a.pool("a"), a.pool("b")
	for range 61 {
		for _, id := range []*string{pool, other} {
			try(t, a.cognito.CreateUserPoolClient, &cognitoidentityprovider.CreateUserPoolClientInput{UserPoolId: id, ClientName: aws.String("same name")})
		}
	}
	first := try(t, a.cognito.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: pool, MaxResults: aws.Int32(60)})
	second := try(t, a.cognito.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: pool, MaxResults: aws.Int32(60), NextToken: first.NextToken})
	if len(first.UserPoolClients) != 60 || len(second.UserPoolClients) != 1 || second.NextToken != nil {
		t.Errorf("ListUserPoolClients: got %d and %d clients, token %v, want 60, 1, none", len(first.UserPoolClients), len(second.UserPoolClients), second.NextToken)
	}
	servers := try(t, a.cognito.ListResourceServers, &cognitoidentityprovider.ListResourceServersInput{UserPoolId: pool})
	if len(servers.ResourceServers) != 0 || servers.NextToken != nil {
		t.Errorf("ListResourceServers: got %v, want an empty last page", servers)
	}

	const invalid = "InvalidParameterException"
	for what, got := range map[string]string{
		"61 pools":              refused(t, a.cognito.ListUserPools, &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(61)}),
		"61 clients":            refused(t, a.cognito.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: pool, MaxResults: aws.Int32(61)}),
		"51 resource servers":   refused(t, a.cognito.ListResourceServers, &cognitoidentityprovider.ListResourceServersInput{UserPoolId: pool, MaxResults: aws.Int32(51)}),
		"made-up token":         refused(t, a.cognito.ListUserPools, &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(60), NextToken: aws.String("x")}),
		"token of another pool": refused(t, a.cognito.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: other, NextToken: first.NextToken}),
	} {
		if got != invalid {
			t.Errorf("%s: got %q, want %q", what, got, invalid)
		}
	}
}

// Case 16: both refusals arrive under one name, with two texts.
func TestUserPoolDomain(t *testing.T) {
	a := newAccount(t)
	pool, other := a.pool("a"), a.pool("b")
	a.TakeDomain("taken")
	a.domain(pool, "agents-1")
	for _, tt := range []struct {
		what, prefix string
		pool         *string
		wantText     string
	}{
		{"second domain", "agents-2", pool, "already has a domain configured"},
		{"ours, other pool", "agents-1", other, "already associated with another user pool"},
		{"another account's", "taken", other, "already associated with another user pool"},
		{"upper case", "Agents", other, "regular expression"},
		{"underscore", "a_b", other, "regular expression"},
		{"hyphen first", "-a", other, "regular expression"},
		{"hyphen last", "a-", other, "regular expression"},
		{"64 characters", strings.Repeat("a", 64), other, "less than or equal to 63"},
		{"empty", "", other, "null or empty"},
		{"aws", "xawsx", other, "reserved word: aws"},
		{"amazon", "amazon-x", other, "reserved word: amazon"},
		{"cognito", "my-cognito", other, "reserved word: cognito"},
	} {
		_, err := a.cognito.CreateUserPoolDomain(t.Context(), &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: tt.pool, Domain: &tt.prefix})
		if errorCode(err) != "InvalidParameterException" || !strings.Contains(fmt.Sprint(err), tt.wantText) {
			t.Errorf("%s: got %v, want InvalidParameterException with %q", tt.what, err, tt.wantText)
		}
	}
	if got := try(t, a.cognito.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: pool}).UserPool.Domain; aws.ToString(got) != "agents-1" {
		t.Errorf("pool's domain: got %q, want agents-1", aws.ToString(got))
	}
	describe := func(prefix string) *types.DomainDescriptionType {
		return try(t, a.cognito.DescribeUserPoolDomain, &cognitoidentityprovider.DescribeUserPoolDomainInput{Domain: &prefix}).DomainDescription
	}
	if d := describe("agents-1"); aws.ToString(d.UserPoolId) != *pool || d.Status != types.DomainStatusTypeActive {
		t.Errorf("describe: got pool %q, status %q, want %q, ACTIVE", aws.ToString(d.UserPoolId), d.Status, *pool)
	}
	for _, prefix := range []string{"nobodys", "taken"} {
		if d := describe(prefix); d == nil || d.UserPoolId != nil || d.Status != "" {
			t.Errorf("describe %s: got %v, want an empty description", prefix, d)
		}
	}
	for what, in := range map[string]cognitoidentityprovider.DeleteUserPoolDomainInput{
		"of another pool": {UserPoolId: other, Domain: aws.String("agents-1")},
		"of nobody":       {UserPoolId: pool, Domain: aws.String("nobodys")},
	} {
		if got, want := refused(t, a.cognito.DeleteUserPoolDomain, &in), "InvalidParameterException"; got != want {
			t.Errorf("delete %s: got %q, want %q", what, got, want)
		}
	}
	try(t, a.cognito.DeleteUserPoolDomain, &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: pool, Domain: aws.String("agents-1")})
	a.domain(other, "agents-1") // free again
}

func TestResourceServer_rules(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	a.resourceServer(pool, "m2m", "invoke")
	scopes := func(n int) (out []types.ResourceServerScopeType) {
		for i := range n {
			out = append(out, types.ResourceServerScopeType{ScopeName: aws.String(fmt.Sprint("s", i)), ScopeDescription: aws.String("d")})
		}
		return out
	}
	for _, tt := range []struct {
		what, id, name string
		scopes         []types.ResourceServerScopeType
		want           string
	}{
		{"exists", "m2m", "m2m", nil, "InvalidParameterException"},
		{"space in identifier", "a b", "n", nil, "InvalidParameterException"},
		{"bad name", "x", "a/b", nil, "InvalidParameterException"},
		{"slash in scope", "x", "x", []types.ResourceServerScopeType{{ScopeName: aws.String("a/b"), ScopeDescription: aws.String("d")}}, "InvalidParameterException"},
		{"no description", "x", "x", []types.ResourceServerScopeType{{ScopeName: aws.String("a"), ScopeDescription: aws.String("")}}, "InvalidParameterException"},
		{"same scope twice", "x", "x", append(scopes(1), scopes(1)...), "InvalidParameterException"},
		{"101 scopes", "x", "x", scopes(101), "LimitExceededException"},
		{"100 scopes", "x", "x", scopes(100), ""},
	} {
		in := &cognitoidentityprovider.CreateResourceServerInput{UserPoolId: pool, Identifier: &tt.id, Name: &tt.name, Scopes: tt.scopes}
		if got := refused(t, a.cognito.CreateResourceServer, in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
	for i := range 23 {
		a.resourceServer(pool, fmt.Sprint("s", i))
	}
	in := &cognitoidentityprovider.CreateResourceServerInput{UserPoolId: pool, Identifier: aws.String("one-more"), Name: aws.String("n")}
	if got, want := refused(t, a.cognito.CreateResourceServer, in), "LimitExceededException"; got != want {
		t.Errorf("26th resource server: got %q, want %q", got, want)
	}
	// An update replaces the whole list.
	out := try(t, a.cognito.UpdateResourceServer, &cognitoidentityprovider.UpdateResourceServerInput{UserPoolId: pool, Identifier: aws.String("m2m"), Name: aws.String("new")})
	if got := out.ResourceServer; len(got.Scopes) != 0 || aws.ToString(got.Name) != "new" {
		t.Errorf("update: got name %s and %d scopes, want new and none", aws.ToString(got.Name), len(got.Scopes))
	}
}

func TestUserPoolTags(t *testing.T) {
	a := newAccount(t)
	arn := aws.String("arn:aws:cognito-idp:eu-central-1:" + localaws.Account + ":userpool/" + *a.pool("p"))
	try(t, a.cognito.TagResource, &cognitoidentityprovider.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"owner": "s", "b": "c"}})
	if got, want := refused(t, a.cognito.UntagResource, &cognitoidentityprovider.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"b", strings.Repeat("k", 129)}}), "InvalidParameterException"; got != want {
		t.Errorf("a long tag key: got %q, want %q", got, want)
	}
	try(t, a.cognito.UntagResource, &cognitoidentityprovider.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"b", "absent"}})
	got := try(t, a.cognito.ListTagsForResource, &cognitoidentityprovider.ListTagsForResourceInput{ResourceArn: arn}).Tags
	if len(got) != 1 || got["owner"] != "s" {
		t.Errorf("got tags %v, want owner only", got)
	}
	many := map[string]string{}
	for i := range 50 {
		many[fmt.Sprint("k", i)] = ""
	}
	if got, want := refused(t, a.cognito.TagResource, &cognitoidentityprovider.TagResourceInput{ResourceArn: arn, Tags: many}), "InvalidParameterException"; got != want {
		t.Errorf("51 tags: got %q, want %q", got, want)
	}
}
