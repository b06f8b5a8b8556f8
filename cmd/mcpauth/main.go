// Command mcpauth shows, sets up and examines machine-to-machine
// authentication between agents and MCP servers.
//
// Data goes to stdout and progress to stderr; the exit code is 0 only on
// success.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mcpauth:", err)
		os.Exit(1)
	}
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "mcpauth",
		Short:         "Machine-to-machine authentication for MCP servers on Amazon Bedrock AgentCore",
		SilenceErrors: true,
		SilenceUsage:  true,
		Example:       "  mcpauth demo\n  mcpauth demo \"greet Alice\"\n  mcpauth local invoke agent -e events/ask.json",
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().Bool("json", false, "print one JSON object instead of text")
	root.PersistentFlags().BoolP("verbose", "v", false, "show the logs of everything that runs, on stderr")
	root.AddCommand(demoCommand(), localCommand(), setupCommand(), statusCommand(), rotateCommand(), teardownCommand(), versionCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON(cmd) {
				return printJSON(cmd, map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "mcpauth", version)
			return err
		},
	}
}
