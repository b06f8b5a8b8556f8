// Command mcpauth shows, sets up and examines machine-to-machine
// authentication between agents and MCP servers.
//
// Data goes to stdout and progress to stderr; the exit code is 0 only on
// success, and an error is one line that ends in what to do.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"agentcore-mcp-auth/pkg/doctor"
)

// version is set by the build.
var version = "dev"

func main() {
	// Without this, SIGPIPE would kill the process when the reader of stdout
	// leaves. With it the write fails, and the command can still stop the
	// processes that it started.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	message, code := outcome(err, ctx.Err() != nil)
	if message != "" {
		fmt.Fprintln(os.Stderr, "mcpauth:", message)
	}
	os.Exit(code)
}

// run is the whole program except for what belongs to the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRoot()
	refuseStrays(root)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	begun := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmp.Or(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups(), checkGiven(cmd)); err != nil {
			return err
		}
		begun = true
		return nil
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !begun {
		return usagef("%w; see: %s --help", err, cmd.CommandPath())
	}
	return err
}

// checkGiven refuses flags with an empty value. Most often a script's variable
// is not set, and the command would act on something else.
func checkGiven(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := strings.TrimSpace(f.Value.String())
		if err == nil && (f.Value.Type() == "string" && value == "" || f.Value.Type() == "stringSlice" && value == "[]") {
			err = fmt.Errorf("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// noCommand refuses an unknown command and suggests similar ones.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %.80q for %q", args[0], cmd.CommandPath())
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return err
}

// noArguments refuses arguments of a command that takes only flags.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Lookup("mcp-name") != nil:
		return fmt.Errorf("%.80q belongs to no flag: to name the server, write --mcp-name %s", args[0], doctor.Shell(cut(args[0])))
	}
	return fmt.Errorf("%.80q is one word too many", args[0])
}

// newRoot returns the tree of commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mcpauth",
		Short: "Machine-to-machine authentication for MCP servers on Amazon Bedrock AgentCore",
		Long: `Mcpauth shows, sets up and examines machine-to-machine authentication between
agents and MCP servers on Amazon Bedrock AgentCore.

It reads the AWS configuration as every AWS tool does. Data goes to stdout and
progress to stderr. The exit code is 0 on success, 1 on failure, 2 when mcpauth
was called wrongly and did nothing, 130 when it was interrupted, and 141 when the
reader of its output left.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Example:       "  mcpauth demo\n  mcpauth setup --mcp-name calculator\n  mcpauth call add_numbers a=2 b=2 --mcp-name calculator\n  mcpauth invoke \"What is 2+2?\" --stack-name agentcore-mcp-auth",
		Args:          noCommand,
		RunE:          showHelp,

		SuggestionsMinimumDistance: 2, // edits between what was typed and a suggestion
	}
	root.PersistentFlags().Bool("json", false, "print one JSON object instead of text")
	root.PersistentFlags().BoolP("verbose", "v", false, "show the logs of everything that runs, on stderr")
	root.AddCommand(demoCommand(), localCommand(), setupCommand(), statusCommand(), rotateCommand(), teardownCommand(),
		tokenCommand(), toolsCommand(), callCommand(), invokeDeployedCommand(), doctorCommand(), explainCommand(), manCommand(), versionCommand())
	return root
}

// refuseStrays makes cobra's own commands refuse unknown arguments. Otherwise
// they print the help of another command and exit with 0.
func refuseStrays(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				return cmp.Or(err, noCommand(found, rest))
			}
		case "completion":
			cmd.Args, cmd.RunE = noCommand, showHelp
		}
	}
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  mcpauth version",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON(cmd) {
				return printJSON(cmd, map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "mcpauth", version)
			return err
		},
	}
}
