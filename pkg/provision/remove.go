package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// Remove removes the server: app client, resource server, the user of
// [Provisioner.EnsureUser], parameters, and with the last server the domain and
// the pool that were made here. It ignores what does not exist or belongs to
// another owner. A UserPoolID limits it to that pool, and to parameters that
// name that pool. With RetainOnDelete it only gives up the ownership.
func (p *Provisioner) Remove(ctx context.Context, d Desired) (Result, error) {
	return p.remove(ctx, d, false)
}

// PlanRemoval returns what Remove would do. It writes nothing.
func (p *Provisioner) PlanRemoval(ctx context.Context, d Desired) (Result, error) {
	return p.remove(ctx, d, true)
}

func (p *Provisioner) remove(ctx context.Context, d Desired, dry bool) (Result, error) {
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	r := p.newRun(d, dry)
	r.sealed = true // a deleted key must not prevent the removal
	res := Result{ParameterPath: r.store().Path(d.Name)}
	err := r.remove(ctx)
	res.Changes = r.changes
	return res, err
}

func (r *run) remove(ctx context.Context) error {
	release := func() {}
	defer func() { release() }()
	locked := r.dry // a dry run needs no lock
	lock := func() error {
		if locked {
			return nil
		}
		unlock, err := r.lock(ctx, r.poolLock())
		if err == nil {
			locked, release = true, unlock
		}
		return err
	}
	if r.d.UserPoolID == "" {
		if err := lock(); err != nil {
			return err
		}
	}
	set, err := r.read(ctx)
	if err != nil {
		return err
	}
	pool, poolID, parameters, err := r.removalTarget(ctx, set)
	if err != nil {
		return err
	}
	if r.d.RetainOnDelete {
		if !parameters {
			return nil
		}
		return r.change("give up the ownership of "+r.store().Path(r.d.Name), func() error { return r.untag(ctx, set) })
	}
	if pool != nil {
		if pool.UserPoolTags[tagDomain] != "" {
			if err := lock(); err != nil {
				return err
			}
		}
		if err := r.removable(ctx, pool, set); err != nil {
			return err
		}
		if err := r.removeUser(ctx, poolID, set); err != nil {
			return err
		}
		kept, err := r.removeFromPool(ctx, poolID, set)
		if err != nil {
			return err
		}
		if !kept {
			if err := r.removePool(ctx, pool); err != nil {
				return err
			}
		}
	}
	if parameters {
		if err := r.change("delete parameters under "+r.store().Path(r.d.Name), func() error {
			return r.store().Delete(ctx, r.d.Name)
		}); err != nil {
			return err
		}
	}
	if (parameters || set.empty()) && !r.dry {
		return r.dropLock(ctx, r.d.Name)
	}
	return nil
}

// removalTarget returns the pool to remove the server from, nil if that no
// longer exists, and whether to delete the parameters too.
func (r *run) removalTarget(ctx context.Context, set recorded) (pool *types.UserPoolType, poolID string, parameters bool, err error) {
	parameters = r.mine(set)
	if poolID = r.d.UserPoolID; poolID != "" {
		pool, err = r.describePool(ctx, poolID)
		return pool, poolID, parameters && (set.UserPoolID == "" || set.UserPoolID == poolID), err
	}
	if parameters && set.UserPoolID != "" {
		if pool, err = r.describePool(ctx, set.UserPoolID); err != nil {
			return nil, "", false, err
		}
		switch {
		case pool == nil: // the parameters name a pool that no longer exists
		case r.owner() == CommandLine, set.tags[tagAdoptedPool] == set.UserPoolID, pool.UserPoolTags[tagPool] == r.poolKey():
			return pool, set.UserPoolID, true, nil
		default: // the server has moved to a given pool
			pool, parameters = nil, false
		}
	}
	pool, err = r.findPool(ctx)
	if pool != nil {
		poolID = aws.ToString(pool.Id)
	}
	return pool, poolID, parameters, err
}

// removeFromPool deletes the server's app clients, the recorded one included,
// and its resource server. If the set belongs to another owner, it keeps client
// and resource server: a run that was to take them over stopped halfway.
func (r *run) removeFromPool(ctx context.Context, poolID string, set recorded) (kept bool, err error) {
	if poolID == "" {
		return false, nil
	}
	found, err := r.findClients(ctx, poolID)
	if err != nil {
		return false, err
	}
	ids := map[string]bool{}
	for _, c := range found {
		ids[aws.ToString(c.ClientId)] = true
	}
	if mine := r.mine(set); set.ClientID != "" && !(mine && ids[set.ClientID]) {
		c, err := r.describeClient(ctx, poolID, set.ClientID)
		if err != nil {
			return false, err
		}
		kept = c != nil && !mine
		switch {
		case kept:
			delete(ids, set.ClientID)
		case c != nil && r.ours(c):
			ids[set.ClientID] = true
		}
	}
	for id := range ids {
		if err := r.deleteClient(ctx, poolID, id); err != nil {
			return false, err
		}
	}
	if kept {
		return true, nil
	}
	has, err := r.describeResourceServer(ctx, poolID)
	if err != nil || has == nil || aws.ToString(has.Name) != r.label() {
		return false, err
	}
	return false, r.change("delete resource server "+r.d.Name, func() error {
		_, err := r.Cognito.DeleteResourceServer(ctx, &cognitoidentityprovider.DeleteResourceServerInput{
			UserPoolId: aws.String(poolID), Identifier: aws.String(r.d.Name),
		})
		return ignoreMissing(err)
	})
}

