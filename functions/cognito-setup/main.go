// Cognito-setup is the Lambda function behind the CloudFormation custom resource
// Custom::MCPClient, which is the machine-to-machine credentials of one MCP
// server. Schedules may send it {"action":"rotate","mcp_name":"…"} and
// {"action":"tidy","mcp_name":"…"}.
//
// It reads AWS_REGION, AWS_ENDPOINT_URL and whatever else the AWS SDK reads, and
// LOG_LEVEL (debug, info, warn, error; default info).
package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"

	"agentcore-mcp-auth/internal/cfnmain"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/provision"
)

func main() { cfnmain.Serve(setUp) }

// setUp makes the Lambda handler.
func setUp(cfg aws.Config, o customresource.Options) (any, error) {
	p := provision.New(cfg)
	p.Prefix, p.Logger = credstore.DefaultPrefix, o.Logger
	resource := &provision.Handler{Provisioner: p}
	return dispatch(p, customresource.Wrap(resource.Handle, o)), nil
}
