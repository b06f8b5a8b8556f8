package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// secretLog records which of a client's secrets the parameter holds, as text
// such as "3=abc--1700000000 4=abc--1800000000": the first secret from revision
// 3 of the parameter on, the second from revision 4 on. An entry is written
// before its revision, so the log is right even if the write of the revision did
// not follow. A set that has the secret its client was made with has no log.
type secretLog []secretEntry

type secretEntry struct {
	revision int64
	id       string
}

// parseSecretLog reads a log and skips malformed entries.
func parseSecretLog(s string) secretLog {
	var log secretLog
	for _, f := range strings.Fields(s) {
		rev, id, _ := strings.Cut(f, "=")
		if n, err := strconv.ParseInt(rev, 10, 64); err == nil && id != "" {
			log = append(log, secretEntry{n, id})
		}
	}
	return log
}

func (l secretLog) String() string {
	var parts []string
	for _, e := range l {
		parts = append(parts, fmt.Sprintf("%d=%s", e.revision, e.id))
	}
	return strings.Join(parts, " ")
}

// at returns the id of the secret in the given revision, or "".
func (l secretLog) at(revision int64) string {
	id := ""
	for _, e := range l {
		if e.revision <= revision {
			id = e.id
		}
	}
	return id
}

// log returns the set's secret log.
func (s recorded) log() secretLog { return parseSecretLog(s.tags[tagSecrets]) }

// applied reports whether the rotation to version has been published.
func (s recorded) applied(version string) bool {
	log := s.log()
	done := len(log) == 0 || log.at(s.SecretRevision) == log[len(log)-1].id
	return s.tags[tagSecretVersion] == version && done
}

