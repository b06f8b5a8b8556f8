package provision

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// ensureClient finds or makes the server's app client and brings it to the
// desired settings. fresh says that there cannot be one yet.
func (r *run) ensureClient(ctx context.Context, pool *types.UserPoolType, set *recorded, fresh bool) (*types.UserPoolClientType, error) {
	if pool.Id == nil { // a dry run, and the pool does not exist yet
		return &types.UserPoolClientType{}, r.change("create app client "+r.label(), nil)
	}
	var client *types.UserPoolClientType
	var err error
	if set.ClientID != "" {
		if client, err = r.describeClient(ctx, aws.ToString(pool.Id), set.ClientID); err != nil {
			return nil, err
		}
		if client != nil && !r.ours(client) && !r.d.Adopt {
			return nil, &OwnedError{What: fmt.Sprintf("the app client %s and its parameter %s%s", set.ClientID, r.store().Path(r.d.Name), credstore.ClientID)}
		}
	}
	if set.ClientID != "" && client == nil && !r.dry && !r.locked {
		return nil, errLock
	}
	if client == nil && !fresh || r.lost {
		if client, err = r.chooseClient(ctx, pool, set); err != nil {
			return nil, err
		}
	}
	if client == nil {
		client = &types.UserPoolClientType{}
		return client, r.change("create app client "+r.label(), func() error {
			r.created = true
			client, err = once(ctx, r.Provisioner,
				func() (*types.UserPoolClientType, error) { return r.createClient(ctx, pool) },
				func() (*types.UserPoolClientType, error) { return r.chooseClient(ctx, pool, set) })
			return err
		})
	}
	want := r.wantClient(client)
	if sameClient(client, want) {
		return client, nil
	}
	err = r.change("update app client "+aws.ToString(client.ClientId), func() error {
		return r.untilScopesExist(ctx, func() error {
			_, err := r.Cognito.UpdateUserPoolClient(ctx, want)
			return err
		})
	})
	return client, err
}

func (r *run) createClient(ctx context.Context, pool *types.UserPoolType) (*types.UserPoolClientType, error) {
	want := r.wantClient(&types.UserPoolClientType{UserPoolId: pool.Id})
	var made *types.UserPoolClientType
	err := r.untilScopesExist(ctx, func() error {
		out, err := r.Cognito.CreateUserPoolClient(ctx, &cognitoidentityprovider.CreateUserPoolClientInput{
			UserPoolId:                      want.UserPoolId,
			ClientName:                      want.ClientName,
			GenerateSecret:                  true,
			AllowedOAuthFlows:               want.AllowedOAuthFlows,
			AllowedOAuthFlowsUserPoolClient: want.AllowedOAuthFlowsUserPoolClient,
			AllowedOAuthScopes:              want.AllowedOAuthScopes,
			AccessTokenValidity:             want.AccessTokenValidity,
			TokenValidityUnits:              want.TokenValidityUnits,
			EnableTokenRevocation:           want.EnableTokenRevocation,
		}, r.sentOnce)
		if err == nil {
			made = out.UserPoolClient
		}
		return err
	})
	return made, err
}

// untilScopesExist repeats do, for some ten seconds at most, until Cognito sees
// the scopes that the run has just made.
func (r *run) untilScopesExist(ctx context.Context, do func() error) error {
	for attempt := 0; ; attempt++ {
		err := do()
		if !is[*types.ScopeDoesNotExistException](err) || attempt == 8 {
			return err
		}
		if r.wait(ctx, r.backoff(attempt)) != nil {
			return err
		}
	}
}

// wantClient returns has with the settings that the run requires.
func (r *run) wantClient(has *types.UserPoolClientType) *cognitoidentityprovider.UpdateUserPoolClientInput {
	want := r.keepClient(has)
	want.ClientName = aws.String(r.label())
	want.AllowedOAuthFlows = machine
	want.AllowedOAuthFlowsUserPoolClient = true
	want.AllowedOAuthScopes = r.scopes()
	return want
}

