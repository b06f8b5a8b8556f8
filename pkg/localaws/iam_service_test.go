package localaws_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	brtypes "github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	cognitotypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/localaws"
)

// case 140: Parameter Store asks for its own action on every parameter of a
// request, and for the path as it is written.
func TestParameterStore_role(t *testing.T) {
	a := newAccount(t)
	const parameter = "arn:aws:ssm:eu-central-1:000000000000:parameter"
	tags := []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	need := func(action string, names ...string) (needs []permit) {
		for _, name := range names {
			needs = append(needs, permit{"ssm:" + action, parameter + name, ""})
		}
		return needs
	}
	on := func(f func(context.Context, *ssm.Client) error) func(context.Context, aws.Config) error {
		return func(ctx context.Context, cfg aws.Config) error { return f(ctx, ssm.NewFromConfig(cfg)) }
	}
	put := func(name string, tags ...types.Tag) func(context.Context, aws.Config) error {
		return on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.PutParameter, &ssm.PutParameterInput{Name: &name, Value: aws.String("v"), Type: types.ParameterTypeString, Tags: tags})
		})
	}
	byPath := func(path string) func(context.Context, aws.Config) error {
		return on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.GetParametersByPath, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
		})
	}
	checkCalls(t, a.Server, []roleCall{
		{"put", need("PutParameter", "/app/a"), put("/app/a")},
		{"put without a slash", need("PutParameter", "/b"), put("b")},
		{"put with tags", append(need("PutParameter", "/app/c"), need("AddTagsToResource", "/app/c")...), put("/app/c", tags...)},
		{"get", need("GetParameter", "/app/a"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.GetParameter, &ssm.GetParameterInput{Name: aws.String("/app/a")})
		})},
		{"get several", need("GetParameters", "/app/a", "/nowhere"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.GetParameters, &ssm.GetParametersInput{Names: []string{"/app/a", "/nowhere"}})
		})},
		{"by path", need("GetParametersByPath", "/app"), byPath("/app")},
		{"by path with a slash", need("GetParametersByPath", "/app/"), byPath("/app/")},
		{"by the root", need("GetParametersByPath", "/"), byPath("/")},
		{"describe", []permit{{"ssm:DescribeParameters", "*", ""}}, on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.DescribeParameters, &ssm.DescribeParametersInput{})
		})},
		{"add tags", need("AddTagsToResource", "/app/a"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.AddTagsToResource, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/app/a"), Tags: tags})
		})},
		{"list tags", need("ListTagsForResource", "/app/a"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.ListTagsForResource, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/app/a")})
		})},
		{"remove tags", need("RemoveTagsFromResource", "/app/a"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.RemoveTagsFromResource, &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/app/a"), TagKeys: []string{"k"}})
		})},
		{"delete", need("DeleteParameter", "/app/c"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.DeleteParameter, &ssm.DeleteParameterInput{Name: aws.String("/app/c")})
		})},
		{"delete several", need("DeleteParameters", "/app/a", "/b"), on(func(ctx context.Context, c *ssm.Client) error {
			return of(ctx, c.DeleteParameters, &ssm.DeleteParametersInput{Names: []string{"/app/a", "b"}})
		})},
	})
	// A caller without permission is not told that something does not exist.
	cfg := as(t, a.Server, addRole(t, a.Server, "nobody"))
	if got := refused(t, ssm.NewFromConfig(cfg).GetParameter, &ssm.GetParameterInput{Name: aws.String("/nowhere")}); got != "AccessDeniedException" {
		t.Errorf("a parameter that is not there: got %q, want AccessDeniedException", got)
	}
}

