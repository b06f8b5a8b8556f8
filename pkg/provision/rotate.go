package provision

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// Rotate replaces the secret of a server that is set up, whoever owns it. The
// previous secret stays alive for at least the lifetime of an access token and
// an hour: until [Provisioner.Tidy] or another run for the server finds it older
// than that. Rotate finishes a rotation that stopped halfway.
func (p *Provisioner) Rotate(ctx context.Context, name string) (Result, error) {
	return p.onServer(ctx, name, func(r *run, _ recorded) error {
		return r.change("rotate the client secret", func() error { return r.rotate(ctx, "") })
	})
}

// Tidy deletes a replaced secret whose time is over.
func (p *Provisioner) Tidy(ctx context.Context, name string) (Result, error) {
	return p.onServer(ctx, name, func(r *run, set recorded) error {
		minutes, err := p.lifetime(ctx, set.UserPoolID, set.ClientID)
		if err != nil {
			return err
		}
		r.d.AccessTokenMinutes = cmp.Or(minutes, r.d.AccessTokenMinutes)
		return r.tidy(ctx, set)
	})
}

// onServer runs do on a complete set with an owner.
func (p *Provisioner) onServer(ctx context.Context, name string, do func(*run, recorded) error) (Result, error) {
	d := Desired{Name: name}
	if err := p.check(d); err != nil {
		return Result{}, err
	}
	r := p.newRun(d, false)
	set, err := r.read(ctx)
	if err != nil {
		return Result{}, err
	}
	path := r.store().Path(name)
	if set.owner() == "" && !set.empty() {
		return Result{}, &OwnedError{What: "the parameters under " + path}
	}
	if err := set.Require(credstore.ClientID, credstore.ClientSecret, credstore.DiscoveryURL, credstore.UserPoolID); err != nil {
		return Result{}, fmt.Errorf("MCP server %s under %s: %w: set it up first", name, path, err)
	}
	r.d.KMSKeyID = set.tags[tagKey] // an overwrite without a key would switch to the account's key
	err = do(r, set)
	return Result{
		UserPoolID: set.UserPoolID, ClientID: set.ClientID, DiscoveryURL: set.DiscoveryURL,
		Scope: set.Scope, ParameterPath: path, SecretSince: set.SecretSince, Changes: r.changes,
	}, err
}

// ensureRotation applies a new SecretVersion, or finishes an earlier rotation.
// set is what the run found at its start.
func (r *run) ensureRotation(ctx context.Context, set recorded, client *types.UserPoolClientType) error {
	switch want := r.d.SecretVersion; {
	case r.published: // set has the previous secret
		return nil
	case want != "" && !set.applied(want) && client.ClientId != nil:
		return r.change("rotate the client secret to version "+want, func() error { return r.rotate(ctx, want) })
	case set.ClientID != aws.ToString(client.ClientId): // set has the previous client
		return nil
	}
	return r.tidy(ctx, set)
}

// rotate adds a secret and publishes it. An empty version leaves the recorded
// one unchanged.
func (r *run) rotate(ctx context.Context, version string) error {
	unlock, err := r.lockServer(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := r.read(ctx) // as it is under the lock
	if err != nil {
		return err
	}
	if version != "" && set.applied(version) {
		return nil // the run that held the lock before has done it
	}
	if err := set.Machine(); err != nil {
		return err
	}
	now := set.log().at(set.SecretRevision)
	if now == "" { // no rotation yet
		if now, err = r.unlogged(ctx, set); err != nil {
			return err
		}
		if now != "" {
			set.tags[tagSecrets] = secretLog{{set.SecretRevision, now}}.String()
			if err := r.tag(ctx, credstore.ClientSecret, map[string]string{tagSecrets: set.tags[tagSecrets]}); err != nil {
				return err
			}
		}
	}
	id, value, err := r.addSecret(ctx, set.UserPoolID, set.ClientID, now)
	if err != nil {
		return err
	}
	return r.publish(ctx, &set, value, id, version)
}

// unlogged returns the id of the published secret if no log names it. It is the
// secret that the client was made with, which is the oldest, or one that was
// added and published by hand. It returns "" if there is none.
func (r *run) unlogged(ctx context.Context, set recorded) (string, error) {
	live, err := r.liveSecrets(ctx, set.UserPoolID, set.ClientID)
	if err != nil || len(live) == 0 {
		return "", err
	}
	published := live[0]
	if len(live) > 1 {
		client, err := r.describeClient(ctx, set.UserPoolID, set.ClientID)
		if err != nil {
			return "", err
		}
		if client == nil || aws.ToString(client.ClientSecret) != set.ClientSecret.Reveal() {
			published = live[len(live)-1]
		}
	}
	return aws.ToString(published.ClientSecretId), nil
}

// lockServer takes the server's lock, unless the run has it already.
func (r *run) lockServer(ctx context.Context) (unlock func(), err error) {
	if r.locked {
		return func() {}, nil
	}
	return r.lock(ctx, r.d.Name)
}

// tidy deletes the client's other secrets once the published one is older than
// the overlap. Without a log there was no rotation.
func (r *run) tidy(ctx context.Context, set recorded) error {
	if len(set.log()) == 0 || set.ClientID == "" {
		return nil
	}
	due, err := r.replaced(ctx, set)
	if err != nil || len(due) == 0 {
		return err
	}
	return r.change("delete the replaced client secret", func() error {
		unlock, err := r.lockServer(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		set, err := r.read(ctx)
		if err != nil {
			return err
		}
		due, err := r.replaced(ctx, set)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, id := range due {
			if err := r.deleteSecret(ctx, set.UserPoolID, set.ClientID, id); err != nil {
				return err
			}
		}
		log := secretLog{{set.SecretRevision, set.log().at(set.SecretRevision)}}
		return r.tag(ctx, credstore.ClientSecret, map[string]string{tagSecrets: log.String()})
	})
}

// replaced lists the secrets besides the published one whose overlap is over.
func (r *run) replaced(ctx context.Context, set recorded) ([]string, error) {
	live, err := r.liveSecrets(ctx, set.UserPoolID, set.ClientID)
	if err != nil {
		return nil, err
	}
	published, ok := find(live, set.log().at(set.SecretRevision))
	if !ok || r.now().Sub(aws.ToTime(published.ClientSecretCreateDate)) < r.overlap() {
		return nil, nil
	}
	var ids []string
	for _, s := range live {
		if id := aws.ToString(s.ClientSecretId); id != aws.ToString(published.ClientSecretId) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// overlap returns how long a replaced secret stays alive: the lifetime of an
// access token and an hour.
func (r *run) overlap() time.Duration {
	return time.Duration(r.d.AccessTokenMinutes)*time.Minute + time.Hour
}
