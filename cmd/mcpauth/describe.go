package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
)

// stackDescription is what CloudFormation tells of a stack.
type stackDescription struct {
	status              string
	outputs, parameters map[string]string
}

// describeStack asks CloudFormation for a stack.
func describeStack(ctx context.Context, cfg aws.Config, name string) (stackDescription, error) {
	d := stackDescription{outputs: map[string]string{}, parameters: map[string]string{}}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(name)})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationError" {
		return d, fmt.Errorf("there is no stack %.128q in %s: choose another --region, or deploy it with: make deploy", name, cfg.Region)
	}
	if err != nil {
		return d, err
	}
	for _, st := range out.Stacks {
		d.status = string(st.StackStatus)
		for _, o := range st.Outputs {
			d.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
		}
		for _, p := range st.Parameters {
			d.parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
		}
	}
	return d, nil
}