// case 140: a SecureString under a customer's key needs that key too, by its id
// and through Parameter Store; one under the account's key needs none, unless it
// is denied.
func TestSecureString_role(t *testing.T) {
	a := newAccount(t)
	key, byID := a.KeyARN("alias/mine"), a.KeyARN("0d6cc4f5-0b4c-4e1c-8c49-6dc1c0d5d4a1")
	if !strings.HasPrefix(key, "arn:aws:kms:eu-central-1:000000000000:key/") || a.KeyARN(strings.TrimSuffix(key, key[strings.LastIndex(key, ":"):])+":alias/mine") != key || a.KeyARN(byID) != byID {
		t.Errorf("got key %s, and %s by its id", key, byID)
	}
	const name, arn = "/app/s", "arn:aws:ssm:eu-central-1:000000000000:parameter/app/s"
	const through = `{"StringEquals":{"kms:ViaService":"ssm.eu-central-1.amazonaws.com","kms:EncryptionContext:PARAMETER_ARN":"` + arn + `","kms:CallerAccount":"000000000000"}}`
	put := func(key *string, tier types.ParameterTier) func(context.Context, aws.Config) error {
		return func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, ssm.NewFromConfig(cfg).PutParameter, &ssm.PutParameterInput{
				Name: aws.String(name), Value: aws.String("v"), Type: types.ParameterTypeSecureString, KeyId: key, Tier: tier, Overwrite: aws.Bool(true),
			})
		}
	}
	get := func(decrypt bool) func(context.Context, aws.Config) error {
		return func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, ssm.NewFromConfig(cfg).GetParameter, &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: &decrypt})
		}
	}
	checkCalls(t, a.Server, []roleCall{
		{"put, the account's key", []permit{{"ssm:PutParameter", arn, ""}}, put(nil, "")},
		{"read, the account's key", []permit{{"ssm:GetParameter", arn, ""}}, get(true)},
		{"put, by id", []permit{{"ssm:PutParameter", arn, ""}, {"kms:Encrypt", byID, through}}, put(aws.String("0d6cc4f5-0b4c-4e1c-8c49-6dc1c0d5d4a1"), "")},
		{"put, by alias", []permit{{"ssm:PutParameter", arn, ""}, {"kms:Encrypt", key, through}}, put(aws.String("alias/mine"), "")},
		{"read as ciphertext", []permit{{"ssm:GetParameter", arn, ""}}, get(false)},
		{"read", []permit{{"ssm:GetParameter", arn, ""}, {"kms:Decrypt", key, through}}, get(true)},
		{"read several", []permit{{"ssm:GetParameters", arn, ""}, {"kms:Decrypt", key, through}}, func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, ssm.NewFromConfig(cfg).GetParameters, &ssm.GetParametersInput{Names: []string{name}, WithDecryption: aws.Bool(true)})
		}},
		{"read by path", []permit{{"ssm:GetParametersByPath", strings.TrimSuffix(arn, "/s"), ""}, {"kms:Decrypt", key, through}}, func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, ssm.NewFromConfig(cfg).GetParametersByPath, &ssm.GetParametersByPathInput{Path: aws.String("/app"), WithDecryption: aws.Bool(true)})
		}},
		{"put, advanced", []permit{{"ssm:PutParameter", arn, ""}, {"kms:Encrypt", key, through}, {"kms:GenerateDataKey", key, through}}, put(aws.String("alias/mine"), types.ParameterTierAdvanced)},
		{"back to the account's key", []permit{{"ssm:PutParameter", arn, ""}}, put(nil, "")},
	})
	ssmOnly := statements("Allow", permit{"ssm:*", "*", ""})
	for what, policy := range map[string][]permit{
		"another parameter's context": {{"kms:Decrypt", key, strings.Replace(through, "/app/s", "/app/t", 1)}},
		"not through Parameter Store": {{"kms:Decrypt", key, `{"StringEquals":{"kms:ViaService":"secretsmanager.eu-central-1.amazonaws.com"}}`}},
		"by its alias":                {{"kms:Decrypt", strings.TrimSuffix(key, key[strings.LastIndex(key, ":"):]) + ":alias/mine", ""}},
	} {
		if err := put(aws.String("alias/mine"), "")(t.Context(), a.AWSConfig()); err != nil {
			t.Fatal(err)
		}
		role := addRole(t, a.Server, "reader", ssmOnly, statements("Allow", policy...))
		if err := get(true)(t.Context(), as(t, a.Server, role)); errorCode(err) != "AccessDeniedException" {
			t.Errorf("%s: got %v, want AccessDeniedException", what, err)
		}
		a.RemoveRole("reader")
	}
	if err := put(nil, "")(t.Context(), a.AWSConfig()); err != nil {
		t.Fatal(err)
	}
	role := addRole(t, a.Server, "reader", ssmOnly, statements("Deny", permit{"kms:Decrypt", "*", ""}))
	if err := get(true)(t.Context(), as(t, a.Server, role)); errorCode(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "kms:Decrypt on resource: "+a.KeyARN("alias/aws/ssm")+" with an explicit deny") {
		t.Errorf("the account's key, denied: got %v", err)
	}
}