// lastServer reports whether the pool has no other resource server, and no app
// client of another server.
func (r *run) lastServer(ctx context.Context, poolID string) (bool, error) {
	for s, err := range r.poolResourceServers(ctx, poolID) {
		if err != nil || aws.ToString(s.Name) != r.label() {
			return false, err
		}
	}
	for c, err := range r.poolClients(ctx, poolID) {
		if name := aws.ToString(c.ClientName); err != nil || name != r.label() && name != r.userLabel() {
			return false, err
		}
	}
	return true, nil
}

// removable refuses a removal that would fail at the pool, before anything is
// removed.
func (r *run) removable(ctx context.Context, pool *types.UserPoolType, set recorded) error {
	if pool.UserPoolTags[tagPool] != r.poolKey() {
		return nil
	}
	last, err := r.lastServer(ctx, aws.ToString(pool.Id))
	if err != nil || !last {
		return err
	}
	if pool.DeletionProtection == types.DeletionProtectionTypeActive {
		return fmt.Errorf("user pool %s is protected against deletion: switch its deletion protection off, or remove with RetainOnDelete", aws.ToString(pool.Id))
	}
	if pool.EstimatedNumberOfUsers == 0 {
		return nil
	}
	_, own, err := r.findUser(ctx, aws.ToString(pool.Id), set)
	if err != nil {
		return err
	}
	if n := int(pool.EstimatedNumberOfUsers) - len(own); n > 0 {
		return fmt.Errorf("user pool %s has %d users, who would be deleted with it: move them, or remove with RetainOnDelete", aws.ToString(pool.Id), n)
	}
	return nil
}

// removePool removes the domain and the pool that were made here, after the last
// server. The domain goes first, because a pool with a domain cannot be deleted.
func (r *run) removePool(ctx context.Context, pool *types.UserPoolType) error {
	id := aws.ToString(pool.Id)
	ours := pool.UserPoolTags[tagPool] == r.poolKey()
	prefix := aws.ToString(pool.Domain)
	domainOurs := prefix != "" && pool.UserPoolTags[tagDomain] == prefix
	if !ours && !domainOurs && pool.UserPoolTags[tagDomain] == "" {
		return nil
	}
	last, err := r.lastServer(ctx, id)
	if err != nil || !last {
		return err
	}
	if domainOurs || ours && prefix != "" {
		if err := r.change("delete domain "+prefix, func() error {
			_, err := r.Cognito.DeleteUserPoolDomain(ctx, &cognitoidentityprovider.DeleteUserPoolDomainInput{
				UserPoolId: pool.Id, Domain: aws.String(prefix),
			})
			if ignoreMissing(err) != nil && !is[*types.InvalidParameterException](err) {
				return err
			}
			return r.waitForNoDomain(ctx, id, ignoreMissing(err))
		}); err != nil {
			return err
		}
	}
	if !ours {
		return r.change("untag user pool "+id, func() error {
			_, err := r.Cognito.UntagResource(ctx, &cognitoidentityprovider.UntagResourceInput{
				ResourceArn: pool.Arn, TagKeys: []string{tagDomain},
			})
			return ignoreMissing(err)
		})
	}
	return r.change("delete user pool "+id, func() error {
		_, err := r.Cognito.DeleteUserPool(ctx, &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: pool.Id})
		return ignoreMissing(err)
	})
}

// waitForNoDomain waits until the pool has no domain. Cognito gives the same
// refusal for a domain that is already gone, or going, as for any other reason.
// Only if the domain stays for some twenty seconds was it really refused.
func (r *run) waitForNoDomain(ctx context.Context, poolID string, refusal error) error {
	for attempt := 0; ; attempt++ {
		pool, err := r.describePool(ctx, poolID)
		if err != nil || pool == nil || aws.ToString(pool.Domain) == "" {
			return err
		}
		if refusal != nil && attempt == 10 {
			return refusal
		}
		if err := r.wait(ctx, r.backoff(attempt)); err != nil {
			return errors.Join(fmt.Errorf("waiting until the domain is gone: %w", err), refusal)
		}
	}
}
