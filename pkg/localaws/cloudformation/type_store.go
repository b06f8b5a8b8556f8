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

var tableType = kept([]string{"Arn"}, func(r *request, p tableProperties) (made, error) {
	if p.BillingMode != "PAY_PER_REQUEST" {
		return made{}, fmt.Errorf("BillingMode %q: only PAY_PER_REQUEST is implemented", p.BillingMode)
	}
	name := r.generated(p.TableName, 255)
	return made{id: name, attributes: map[string]any{"Arn": r.arn("dynamodb", "table/"+name)}}, nil
})

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