// case 140: Cognito requires its own action on the pool; its tokens require
// nothing.
func TestUserPools_role(t *testing.T) {
	a := newAccount(t)
	pool := a.pool("p")
	arn := "arn:aws:cognito-idp:eu-central-1:000000000000:userpool/" + *pool
	on := func(f func(context.Context, *cognitoidentityprovider.Client) error) func(context.Context, aws.Config) error {
		return func(ctx context.Context, cfg aws.Config) error {
			return f(ctx, cognitoidentityprovider.NewFromConfig(cfg))
		}
	}
	var calls []roleCall
	add := func(action, resource string, f func(context.Context, *cognitoidentityprovider.Client) error) {
		calls = append(calls, roleCall{action, []permit{{"cognito-idp:" + action, resource, ""}}, on(f)})
	}
	type ctx = context.Context
	type client = cognitoidentityprovider.Client
	var appClient, secret, made *string
	add("ListUserPools", "*", func(ctx ctx, c *client) error {
		return of(ctx, c.ListUserPools, &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(1)})
	})
	add("DescribeUserPoolDomain", "*", func(ctx ctx, c *client) error {
		return of(ctx, c.DescribeUserPoolDomain, &cognitoidentityprovider.DescribeUserPoolDomainInput{Domain: aws.String("d-1")})
	})
	add("DescribeUserPool", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: pool})
	})
	add("CreateUserPoolDomain", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.CreateUserPoolDomain, &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: pool, Domain: aws.String("d-1")})
	})
	add("DeleteUserPoolDomain", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.DeleteUserPoolDomain, &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: pool, Domain: aws.String("d-1")})
	})
	add("CreateResourceServer", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.CreateResourceServer, &cognitoidentityprovider.CreateResourceServerInput{UserPoolId: pool, Identifier: aws.String("s"), Name: aws.String("s"),
			Scopes: []cognitotypes.ResourceServerScopeType{{ScopeName: aws.String("invoke"), ScopeDescription: aws.String("x")}}})
	})
	add("DescribeResourceServer", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.DescribeResourceServer, &cognitoidentityprovider.DescribeResourceServerInput{UserPoolId: pool, Identifier: aws.String("s")})
	})
	add("CreateUserPoolClient", arn, func(ctx ctx, c *client) error {
		out, err := c.CreateUserPoolClient(ctx, machineClient(pool, "s/invoke"))
		if err == nil {
			appClient = out.UserPoolClient.ClientId
		}
		return err
	})
	add("ListUserPoolClients", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.ListUserPoolClients, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: pool})
	})
	add("AddUserPoolClientSecret", arn, func(ctx ctx, c *client) error {
		out, err := c.AddUserPoolClientSecret(ctx, &cognitoidentityprovider.AddUserPoolClientSecretInput{UserPoolId: pool, ClientId: appClient})
		if err == nil {
			secret = out.ClientSecretDescriptor.ClientSecretId
		}
		return err
	})
	add("DeleteUserPoolClientSecret", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.DeleteUserPoolClientSecret, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{UserPoolId: pool, ClientId: appClient, ClientSecretId: secret})
	})
	add("AdminCreateUser", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.AdminCreateUser, &cognitoidentityprovider.AdminCreateUserInput{UserPoolId: pool, Username: aws.String("u"), MessageAction: "SUPPRESS"})
	})
	add("TagResource", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.TagResource, &cognitoidentityprovider.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"k": "v"}})
	})
	add("DeleteUserPoolClient", arn, func(ctx ctx, c *client) error {
		return of(ctx, c.DeleteUserPoolClient, &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: pool, ClientId: appClient})
	})
	calls = append(calls, roleCall{"CreateUserPool with tags", []permit{
		{"cognito-idp:CreateUserPool", "*", ""},
		{"cognito-idp:TagResource", "arn:aws:cognito-idp:eu-central-1:000000000000:userpool/*", ""},
	}, on(func(ctx ctx, c *client) error {
		out, err := c.CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("q"), UserPoolTags: map[string]string{"k": "v"}})
		if err == nil {
			made = out.UserPool.Id
		}
		return err
	})})
	checkCalls(t, a.Server, calls)
	cfg := as(t, a.Server, addRole(t, a.Server, "nobody"))
	c := cognitoidentityprovider.NewFromConfig(cfg)
	if got := refused(t, c.DescribeUserPool, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: made}); got != "AccessDeniedException" {
		t.Errorf("another pool: got %q", got)
	}
	if got := refused(t, c.InitiateAuth, &cognitoidentityprovider.InitiateAuthInput{AuthFlow: cognitotypes.AuthFlowTypeUserPasswordAuth, ClientId: aws.String("nobody"),
		AuthParameters: map[string]string{"USERNAME": "u", "PASSWORD": "p"}}); got == "AccessDeniedException" || got == "" {
		t.Errorf("signing in: got %q, want what the service says of the client", got)
	}
}

