package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/provision"
)

func statusCommand() *cobra.Command {
	var t target
	var all bool
	cmd := &cobra.Command{
		Use:   "status (--mcp-name NAME | --all)",
		Short: "Compare what is recorded with what exists",
		Long: `Status looks at one server, whoever owns it, and changes nothing. It fails when
what is recorded differs from what exists. With --all it lists what earlier runs
of mcpauth left and no server uses.`,
		Example: "  mcpauth status --mcp-name calculator\n  mcpauth status --all",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.provisioner(cmd)
			if err != nil {
				return err
			}
			if all {
				return t.printLeftovers(cmd, p)
			}
			return t.printStatus(cmd, p)
		},
	}
	cmd.Flags().StringVar(&t.name, "mcp-name", "", "name of the MCP server")
	cmd.Flags().BoolVar(&all, "all", false, "list leftovers instead")
	cmd.MarkFlagsOneRequired("mcp-name", "all")
	cmd.MarkFlagsMutuallyExclusive("mcp-name", "all")
	t.awsFlags(cmd)
	t.completeNames(cmd)
	return cmd
}

// statusOutput is what status prints as JSON.
type statusOutput struct {
	setupOutput
	UserClientID string `json:"user_client_id,omitempty"`
	Endpoint     string `json:"endpoint"`
	Owner        string `json:"owner"`
	Resource     string `json:"resource,omitempty"`
}

func (t *target) printStatus(cmd *cobra.Command, p *provision.Provisioner) error {
	st, err := p.Status(cmd.Context(), t.name)
	if err != nil {
		return t.setUp(err)
	}
	if asJSON(cmd) {
		r := st.Result
		r.ClientID = cmp.Or(r.ClientID, st.UserClientID) // a server may have only a test user
		err = printJSON(cmd, statusOutput{newSetupOutput(r), st.UserClientID, st.Endpoint, st.Owner, st.Resource})
	} else {
		rows := [][2]string{
			{"owner", cmp.Or(strings.TrimSpace(st.Owner+" "+st.Resource), "unknown")},
			{"endpoint", cmp.Or(st.Endpoint, "not recorded")},
			{"discovery URL", st.DiscoveryURL},
			{"client id", cmp.Or(st.ClientID, "not recorded")},
			{"scope", st.Scope},
			{"user pool", st.UserPoolID},
			{"parameters", st.ParameterPath},
		}
		if st.UserClientID != "" || st.Username != "" {
			rows = append(rows, [2]string{"test user", st.Username}, [2]string{"test user's client", st.UserClientID})
		}
		err = printRows(cmd, rows...)
		printChanges(cmd, st.Changes, true)
	}
	if err == nil && len(st.Changes) > 0 {
		next := "an update of the stack that owns it"
		switch st.Owner {
		case provision.CommandLine:
			next = t.command("setup")
		case "":
			next = t.command("setup", "--adopt")
		}
		return fmt.Errorf("%s is not as recorded; what would mend it: %s", t.name, next)
	}
	return err
}

func (t *target) printLeftovers(cmd *cobra.Command, p *provision.Provisioner) error {
	leftovers, err := p.Leftovers(cmd.Context())
	if err != nil {
		return err
	}
	what := []string{}
	for _, l := range leftovers {
		what = append(what, l.What)
	}
	if asJSON(cmd) {
		return printJSON(cmd, map[string]any{"leftovers": what})
	}
	if len(what) == 0 {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing is left over")
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "remove them with:", t.command("teardown", "--leftovers"))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(what, "\n"))
	return err
}
