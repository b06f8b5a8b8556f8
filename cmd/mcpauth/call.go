package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/toolbox"
)

// checkTime is how long the check of a call's arguments may take. References let
// a schema of a few lines take forever.
const checkTime = 2 * time.Second

func callCommand() *cobra.Command {
	var s server
	var input string
	cmd := &cobra.Command{
		Use:   "call TOOL [ARGUMENT=VALUE …] (--mcp-name NAME | --url URL)",
		Short: "Call a tool of an MCP server",
		Long: `Call authenticates to an MCP server as an agent would, calls one tool and prints
what it answers. Arguments are given one by one, or all at once as JSON with
--input, and are checked against the tool's schema before anything is sent. The
error of a tool that fails goes to stderr.`,
		Example: "  mcpauth call add_numbers a=2 b=2 --mcp-name calculator\n" +
			"  mcpauth call add_numbers --input '{\"a\":2,\"b\":2}' --mcp-name calculator --json\n" +
			"  mcpauth call greet_user --input - --url http://127.0.0.1:8000/mcp < arguments.json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if input != "" && len(args) > 1 {
				return usagef("--input has all arguments, so %.80q is one too many", args[1])
			}
			if err := s.check(); err != nil {
				return err
			}
			given, err := readInput(cmd, input)
			if err != nil {
				return err
			}
			return s.ask(cmd, func(ctx context.Context, box *toolbox.Toolbox, tools []toolbox.Tool) error {
				tool, err := findTool(box, tools, args[0])
				if err != nil {
					return err
				}
				if given == nil {
					if given, err = parseArguments(tool.InputSchema, args[1:]); err != nil {
						return err
					}
				}
				checking, stop := context.WithTimeout(ctx, checkTime)
				defer stop()
				if fault := checkArguments(checking, tool.InputSchema, given); fault != "" {
					return usagef("%s: %s", tool.Tool, fault)
				}
				result, err := box.Call(ctx, tool.Name, given)
				if err != nil {
					return s.advise(err)
				}
				return printResult(cmd, tool.Tool, result)
			})
		},
	}
	cmd.ValidArgsFunction = s.completeTools
	s.flags(cmd)
	cmd.Flags().StringVar(&input, "input", "", "arguments as a JSON object; - reads stdin")
	return cmd
}

// readInput returns the JSON that --input gives, or nil without --input.
func readInput(cmd *cobra.Command, input string) (json.RawMessage, error) {
	if input == "" {
		return nil, nil
	}
	raw := []byte(input)
	if input == "-" {
		var err error
		if raw, err = readStdin(cmd); err != nil {
			return nil, fmt.Errorf("reading the arguments: %w", err)
		}
	}
	raw = bytes.TrimSpace(raw)
	if !json.Valid(raw) || raw[0] != '{' {
		return nil, usagef(`--input: want a JSON object such as {"a": 2}`)
	}
	return raw, nil
}

// findTool finds a tool by the server's name for it or by the model's.
func findTool(box *toolbox.Toolbox, tools []toolbox.Tool, name string) (toolbox.Tool, error) {
	var have []string
	for _, t := range tools {
		if t.Tool == name || t.Name == name {
			return t, nil
		}
		have = append(have, t.Tool)
	}
	for _, d := range box.Dropped() {
		if d.Tool == name {
			return toolbox.Tool{}, fmt.Errorf("tool %s cannot be called: %s", d.Tool, d.Reason)
		}
	}
	if len(have) == 0 {
		return toolbox.Tool{}, errors.New("the server has no tools")
	}
	return toolbox.Tool{}, usagef("no tool %.80q: there are %s", name, strings.Join(have, ", "))
}

// resultOutput is what call prints with --json. Its field JSON holds the text
// parsed, if the text is an object or a list.
type resultOutput struct {
	Tool    string          `json:"tool"`
	IsError bool            `json:"is_error"`
	Text    string          `json:"text"`
	JSON    json.RawMessage `json:"json,omitempty"`
}

// printResult prints a tool's answer. It returns an error if the tool failed.
func printResult(cmd *cobra.Command, tool string, r toolbox.Result) error {
	if asJSON(cmd) {
		out := resultOutput{Tool: tool, IsError: r.IsError, Text: r.Text}
		if raw := bytes.TrimSpace([]byte(r.Text)); json.Valid(raw) && slices.Contains([]byte("{["), raw[0]) {
			out.JSON = raw
		}
		if err := printJSON(cmd, out); err != nil {
			return err
		}
	}
	if r.IsError {
		return fmt.Errorf("%s failed: %s", tool, r.Text)
	}
	if asJSON(cmd) {
		return nil
	}
	text := r.Text
	if isTerminal(cmd.OutOrStdout()) {
		text = printable(text)
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, err := io.WriteString(cmd.OutOrStdout(), text)
	return err
}
