package localaws

import "encoding/json"

// needs is what the operations ask for: each its own action, on the pool that
// the request names. CreateUserPool, ListUserPools and DescribeUserPoolDomain
// name none and have no resource. Tags of a new pool need the permission to tag,
// as the create handler of CloudFormation's AWS::Cognito::UserPool has it.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncognitouserpools.html
func (p *userPools) needs(rec *Record) []access {
	var in struct {
		UserPoolId, ResourceArn string
		UserPoolTags            map[string]json.RawMessage
	}
	json.Unmarshal(rec.RequestBody, &in) // the operation says what is wrong with it
	a := access{action: "cognito-idp:" + rec.Operation}
	switch {
	case in.ResourceArn != "":
		a.resources = []string{in.ResourceArn}
	case in.UserPoolId != "":
		a.resources = []string{p.arn(in.UserPoolId)}
	}
	if rec.Operation == "CreateUserPool" && len(in.UserPoolTags) > 0 {
		return []access{a, {action: "cognito-idp:TagResource", resources: []string{p.arn("*")}}}
	}
	return []access{a}
}
