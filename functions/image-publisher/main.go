// Image-publisher is the Lambda function behind the CloudFormation custom
// resource Custom::MCPImage, which is an image of one of its programs in an ECR
// repository. The programs are beside the function's own, in images.tar.zst.
//
// It reads AWS_REGION, AWS_ENDPOINT_URL and whatever else the AWS SDK reads, and
// LOG_LEVEL (debug, info, warn, error; default info).
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"agentcore-mcp-auth/internal/cfnmain"
	"agentcore-mcp-auth/pkg/customresource"
)

func main() { cfnmain.Serve(setUp) }

// setUp makes the Lambda handler. The registry may be on a loopback address if
// the reply URL may.
func setUp(cfg aws.Config, o customresource.Options) (any, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the programs: %w", err)
	}
	p := &publisher{
		ecr:     ecr.NewFromConfig(cfg),
		region:  cfg.Region,
		archive: filepath.Join(filepath.Dir(self), "images.tar.zst"),
		local:   o.AllowLoopback,
		log:     o.Logger,
	}
	return customresource.Wrap(p.handle, o), nil
}
