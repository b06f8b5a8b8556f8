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

// table returns the stand-in's table with a name. Only primary keys of one
// string are implemented.
func (p *tableProperties) table(name string) (localaws.Table, error) {
	t := localaws.Table{Name: name}
	if p.BillingMode != "PAY_PER_REQUEST" {
		return t, fmt.Errorf("BillingMode %q: only PAY_PER_REQUEST is implemented", p.BillingMode)
	}
	if len(p.KeySchema) != 1 || p.KeySchema[0].KeyType != "HASH" || len(p.AttributeDefinitions) != 1 ||
		p.AttributeDefinitions[0].AttributeName != p.KeySchema[0].AttributeName || p.AttributeDefinitions[0].AttributeType != "S" {
		return t, errors.New("KeySchema, AttributeDefinitions: only one HASH key of type S is implemented")
	}
	t.HashKey = p.KeySchema[0].AttributeName
	if ttl := p.TimeToLiveSpecification; ttl != nil && ttl.Enabled {
		t.TTLAttribute = ttl.AttributeName
	}
	return t, nil
}

var tableType = native[tableProperties]{
	attributes: []string{"Arn"},
	made: func(_ context.Context, r *request, p tableProperties) (made, error) {
		t, err := p.table(r.name(p.TableName, 255))
		if err != nil {
			return made{}, err
		}
		arn, err := r.aws.AddTable(t)
		if err != nil {
			return made{}, err
		}
		return made{id: t.Name, attributes: map[string]any{"Arn": arn}}, r.aws.Keep(r.resourceType, t.Name)
	},
	changed: func(_ context.Context, r *request, p, old tableProperties) (made, error) {
		now, err := p.table(r.id)
		before, _ := old.table(r.id)
		if err == nil && now != before {
			err = errors.New("a change of TimeToLiveSpecification is not implemented")
		}
		return made{id: r.id, attributes: r.attributes}, err
	},
	removed: func(_ context.Context, r *request, p tableProperties) error {
		if p.DeletionProtectionEnabled {
			return errors.New("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
		}
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
		return made{id: name, attributes: map[string]any{"Arn": r.arn("ecr", "repository/"+name), "RepositoryUri": uri}}, nil
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
		return nil
	},
}
