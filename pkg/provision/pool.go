package provision

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// Tags of user pools.
const (
	tagPool   = "mcpauth:pool"   // on a pool made here: whose servers share it
	tagDomain = "mcpauth:domain" // on any pool: the domain prefix that was made here
)

// poolKey identifies the servers that share a pool made here: those of one owner
// under one prefix. The pool's lock is under that prefix too.
func (p *Provisioner) poolKey() string {
	key := p.owner() + ":" + p.prefix()
	if len(key) > 256 { // the limit of a tag's value
		key = p.owner() + ":" + shortHash(p.prefix())
	}
	return key
}

// poolName returns the name of that pool. The name only shortens the search; the
// tag decides.
func (p *Provisioner) poolName() string { return "mcp-auth-" + shortHash(p.poolKey()) }

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// ensurePool finds the user pool that d asks for, or makes the owner's. In a dry
// run, a pool that does not exist yet has no id.
func (r *run) ensurePool(ctx context.Context, set recorded) (*types.UserPoolType, error) {
	if r.owner() == CommandLine && r.mine(set) && set.UserPoolID != "" && r.d.UserPoolID != set.UserPoolID {
		// No stack sends a Delete for what is in the previous pool.
		pool, err := r.describePool(ctx, set.UserPoolID)
		if err == nil && pool != nil && r.d.UserPoolID != "" {
			err = fmt.Errorf("the server is in user pool %s: leave UserPoolId out, or remove the server first", set.UserPoolID)
		}
		if pool != nil || err != nil {
			return pool, err
		}
	}
	if r.d.UserPoolID != "" {
		pool, err := r.describePool(ctx, r.d.UserPoolID)
		if err == nil && pool == nil {
			err = fmt.Errorf("user pool %s does not exist in %s: check UserPoolId, or leave it out to have a pool made", r.d.UserPoolID, r.Region)
		}
		return pool, err
	}
	if set.UserPoolID != "" {
		pool, err := r.describePool(ctx, set.UserPoolID)
		if err != nil {
			return nil, err
		}
		adopted := set.tags[tagAdoptedPool] == set.UserPoolID || set.owner() == "" && r.d.Adopt
		if pool != nil && (adopted || pool.UserPoolTags[tagPool] == r.poolKey()) {
			return pool, nil
		}
	}
	pool, err := r.findPool(ctx)
	if pool != nil || err != nil {
		return pool, err
	}
	pool = &types.UserPoolType{}
	err = r.change("create user pool "+r.poolName(), func() error {
		pool, err = once(ctx, r.Provisioner, func() (*types.UserPoolType, error) {
			out, err := r.Cognito.CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{
				PoolName:     aws.String(r.poolName()),
				UserPoolTags: map[string]string{tagPool: r.poolKey()},
				// Machines only: nobody signs up.
				AdminCreateUserConfig: &types.AdminCreateUserConfigType{AllowAdminCreateUserOnly: true},
			}, r.sentOnce)
			if err != nil {
				return nil, err
			}
			return out.UserPool, nil
		}, func() (*types.UserPoolType, error) { return r.findPool(ctx) })
		return err
	})
	return pool, err
}

// describePool returns the pool, or nil when there is none.
func (p *Provisioner) describePool(ctx context.Context, id string) (*types.UserPoolType, error) {
	out, err := p.Cognito.DescribeUserPool(ctx, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: aws.String(id)})
	if is[*types.ResourceNotFoundException](err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading user pool %s: %w", id, err)
	}
	return out.UserPool, nil
}

// findPool returns the pool that the owner's servers share: it searches all
// pools by name, and then by tag. Two concurrent runs may have made two; then it
// returns the older one. If there is none, it returns nil.
func (p *Provisioner) findPool(ctx context.Context) (*types.UserPoolType, error) {
	var found *types.UserPoolType
	pages := cognitoidentityprovider.NewListUserPoolsPaginator(p.Cognito, &cognitoidentityprovider.ListUserPoolsInput{MaxResults: aws.Int32(60)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing user pools: %w", err)
		}
		for _, candidate := range page.UserPools {
			if aws.ToString(candidate.Name) != p.poolName() {
				continue
			}
			pool, err := p.describePool(ctx, aws.ToString(candidate.Id))
			if err != nil {
				return nil, err
			}
			if pool == nil || pool.UserPoolTags[tagPool] != p.poolKey() {
				continue
			}
			if found == nil || olderPool(pool, found) {
				found = pool
			}
		}
	}
	return found, nil
}

func olderPool(a, b *types.UserPoolType) bool {
	return cmp.Or(aws.ToTime(a.CreationDate).Compare(aws.ToTime(b.CreationDate)), cmp.Compare(aws.ToString(a.Id), aws.ToString(b.Id))) < 0
}

