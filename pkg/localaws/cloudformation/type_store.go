package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

type tableProperties struct {
	TableName            string `cfn:"replace"`
	AttributeDefinitions []struct {
		AttributeName string `cfn:"required"`
		AttributeType string `cfn:"required"`
	}
	KeySchema []struct {
		AttributeName string `cfn:"required"`
		KeyType       string `cfn:"required"`
	} `cfn:"required,replace"`
	BillingMode                      string
	DeletionProtectionEnabled        bool
	PointInTimeRecoverySpecification *struct{ PointInTimeRecoveryEnabled bool }
	SSESpecification                 *struct{ SSEEnabled bool }
	TableClass                       string
	TimeToLiveSpecification          *struct {
		AttributeName string
		Enabled       bool `cfn:"required"`
	}
	Tags []tag
}

var tableType = native[tableProperties]{
	attributes: []string{"Arn"},
	made: func(_ context.Context, r *request, p tableProperties) (made, error) {
		if p.BillingMode != "PAY_PER_REQUEST" {
			return made{}, fmt.Errorf("BillingMode %q: only PAY_PER_REQUEST is implemented", p.BillingMode)
		}
		if len(p.KeySchema) != 1 || p.KeySchema[0].KeyType != "HASH" {
			return made{}, errors.New("KeySchema: only one HASH key is implemented")
		}
		key := p.KeySchema[0].AttributeName
		if len(p.AttributeDefinitions) != 1 || p.AttributeDefinitions[0].AttributeName != key || p.AttributeDefinitions[0].AttributeType != "S" {
			return made{}, fmt.Errorf("AttributeDefinitions: want %s of type S, and no other", key)
		}
		t := localaws.Table{Name: r.name(p.TableName, 255), HashKey: key}
		if ttl := p.TimeToLiveSpecification; ttl != nil && ttl.Enabled {
			t.TTLAttribute = ttl.AttributeName
		}
		arn, err := r.aws.AddTable(t)
		if err != nil {
			return made{}, err
		}
		return made{id: t.Name, attributes: map[string]any{"Arn": arn}}, r.aws.Keep(r.resourceType, t.Name)
	},
	removed: func(_ context.Context, r *request, _ tableProperties) error {
		r.aws.RemoveTable(r.id)
		r.aws.Forget(r.resourceType, r.id)
		return nil
	},
}

type repositoryProperties struct {
	RepositoryName             string `cfn:"replace"`
	EmptyOnDelete              bool
	EncryptionConfiguration    any `cfn:"replace"`
	ImageScanningConfiguration *struct{ ScanOnPush bool }
	ImageTagMutability         string
	LifecyclePolicy            *struct{ LifecyclePolicyText, RegistryId string }
	RepositoryPolicyText       any
	Tags                       []tag
}

var repositoryType = native[repositoryProperties]{
	attributes: []string{"Arn", "RepositoryUri"},
	made: func(_ context.Context, r *request, p repositoryProperties) (made, error) {
		mutable := map[string]bool{"": true, "MUTABLE": true, "IMMUTABLE": false}
		if _, ok := mutable[p.ImageTagMutability]; !ok {
			return made{}, fmt.Errorf("ImageTagMutability %.40q: want MUTABLE or IMMUTABLE", p.ImageTagMutability)
		}
		name := strings.ToLower(r.name(p.RepositoryName, 256))
		uri, err := r.aws.AddRepository(localaws.Repository{Name: name, ImmutableTags: !mutable[p.ImageTagMutability]})
		if err != nil {
			return made{}, err
		}
		return made{id: name, attributes: map[string]any{"Arn": r.arn("ecr", "repository/"+name), "RepositoryUri": uri}}, r.aws.Keep(r.resourceType, name)
	},
	changed: func(_ context.Context, r *request, p, old repositoryProperties) (made, error) {
		if p.ImageTagMutability != old.ImageTagMutability {
			return made{}, errors.New("a change of ImageTagMutability is not implemented")
		}
		return made{id: r.id, attributes: r.attributes}, nil
	},
	removed: func(_ context.Context, r *request, p repositoryProperties) error {
		if n := len(r.aws.Images(r.id)); n > 0 && !p.EmptyOnDelete {
			return fmt.Errorf("The repository with name '%s' cannot be deleted because it still contains images", r.id)
		}
		r.aws.RemoveRepository(r.id)
		r.aws.Forget(r.resourceType, r.id)
		return nil
	},
}
