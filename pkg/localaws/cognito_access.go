package localaws

import "encoding/json"

// needs returns the permissions that an operation needs: its own action, on the
// pool that the request names. CreateUserPool, ListUserPools and
// DescribeUserPoolDomain name no pool and have no resource. Creating a pool with
// tags also needs the permission to tag, as the create handler of
// CloudFormation's AWS::Cognito::UserPool lists it.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncognitouserpools.html
func (p *userPools) needs(rec *Record) []access {
	var in struct {
		UserPoolId, ResourceArn string
		UserPoolTags            map[string]json.RawMessage
	}
	json.Unmarshal(rec.RequestBody, &in) // the operation reports what is wrong with the body
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