// ensureDomain returns the address of the pool's domain, and makes one if the
// pool has none. It uses an existing domain as it is. Only the pool's own
// description names it.
func (r *run) ensureDomain(ctx context.Context, pool *types.UserPoolType, set recorded) (string, error) {
	if custom := aws.ToString(pool.CustomDomain); custom != "" && r.d.DomainPrefix == "" {
		return "https://" + custom, nil
	}
	if has := aws.ToString(pool.Domain); has != "" {
		if r.d.DomainPrefix != "" && r.d.DomainPrefix != has {
			return "", fmt.Errorf("user pool %s has the domain %q and can have no second one: leave DomainPrefix out or set it to that", aws.ToString(pool.Id), has)
		}
		if pool.UserPoolTags[tagDomain] == has && set.ClientID == "" {
			return r.domainURL(has), r.waitForDomain(ctx, has) // an earlier run may have stopped while it waited
		}
		return r.domainURL(has), nil
	}
	prefix := r.d.DomainPrefix
	for attempt := 0; ; attempt++ {
		if r.d.DomainPrefix == "" {
			prefix = derivedDomain(aws.ToString(pool.Id), attempt)
		}
		made, err := r.createDomain(ctx, pool, prefix)
		if err == nil {
			return r.domainURL(made), r.waitForDomain(ctx, made)
		}
		if !is[*types.InvalidParameterException](err) || attempt == 3 {
			return "", err
		}
		if r.d.DomainPrefix != "" {
			return "", fmt.Errorf("%w; if the prefix is taken, by whatever account, choose another DomainPrefix or leave it out", err)
		}
	}
}

// derivedDomain returns the default prefix for a pool. It is the same for the
// same pool and attempt, and unlikely to be taken: all accounts share the names.
func derivedDomain(poolID string, attempt int) string {
	return "mcp-" + shortHash(fmt.Sprint(poolID, "/", attempt))
}

// createDomain makes the domain. It tags the pool first, so that after a run
// that stops in between the domain is still known to be removable. It returns
// the prefix that the pool has in the end, which a concurrent run may have
// chosen.
func (r *run) createDomain(ctx context.Context, pool *types.UserPoolType, prefix string) (string, error) {
	made := prefix
	err := r.change("create domain "+prefix, func() error {
		if pool.UserPoolTags[tagDomain] != prefix {
			_, err := r.Cognito.TagResource(ctx, &cognitoidentityprovider.TagResourceInput{
				ResourceArn: pool.Arn, Tags: map[string]string{tagDomain: prefix},
			})
			if err != nil {
				return fmt.Errorf("tagging the user pool: %w", err)
			}
		}
		_, err := r.Cognito.CreateUserPoolDomain(ctx, &cognitoidentityprovider.CreateUserPoolDomainInput{
			UserPoolId: pool.Id, Domain: aws.String(prefix),
		})
		if err == nil || !is[*types.InvalidParameterException](err) {
			return err
		}
		// The prefix is taken, or an earlier request made the domain and its
		// answer was lost, or the pool has another domain by now: all three give
		// this error.
		now, describeErr := r.describePool(ctx, aws.ToString(pool.Id))
		if describeErr != nil {
			return describeErr
		}
		if now == nil || aws.ToString(now.Domain) == "" || r.d.DomainPrefix != "" && aws.ToString(now.Domain) != r.d.DomainPrefix {
			return err
		}
		made = aws.ToString(now.Domain)
		return nil
	})
	return made, err
}

// waitForDomain waits until the domain works, which takes up to a minute.
func (r *run) waitForDomain(ctx context.Context, prefix string) error {
	if r.dry {
		return nil
	}
	for attempt := 0; ; attempt++ {
		out, err := r.Cognito.DescribeUserPoolDomain(ctx, &cognitoidentityprovider.DescribeUserPoolDomainInput{Domain: aws.String(prefix)})
		if err != nil && !is[*types.ResourceNotFoundException](err) {
			return fmt.Errorf("reading domain %s: %w", prefix, err)
		}
		status := types.DomainStatusType("")
		if err == nil && out.DomainDescription != nil {
			status = out.DomainDescription.Status
		}
		switch status {
		case types.DomainStatusTypeActive, types.DomainStatusTypeUpdating:
			return nil
		case types.DomainStatusTypeFailed:
			return fmt.Errorf("domain %s could not be set up by Cognito: remove it, or choose another DomainPrefix", prefix)
		case "":
			if attempt == 10 { // after more than half a minute
				return fmt.Errorf("domain %s is gone, removed by another run or by hand: repeat", prefix)
			}
		}
		if err := r.wait(ctx, r.backoff(attempt+2)); err != nil {
			return fmt.Errorf("waiting for domain %s, which is %s: %w", prefix, cmp.Or(strings.ToLower(string(status)), "not there yet"), err)
		}
	}
}