// keepClient returns an update of has that changes at most the lifetime of
// tokens. It contains everything, because UpdateUserPoolClient resets what a
// request leaves out.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserPoolClient.html
func (r *run) keepClient(has *types.UserPoolClientType) *cognitoidentityprovider.UpdateUserPoolClientInput {
	units := types.TokenValidityUnitsType{}
	if has.TokenValidityUnits != nil {
		units = *has.TokenValidityUnits
	}
	units.AccessToken = types.TimeUnitsTypeMinutes
	return &cognitoidentityprovider.UpdateUserPoolClientInput{
		ClientId:   has.ClientId,
		UserPoolId: has.UserPoolId,

		AccessTokenValidity:   aws.Int32(r.d.AccessTokenMinutes),
		TokenValidityUnits:    &units,
		EnableTokenRevocation: aws.Bool(true),

		AllowedOAuthFlows:                        has.AllowedOAuthFlows,
		AllowedOAuthFlowsUserPoolClient:          aws.ToBool(has.AllowedOAuthFlowsUserPoolClient),
		AllowedOAuthScopes:                       has.AllowedOAuthScopes,
		AnalyticsConfiguration:                   has.AnalyticsConfiguration,
		AuthSessionValidity:                      has.AuthSessionValidity,
		CallbackURLs:                             has.CallbackURLs,
		ClientName:                               has.ClientName,
		DefaultRedirectURI:                       has.DefaultRedirectURI,
		EnablePropagateAdditionalUserContextData: has.EnablePropagateAdditionalUserContextData,
		ExplicitAuthFlows:                        has.ExplicitAuthFlows,
		IdTokenValidity:                          has.IdTokenValidity,
		LogoutURLs:                               has.LogoutURLs,
		PreventUserExistenceErrors:               has.PreventUserExistenceErrors,
		ReadAttributes:                           has.ReadAttributes,
		RefreshTokenRotation:                     has.RefreshTokenRotation,
		RefreshTokenValidity:                     has.RefreshTokenValidity,
		SupportedIdentityProviders:               has.SupportedIdentityProviders,
		WriteAttributes:                          has.WriteAttributes,
	}
}

func sameClient(has *types.UserPoolClientType, want *cognitoidentityprovider.UpdateUserPoolClientInput) bool {
	return aws.ToString(has.ClientName) == aws.ToString(want.ClientName) &&
		slices.Equal(has.AllowedOAuthFlows, want.AllowedOAuthFlows) &&
		aws.ToBool(has.AllowedOAuthFlowsUserPoolClient) &&
		slices.Equal(slices.Sorted(slices.Values(has.AllowedOAuthScopes)), slices.Sorted(slices.Values(want.AllowedOAuthScopes))) &&
		sameLifetime(has, want)
}

func sameLifetime(has *types.UserPoolClientType, want *cognitoidentityprovider.UpdateUserPoolClientInput) bool {
	return aws.ToInt32(has.AccessTokenValidity) == aws.ToInt32(want.AccessTokenValidity) &&
		has.TokenValidityUnits != nil && has.TokenValidityUnits.AccessToken == types.TimeUnitsTypeMinutes &&
		aws.ToBool(has.EnableTokenRevocation)
}

// describeClient returns the app client, or nil when there is none.
func (p *Provisioner) describeClient(ctx context.Context, poolID, clientID string) (*types.UserPoolClientType, error) {
	out, err := p.Cognito.DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{
		UserPoolId: aws.String(poolID), ClientId: aws.String(clientID),
	})
	if is[*types.ResourceNotFoundException](err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading app client %s: %w", clientID, err)
	}
	return out.UserPoolClient, nil
}

