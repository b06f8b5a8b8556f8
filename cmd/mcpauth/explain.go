package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/doctor"
)

func explainCommand() *cobra.Command {
	var x examination
	var status int
	var challenges []string
	cmd := &cobra.Command{
		Use:   "explain [--mcp-name NAME] < RESPONSE",
		Short: "Say what a refusal or a token means",
		Long: `Explain says what a refusal means that an agent, an MCP client, curl or the aws
command line got. It prints the likely causes, and the next command for each. It
reads an HTTP answer (curl -si, or -v), a JSON-RPC or OAuth error, or an error
message from stdin, or takes --status and --www-authenticate instead.

It also reads a token from stdin, and prints its claims. With --mcp-name it
compares them with what the server's parameters and its runtime's authorizer
require, and fails when one does not match. It never prints the token. Without
--mcp-name it sends no request.`,
		Example: "  curl -si -X POST $URL | mcpauth explain\n  mcpauth explain --status 401 --www-authenticate 'Bearer error=\"invalid_token\"'\n  mcpauth token --mcp-name calculator | mcpauth explain --mcp-name calculator",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := refusalText(cmd, status, challenges)
			if err != nil {
				return err
			}
			cfg := doctor.Config{AWS: aws.Config{Region: x.region}, Flags: x.given()} // used in the commands that it suggests
			if x.name != "" {
				if cfg, err = x.config(cmd); err != nil {
					return err
				}
			}
			explanation, err := doctor.Explain(cmd.Context(), text, cfg)
			if errors.Is(err, doctor.ErrUnknown) {
				return fmt.Errorf("%w; give the whole answer with its headers, such as curl -si prints", err)
			}
			if err != nil {
				return err
			}
			return printExplanation(cmd, explanation)
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.name, "mcp-name", "", "name of the MCP server, to compare a token with")
	f.IntVar(&status, "status", 0, "HTTP status of the answer, in place of stdin")
	f.StringArrayVar(&challenges, "www-authenticate", nil, "WWW-Authenticate header of the answer")
	x.flags(cmd)
	return cmd
}

// refusalText returns the text to explain: what the flags give, or else stdin.
func refusalText(cmd *cobra.Command, status int, challenges []string) (string, error) {
	if status != 0 && (status < 100 || status > 599) {
		return "", usagef("--status %d: want an HTTP status", status)
	}
	if status != 0 || challenges != nil {
		if status == 0 {
			status = http.StatusUnauthorized
		}
		text := fmt.Sprintf("HTTP/1.1 %d\n", status)
		for _, c := range challenges {
			text += "WWW-Authenticate: " + strings.NewReplacer("\r", " ", "\n", " ").Replace(c) + "\n"
		}
		return text + "\n", nil
	}
	if isTerminal(cmd.InOrStdin()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "reading the answer or the token from the terminal; end with Ctrl-D")
	}
	text, err := readStdin(cmd)
	if err != nil {
		return "", fmt.Errorf("reading stdin: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", usagef("there is nothing to explain: pipe an answer or a token in, or use --status")
	}
	return string(text), nil
}

func printExplanation(cmd *cobra.Command, x doctor.Explanation) error {
	failed := (doctor.Report{Checks: x.Checks}).First()
	if asJSON(cmd) {
		if err := printJSON(cmd, x); err != nil {
			return err
		}
	} else {
		p := &checkPrinter{out: cmd.OutOrStdout(), colour: coloured(cmd.OutOrStdout())}
		p.printf("%s\n", x.What)
		for _, c := range x.Checks {
			p.print(c)
		}
		p.flush()
		for i, c := range x.Causes {
			p.printf("%d.    %s\n      next      %s\n", i+1, c.Cause, c.Next)
		}
		if p.err != nil {
			return p.err
		}
	}
	if failed != nil {
		return fmt.Errorf("%s failed: %s; next: %s", failed.ID, failed.Cause, failed.Next)
	}
	return nil
}
