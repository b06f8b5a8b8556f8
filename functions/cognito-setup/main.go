// Cognito-setup is the Lambda function behind the CloudFormation custom
// resource Custom::MCPClient: the machine-to-machine credentials of one MCP
// server.
//
// It reads AWS_REGION, AWS_ENDPOINT_URL and whatever else the AWS SDK reads,
// and LOG_LEVEL (debug, info, warn, error; default info).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"agentcore-mcp-auth/pkg/provision"
)

func main() {
	handler, err := setUp(context.Background(), os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cognito-setup:", err)
		os.Exit(1)
	}
	lambda.Start(cfn.LambdaWrap(handler.Handle))
}

func setUp(ctx context.Context, getenv func(string) string) (*provision.Handler, error) {
	level := slog.LevelInfo
	if s := getenv("LOG_LEVEL"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, fmt.Errorf("LOG_LEVEL: want debug, info, warn or error: %w", err)
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	p := provision.New(cfg)
	p.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return &provision.Handler{Provisioner: p}, nil
}