// poolClients lists the app clients of the pool. If there is no such pool, it
// lists none.
func (p *Provisioner) poolClients(ctx context.Context, poolID string) iter.Seq2[types.UserPoolClientDescription, error] {
	return func(yield func(types.UserPoolClientDescription, error) bool) {
		pages := cognitoidentityprovider.NewListUserPoolClientsPaginator(p.Cognito, &cognitoidentityprovider.ListUserPoolClientsInput{
			UserPoolId: aws.String(poolID), MaxResults: aws.Int32(60),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if is[*types.ResourceNotFoundException](err) {
				return
			}
			if err != nil {
				yield(types.UserPoolClientDescription{}, fmt.Errorf("listing the app clients of user pool %s: %w", poolID, err))
				return
			}
			for _, c := range page.UserPoolClients {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// findClients returns the app clients of the pool that have the server's label
// and the form of a machine client, in the order of their ids.
func (r *run) findClients(ctx context.Context, poolID string) ([]*types.UserPoolClientType, error) {
	return r.clientsNamed(ctx, poolID, r.label(), r.isMachine)
}

// clientsNamed returns the app clients of the pool that have the name and fit,
// in the order of their ids.
func (r *run) clientsNamed(ctx context.Context, poolID, name string, fits func(*types.UserPoolClientType) bool) ([]*types.UserPoolClientType, error) {
	var found []*types.UserPoolClientType
	for c, err := range r.poolClients(ctx, poolID) {
		if err != nil {
			return nil, err
		}
		if aws.ToString(c.ClientName) != name {
			continue
		}
		client, err := r.describeClient(ctx, poolID, aws.ToString(c.ClientId))
		if err != nil {
			return nil, err
		}
		if client != nil && fits(client) {
			found = append(found, client)
		}
	}
	slices.SortFunc(found, func(a, b *types.UserPoolClientType) int {
		return cmp.Compare(aws.ToString(a.ClientId), aws.ToString(b.ClientId))
	})
	return found, nil
}

// isMachine reports whether the client can only get tokens for this server. It
// does not require a visible secret: Cognito need not show a rotated one.
func (r *run) isMachine(c *types.UserPoolClientType) bool {
	return slices.Equal(c.AllowedOAuthFlows, machine) &&
		!slices.ContainsFunc(c.AllowedOAuthScopes, func(s string) bool { return !strings.HasPrefix(s, r.d.Name+"/") })
}

// ours reports whether a recorded client may be changed and deleted: it has the
// server's label, or it is a machine client that somebody has renamed. Any other
// id was put into the parameter by somebody else.
func (r *run) ours(c *types.UserPoolClientType) bool {
	return aws.ToString(c.ClientName) == r.label() || r.isMachine(c)
}

// chooseClient returns the app client that an earlier or concurrent run has
// made: the recorded one, or else the one whose secret is published, or else the
// first. The others are surplus, and are deleted once a secret is published. If
// there is none, it returns nil.
func (r *run) chooseClient(ctx context.Context, pool *types.UserPoolType, set *recorded) (*types.UserPoolClientType, error) {
	found, err := r.findClients(ctx, aws.ToString(pool.Id))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	chosen := slices.IndexFunc(found, func(c *types.UserPoolClientType) bool { return aws.ToString(c.ClientId) == set.ClientID })
	if chosen < 0 {
		chosen = max(0, slices.IndexFunc(found, func(c *types.UserPoolClientType) bool {
			return !set.ClientSecret.IsZero() && aws.ToString(c.ClientSecret) == set.ClientSecret.Reveal()
		}))
	}
	r.surplus = nil
	for i, c := range found {
		if i != chosen {
			r.surplus = append(r.surplus, aws.ToString(c.ClientId))
		}
	}
	return found[chosen], nil
}

// deleteClient deletes an app client. It succeeds if the client no longer
// exists.
func (r *run) deleteClient(ctx context.Context, poolID, clientID string) error {
	return r.change("delete app client "+clientID, func() error {
		_, err := r.Cognito.DeleteUserPoolClient(ctx, &cognitoidentityprovider.DeleteUserPoolClientInput{
			UserPoolId: aws.String(poolID), ClientId: aws.String(clientID),
		})
		return ignoreMissing(err)
	})
}

func ignoreMissing(err error) error {
	if is[*types.ResourceNotFoundException](err) {
		return nil
	}
	return err
}
