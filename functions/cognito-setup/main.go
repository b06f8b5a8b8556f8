// Cognito-setup is the Lambda function behind the CloudFormation custom
// resource Custom::MCPClient: the machine-to-machine credentials of one MCP
// server. Schedules may send it {"action":"rotate","mcp_name":"…"} and the same
// with "tidy".
//
// It reads AWS_REGION, AWS_ENDPOINT_URL and whatever else the AWS SDK reads,
// and LOG_LEVEL (debug, info, warn, error; default info).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"agentcore-mcp-auth/internal/startup"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/provision"
)

func main() {
	h, err := setUp(context.Background(), os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cognito-setup:", err)
		os.Exit(1)
	}
	startup.Done()
	lambda.Start(h)
}

// setUp makes the Lambda handler. A reply URL on this machine is taken only
// when AWS itself is one, which is so in local runs.
func setUp(ctx context.Context, getenv func(string) string) (handler, error) {
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
	p.Prefix = credstore.DefaultPrefix
	p.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	resource := &provision.Handler{Provisioner: p}
	return dispatch(p, customresource.Wrap(resource.Handle, customresource.Options{
		Logger:        p.Logger,
		Region:        cfg.Region,
		AllowLoopback: customresource.OnThisMachine(getenv("AWS_ENDPOINT_URL")),
	})), nil
}
