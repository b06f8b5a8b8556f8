package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/localaws"
)

func demoCommand() *cobra.Command {
	var mermaid string
	cmd := &cobra.Command{
		Use:   "demo [PROMPT]",
		Short: "Show the whole path on this machine, with no AWS account",
		Long: `Demo deploys template.yaml into a stand-in for AWS on this machine, with the real
functions under the template's own permissions. One function sets up the machine
client. One publishes the MCP server's image, which then runs behind the
AgentCore front door. A call without a token is refused, and the agent answers
PROMPT with the server's tools. The lines that it prints are taken from the
requests themselves. It uses neither your AWS credentials nor your AWS
configuration.`,
		Example: "  mcpauth demo\n  mcpauth demo \"What is 12 * 7?\"\n  mcpauth demo --json \"greet Alice\"\n  mcpauth demo --mermaid demo.mmd",
		Args:    atMostPrompt,
		RunE: func(cmd *cobra.Command, args []string) error {
			prompt, err := samplePrompt()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				prompt = args[0]
			}
			if err := checkPrompt(prompt); err != nil {
				return err
			}
			if mermaid != "" { // a bad path fails now, not after the whole run
				f, err := os.OpenFile(mermaid, os.O_WRONLY|os.O_CREATE, 0o644)
				if err != nil {
					return fmt.Errorf("writing the diagram: %w", err)
				}
				f.Close()
			}
			logs := newLogs(cmd)
			d := &demo{out: io.Discard, report: demoReport{Ask: askReport{Prompt: prompt}}}
			if !asJSON(cmd) {
				d.out = cmd.ErrOrStderr()
			}
			s, err := newStack("", logs)
			if err != nil {
				return err
			}
			defer s.close()
			if err := d.run(cmd.Context(), s); err != nil {
				logs.dump(cmd)
				return err
			}
			if mermaid != "" {
				if err := os.WriteFile(mermaid, []byte(d.report.mermaid()), 0o644); err != nil {
					return fmt.Errorf("writing the diagram: %w", err)
				}
			}
			if asJSON(cmd) {
				return printJSON(cmd, d.report)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), d.report.Ask.output)
			return err
		},
	}
	cmd.Flags().StringVar(&mermaid, "mermaid", "", "file to write the run to as a Mermaid sequence diagram")
	return cmd
}

// samplePrompt is the prompt of the sample event.
func samplePrompt() (string, error) {
	event, err := events.FS.ReadFile("ask.json")
	if err != nil {
		return "", err
	}
	var ask struct{ Prompt string }
	err = json.Unmarshal(event, &ask)
	return ask.Prompt, err
}

// demo is one run. It prints what happens at once, and collects the same as a
// report.
type demo struct {
	out    io.Writer
	report demoReport

	mu    sync.Mutex
	steps []step // of the phase under way
}

type demoReport struct {
	Deploy  deployReport `json:"deploy"`
	Setup   setupReport  `json:"setup"`
	Image   imageReport  `json:"image"`
	Serve   serveReport  `json:"serve"`
	Refuse  refuseReport `json:"refuse"`
	Ask     askReport    `json:"ask"`
	Seconds float64      `json:"seconds"`
}

type deployReport struct {
	Stack     string  `json:"stack"`
	Resources int     `json:"resources"`
	Seconds   float64 `json:"seconds"`
}

type setupReport struct {
	ClientID   string   `json:"client_id"`
	Scope      string   `json:"scope"`
	Parameters []string `json:"parameters"`
	Steps      []step   `json:"steps"`
}

type imageReport struct {
	URI   string `json:"uri"`
	Steps []step `json:"steps"`
}

type serveReport struct {
	Runtime       string `json:"runtime"`
	AllowedClient string `json:"allowed_client"`
	AllowedScope  string `json:"allowed_scope"`
}

type refuseReport struct {
	Status    int    `json:"status"`
	Challenge string `json:"challenge"`
}

type askReport struct {
	Prompt string          `json:"prompt"`
	Steps  []step          `json:"steps"`
	Answer json.RawMessage `json:"answer"`

	output string // of Answer
}

// phase prints the line of one part of the demo.
func (d *demo) phase(name, what, result string) {
	line := fmt.Sprintf("%-8s %-45s %s", name, what, result)
	fmt.Fprintln(d.out, strings.TrimRight(line, " "))
}

