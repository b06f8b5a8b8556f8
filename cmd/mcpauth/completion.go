package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/toolbox"
)

// completionPatience bounds how long a person waits after pressing Tab.
const completionPatience = 2 * time.Second

// completeValues offers the values of a flag.
func completeValues(cmd *cobra.Command, flag string, values ...string) {
	cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeNames offers the account's servers, or nothing if they cannot be read.
func (t *target) completeNames(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("mcp-name", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
		defer cancel()
		names, _ := t.names(ctx)
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// names returns the servers under the prefix. After an error it returns those
// found until then.
func (t *target) names(ctx context.Context) ([]string, error) {
	cfg, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	pages := ssm.NewGetParametersByPathPaginator(ssm.NewFromConfig(cfg), &ssm.GetParametersByPathInput{
		Path: aws.String(t.prefix), Recursive: aws.Bool(true), // names only: nothing is decrypted
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return names, err
		}
		for _, p := range page.Parameters {
			name, parameter, _ := strings.Cut(strings.TrimPrefix(*p.Name, t.prefix+"/"), "/")
			if slices.Contains([]string{credstore.ClientID, credstore.UserClientID, credstore.Endpoint}, parameter) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// plainName matches names without characters that are special to a shell:
// completions end up on its command line.
var plainName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_./-]*$`)

// completeTools offers the tools of the server.
func (s *server) completeTools(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || s.name == "" && s.url == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s.timeout = completionPatience
	var names []string
	s.ask(cmd, func(_ context.Context, _ *toolbox.Toolbox, tools []toolbox.Tool) error {
		for _, t := range tools {
			if plainName.MatchString(t.Tool) {
				names = append(names, t.Tool+"\t"+oneRow(t.Description))
			}
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
