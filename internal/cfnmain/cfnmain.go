// Package cfnmain is the main of the Lambda functions behind CloudFormation
// custom resources.
package cfnmain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"agentcore-mcp-auth/internal/startup"
	"agentcore-mcp-auth/pkg/customresource"
)

// Serve runs the Lambda handler that setUp makes. It reads AWS_REGION,
// AWS_ENDPOINT_URL and whatever else the AWS SDK reads, and LOG_LEVEL (debug,
// info, warn, error; default info). It accepts a reply URL on this machine only
// if AWS_ENDPOINT_URL is on this machine too, as in local runs.
//
// Wrong settings do not end the process, since CloudFormation would wait for an
// answer until ServiceTimeout. Instead each event fails with an error that names
// them.
func Serve(setUp func(aws.Config, customresource.Options) (any, error)) {
	var level slog.Level // info
	var levelErr error
	if s := os.Getenv("LOG_LEVEL"); s != "" && level.UnmarshalText([]byte(s)) != nil {
		levelErr = fmt.Errorf("LOG_LEVEL %.40q: want debug, info, warn or error", s)
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		err = fmt.Errorf("reading the AWS configuration: %w", err)
	}
	o := customresource.Options{
		Logger:        slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Region:        cmp.Or(cfg.Region, os.Getenv("AWS_REGION")),
		AllowLoopback: customresource.OnThisMachine(os.Getenv("AWS_ENDPOINT_URL")),
	}
	var h any
	if err = errors.Join(levelErr, err); err == nil {
		h, err = setUp(cfg, o)
	}
	if err != nil {
		o.Logger.Error("refusing to work", "error", err)
		h = customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { return "", nil, err }, o)
	}
	startup.Done()
	lambda.Start(h)
}