// liveSecrets lists the client's secrets, the oldest first.
func (r *run) liveSecrets(ctx context.Context, poolID, clientID string) ([]types.ClientSecretDescriptorType, error) {
	var live []types.ClientSecretDescriptorType
	in := &cognitoidentityprovider.ListUserPoolClientSecretsInput{UserPoolId: aws.String(poolID), ClientId: aws.String(clientID)}
	for {
		out, err := r.Cognito.ListUserPoolClientSecrets(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("listing the secrets of app client %s: %w", clientID, err)
		}
		live = append(live, out.ClientSecrets...)
		if aws.ToString(out.NextToken) == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	slices.SortStableFunc(live, func(a, b types.ClientSecretDescriptorType) int {
		return aws.ToTime(a.ClientSecretCreateDate).Compare(aws.ToTime(b.ClientSecretCreateDate))
	})
	return live, nil
}

func find(live []types.ClientSecretDescriptorType, id string) (types.ClientSecretDescriptorType, bool) {
	for _, s := range live {
		if aws.ToString(s.ClientSecretId) == id {
			return s, true
		}
	}
	return types.ClientSecretDescriptorType{}, false
}

// ensureSecret makes sure that the published secret is one of the client's and
// is encrypted under the desired key. It reads a secret that is missing from
// Parameter Store back from Cognito, which shows only the one that a client was
// made with. For any other it adds a new one.
func (r *run) ensureSecret(ctx context.Context, set *recorded, client *types.UserPoolClientType) (err error) {
	defer func() {
		if is[*types.ResourceNotFoundException](err) { // another run has just deleted this surplus client
			err = fmt.Errorf("%w: %w", errAgain, err)
		}
	}()
	poolID, clientID := aws.ToString(client.UserPoolId), aws.ToString(client.ClientId)
	known := !set.ClientSecret.IsZero()
	if r.dry && clientID == "" {
		return r.change("write parameter "+credstore.ClientSecret, nil)
	}
	var live []types.ClientSecretDescriptorType
	log, fits := set.log(), false
	if known && !r.created {
		fits = len(log) == 0 && aws.ToString(client.ClientSecret) == set.ClientSecret.Reveal()
		if len(log) > 0 {
			if live, err = r.liveSecrets(ctx, poolID, clientID); err != nil {
				return err
			}
			_, fits = find(live, log.at(set.SecretRevision))
		}
		if fits && set.key() == keyName(r.d.KMSKeyID) {
			return nil
		}
	}
	// Replacing a published secret, or adding one, takes the lock. Without it,
	// the log of one run could be stored with the value of another.
	if (known || !r.created) && !r.locked && !r.dry {
		return errLock
	}
	if fits {
		return r.change("encrypt parameter "+credstore.ClientSecret+" with "+keyName(r.d.KMSKeyID), func() error {
			return r.publish(ctx, set, set.ClientSecret, log.at(set.SecretRevision), "")
		})
	}
	return r.change("write parameter "+credstore.ClientSecret, func() error {
		value, id := credstore.NewSecret(aws.ToString(client.ClientSecret)), ""
		if known || !r.created {
			if live, err = r.liveSecrets(ctx, poolID, clientID); err != nil {
				return err
			}
			if len(live) != 1 || value.IsZero() || !original(live[0], client) {
				if id, value, err = r.addSecret(ctx, poolID, clientID, ""); err != nil {
					return err
				}
			} else if known {
				id = aws.ToString(live[0].ClientSecretId)
			}
		}
		if value.IsZero() {
			return fmt.Errorf("app client %s has no secret and cannot be a machine client: remove it, then repeat", clientID)
		}
		r.published = true
		return r.publish(ctx, set, value, id, r.d.SecretVersion)
	})
}

// key names the key that the secret is encrypted under. It returns "" while
// another key is tagged and not in use yet, because the key is then unknown.
func (s recorded) key() string {
	if since, err := strconv.ParseInt(s.tags[tagKeySince], 10, 64); err == nil && s.SecretRevision < since {
		return ""
	}
	return keyName(s.tags[tagKey])
}

// keyName returns a name for the key that a SecureString is written under.
func keyName(id string) string { return cmp.Or(id, "alias/aws/ssm") }

// original reports whether the secret is the one that the client was made
// with, the only one that Cognito is known to show.
func original(s types.ClientSecretDescriptorType, c *types.UserPoolClientType) bool {
	return aws.ToTime(s.ClientSecretCreateDate).Sub(aws.ToTime(c.CreationDate)).Abs() < time.Minute
}

// publish writes the secret's parameter. id is the secret's id. It is empty for
// the secret that the client was made with, for which no log is kept.
func (r *run) publish(ctx context.Context, set *recorded, value credstore.Secret, id, version string) error {
	tags := map[string]string{}
	store := r.store()
	if key := keyName(r.d.KMSKeyID); key != set.key() {
		tags[tagKey], tags[tagKeySince] = key, strconv.FormatInt(set.SecretRevision+1, 10)
		store.KMSKeyID = key // named explicitly, even the account's own key
	}
	if version != "" {
		tags[tagSecretVersion] = version
	}
	if set.ClientSecret.IsZero() {
		if id != "" {
			tags[tagSecrets] = secretLog{{1, id}}.String()
		}
		maps.Copy(store.Tags, tags)
		if err := store.Write(ctx, r.d.Name, credstore.Credentials{}, credstore.Credentials{ClientSecret: value}); err != nil {
			return err
		}
		set.ClientSecret = value
		return nil
	}
	if id != "" {
		log := secretLog{{set.SecretRevision + 1, id}}
		if now := set.log().at(set.SecretRevision); now != "" {
			log = secretLog{{set.SecretRevision, now}, log[0]}
		}
		tags[tagSecrets] = log.String()
	}
	if len(tags) > 0 {
		if err := r.tag(ctx, credstore.ClientSecret, tags); err != nil {
			return err
		}
	}
	// The same value is written again when only the key changes.
	other := credstore.Credentials{ClientSecret: credstore.NewSecret("other than " + value.Reveal())}
	if err := store.Write(ctx, r.d.Name, other, credstore.Credentials{ClientSecret: value}); err != nil {
		return err
	}
	set.ClientSecret = value
	return nil
}

// addSecret gives the client another secret. Cognito allows two, so it first
// deletes all but keep, or with an empty keep all but the newest.
func (r *run) addSecret(ctx context.Context, poolID, clientID, keep string) (id string, value credstore.Secret, err error) {
	tidy := func() error {
		live, err := r.liveSecrets(ctx, poolID, clientID)
		if err != nil {
			return err
		}
		if _, ok := find(live, keep); !ok && len(live) > 0 {
			keep = aws.ToString(live[len(live)-1].ClientSecretId)
		}
		for _, s := range live {
			if other := aws.ToString(s.ClientSecretId); other != keep {
				if err := r.deleteSecret(ctx, poolID, clientID, other); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := tidy(); err != nil {
		return "", value, err
	}
	added, err := once(ctx, r.Provisioner, func() (*types.ClientSecretDescriptorType, error) {
		out, err := r.Cognito.AddUserPoolClientSecret(ctx, &cognitoidentityprovider.AddUserPoolClientSecretInput{
			UserPoolId: aws.String(poolID), ClientId: aws.String(clientID),
		}, r.sentOnce)
		if err != nil {
			return nil, fmt.Errorf("adding a secret to app client %s: %w", clientID, err)
		}
		return out.ClientSecretDescriptor, nil
	}, func() (*types.ClientSecretDescriptorType, error) {
		return nil, tidy() // if the answer was lost, so is the secret's value
	})
	if err != nil {
		return "", value, err
	}
	if aws.ToString(added.ClientSecretValue) == "" {
		return "", value, errors.New("adding a secret: Cognito answered without its value; repeat")
	}
	return aws.ToString(added.ClientSecretId), credstore.NewSecret(aws.ToString(added.ClientSecretValue)), nil
}

func (r *run) deleteSecret(ctx context.Context, poolID, clientID, id string) error {
	_, err := r.Cognito.DeleteUserPoolClientSecret(ctx, &cognitoidentityprovider.DeleteUserPoolClientSecretInput{
		UserPoolId: aws.String(poolID), ClientId: aws.String(clientID), ClientSecretId: aws.String(id),
	})
	if ignoreMissing(err) != nil {
		return fmt.Errorf("deleting secret %s: %w", id, err)
	}
	return nil
}
