package cloudformation

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"maps"

	"agentcore-mcp-auth/pkg/localaws"
)

type roleProperties struct {
	RoleName                 string         `cfn:"replace"`
	AssumeRolePolicyDocument map[string]any `cfn:"required"`
	Description              string
	ManagedPolicyArns        []string
	MaxSessionDuration       int
	Policies                 []struct {
		PolicyName     string         `cfn:"required"`
		PolicyDocument map[string]any `cfn:"required"`
	}
	Tags []tag
}

// managedPolicies are the actions that AWS's managed policies allow, on every
// resource.
// https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
var managedPolicies = map[string][]string{
	"service-role/AWSLambdaBasicExecutionRole":    {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"},
	"service-role/AWSLambdaSQSQueueExecutionRole": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"},
	"AWSXrayWriteOnlyAccess":                      {"xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries"},
}

// role returns the stand-in's role with a name.
func (p *roleProperties) role(name string) (localaws.Role, error) {
	role := localaws.Role{Name: name}
	var err error
	if role.Trust, err = document(p.AssumeRolePolicyDocument); err != nil {
		return role, err
	}
	for _, arn := range p.ManagedPolicyArns {
		var actions []string
		if len(arn) > len(managedPolicy) {
			actions = managedPolicies[arn[len(managedPolicy):]]
		}
		if actions == nil || arn[:len(managedPolicy)] != managedPolicy {
			return role, fmt.Errorf("ManagedPolicyArns: %.200s is not implemented; write the statements", arn)
		}
		doc, err := document(map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Action": actions, "Resource": "*"}}})
		if err != nil {
			return role, err
		}
		role.Policies = append(role.Policies, doc)
	}
	for _, policy := range p.Policies {
		if err := checkPolicyName(policy.PolicyName); err != nil {
			return role, err
		}
		doc, err := document(policy.PolicyDocument)
		if err != nil {
			return role, err
		}
		role.Policies = append(role.Policies, doc)
	}
	return role, nil
}

// document writes a policy document. One without a Version has the old version,
// which lacks only policy variables; the stand-in does not implement those.
func document(policy map[string]any) (json.RawMessage, error) {
	if policy["Version"] == nil {
		policy = maps.Clone(policy)
		policy["Version"] = "2012-10-17"
	}
	return json.Marshal(policy)
}

var roleType = native[roleProperties]{
	attributes: []string{"Arn", "RoleId"},
	made: func(_ context.Context, r *request, p roleProperties) (made, error) {
		name := r.name(p.RoleName, 64)
		role, err := p.role(name)
		if err != nil {
			return made{}, err
		}
		arn, err := r.aws.AddRole(role)
		if err != nil {
			return made{}, err
		}
		r.stack.ownRole(name, &role)
		sum := sha256.Sum256([]byte(r.stack.id + name))
		m := made{id: name, attributes: map[string]any{"Arn": arn, "RoleId": "AROA" + base32.StdEncoding.EncodeToString(sum[:])[:17]}}
		return m, r.aws.Keep(iamRole, name)
	},
	changed: func(_ context.Context, r *request, p, _ roleProperties) (made, error) {
		role, err := p.role(r.id)
		if err != nil {
			return made{}, err
		}
		r.stack.ownRole(r.id, &role)
		return made{id: r.id, attributes: r.attributes}, r.stack.applyRole(r.id)
	},
	removed: func(_ context.Context, r *request, _ roleProperties) error {
		r.stack.ownRole(r.id, nil)
		r.aws.RemoveRole(r.id)
		r.aws.Forget(iamRole, r.id)
		return nil
	},
}
