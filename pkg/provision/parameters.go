package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
)

// OwnerTag is the tag on every parameter that names its owner: a stack's id, or
// [CommandLine].
const OwnerTag = "mcpauth:owner"

// Tags. The first is on every parameter too, the others on the secret's.
const (
	tagResource = "mcpauth:resource"

	tagSecretVersion = "mcpauth:secret-version" // Desired.SecretVersion applied last
	tagSecrets       = "mcpauth:secrets"        // which revision holds which secret; see secretLog
	tagKey           = "mcpauth:kms-key"        // Desired.KMSKeyID in use
	tagKeySince      = "mcpauth:kms-key-since"  // from which revision of the parameter
	tagAdoptedPool   = "mcpauth:adopted-pool"   // user pool of a set that was taken over
)

// recorded is what Parameter Store holds about a server.
type recorded struct {
	credstore.Credentials
	tags map[string]string // of the parameter named by anchor
}

// names lists the existing parameters in the order in which credstore writes
// them. The client secret comes first, because it has the most tags. The
// endpoint is left out, because it is the deployer's.
func (s recorded) names() []string {
	present := s.Credentials
	present.Endpoint = ""
	return present.Differences(credstore.Credentials{})
}

func (s recorded) empty() bool   { return len(s.names()) == 0 }
func (s recorded) owner() string { return s.tags[OwnerTag] }

// read reads the server's set and its tags. A set that is removed meanwhile is
// read again.
func (r *run) read(ctx context.Context) (recorded, error) {
	set, err := r.readOnce(ctx)
	if isAgain(err) {
		set, err = r.readOnce(ctx)
	}
	return set, err
}

func (r *run) readOnce(ctx context.Context) (recorded, error) {
	var set recorded
	var err error
	store := r.store()
	store.Sealed = r.sealed
	set.Credentials, err = store.Snapshot(ctx, r.d.Name)
	if err != nil && !errors.Is(err, credstore.ErrNotFound) {
		return set, err
	}
	names := set.names()
	if len(names) == 0 {
		return set, nil
	}
	id := r.store().Path(r.d.Name) + names[0]
	out, err := r.SSM.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{
		ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
		ResourceId:   aws.String(id),
	})
	if is[*ssmtypes.InvalidResourceId](err) { // deleted since it was read
		return set, errAgain
	}
	if err != nil {
		return set, fmt.Errorf("reading the tags of %s: %w", id, err)
	}
	set.tags = map[string]string{}
	for _, t := range out.TagList {
		set.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return set, nil
}

// mine reports whether this owner owns the set.
func (r *run) mine(set recorded) bool {
	return set.owner() == r.owner() && set.tags[tagResource] == r.Resource
}

// admit refuses a set of another owner.
func (r *run) admit(set recorded) error {
	if set.empty() || r.mine(set) || set.owner() == "" && r.d.Adopt {
		return nil
	}
	owner := set.owner()
	if res := set.tags[tagResource]; res != "" {
		owner += " (resource " + res + ")"
	}
	return &OwnedError{What: "the parameters under " + r.store().Path(r.d.Name), Owner: owner}
}

// store returns the store of the server's parameters. It puts the owner's tags
// on what it creates.
func (r *run) store() *credstore.Store {
	tags := map[string]string{OwnerTag: r.owner()}
	if r.Resource != "" {
		tags[tagResource] = r.Resource
	}
	return &credstore.Store{API: r.SSM, Prefix: r.prefix(), KMSKeyID: r.d.KMSKeyID, Tags: tags}
}

// adoptParameters puts the owner's tags on the parameters of a set without an
// owner. The parameter that shows the ownership comes last, so that a run that
// stops in between is repeated.
func (r *run) adoptParameters(ctx context.Context, set recorded) error {
	if set.empty() || r.mine(set) {
		return nil
	}
	return r.change("take over the parameters under "+r.store().Path(r.d.Name), func() error {
		names := set.names()
		slices.Reverse(names)
		for _, name := range names {
			tags := maps.Clone(r.store().Tags)
			if name == credstore.ClientSecret {
				tags[tagAdoptedPool] = set.UserPoolID
			}
			if err := r.tag(ctx, name, tags); err != nil {
				return err
			}
		}
		return nil
	})
}

// tag puts tags on one of the server's parameters.
func (r *run) tag(ctx context.Context, parameter string, tags map[string]string) error {
	in := &ssm.AddTagsToResourceInput{
		ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
		ResourceId:   aws.String(r.store().Path(r.d.Name) + parameter),
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	if _, err := r.SSM.AddTagsToResource(ctx, in); err != nil {
		return fmt.Errorf("tagging parameter %s: %w", aws.ToString(in.ResourceId), err)
	}
	return nil
}

// untag removes the owner's tags, so that another owner may adopt the set.
func (r *run) untag(ctx context.Context, set recorded) error {
	names := set.names()
	slices.Reverse(names)
	for _, name := range names {
		id := r.store().Path(r.d.Name) + name
		_, err := r.SSM.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{
			ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
			ResourceId:   aws.String(id),
			TagKeys:      []string{OwnerTag, tagResource},
		})
		if err != nil && !is[*ssmtypes.InvalidResourceId](err) {
			return fmt.Errorf("removing tags of %s: %w", id, err)
		}
	}
	return nil
}
