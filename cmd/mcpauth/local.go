package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/localaws"
)

// localAddr is where a local stack stays unless told otherwise: the port that
// tools for local AWS expect.
const localAddr = "127.0.0.1:4566"

func localCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Keep the whole stack up on this machine",
		Long: `Local brings up the stand-in for AWS, the functions and the MCP server, and
keeps them until it is interrupted. It prints the variables that point any AWS
SDK and the aws command line at it, as export lines for another terminal.`,
		Example: "  mcpauth local\n  mcpauth local --addr 127.0.0.1:0\n  mcpauth local invoke agent -e events/ask.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stayUp(cmd, addr)
		},
	}
	cmd.PersistentFlags().StringVar(&addr, "addr", localAddr, "loopback address of the local stack")
	cmd.AddCommand(invokeCommand(&addr))
	return cmd
}

func stayUp(cmd *cobra.Command, addr string) error {
	ctx := cmd.Context()
	logs := &logs{out: cmd.ErrOrStderr()}
	s, err := newStack(addr, logs, nil)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; is a local stack up already? Another port: --addr 127.0.0.1:0 picks a free one", err)
	}
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.bringUp(ctx); err != nil {
		return err
	}
	if asJSON(cmd) {
		env := map[string]string{}
		for _, v := range s.aws.Env() {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		err = printJSON(cmd, map[string]any{"env": env, "stack": localStack, "outputs": s.deployed.Outputs()})
	} else {
		for _, v := range s.aws.Env() {
			fmt.Fprintln(cmd.OutOrStdout(), "export", v)
		}
		fmt.Fprintf(logs, "\nUp at %s: stack %s.\nAsk: mcpauth local invoke agent -e events/ask.json    Stop: Ctrl-C\n", s.aws.URL(), localStack)
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func invokeCommand(addr *string) *cobra.Command {
	var eventFile string
	cmd := &cobra.Command{
		Use:   "invoke FUNCTION -e EVENT.json",
		Short: "Send one event to a function and print its answer",
		Long: `Invoke sends an event to a function (agent, cognito-setup or image-publisher) of the stack that
mcpauth local keeps up. When none is up, it brings up one for this one event.
An event of CloudFormation gets a reply URL on this machine, and what is printed
is the answer that arrived there.`,
		Example: "  mcpauth local invoke agent -e events/ask.json\n  echo '{\"prompt\":\"greet Alice\"}' | mcpauth local invoke agent -e -\n  mcpauth local invoke cognito-setup -e events/cfn-update.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := readEvent(eventFile, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return localInvoke(cmd, *addr, args[0], event)
		},
		ValidArgs: functions,
	}
	cmd.Flags().StringVarP(&eventFile, "event", "e", "", "file with the event; - reads stdin (required)")
	cmd.MarkFlagRequired("event")
	return cmd
}

func readEvent(name string, stdin io.Reader) ([]byte, error) {
	var event []byte
	var err error
	if name == "-" {
		event, err = io.ReadAll(stdin)
	} else {
		event, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the event: %w", err)
	}
	if !json.Valid(event) {
		return nil, fmt.Errorf("the event in %s is not JSON", name)
	}
	return event, nil
}

// localInvoke sends the event to the stack at addr, or to one of its own.
func localInvoke(cmd *cobra.Command, addr, function string, event []byte) error {
	ctx := cmd.Context()
	if err := knownFunction(function); err != nil {
		return err
	}
	if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		conn.Close()
		return sendTo(cmd, "http://"+addr, function, event)
	}
	logs := newLogs(cmd)
	s, err := newStack("", logs, nil)
	if err != nil {
		return err
	}
	defer s.close()
	if err = s.bringUp(ctx); err == nil {
		err = sendTo(cmd, s.aws.URL(), function, event)
	}
	if err != nil {
		logs.dump(cmd.ErrOrStderr())
	}
	return err
}

// sendTo invokes a function of the stand-in at endpoint and prints its answer.
func sendTo(cmd *cobra.Command, endpoint, function string, event []byte) error {
	ctx := cmd.Context()
	var e cfn.Event
	if json.Unmarshal(event, &e) == nil && e.RequestType != "" {
		return sendCustomResource(ctx, cmd.OutOrStdout(), endpoint, function, event)
	}
	if function == agentFunction { // the stack's own, under its own role
		st, err := describeStack(ctx, localConfig(endpoint), localStack)
		if err != nil {
			return err
		}
		function = st.outputs["AgentFunction"]
	}
	answer, err := invoke(ctx, endpoint, function, event)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(answer))
	return err
}

// sendCustomResource gives the event a reply URL on this machine and prints what
// arrives there.
func sendCustomResource(ctx context.Context, stdout io.Writer, endpoint, function string, event []byte) error {
	box := localaws.New(localaws.Config{})
	if err := box.Start(); err != nil {
		return err
	}
	defer box.Close()
	reply := box.NewReply()
	var doc map[string]any
	if err := json.Unmarshal(event, &doc); err != nil {
		return err
	}
	doc["ResponseURL"] = reply.URL
	event, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, invokeErr := invoke(ctx, endpoint, function, event)
	if reply.Puts() == 0 {
		return errors.Join(errors.New("the function did not answer CloudFormation"), invokeErr)
	}
	answer, err := reply.Wait(ctx)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(answer); err != nil {
		return err
	}
	if answer.Status != cfn.StatusSuccess {
		return fmt.Errorf("the function answered CloudFormation %s: %s", answer.Status, answer.Reason)
	}
	return nil
}

// invoke calls Lambda's Invoke operation at the stand-in.
func invoke(ctx context.Context, endpoint, function string, event []byte) ([]byte, error) {
	client := lambda.NewFromConfig(localConfig(endpoint), func(o *lambda.Options) { o.RetryMaxAttempts = 1 }) // an invocation is not repeated
	out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(function), Payload: event})
	if err != nil {
		return nil, fmt.Errorf("invoking %s at %s: %w", function, endpoint, err)
	}
	if out.FunctionError != nil {
		var e struct{ ErrorType, ErrorMessage string }
		json.Unmarshal(out.Payload, &e)
		return nil, fmt.Errorf("%s failed: %s: %s", function, e.ErrorType, e.ErrorMessage)
	}
	return out.Payload, nil
}

// localConfig is for a stand-in that another process keeps up.
func localConfig(endpoint string) aws.Config {
	return aws.Config{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String(endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, localaws.SecretAccessKey, ""),
	}
}
