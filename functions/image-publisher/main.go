// Image-publisher is the Lambda function behind the CloudFormation custom
// resource Custom::MCPImage: the image of one of the programs that it carries,
// in a repository of ECR. The programs are beside its own, in images.tar.zst.
//
// It reads AWS_REGION, AWS_ENDPOINT_URL and whatever else the AWS SDK reads,
// and LOG_LEVEL (debug, info, warn, error; default info).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"agentcore-mcp-auth/internal/startup"
	"agentcore-mcp-auth/pkg/customresource"
)

func main() {
	h, err := setUp(context.Background(), os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image-publisher:", err)
		os.Exit(1)
	}
	startup.Done()
	lambda.Start(h)
}

// setUp makes the Lambda handler. A reply URL and a registry on this machine
// are taken only when AWS itself is one, which is so in local runs.
func setUp(ctx context.Context, getenv func(string) string) (any, error) {
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
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the programs: %w", err)
	}
	local := customresource.OnThisMachine(getenv("AWS_ENDPOINT_URL"))
	p := &publisher{
		ecr:     ecr.NewFromConfig(cfg),
		region:  cfg.Region,
		archive: filepath.Join(filepath.Dir(self), "images.tar.zst"),
		local:   local,
		log:     slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
	return customresource.Wrap(p.handle, customresource.Options{Logger: p.log, Region: cfg.Region, AllowLoopback: local}), nil
}
