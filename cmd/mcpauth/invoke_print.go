package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/trigger"
)

// answerPrinter prints an agent's answer. A terminal gets it as it comes;
// anything else gets the final text alone, or with --json the whole answer.
type answerPrinter struct {
	cmd      *cobra.Command
	out      io.Writer
	live     bool // deltas are printed
	shown    strings.Builder
	openLine bool // the last output did not end its line
}

func newAnswerPrinter(cmd *cobra.Command) *answerPrinter {
	return &answerPrinter{cmd: cmd, out: cmd.OutOrStdout(), live: isTerminal(cmd.OutOrStdout()) && !asJSON(cmd)}
}

// delta prints a piece of the model's text.
func (p *answerPrinter) delta(text string) error {
	if !p.live || text == "" {
		return nil
	}
	p.shown.WriteString(text)
	p.openLine = !strings.HasSuffix(text, "\n")
	_, err := io.WriteString(p.out, printable(text))
	return err
}

// endLine ends an open line.
func (p *answerPrinter) endLine() {
	if p.openLine {
		fmt.Fprintln(p.out)
	}
	p.openLine = false
}

// progress prints a line of progress to stderr. Text before it was not the final
// answer.
func (p *answerPrinter) progress(format string, args ...any) {
	p.endLine()
	p.shown.Reset()
	fmt.Fprintln(p.cmd.ErrOrStderr(), oneRow(fmt.Sprintf(format, args...)))
}

// done prints the rest of a complete answer.
func (p *answerPrinter) done(raw []byte) error {
	p.endLine()
	var answer trigger.Answer
	if err := json.Unmarshal(raw, &answer); err != nil || answer.StopReason == "" {
		return fmt.Errorf("this is not an agent's answer: %s", cut(string(raw)))
	}
	if asJSON(p.cmd) {
		return printJSON(p.cmd, json.RawMessage(raw))
	}
	seen := p.live && strings.TrimSpace(p.shown.String()) == strings.TrimSpace(answer.Output)
	if len(answer.Unavailable) > 0 {
		p.progress("unavailable: %s", strings.Join(answer.Unavailable, ", "))
	}
	if answer.StopReason != "end_turn" {
		p.progress("stopped early: %s", answer.StopReason)
	}
	if seen {
		return nil
	}
	output := answer.Output
	if p.live {
		output = printable(output)
	}
	_, err := fmt.Fprintln(p.out, output)
	return err
}

// failed returns an agent's error with the next step.
func (p *answerPrinter) failed(d *deployed, code, message string) error {
	p.endLine()
	if asJSON(p.cmd) {
		e := &trigger.Error{Code: trigger.Code(code), Message: message}
		if err := printJSON(p.cmd, map[string]any{"error": e}); err != nil {
			return err
		}
	}
	text := code + ": " + message
	if next := d.nextStep(trigger.Code(code)); next != "" {
		text += "; " + next
	}
	return errors.New(text)
}

// nextStep returns what to do about an error of this code.
func (d *deployed) nextStep(code trigger.Code) string {
	switch code {
	case trigger.InvalidRequest, trigger.RequestTooLarge, trigger.UnsupportedEvent: // say it themselves
		return ""
	case trigger.ModelThrottled, trigger.ModelUnavailable, trigger.DeadlineExceeded:
		return "it may pass: ask again"
	case trigger.ConfigurationError, trigger.CredentialsUnavailable, trigger.TokenRefused, trigger.MCPAuthRefused, trigger.MCPUnavailable, trigger.ModelRefused:
		about := []string{"--mcp-name", "NAME"}
		if d.stack != "" {
			about = []string{"--stack-name", d.stack}
		}
		return "find the failing check with: " + d.command("doctor", about...)
	}
	return d.log()
}
