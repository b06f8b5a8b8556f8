package cloudformation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const managedPolicy = "arn:aws:iam::aws:policy/"

// makeRole makes the role of a function that has none.
func (f *functionParts) makeRole() error {
	policies, has := f.properties["Policies"]
	if f.properties["Role"] != nil {
		if has {
			return errors.New("Policies are ignored beside a Role; write them into the role")
		}
		return nil
	}
	managed := []any{managedPolicy + "service-role/AWSLambdaBasicExecutionRole"}
	if f.lambda.properties["TracingConfig"] != nil {
		managed = append(managed, managedPolicy+"AWSXrayWriteOnlyAccess")
	}
	var inline []any
	if c, ok := f.lambda.properties["DeadLetterConfig"].(map[string]any); ok {
		queue, _ := f.mapping("DeadLetterQueue")
		action := map[any]string{"SQS": "sqs:SendMessage", "SNS": "sns:Publish"}[queue["Type"]]
		p := policy("DeadLetterQueuePolicy", action, c["TargetArn"])
		p["PolicyDocument"].(map[string]any)["Version"] = "2012-10-17"
		inline = append(inline, p)
	}
	list, ok := policies.([]any)
	if has && !ok {
		return errors.New("Policies: want a list")
	}
	for i, item := range list {
		switch item := item.(type) {
		case string:
			if !strings.HasPrefix(item, "arn:") {
				return fmt.Errorf("Policies[%d]: want the ARN of a managed policy, or statements", i)
			}
			if !slices.Contains(managed, any(item)) {
				managed = append(managed, item)
			}
		case map[string]any:
			if item["Statement"] == nil {
				return fmt.Errorf("Policies[%d]: policy templates are not implemented; write the statements", i)
			}
			inline = append(inline, map[string]any{"PolicyName": fmt.Sprintf("%sRolePolicy%d", f.of.logicalID, i), "PolicyDocument": item})
		default:
			return fmt.Errorf("Policies[%d]: want the ARN of a managed policy, or statements", i)
		}
	}
	p := map[string]any{"AssumeRolePolicyDocument": trust("lambda.amazonaws.com"), "ManagedPolicyArns": managed}
	if inline != nil {
		p["Policies"] = inline
	}
	p["Tags"] = []any{createdBy}
	f.role = f.part("Role", iamRole, p)
	f.lambda.properties["Role"] = attribute(f.role, "Arn")
	return nil
}

func policy(name, action string, resource any) map[string]any {
	return map[string]any{"PolicyName": name, "PolicyDocument": map[string]any{
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": action, "Resource": resource}},
	}}
}

// trust is a trust policy for a service.
func trust(service string) map[string]any {
	return map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Action": []any{"sts:AssumeRole"}, "Principal": map[string]any{"Service": []any{service}}},
	}}
}
