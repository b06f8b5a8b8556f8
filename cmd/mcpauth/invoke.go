package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/doctor"
)

// deployed is a deployed agent and the question for it.
type deployed struct {
	target               // find sets its name to that of the stack's MCP server
	stack, function, url string
	session              string
}

func invokeDeployedCommand() *cobra.Command {
	var d deployed
	cmd := &cobra.Command{
		Use:   "invoke PROMPT (--stack-name S | --function F | --url U)",
		Short: "Ask a deployed agent",
		Long: `Invoke asks an agent a question and prints its answer. With --stack-name it finds
the agent in the stack's outputs: at a Function URL or an AgentCore runtime,
whose answer a terminal shows as it comes, or else as a function. The tools that
the agent uses are reported on stderr. Requests are signed with your AWS
credentials. With --json it prints the whole answer, or the whole error.`,
		Example: "  mcpauth invoke \"What is 2+2?\" --stack-name agentcore-mcp-auth\n" +
			"  mcpauth invoke - --function agent --json < prompt.txt\n" +
			"  mcpauth invoke \"greet Alice\" --url arn:aws:bedrock-agentcore:…:runtime/agent-…",
		Args: onePrompt,
		RunE: func(cmd *cobra.Command, args []string) error {
			prompt := args[0]
			if prompt == "-" {
				raw, err := readStdin(cmd)
				if err != nil {
					return fmt.Errorf("reading the prompt: %w", err)
				}
				prompt = string(raw)
			}
			return d.ask(cmd, prompt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.stack, "stack-name", "", "CloudFormation stack that the agent is in")
	f.StringVar(&d.function, "function", "", "name or ARN of the agent's Lambda function")
	f.StringVar(&d.url, "url", "", "Function URL, or ARN or URL of an AgentCore runtime")
	cmd.MarkFlagsOneRequired("stack-name", "function", "url")
	cmd.MarkFlagsMutuallyExclusive("stack-name", "function", "url")
	f.StringVar(&d.session, "session-id", "", "session to ask in; default: a new one")
	d.accountFlags(cmd)
	return cmd
}

// onePrompt and atMostPrompt accept a prompt as a single argument.
func onePrompt(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New(`there is no prompt: ask something, such as "What is 2+2?"`)
	}
	return atMostPrompt(cmd, args)
}

func atMostPrompt(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return errors.New("the prompt is one argument: put it in quotes")
	}
	return nil
}

// checkPrompt refuses a prompt that every agent would refuse.
func checkPrompt(prompt string) error {
	switch {
	case strings.TrimSpace(prompt) == "":
		return usagef(`the prompt is empty; ask something, such as "What is 2+2?"`)
	case !utf8.ValidString(prompt):
		return usagef("the prompt is not UTF-8")
	}
	return nil
}

// ask sends the prompt to the agent and prints its answer.
func (d *deployed) ask(cmd *cobra.Command, prompt string) (err error) {
	if err := checkPrompt(prompt); err != nil {
		return err
	}
	if utf8.RuneCountInString(d.session) > 256 {
		return usagef("--session-id: want at most 256 characters")
	}
	ctx := cmd.Context()
	var e endpoint
	if d.url != "" {
		if e, err = d.endpoint(d.url); err != nil {
			return err
		}
		if e.service == "" { // on this machine: needs no AWS configuration
			return d.post(cmd, aws.Config{}, e, prompt)
		}
	}
	cfg, err := d.load(ctx)
	if err != nil {
		return err
	}
	if d.stack != "" {
		if e, err = d.find(ctx, cfg); err != nil {
			return err
		}
	}
	if d.function != "" {
		return d.invoke(cmd, cfg, prompt)
	}
	return d.post(cmd, cfg, e, prompt)
}

// request returns the body of the request.
func (d *deployed) request(prompt string) []byte {
	body := map[string]string{"prompt": prompt}
	if d.session != "" {
		body["session_id"] = d.session
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always encode
	}
	return raw
}

// find reads from the stack's outputs where its agent is. For a function it sets
// d.function.
func (d *deployed) find(ctx context.Context, cfg aws.Config) (endpoint, error) {
	st, err := describeStack(ctx, cfg, d.stack)
	if err != nil {
		return endpoint{}, err
	}
	outputs := st.Outputs
	d.name = st.Parameters["McpName"]
	if where := cmp.Or(outputs["AgentUrl"], outputs["AgentRuntimeArn"]); where != "" {
		return d.endpoint(where)
	}
	if d.function = outputs["AgentFunction"]; d.function == "" {
		return endpoint{}, fmt.Errorf("stack %s (%s) has no output AgentUrl, AgentRuntimeArn or AgentFunction: name the agent with --function or --url", d.stack, st.Status)
	}
	return endpoint{}, nil
}