// case 140
func TestPutEvents_role(t *testing.T) {
	s := startServer(t)
	orders := s.AddEventBus("orders")
	standard := "arn:aws:events:eu-central-1:000000000000:event-bus/default"
	put := func(buses ...*string) func(context.Context, aws.Config) error {
		in := &eventbridge.PutEventsInput{}
		for _, bus := range buses {
			in.Entries = append(in.Entries, putEntry(func(e *ebtypes.PutEventsRequestEntry) { e.EventBusName = bus }))
		}
		return func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, eventbridge.NewFromConfig(cfg).PutEvents, in)
		}
	}
	checkCalls(t, s, []roleCall{
		{"no bus", []permit{{"events:PutEvents", standard, ""}}, put(nil)},
		{"by name", []permit{{"events:PutEvents", orders, ""}}, put(aws.String("orders"))},
		{"by ARN and none", []permit{{"events:PutEvents", orders, ""}, {"events:PutEvents", standard, ""}}, put(&orders, nil)},
	})
	if got := len(s.Events()); got != 4 {
		t.Errorf("got %d events, want 4: refused requests put none", got)
	}
}

// case 140
func TestInvoke_role(t *testing.T) {
	s := startServer(t)
	f := startFunction(t, s, localaws.FunctionConfig{Binary: buildBootstrap()})
	invoke := func(name, qualifier *string, kind lambdatypes.InvocationType) func(context.Context, aws.Config) error {
		return func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, lambda.NewFromConfig(cfg).Invoke, &lambda.InvokeInput{FunctionName: name, Qualifier: qualifier, InvocationType: kind})
		}
	}
	name, arn := aws.String("agent"), f.ARN()
	checkCalls(t, s, []roleCall{
		{"by name", []permit{{"lambda:InvokeFunction", arn, ""}}, invoke(name, nil, "")},
		{"by ARN", []permit{{"lambda:InvokeFunction", arn, ""}}, invoke(&arn, nil, "")},
		{"asynchronously", []permit{{"lambda:InvokeFunction", arn, ""}}, invoke(name, nil, lambdatypes.InvocationTypeEvent)},
		{"qualified", []permit{{"lambda:InvokeFunction", arn + ":$LATEST", ""}}, invoke(name, aws.String("$LATEST"), "")},
	})
	cfg := as(t, s, addRole(t, s, "nobody"))
	if err := invoke(aws.String("nowhere"), nil, "")(t.Context(), cfg); errorCode(err) != "AccessDeniedException" {
		t.Errorf("a function that is not there: got %v, want AccessDeniedException", err)
	}
}

