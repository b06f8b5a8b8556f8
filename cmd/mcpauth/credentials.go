package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"

	"agentcore-mcp-auth/pkg/doctor"
)

// signIn is the advice when no AWS credentials work.
const signIn = "sign in with aws sso login or aws login, or choose a profile with --profile"

// instancePatience is how long an EC2 instance may take to give its credentials.
// It answers within milliseconds. Where there is no instance, the SDK would
// retry for many seconds.
const instancePatience = 2 * time.Second

// checkCredentials gets the credentials once, so that a command without any
// fails at once and in one line, not in the middle of its work.
func checkCredentials(ctx context.Context, cfg aws.Config, profile string) error {
	instance := aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil))
	if instance {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, instancePatience)
		defer cancel()
	}
	_, err := cfg.Credentials.Retrieve(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case instance: // the SDK looks here last: it found nothing before
		return errors.New("no AWS credentials were found: " + signIn)
	case profile != "":
		return fmt.Errorf("no AWS credentials of profile %s: %w; sign in with aws sso login --profile %[1]s or aws login --profile %[1]s", profile, err)
	}
	return fmt.Errorf("no AWS credentials: %w; %s", err, signIn)
}

// checkRegion refuses a malformed region, because the SDK would put it into a
// host name.
func checkRegion(region string) error {
	switch {
	case region == "":
		return usagef("no AWS region is set: use --region, or set AWS_REGION")
	case !doctor.IsRegion(region):
		return usagef("region %.40q: want one such as eu-central-1, from --region, AWS_REGION or the profile", region)
	}
	return nil
}

// configError adds the next step to an error of reading the AWS configuration.
func configError(err error) error {
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		return usagef("there is no AWS profile %.80q; list them with aws configure list-profiles", missing.Profile)
	}
	return fmt.Errorf("reading the AWS configuration: %w", err)
}