func (d *demo) run(ctx context.Context, s *stack) error {
	start := time.Now()
	show := false // steps are printed only while the agent answers
	trace := &tracer{emit: func(st step) {
		d.steps = append(d.steps, st)
		if show {
			fmt.Fprintf(d.out, "           %-8s %s\n", st.Service, st.Text)
		}
	}}
	s.aws.Watch(func(r localaws.Record) {
		d.mu.Lock()
		defer d.mu.Unlock()
		trace.record(r)
	})
	begin := func(print bool) { d.mu.Lock(); d.steps, show = []step{}, print; d.mu.Unlock() }
	end := func() []step { d.mu.Lock(); defer d.mu.Unlock(); show = false; return slices.Clone(d.steps) }

	begin(false)
	if err := s.deploy(ctx, nil); err != nil {
		return err
	}
	d.deployed(s, end(), time.Since(start))

	var err error
	if d.report.Refuse, err = s.callWithoutToken(ctx); err != nil {
		return err
	}
	challenge, _, _ := strings.Cut(d.report.Refuse.Challenge, "=")
	d.phase("refuse", "tools/call without a token", fmt.Sprintf("%d  WWW-Authenticate: %s=…", d.report.Refuse.Status, challenge))

	ask := &d.report.Ask
	d.phase("ask", ask.Prompt, "")
	begin(true)
	ask.Answer, err = s.ask(ctx, ask.Prompt)
	if err != nil {
		return err
	}
	ask.Steps = end()
	var answer struct{ Output string }
	if err := json.Unmarshal(ask.Answer, &answer); err != nil {
		return fmt.Errorf("reading the agent's answer: %w", err)
	}
	ask.output = answer.Output
	d.report.Seconds = time.Since(start).Seconds()
	return nil
}

// deployed prints the result of the deployment. steps are what the functions did
// during it.
func (d *demo) deployed(s *stack, steps []step, took time.Duration) {
	r := &d.report
	r.Deploy = deployReport{Stack: localStack, Resources: len(s.deployed.Resources()), Seconds: took.Seconds()}
	d.phase("deploy", "template.yaml, as sam deploy would", fmt.Sprintf("%d resources in %.1f s", r.Deploy.Resources, took.Seconds()))

	r.Setup = setupReport{ClientID: s.attribute(clientResource, "ClientId"), Scope: s.attribute(clientResource, "Scope")}
	r.Image.URI = s.attribute(imageResource, "ImageUri")
	for _, st := range steps {
		switch st.Service {
		case "ssm", "cognito-idp":
			r.Setup.Steps = append(r.Setup.Steps, st)
			if name, ok := strings.CutPrefix(st.Text, "PutParameter "+s.attribute(clientResource, "ParameterPath")); ok {
				r.Setup.Parameters = append(r.Setup.Parameters, name)
			}
		case "ecr", "registry":
			r.Image.Steps = append(r.Image.Steps, st)
		}
	}
	d.phase("setup", "Custom::MCPClient -> cognito-setup",
		fmt.Sprintf("client %s  scope %s  %d parameters", short(r.Setup.ClientID), r.Setup.Scope, len(r.Setup.Parameters)))
	_, digest, _ := strings.Cut(r.Image.URI, "@")
	d.phase("image", "Custom::MCPImage -> image-publisher", digest[:min(len(digest), 19)]+"…")

	r.Serve = serveReport{Runtime: s.attribute(serverResource, "AgentRuntimeArn"), AllowedClient: r.Setup.ClientID, AllowedScope: r.Setup.Scope}
	d.phase("serve", "that image behind the AgentCore front door",
		fmt.Sprintf("admits client %s with that scope, nobody else", short(r.Setup.ClientID)))
}

// ask sends the agent a prompt and returns its answer unchanged.
func (s *stack) ask(ctx context.Context, prompt string) (json.RawMessage, error) {
	event, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		return nil, err
	}
	result, err := s.deployed.Function(agentResource).Invoke(ctx, event)
	if err != nil {
		return nil, err
	}
	if result.FunctionError != "" {
		return nil, fmt.Errorf("the agent failed: %s: %s", result.ErrorType, result.ErrorMessage)
	}
	return result.Payload, nil
}

// callWithoutToken calls a tool of the runtime without a token, and returns how
// the front door refuses it.
func (s *stack) callWithoutToken(ctx context.Context) (refuseReport, error) {
	target, err := agentcore.InvocationURL(s.attribute(serverResource, "AgentRuntimeArn"), "", s.aws.URL())
	if err != nil {
		return refuseReport{}, err
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":2,"b":2}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader([]byte(body)))
	if err != nil {
		return refuseReport{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return refuseReport{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return refuseReport{}, fmt.Errorf("a tool call without a token was answered with %d instead of 401", resp.StatusCode)
	}
	return refuseReport{Status: resp.StatusCode, Challenge: resp.Header.Get("WWW-Authenticate")}, nil
}
