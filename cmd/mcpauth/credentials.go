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

// signIn is what to do without AWS credentials that work.
const signIn = "sign in with aws sso login or aws login, or choose a profile with --profile"

// instancePatience is how long an EC2 instance may take to give its
// credentials. It answers within milliseconds; where there is none, the SDK
// would keep on asking for many seconds.
const instancePatience = 2 * time.Second

// checkCredentials gets the credentials once, so that a command that has none
// ends here, soon and in one line, rather than in the middle of its work.
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
	case instance: // the last place to look, so nothing else was found
		return errors.New("no AWS credentials were found: " + signIn)
	case profile != "":
		return fmt.Errorf("no AWS credentials of profile %s: %w; sign in with aws sso login --profile %[1]s or aws login --profile %[1]s", profile, err)
	}
	return fmt.Errorf("no AWS credentials: %w; %s", err, signIn)
}

// checkRegion refuses what cannot be a region, since an SDK would make a host
// name of it.
func checkRegion(region string) error {
	switch {
	case region == "":
		return usagef("no AWS region is set: use --region, or set AWS_REGION")
	case !doctor.IsRegion(region):
		return usagef("region %.40q: want one such as eu-central-1, from --region, AWS_REGION or the profile", region)
	}
	return nil
}

// configError says what to do about a configuration that cannot be read.
func configError(err error) error {
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		return usagef("there is no AWS profile %.80q; list them with aws configure list-profiles", missing.Profile)
	}
	return fmt.Errorf("reading the AWS configuration: %w", err)
}
