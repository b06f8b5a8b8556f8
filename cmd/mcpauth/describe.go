package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/doctor"
)

// describeStack asks CloudFormation for a stack.
func describeStack(ctx context.Context, cfg aws.Config, name string) (doctor.Stack, error) {
	st, err := doctor.DescribeStack(ctx, cfg, name)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationError" {
		return st, fmt.Errorf("there is no stack %.128q in %s: choose another --region, or deploy it with: make deploy", name, cfg.Region)
	}
	return st, err
}