// invoke calls the agent's function and waits for its answer.
func (d *deployed) invoke(cmd *cobra.Command, cfg aws.Config, prompt string) error {
	client := lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.RetryMaxAttempts = 1 }) // an invocation must not be repeated
	out, err := client.Invoke(cmd.Context(), &lambda.InvokeInput{FunctionName: aws.String(d.function), Payload: d.request(prompt)})
	if errors.As(err, new(*types.ResourceNotFoundException)) {
		return fmt.Errorf("%w; see which there are with: %s", err,
			doctor.Shell(append([]string{"aws", "lambda", "list-functions", "--query", "Functions[].FunctionName"}, d.account()...)...))
	}
	if err != nil {
		return err
	}
	p := newAnswerPrinter(cmd)
	if out.FunctionError == nil {
		return p.done(out.Payload)
	}
	var failed struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(out.Payload, &failed); err != nil {
		return fmt.Errorf("the function failed and said %.200q; %s", out.Payload, d.log())
	}
	return p.failed(d, failed.ErrorType, failed.ErrorMessage)
}

// endpoint is where and how an agent is asked over HTTP.
type endpoint struct {
	url     string
	service string // to sign for; empty: requests are not signed
	region  string // to sign for; empty: the region of the configuration
	session bool   // a header names the session: AgentCore routes by it
}

// Hosts of agents. https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
// https://docs.aws.amazon.com/general/latest/gr/bedrock_agentcore.html
var (
	functionHost = regexp.MustCompile(`^[a-z0-9]+\.lambda-url\.([a-z0-9-]+)\.on\.aws$`)
	runtimeHost  = regexp.MustCompile(`^bedrock-agentcore\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$`)
)

// endpoint returns how to ask the agent at where, which is a URL or a runtime
// ARN.
func (d *deployed) endpoint(where string) (endpoint, error) {
	e := endpoint{url: where}
	if agentcore.IsARN(where) {
		var err error
		if e.url, err = agentcore.InvocationURL(where, "", runtimeBase()); err != nil {
			return e, &usageError{err}
		}
		if parts := strings.Split(where, ":"); len(parts) > 3 {
			e.region = parts[3]
		}
	}
	u, err := parseURL(e.url)
	if err != nil {
		return e, err
	}
	function, runtime := functionHost.FindStringSubmatch(u.Host), runtimeHost.FindStringSubmatch(u.Host)
	local := u.Scheme == "http" && isLoopback(u.Hostname())
	switch {
	case u.Scheme == "https" && function != nil, local && strings.HasPrefix(u.Path, "/lambda-url/"):
		e.service = "lambda"
	case u.Scheme == "https" && runtime != nil, local && strings.HasPrefix(u.EscapedPath(), "/runtimes/"), agentcore.IsARN(where):
		e.service, e.session = "bedrock-agentcore", true
	case local: // an agent's container
		e.session = true
	default:
		return e, usagef("%.200q: want a Function URL (https://….lambda-url.REGION.on.aws/), an AgentCore runtime's ARN or URL, or an agent on this machine", where)
	}
	if function != nil {
		e.region = function[1]
	} else if runtime != nil {
		e.region = runtime[1]
	}
	if e.session && d.session != "" && utf8.RuneCountInString(d.session) < 33 {
		return e, usagef("--session-id: an AgentCore runtime wants 33 to 256 characters, such as %s", uuid.NewString())
	}
	return e, nil
}

// log returns the command that shows the agent's log.
func (d *deployed) log() string {
	switch {
	case d.stack != "":
		return "read its log with: " + doctor.Shell(append([]string{"sam", "logs", "--stack-name", d.stack}, d.account()...)...)
	case d.function != "":
		name := d.function[strings.LastIndex(d.function, ":")+1:]
		return "read its log with: " + doctor.Shell(append([]string{"aws", "logs", "tail", "/aws/lambda/" + name, "--since", "10m"}, d.account()...)...)
	}
	return "its log says more"
}
