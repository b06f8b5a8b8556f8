package cloudformation

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"agentcore-mcp-auth/pkg/localaws"
)

type roleProperties struct {
	RoleName                 string `cfn:"replace"`
	Path                     string `cfn:"replace"`
	AssumeRolePolicyDocument any    `cfn:"required"`
	Description              string
	ManagedPolicyArns        []string
	MaxSessionDuration       int
	PermissionsBoundary      string
	Policies                 []struct {
		PolicyName     string `cfn:"required"`
		PolicyDocument any    `cfn:"required"`
	}
	Tags []tag
}

var roleType = kept([]string{"Arn", "RoleId"}, func(r *request, p roleProperties) (made, error) {
	if p.Path != "" && p.Path != "/" {
		return made{}, fmt.Errorf("Path %s is not implemented", p.Path)
	}
	name := r.generated(p.RoleName, 64)
	sum := sha256.Sum256([]byte(r.stack.id + name))
	arn := "arn:aws:iam::" + localaws.Account + ":role/" + name
	return made{id: name, attributes: map[string]any{
		"Arn": arn, "RoleId": "AROA" + base32.StdEncoding.EncodeToString(sum[:])[:17],
	}}, nil
})
