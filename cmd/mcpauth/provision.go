package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

func setupCommand() *cobra.Command {
	var t target
	var d provision.Desired
	var endpoint, auth string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "setup --mcp-name NAME",
		Short: "Make the machine credentials of an MCP server",
		Long: `Setup makes what agents need to call one MCP server as machines: a resource
server, a scope and an app client in a Cognito user pool, and the parameters from
which agents read them. It can be repeated: it leaves alone what is right
already, and keeps scopes, lifetime and key unless others are given. It prints
the authorizer settings for the server's AgentCore runtime.

With --auth user it makes, for development and testing, an app client and a user
with a generated password in the same user pool instead, for agents that run with
MCP_AUTH=user. Teardown removes them with the server.`,
		Example: "  mcpauth setup --mcp-name calculator\n  mcpauth setup --mcp-name calculator --auth user\n  mcpauth setup --mcp-name calculator --endpoint arn:aws:bedrock-agentcore:…:runtime/calculator-…\n  mcpauth setup --mcp-name calculator --dry-run",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if endpoint != "" {
				if _, err := locate(endpoint); err != nil {
					return err
				}
			}
			if err := checkAuth(cmd, auth); err != nil {
				return err
			}
			if m := d.AccessTokenMinutes; cmd.Flags().Changed("access-token-minutes") && (m < 5 || m > 1440) {
				return usagef("--access-token-minutes %d: want 5 to 1440", m)
			}
			p, err := t.provisioner(cmd)
			if err != nil {
				return err
			}
			before, user, err := p.Recorded(ctx, t.name)
			if err != nil {
				return err
			}
			do, plan := p.Ensure, p.Plan
			if auth == "user" {
				do, plan, before = p.EnsureUser, p.PlanUser, user
				fmt.Fprintln(cmd.ErrOrStderr(), "User authentication is for development and testing only: anyone who can read the password's parameter can sign in as that user.")
			}
			if dryRun {
				do = plan
			}
			d.Name = t.name
			d.AccessTokenMinutes = cmp.Or(d.AccessTokenMinutes, before.AccessTokenMinutes)
			d.KMSKeyID = cmp.Or(d.KMSKeyID, before.KMSKeyID)
			if d.Scopes == nil {
				d.Scopes = before.Scopes
			}
			result, err := do(ctx, d)
			printChanges(cmd, result.Changes, dryRun)
			if err != nil {
				return err
			}
			if endpoint != "" {
				changes, err := recordEndpoint(ctx, storeOf(p), t.name, endpoint, dryRun)
				printChanges(cmd, changes, dryRun)
				if err != nil {
					return err
				}
				result.Changes = append(result.Changes, changes...)
			}
			if dryRun {
				return printPlan(cmd, result)
			}
			return printSetup(cmd, result)
		},
	}
	t.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&auth, "auth", "m2m", "m2m, or user for a test user instead of a machine client")
	f.StringVar(&endpoint, "endpoint", "", "runtime ARN or URL of the server, to be recorded for agents")
	f.StringVar(&d.UserPoolID, "user-pool-id", "", "user pool to use; default: one that is made and shared by this account's servers")
	f.StringVar(&d.DomainPrefix, "domain-prefix", "", "prefix of the pool's domain; default: the present one, or a derived one")
	f.StringSliceVar(&d.Scopes, "scopes", nil, "scope names; default: the present ones, or invoke")
	f.Int32Var(&d.AccessTokenMinutes, "access-token-minutes", 0, "lifetime of access tokens, 5 to 1440; default: the present one, or 60")
	f.StringVar(&d.KMSKeyID, "kms-key-id", "", "key that encrypts the secret; default: the present one, or the account's aws/ssm key")
	f.BoolVar(&d.Adopt, "adopt", false, "take over a set without a known owner, such as one that a guide's script made")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

// checkAuth refuses an unknown kind of credentials, and flags that do not apply
// to the kind.
func checkAuth(cmd *cobra.Command, auth string) error {
	switch auth {
	case "m2m":
		return nil
	case "user":
		for _, flag := range []string{"scopes", "domain-prefix"} {
			if cmd.Flags().Changed(flag) {
				return usagef("--%s is for machine credentials and does not go with --auth user", flag)
			}
		}
		return nil
	}
	return usagef("--auth %.40q: want m2m or user", auth)
}

