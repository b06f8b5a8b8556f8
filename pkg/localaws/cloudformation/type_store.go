package cloudformation

import (
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

var repositoryType = kept([]string{"Arn", "RepositoryUri"}, func(r *request, p repositoryProperties) (made, error) {
	name := strings.ToLower(r.generated(p.RepositoryName, 256))
	return made{id: name, attributes: map[string]any{
		"Arn":           r.arn("ecr", "repository/"+name),
		"RepositoryUri": localaws.Account + ".dkr.ecr." + r.aws.AWSConfig().Region + ".amazonaws.com/" + name,
	}}, nil
})
