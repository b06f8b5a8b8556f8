package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/toolbox"
)

func toolsCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "tools (--mcp-name NAME | --url URL)",
		Short: "List the tools of an MCP server",
		Long: `Tools authenticates to an MCP server as an agent would and lists its tools with
the arguments that they require. With --json it prints whole schemas.`,
		Example: "  mcpauth tools --mcp-name calculator\n  mcpauth tools --url http://127.0.0.1:8000/mcp\n" +
			"  mcpauth tools --url arn:aws:bedrock-agentcore:…:runtime/calculator-… --auth iam --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.ask(cmd, func(_ context.Context, box *toolbox.Toolbox, tools []toolbox.Tool) error {
				for _, d := range box.Dropped() {
					fmt.Fprintf(cmd.ErrOrStderr(), "left out %s: %s\n", oneRow(d.Tool), oneRow(d.Reason))
				}
				if asJSON(cmd) {
					return printJSON(cmd, newToolsOutput(tools))
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
				for _, t := range tools {
					fmt.Fprintf(w, "%s(%s)\t%s\n", oneRow(t.Tool), oneRow(strings.Join(required(t.InputSchema), ", ")), oneRow(t.Description))
				}
				return w.Flush()
			})
		},
	}
	s.flags(cmd)
	return cmd
}

// toolsOutput is what tools prints as JSON.
type toolsOutput struct {
	Tools []toolOutput `json:"tools"`
}

type toolOutput struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
}

func newToolsOutput(tools []toolbox.Tool) toolsOutput {
	out := toolsOutput{Tools: []toolOutput{}}
	for _, t := range tools {
		out.Tools = append(out.Tools, toolOutput{t.Tool, t.Description, t.InputSchema})
	}
	return out
}

// required returns the names of the arguments that a schema requires.
func required(schema json.RawMessage) []string {
	var s struct{ Required []string }
	json.Unmarshal(schema, &s)
	return s.Required
}

// oneRow makes a server's text fit a table row: one short line, without anything
// that a terminal would obey.
func oneRow(s string) string { return cut(printable(s)) }

// printable replaces in s what a terminal would obey: control characters except
// line breaks and tabs, and characters that change the direction of text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
