package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/provision"
)

// target says which server a command is about, and in which account.
type target struct {
	name            string
	region, profile string
	prefix          string
}

// flags adds the target's flags to cmd. The name is required.
func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.name, "mcp-name", "", "name of the MCP server (required)")
	cmd.MarkFlagRequired("mcp-name")
	t.awsFlags(cmd)
	t.completeNames(cmd)
}

// accountFlags adds the flags of a command that reads no parameters.
func (t *target) accountFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.region, "region", "", "AWS region; default: the profile's, or AWS_REGION")
	cmd.Flags().StringVar(&t.profile, "profile", "", "AWS profile; default: AWS_PROFILE")
	t.prefix = credstore.DefaultPrefix
}

func (t *target) awsFlags(cmd *cobra.Command) {
	t.accountFlags(cmd)
	cmd.Flags().StringVar(&t.prefix, "parameter-prefix", credstore.DefaultPrefix, "path in Parameter Store under which servers live")
}

// load reads the AWS configuration as every AWS tool does. It refuses one
// without credentials or with a malformed region.
func (t *target) load(ctx context.Context) (aws.Config, error) {
	cfg, err := t.read(ctx)
	if err != nil {
		return cfg, err
	}
	if err := checkRegion(cfg.Region); err != nil {
		return cfg, err
	}
	return cfg, checkCredentials(ctx, cfg, t.profile)
}

// given returns the flags that choose the account and the parameter prefix, as
// names and values.
func (t *target) given() []string {
	var flags []string
	if t.prefix != "" && t.prefix != credstore.DefaultPrefix {
		flags = append(flags, "--parameter-prefix", t.prefix)
	}
	return append(flags, t.account()...)
}

func (t *target) account() []string {
	var flags []string
	for _, f := range [][]string{{"--region", t.region}, {"--profile", t.profile}} {
		if f[1] != "" {
			flags = append(flags, f...)
		}
	}
	return flags
}

// command returns a command line for the same server and account.
func (t *target) command(verb string, args ...string) string {
	words := []string{"mcpauth", verb}
	if t.name != "" {
		words = append(words, "--mcp-name", t.name)
	}
	return doctor.Shell(slices.Concat(words, args, t.given())...)
}

// setUp adds the command that sets the server up to an error about missing
// parameters.
func (t *target) setUp(err error) error {
	if errors.Is(err, credstore.ErrNotFound) {
		return fmt.Errorf("%w; if the name and --parameter-prefix are right, set it up with: %s", err, t.command("setup"))
	}
	return err
}

// read checks the flags and reads the AWS configuration, without checking that.
func (t *target) read(ctx context.Context) (aws.Config, error) {
	if t.name != "" {
		if err := credstore.CheckName(t.name); err != nil {
			return aws.Config{}, usagef("--mcp-name: %w", err)
		}
	}
	if err := credstore.CheckPrefix(t.prefix); err != nil {
		return aws.Config{}, &usageError{err}
	}
	var options []func(*config.LoadOptions) error
	if t.region != "" {
		options = append(options, config.WithRegion(t.region))
	}
	if t.profile != "" {
		options = append(options, config.WithSharedConfigProfile(t.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, configError(err)
	}
	if at := aws.ToString(cfg.BaseEndpoint); at != "" {
		if u, err := url.Parse(at); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return cfg, usagef("AWS_ENDPOINT_URL, or endpoint_url of the profile, is not a URL such as http://%s: mend it, or unset it", localAddr)
		}
	}
	return cfg, nil
}

// provisioner acts for the command line.
func (t *target) provisioner(cmd *cobra.Command) (*provision.Provisioner, error) {
	cfg, err := t.load(cmd.Context())
	if err != nil {
		return nil, err
	}
	return newProvisioner(cmd, cfg, t.prefix), nil
}

// newProvisioner acts for the command line, and warns on stderr.
func newProvisioner(cmd *cobra.Command, cfg aws.Config, prefix string) *provision.Provisioner {
	p := provision.New(cfg)
	p.Owner, p.Prefix = provision.CommandLine, prefix
	p.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return p
}
