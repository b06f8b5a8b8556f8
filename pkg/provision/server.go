package provision

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// ensureResourceServer makes the server's resource server and gives it the
// desired scopes. fresh reports whether this run made it: then no earlier run
// has made an app client.
func (r *run) ensureResourceServer(ctx context.Context, pool *types.UserPoolType, set recorded) (fresh bool, err error) {
	create := func() error {
		_, err := r.Cognito.CreateResourceServer(ctx, &cognitoidentityprovider.CreateResourceServerInput{
			UserPoolId: pool.Id, Identifier: aws.String(r.d.Name), Name: aws.String(r.label()), Scopes: r.resourceScopes(),
		})
		return err
	}
	creation := "create resource server " + r.d.Name + " with scopes " + strings.Join(r.scopes(), ", ")
	if pool.Id == nil { // a dry run, and the pool does not exist yet
		return true, r.change(creation, create)
	}
	if set.empty() && !r.dry { // it probably does not exist: try without looking first
		if err := r.change(creation, create); !is[*types.InvalidParameterException](err) {
			return true, err
		}
		r.changes = r.changes[:len(r.changes)-1] // it existed already, or the answer was lost
	}
	has, err := r.describeResourceServer(ctx, aws.ToString(pool.Id))
	if err != nil {
		return false, err
	}
	if has == nil {
		err := r.change(creation, create)
		if is[*types.InvalidParameterException](err) {
			return false, fmt.Errorf("%w: %w", errAgain, err)
		}
		return true, err
	}
	if err := r.mayTake(ctx, has, set); err != nil {
		return false, err
	}
	if aws.ToString(has.Name) == r.label() && sameScopes(has.Scopes, r.resourceScopes()) {
		return false, nil
	}
	return false, r.change("update resource server "+r.d.Name+" to scopes "+strings.Join(r.scopes(), ", "), func() error {
		_, err := r.Cognito.UpdateResourceServer(ctx, &cognitoidentityprovider.UpdateResourceServerInput{
			UserPoolId: pool.Id, Identifier: aws.String(r.d.Name), Name: aws.String(r.label()), Scopes: r.resourceScopes(),
		})
		return err
	})
}

// mayTake refuses a resource server that belongs to somebody else. Adopt takes
// over one without a label, or one with the label of the recorded app client,
// which its owner has given up. Any other label belongs to a server under
// another prefix or of another stack, which needs its scopes.
func (r *run) mayTake(ctx context.Context, has *types.ResourceServerType, set recorded) error {
	name := aws.ToString(has.Name)
	refused := &OwnedError{What: fmt.Sprintf("the resource server %q in user pool %s and its scopes", r.d.Name, aws.ToString(has.UserPoolId))}
	switch {
	case name == r.label(), name == r.d.former && name != "":
		return nil
	case !r.d.Adopt:
		return refused
	case !labelPattern.MatchString(name):
		return nil
	}
	if set.ClientID != "" {
		client, err := r.describeClient(ctx, aws.ToString(has.UserPoolId), set.ClientID)
		if err != nil || client != nil && aws.ToString(client.ClientName) == name {
			return err
		}
	}
	refused.Owner = "another stack or prefix"
	return refused
}

func (r *run) resourceScopes() []types.ResourceServerScopeType {
	scopes := make([]types.ResourceServerScopeType, len(r.d.Scopes))
	for i, s := range r.d.Scopes {
		scopes[i] = types.ResourceServerScopeType{
			ScopeName:        aws.String(s),
			ScopeDescription: aws.String(s + " on MCP server " + r.d.Name),
		}
	}
	return scopes
}

func sameScopes(a, b []types.ResourceServerScopeType) bool {
	lines := func(scopes []types.ResourceServerScopeType) []string {
		var l []string
		for _, s := range scopes {
			l = append(l, aws.ToString(s.ScopeName)+"\x00"+aws.ToString(s.ScopeDescription))
		}
		slices.Sort(l)
		return l
	}
	return slices.Equal(lines(a), lines(b))
}

// poolResourceServers lists the resource servers of the pool. If there is no
// such pool, it lists none.
func (p *Provisioner) poolResourceServers(ctx context.Context, poolID string) iter.Seq2[types.ResourceServerType, error] {
	return func(yield func(types.ResourceServerType, error) bool) {
		pages := cognitoidentityprovider.NewListResourceServersPaginator(p.Cognito, &cognitoidentityprovider.ListResourceServersInput{
			UserPoolId: aws.String(poolID), MaxResults: aws.Int32(50),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if is[*types.ResourceNotFoundException](err) {
				return
			}
			if err != nil {
				yield(types.ResourceServerType{}, fmt.Errorf("listing the resource servers of user pool %s: %w", poolID, err))
				return
			}
			for _, s := range page.ResourceServers {
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// describeResourceServer returns the server's resource server, or nil.
func (r *run) describeResourceServer(ctx context.Context, poolID string) (*types.ResourceServerType, error) {
	out, err := r.Cognito.DescribeResourceServer(ctx, &cognitoidentityprovider.DescribeResourceServerInput{
		UserPoolId: aws.String(poolID), Identifier: aws.String(r.d.Name),
	})
	if is[*types.ResourceNotFoundException](err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading resource server %s: %w", r.d.Name, err)
	}
	return out.ResourceServer, nil
}
