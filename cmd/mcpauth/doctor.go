package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/doctor"
)

// examination holds the flags about a server that doctor and explain share.
type examination struct {
	target
	issuerHosts []string
	timeout     time.Duration
}

func (x *examination) flags(cmd *cobra.Command) {
	x.awsFlags(cmd)
	x.completeNames(cmd)
	cmd.Flags().DurationVar(&x.timeout, "timeout", 40*time.Second, "time limit of each request to the MCP server; other requests get 10s at most")
}

// config turns the flags into the configuration of package doctor.
func (x *examination) config(cmd *cobra.Command) (doctor.Config, error) {
	c := doctor.Config{Name: x.name, Timeout: x.timeout, RuntimeBase: runtimeBase(), IssuerHosts: x.issuerHosts, Flags: x.given()}
	if x.timeout <= 0 {
		return c, usagef("--timeout %s: want more than 0", x.timeout)
	}
	for host := range strings.SplitSeq(os.Getenv("MCP_ISSUER_HOSTS"), ",") { // the agent has the same setting
		if host = strings.TrimSpace(host); host != "" {
			c.IssuerHosts = append(c.IssuerHosts, host)
		}
	}
	if cmd.Flags().Changed("parameter-prefix") { // unchanged, a stack may still give the prefix
		c.Prefix = x.prefix
	}
	var err error
	c.AWS, err = x.read(cmd.Context())
	return c, err
}

func doctorCommand() *cobra.Command {
	var x examination
	var stack, model string
	var fix, yes bool
	cmd := &cobra.Command{
		Use:   "doctor (--mcp-name NAME | --stack-name STACK)",
		Short: "Find out why an agent does not get through to an MCP server",
		Long: `Doctor walks the way that an agent's request takes: AWS credentials, parameters,
discovery document, app client, token, runtime, authorizer, MCP server, tool.
Each check is one line. A failed one says what was expected, what was found, the
likely cause and the next command. Checks that depend on it are skipped, so the
first failure is the one to mend. Doctor fails when a check fails.

It changes nothing but with --fix, which asks before each repair: parameters that
are missing or wrong are written again, and a client secret that is not accepted
is rotated. It calls one tool, if there is one that says it only reads. It asks a
model only with --model, since that costs. It never prints the token.

With --stack-name it compares the outputs of a stack of this project with what is
recorded.`,
		Example: "  mcpauth doctor --mcp-name calculator\n  mcpauth doctor --stack-name mcp-auth --model eu.anthropic.claude-sonnet-4-5-20250929-v1:0\n  mcpauth doctor --mcp-name calculator --fix\n  mcpauth doctor --mcp-name calculator --json | jq '.checks[] | select(.status==\"fail\")'",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if yes && !fix {
				return usagef("--yes needs --fix: without it nothing is asked")
			}
			cfg, err := x.config(cmd)
			if err != nil {
				return err
			}
			cfg.Stack, cfg.Model = stack, model
			report, err := examine(cmd, cfg)
			if err == nil && fix {
				report, err = repair(cmd, cfg, report, yes)
			}
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				if err := printJSON(cmd, newReportOutput(report)); err != nil {
					return err
				}
			}
			return verdict(cmd.Context(), report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.name, "mcp-name", "", "name of the MCP server; default: the stack's")
	f.StringVar(&stack, "stack-name", "", "stack that was deployed from this project's template")
	f.StringSliceVar(&x.issuerHosts, "issuer-host", nil, "host of an issuer other than Cognito that may get the credentials")
	f.StringVar(&model, "model", "", "model or inference profile to ask for one token, which costs")
	f.BoolVar(&fix, "fix", false, "mend what can be mended without harm, after asking")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.MarkFlagsOneRequired("mcp-name", "stack-name")
	x.flags(cmd)
	return cmd
}

// examine runs all checks and prints each as it ends. Its error is one of
// printing, which stops the examination.
func examine(cmd *cobra.Command, cfg doctor.Config) (doctor.Report, error) {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	p := &checkPrinter{out: cmd.OutOrStdout(), colour: coloured(cmd.OutOrStdout())}
	if !asJSON(cmd) {
		cfg.Each = func(c doctor.Check) {
			if p.print(c); p.err != nil {
				cancel()
			}
		}
	}
	report := doctor.Examine(ctx, cfg)
	if p.flush(); p.err != nil {
		return report, p.err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d checks: %d pass, %d warn, %d fail, %d skip\n", len(report.Checks),
		report.Count(doctor.Pass), report.Count(doctor.Warn), report.Count(doctor.Fail), report.Count(doctor.Skip))
	return report, nil
}

// verdict returns an error if a check of the report failed.
func verdict(ctx context.Context, r doctor.Report) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	first := r.First()
	if first == nil {
		return nil
	}
	return fmt.Errorf("%s failed: %s; next: %s", first.ID, first.Cause, first.Next)
}

// reportOutput is what doctor prints as JSON.
type reportOutput struct {
	MCPName string         `json:"mcp_name"`
	Region  string         `json:"region"`
	Healthy bool           `json:"healthy"` // nothing failed
	Checks  []doctor.Check `json:"checks"`
}

func newReportOutput(r doctor.Report) reportOutput {
	return reportOutput{r.Name, r.Region, r.First() == nil, r.Checks}
}

// coloured reports whether output to w may have colours.
// https://no-color.org
func coloured(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

// checkPrinter prints checks as they end. It joins skipped checks that follow
// each other for the same reason in one line.
type checkPrinter struct {
	out    io.Writer
	colour bool

	skipped []doctor.Check // not printed yet
	err     error          // of the first write that failed
}

// idWidth is the width of the longest id that every report has.
const idWidth = len("parameter.cognito_discovery_url")

func (p *checkPrinter) print(c doctor.Check) {
	if c.Status == doctor.Skip {
		if len(p.skipped) > 0 && p.skipped[0].Cause != c.Cause {
			p.flush()
		}
		p.skipped = append(p.skipped, c)
		return
	}
	p.flush()
	p.line(c.Status, c.ID, c.Found)
	if c.Status == doctor.Pass {
		return
	}
	for _, row := range [][2]string{{"expected", c.Expected}, {"cause", c.Cause}, {"next", c.Next}} {
		if row[1] != "" {
			p.printf("      %-8s  %s\n", row[0], row[1])
		}
	}
}

// flush prints the skipped checks that are waiting.
func (p *checkPrinter) flush() {
	switch n := len(p.skipped); n {
	case 0:
	case 1:
		p.line(doctor.Skip, p.skipped[0].ID, p.skipped[0].Cause)
	default:
		p.line(doctor.Skip, p.skipped[0].ID+" …", fmt.Sprintf("%d checks to %s: %s", n, p.skipped[n-1].ID, p.skipped[0].Cause))
	}
	p.skipped = nil
}

func (p *checkPrinter) line(s doctor.Status, id, text string) {
	status := string(s)
	if p.colour {
		status = map[doctor.Status]string{doctor.Pass: "\x1b[32m", doctor.Warn: "\x1b[33m", doctor.Fail: "\x1b[31m", doctor.Skip: "\x1b[2m"}[s] + status + "\x1b[0m"
	}
	p.printf("%s\n", strings.TrimRight(fmt.Sprintf("%s  %-*s  %s", status, idWidth, id, text), " "))
}

func (p *checkPrinter) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format, args...); err != nil && p.err == nil {
		p.err = err
	}
}
