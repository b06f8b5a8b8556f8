package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// userPool returns the pool of the app client: the recorded one, or that of the
// discovery URL.
func (e *exam) userPool() string {
	if id := e.value(credstore.UserPoolID); poolForm.MatchString(id) {
		return id
	}
	return pool(e.value(credstore.DiscoveryURL))
}

// cognito returns a client for the region of the user pool.
func (e *exam) cognito() *cognitoidentityprovider.Client {
	return cognitoidentityprovider.NewFromConfig(e.cfg.AWS, func(o *cognitoidentityprovider.Options) {
		o.Region, _, _ = strings.Cut(e.userPool(), "_")
	})
}

// examineClient examines the app client if it is Cognito's and the caller may
// see it.
func (e *exam) examineClient(ctx context.Context) {
	e.step("client.exists", func() Check { return e.describeClient(ctx) }, checkID(credstore.ClientID), "parameters")
	if e.client == nil && !e.failed("client.exists") {
		return // nothing more is known; the token's checks will tell
	}
	e.step("client.grant", e.checkGrant, "client.exists")
	e.step("client.scopes", e.checkClientScopes, "client.exists", checkID(credstore.Scope))
}

func (e *exam) describeClient(ctx context.Context) Check {
	id, poolID := e.value(credstore.ClientID), e.userPool()
	if poolID == "" {
		return skip("the issuer is not a Cognito user pool")
	}
	ctx, cancel := context.WithTimeout(ctx, e.patience())
	defer cancel()
	c := e.advice.remade(Check{Status: Fail, Expected: fmt.Sprintf("app client %s in user pool %s", e.clean(id), poolID)})
	out, err := e.cognito().DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: &poolID, ClientId: &id})
	switch {
	case errors.As(err, new(*types.ResourceNotFoundException)):
		c.Found, c.Cause = e.refusal(err), "the app client or its user pool has been deleted"
		return c
	case errors.As(err, new(*types.InvalidParameterException)):
		c.Found, c.Cause = e.refusal(err), "parameter "+credstore.ClientID+" does not hold a client id"
		return e.advice.restored(c)
	case err != nil:
		region, _, _ := strings.Cut(poolID, "_")
		return e.unreadable(c, err, "cognito-idp:DescribeUserPoolClient", fmt.Sprintf("arn:aws:cognito-idp:%s:%s:userpool/%s", region, e.account, poolID))
	}
	e.client = out.UserPoolClient
	return pass(e.clean(aws.ToString(e.client.ClientName)))
}

func (e *exam) checkGrant() Check {
	flows := e.client.AllowedOAuthFlows
	c := e.advice.remade(Check{Status: Fail, Expected: "the client_credentials grant"})
	switch {
	case !slices.Contains(flows, types.OAuthFlowTypeClientCredentials):
		c.Found, c.Cause = "no OAuth grant", "the app client is one for users, or an update has left the grant out, which resets it"
		if len(flows) > 0 {
			c.Found = fmt.Sprintf("grants %s", list(strs(flows)))
		}
	case !aws.ToBool(e.client.AllowedOAuthFlowsUserPoolClient):
		c.Found, c.Cause = "the grant, and OAuth switched off", "AllowedOAuthFlowsUserPoolClient is false, so that every token request ends in invalid_grant"
	default:
		return pass("client_credentials")
	}
	return c
}

func strs[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func (e *exam) checkClientScopes() Check {
	asked, allowed := strings.Fields(e.value(credstore.Scope)), e.client.AllowedOAuthScopes
	lacking := slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return slices.Contains(allowed, s) })
	switch {
	case len(lacking) > 0:
		c := Check{
			Status: Fail, Expected: "a client that may ask for " + list(asked), Found: "one that may ask for " + orNone(allowed),
			Cause: fmt.Sprintf("parameter %s and the app client were changed separately; the token endpoint will answer invalid_scope", credstore.Scope),
		}
		if len(allowed) == 0 {
			return e.advice.remade(c)
		}
		value := strings.Join(allowed, " ")
		c.Next, c.Repair = e.put(credstore.Scope, value), &Repair{Write: map[string]string{credstore.Scope: value}}
		return c
	case len(asked) == 0:
		return pass("all of the client's: " + list(allowed))
	}
	return pass(list(asked))
}

// ownerOfSecret returns the app client of the pool that the recorded secret
// belongs to, if it is another client and can be seen. Cognito shows only the
// secrets that clients were made with.
func (e *exam) ownerOfSecret(ctx context.Context) string {
	const most = 25 // resource servers in a pool, and with them machine clients
	poolID, api := e.userPool(), e.cognito()
	if poolID == "" {
		return ""
	}
	out, err := api.ListUserPoolClients(ctx, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: &poolID, MaxResults: aws.Int32(most)})
	if err != nil {
		return ""
	}
	for _, c := range out.UserPoolClients {
		if aws.ToString(c.ClientId) == e.value(credstore.ClientID) {
			continue
		}
		d, err := api.DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: &poolID, ClientId: c.ClientId})
		if err != nil {
			return ""
		}
		if aws.ToString(d.UserPoolClient.ClientSecret) == e.value(credstore.ClientSecret) {
			return fmt.Sprintf("%s (%s)", aws.ToString(c.ClientId), clean(aws.ToString(c.ClientName)))
		}
	}
	return ""
}