// recordEndpoint writes the server's endpoint, unless it is recorded already or
// this is a dry run, and returns the change.
func recordEndpoint(ctx context.Context, store *credstore.Store, name, endpoint string, dryRun bool) (changes []string, err error) {
	set, err := store.Read(ctx, name)
	if err != nil && !errors.Is(err, credstore.ErrNotFound) || set.Endpoint == endpoint {
		return nil, err
	}
	changes = []string{"write parameter " + credstore.Endpoint}
	if dryRun {
		return changes, nil
	}
	return changes, record(ctx, store, name, credstore.Endpoint, endpoint)
}

// record writes one parameter that is not secret.
func record(ctx context.Context, store *credstore.Store, name, parameter, value string) error {
	old, err := store.Read(ctx, name)
	if err != nil {
		return err
	}
	set := old
	switch parameter {
	case credstore.Endpoint:
		set.Endpoint = value
	case credstore.Scope:
		set.Scope = value
	default:
		return fmt.Errorf("nothing writes parameter %s by itself", parameter)
	}
	return store.Write(ctx, name, old, set)
}

// storeOf returns a store of the parameters that p works on.
func storeOf(p *provision.Provisioner) *credstore.Store {
	return &credstore.Store{API: p.SSM, Prefix: p.Prefix}
}

func rotateCommand() *cobra.Command {
	var t target
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rotate --mcp-name NAME",
		Short: "Replace the client secret, without an outage",
		Long: `Rotate adds a second secret to the server's app client, publishes it, and keeps
the old one valid until cached tokens and readers have moved on. The next
rotation, or the next setup after that time, removes it.`,
		Example: "  mcpauth rotate --mcp-name calculator",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.provisioner(cmd)
			if err != nil {
				return err
			}
			if dryRun {
				st, err := p.Status(cmd.Context(), t.name)
				if err != nil {
					return t.setUp(err)
				}
				st.Changes = []string{"rotate the secret of client " + st.ClientID}
				printChanges(cmd, st.Changes, true)
				return printPlan(cmd, st.Result)
			}
			result, err := p.Rotate(cmd.Context(), t.name)
			printChanges(cmd, result.Changes, false)
			if errors.As(err, new(*credstore.MissingError)) {
				return fmt.Errorf("%w, with: %s", err, t.command("setup"))
			}
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, newSetupOutput(result))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "rotated the secret of client %s\n", result.ClientID)
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func teardownCommand() *cobra.Command {
	var t target
	var d provision.Desired
	var yes, dryRun, leftovers bool
	cmd := &cobra.Command{
		Use:   "teardown (--mcp-name NAME | --leftovers)",
		Short: "Remove an MCP server's machine credentials",
		Long: `Teardown removes the server's app client, resource server, test user and
parameters, its endpoint parameter included. It removes a user pool that setup
made together with the last server in it, and never one that setup was given. It
asks for the name first. With --leftovers it removes what mcpauth status --all
lists.`,
		Example: "  mcpauth teardown --mcp-name calculator --dry-run\n  mcpauth teardown --mcp-name calculator --yes",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			p, err := t.provisioner(cmd)
			if err != nil {
				return err
			}
			if leftovers {
				return t.removeLeftovers(cmd, p, yes, dryRun)
			}
			d.Name = t.name
			recorded, unread := p.Status(ctx, t.name)
			if err := t.checkOwner(recorded); err != nil {
				return err
			}
			if dryRun {
				result, err := p.PlanRemoval(ctx, d)
				printChanges(cmd, result.Changes, true)
				if err != nil {
					return err
				}
				return printPlan(cmd, result)
			}
			if err := confirm(cmd, yes, t.name, "remove the credentials of "+t.name); err != nil {
				return err
			}
			result, err := p.Remove(ctx, d)
			printChanges(cmd, result.Changes, false)
			if err != nil {
				return err
			}
			if len(result.Changes) == 0 && recorded.ParameterPath == "" && unread != nil && !errors.Is(unread, credstore.ErrNotFound) {
				return unread // the owner of the endpoint is unknown
			}
			if d.UserPoolID == "" || recorded.UserPoolID == "" || d.UserPoolID == recorded.UserPoolID { // another pool's removal leaves the parameters
				if err := storeOf(p).Delete(ctx, t.name, credstore.Endpoint); err != nil {
					return err
				}
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"mcp_name": t.name, "changes": orEmpty(result.Changes)})
			}
			done := "removed " + t.name
			if len(result.Changes) == 0 {
				done = "there was nothing to remove for " + t.name
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
			return err
		},
	}
	cmd.Flags().StringVar(&t.name, "mcp-name", "", "name of the MCP server")
	cmd.Flags().BoolVar(&leftovers, "leftovers", false, "remove what earlier runs left and no server uses")
	cmd.MarkFlagsOneRequired("mcp-name", "leftovers")
	cmd.MarkFlagsMutuallyExclusive("mcp-name", "leftovers")
	t.awsFlags(cmd)
	t.completeNames(cmd)
	cmd.Flags().StringVar(&d.UserPoolID, "user-pool-id", "", "user pool that setup was given")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