// case 140: a profile needs the profile and the model in every region that it
// may send the request to, a guardrail an action of its own.
func TestConverse_role(t *testing.T) {
	s := startServer(t)
	const here = "arn:aws:bedrock:eu-central-1:000000000000:"
	const sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0"
	model := func(region, id string) string { return "arn:aws:bedrock:" + region + "::foundation-model/" + id }
	through := func(profile string) string {
		return `{"ArnEquals":{"bedrock:InferenceProfileArn":"` + here + `inference-profile/` + profile + `"}}`
	}
	hi := []brtypes.Message{{Role: brtypes.ConversationRoleUser, Content: []brtypes.ContentBlock{&brtypes.ContentBlockMemberText{Value: "hi"}}}}
	converse := func(id, guardrail string) func(context.Context, aws.Config) error {
		in := &bedrockruntime.ConverseInput{ModelId: &id, Messages: hi}
		if guardrail != "" {
			in.GuardrailConfig = &brtypes.GuardrailConfiguration{GuardrailIdentifier: &guardrail, GuardrailVersion: aws.String("1")}
		}
		return func(ctx context.Context, cfg aws.Config) error {
			return of(ctx, bedrockruntime.NewFromConfig(cfg).Converse, in)
		}
	}
	const invoke, stream = "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"
	eu := []permit{{invoke, here + "inference-profile/" + profile, `{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}`}}
	for _, region := range []string{"eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"} {
		eu = append(eu, permit{invoke, model(region, sonnet), through(profile)})
	}
	haiku := "anthropic.claude-3-haiku-20240307-v1:0"
	checkCalls(t, s, []roleCall{
		{"model", []permit{{invoke, model("eu-central-1", haiku), `{"Null":{"bedrock:InferenceProfileArn":"true"}}`}}, converse(haiku, "")},
		{"model by ARN", []permit{{invoke, model("eu-central-1", haiku), ""}}, converse(model("eu-central-1", haiku), "")},
		{"stream", []permit{{stream, model("eu-central-1", haiku), ""}}, func(ctx context.Context, cfg aws.Config) error {
			out, err := bedrockruntime.NewFromConfig(cfg).ConverseStream(ctx, &bedrockruntime.ConverseStreamInput{ModelId: &haiku, Messages: hi})
			if err == nil {
				out.GetStream().Close()
			}
			return err
		}},
		{"profile", eu, converse(profile, "")},
		{"profile by ARN", eu, converse(here+"inference-profile/"+profile, "")},
		{"global profile", []permit{
			{invoke, here + "inference-profile/global." + sonnet, ""},
			{invoke, model("eu-central-1", sonnet), `{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}`},
			{invoke, model("", sonnet), `{"StringEquals":{"aws:RequestedRegion":"unspecified"}}`},
		}, converse("global."+sonnet, "")},
		{"application profile", []permit{{invoke, here + "application-inference-profile/abc123", ""}, {invoke, model("*", "*"), ""}}, converse(here+"application-inference-profile/abc123", "")},
		{"provisioned", []permit{{invoke, here + "provisioned-model/abc123", ""}}, converse(here+"provisioned-model/abc123", "")},
		{"guardrail", []permit{{invoke, model("eu-central-1", haiku), ""}, {"bedrock:ApplyGuardrail", here + "guardrail/g1", ""}}, converse(haiku, "g1")},
		{"guardrail by ARN", []permit{{invoke, model("eu-central-1", haiku), ""}, {"bedrock:ApplyGuardrail", here + "guardrail/g1", ""}}, converse(haiku, here+"guardrail/g1")},
	})
	// The usual short form for a profile, and one that forgets the other regions.
	wide := addRole(t, s, "wide", statements("Allow", permit{invoke, here + "inference-profile/" + profile, ""}, permit{invoke, "arn:aws:bedrock:*::foundation-model/" + sonnet, through(profile)}))
	if err := converse(profile, "")(t.Context(), as(t, s, wide)); err != nil {
		t.Errorf("every region: %v", err)
	}
	narrow := addRole(t, s, "narrow", statements("Allow", permit{invoke, here + "inference-profile/" + profile, ""}, permit{invoke, model("eu-central-1", "*"), ""}))
	if err := converse(profile, "")(t.Context(), as(t, s, narrow)); errorCode(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "StatusCode: 403") || !strings.Contains(err.Error(), model("eu-north-1", sonnet)) {
		t.Errorf("one region: got %v, want AccessDeniedException for eu-north-1", err)
	}
	direct := addRole(t, s, "direct", statements("Allow", permit{invoke, "arn:aws:bedrock:*::foundation-model/*", through(profile)}))
	if err := converse(haiku, "")(t.Context(), as(t, s, direct)); errorCode(err) != "AccessDeniedException" {
		t.Errorf("a model beside the profile: got %v, want AccessDeniedException", err)
	}
}