// checkOwner refuses a recorded set that the command line does not own. Remove
// would leave such a set alone, but the command would still delete its endpoint.
func (t *target) checkOwner(recorded provision.Status) error {
	switch {
	case recorded.ParameterPath == "", recorded.Owner == provision.CommandLine:
		return nil
	case recorded.Owner == "":
		return fmt.Errorf("%s has no known owner; take it over first with: %s", t.name, t.command("setup", "--adopt"))
	}
	return fmt.Errorf("%s belongs to %s, and is removed with that", t.name, recorded.Owner)
}

func (t *target) removeLeftovers(cmd *cobra.Command, p *provision.Provisioner, yes, dryRun bool) error {
	if dryRun {
		return t.printLeftovers(cmd, p)
	}
	if err := confirm(cmd, yes, "leftovers", "remove what mcpauth status --all lists"); err != nil {
		return err
	}
	removed, err := p.RemoveLeftovers(cmd.Context())
	if asJSON(cmd) {
		return cmp.Or(printJSON(cmd, map[string]any{"removed": orEmpty(removed)}), err)
	}
	if len(removed) == 0 && err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing is left over")
		return err
	}
	for _, what := range removed {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), "removed", what); err != nil {
			return err
		}
	}
	return err
}

// printChanges prints each change to stderr.
func printChanges(cmd *cobra.Command, changes []string, dryRun bool) {
	would := ""
	if dryRun {
		would = "would "
	}
	for _, c := range changes {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s%s\n", would, c)
	}
}

// printPlan prints the result of a dry run.
func printPlan(cmd *cobra.Command, r provision.Result) error {
	if asJSON(cmd) {
		return printJSON(cmd, map[string]any{"dry_run": true, "changes": orEmpty(r.Changes)})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s to change\n", cmp.Or(map[int]string{0: "nothing", 1: "1 thing"}[len(r.Changes)], fmt.Sprintf("%d things", len(r.Changes))))
	return err
}

// setupOutput is what setup prints as JSON.
type setupOutput struct {
	UserPoolID    string          `json:"user_pool_id"`
	ClientID      string          `json:"client_id"`
	DiscoveryURL  string          `json:"discovery_url"`
	TokenEndpoint string          `json:"token_endpoint,omitempty"` // empty after a rotation, which does not look it up
	Scope         string          `json:"scope"`
	Username      string          `json:"username,omitempty"`
	ParameterPath string          `json:"parameter_path"`
	Authorizer    json.RawMessage `json:"authorizer_configuration"`
	Changes       []string        `json:"changes"`
}

func newSetupOutput(r provision.Result) setupOutput {
	return setupOutput{
		UserPoolID: r.UserPoolID, ClientID: r.ClientID, DiscoveryURL: r.DiscoveryURL, TokenEndpoint: r.TokenEndpoint,
		Scope: r.Scope, Username: r.Username, ParameterPath: r.ParameterPath, Authorizer: r.AuthorizerConfiguration(), Changes: orEmpty(r.Changes),
	}
}

func printSetup(cmd *cobra.Command, r provision.Result) error {
	if asJSON(cmd) {
		return printJSON(cmd, newSetupOutput(r))
	}
	second := [2]string{"scope", r.Scope}
	if r.Username != "" {
		second = [2]string{"user", r.Username}
	}
	return printRows(cmd,
		[2]string{"discovery URL", r.DiscoveryURL},
		[2]string{"client id", r.ClientID},
		second,
		[2]string{"user pool", r.UserPoolID},
		[2]string{"parameters", r.ParameterPath},
		[2]string{"authorizer", string(r.AuthorizerConfiguration())},
	)
}

// printRows prints aligned names and values.
func printRows(cmd *cobra.Command, rows ...[2]string) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	return w.Flush()
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
