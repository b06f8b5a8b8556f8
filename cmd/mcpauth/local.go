package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// localAddr is the default address of a local stack: the port that tools for
// local AWS expect.
const localAddr = "127.0.0.1:4566"

func localCommand() *cobra.Command {
	var addr string
	var watch bool
	var given []string
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Keep the whole stack up on this machine",
		Long: `Local deploys template.yaml into a stand-in for AWS on this machine and keeps the
stack up until it is interrupted. It prints the variables that point any AWS SDK
and the aws command line at it, as export lines for another terminal. With
--watch it builds and deploys again what changes in the repository.`,
		Example: "  mcpauth local\n  mcpauth local --watch\n  mcpauth local --parameter AgentHost=both --addr 127.0.0.1:0\n  mcpauth local invoke agent -e events/ask.json",
		Args:    noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parameters := map[string]string{}
			for _, p := range given {
				name, value, ok := strings.Cut(p, "=")
				if !ok {
					return usagef("--parameter %q: want NAME=VALUE", p)
				}
				parameters[name] = value
			}
			return stayUp(cmd, addr, parameters, watch)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "build and deploy again when the source changes")
	cmd.Flags().StringArrayVar(&given, "parameter", nil, "a parameter of the template, as NAME=VALUE; can be repeated")
	cmd.PersistentFlags().StringVar(&addr, "addr", localAddr, "loopback address of the local stack")
	cmd.AddCommand(invokeCommand(&addr))
	return cmd
}

func stayUp(cmd *cobra.Command, addr string, parameters map[string]string, watch bool) error {
	ctx := cmd.Context()
	logs := &logs{out: cmd.ErrOrStderr()}
	s, err := newStack(addr, logs)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; is a local stack up already? Another port: --addr 127.0.0.1:0 picks a free one", err)
	}
	if err != nil {
		return err
	}
	defer s.close()
	var w *watcher
	if watch {
		if w, err = s.newWatcher(parameters); err != nil {
			return err
		}
	}
	if err := s.deploy(ctx, parameters); err != nil {
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
		ask := "mcpauth local invoke agent -e events/ask.json"
		if at := strings.TrimPrefix(s.aws.URL(), "http://"); at != localAddr {
			ask += " --addr " + at
		}
		fmt.Fprintf(logs, "\nUp at %s: stack %s.\nAsk: %s    Stop: Ctrl-C\n", s.aws.URL(), localStack, ask)
	}
	if err != nil {
		return err
	}
	if watch {
		return w.run(ctx)
	}
	<-ctx.Done()
	return nil
}

func invokeCommand(addr *string) *cobra.Command {
	var eventFile string
	cmd := &cobra.Command{
		Use:   "invoke FUNCTION -e EVENT.json",
		Short: "Send one event to a function and print its answer",
		Long: `Invoke sends an event to a function (agent, cognito-setup or image-publisher) of
the stack that mcpauth local keeps up. When none is up, it brings up one for this
one event.

An event of CloudFormation goes to the function in an account of its own, with a
reply URL on this machine. The command prints the answer that arrives there.`,
		Example: "  mcpauth local invoke agent -e events/ask.json\n  echo '{\"prompt\":\"greet Alice\"}' | mcpauth local invoke agent -e -\n  mcpauth local invoke cognito-setup -e events/cfn-update.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := readEvent(cmd, eventFile)
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

func readEvent(cmd *cobra.Command, name string) ([]byte, error) {
	var event []byte
	var err error
	if name == "-" {
		event, err = readStdin(cmd)
	} else {
		event, err = os.ReadFile(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the event: %w; there are samples in events/", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the event: %w", err)
	}
	if !json.Valid(event) {
		return nil, usagef("the event in %s is not JSON", name)
	}
	return event, nil
}

// localInvoke sends an event to a function. An event of CloudFormation goes to
// the function in an account of its own, so that nothing it names exists
// already. Every other event goes to the stack at addr, or to one that is
// brought up for it.
func localInvoke(cmd *cobra.Command, addr, function string, event []byte) error {
	ctx, logs := cmd.Context(), newLogs(cmd)
	if !slices.Contains(functions, function) {
		return usagef("no function %q: there are %s", function, strings.Join(functions, ", "))
	}
	err := func() error {
		var e cfn.Event
		if json.Unmarshal(event, &e) == nil && e.RequestType != "" || function == imageFunction {
			return sendAlone(ctx, cmd.OutOrStdout(), logs, function, event)
		}
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			return sendTo(ctx, cmd.OutOrStdout(), "http://"+addr, function, event)
		}
		s, err := newStack("", logs)
		if err != nil {
			return err
		}
		defer s.close()
		if err := s.deploy(ctx, nil); err != nil {
			return err
		}
		logs.forget() // if the event fails, only its own logs are of interest
		return sendTo(ctx, cmd.OutOrStdout(), s.aws.URL(), function, event)
	}()
	if err != nil {
		logs.dump(cmd)
	}
	return err
}

// sendTo invokes a function of the stack in the stand-in at endpoint and prints
// its answer.
func sendTo(ctx context.Context, stdout io.Writer, endpoint, function string, event []byte) error {
	cfg := localConfig(endpoint)
	st, err := describeStack(ctx, cfg, localStack)
	if err != nil {
		return err
	}
	name := st.Outputs[map[string]string{agentFunction: "AgentFunction", setupFunction: "CognitoSetupArn"}[function]]
	if name == "" {
		return fmt.Errorf("the stack at %s has no function %s; an agent on AgentCore is asked with: mcpauth invoke PROMPT --stack-name %s", endpoint, function, localStack)
	}
	client := lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.RetryMaxAttempts = 1 }) // an invocation must not be repeated
	out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Payload: event})
	if err != nil {
		return fmt.Errorf("invoking %s at %s: %w", function, endpoint, err)
	}
	if out.FunctionError != nil {
		var e struct{ ErrorType, ErrorMessage string }
		json.Unmarshal(out.Payload, &e)
		return fmt.Errorf("%s failed: %s: %s", function, e.ErrorType, e.ErrorMessage)
	}
	_, err = fmt.Fprintln(stdout, string(out.Payload))
	return err
}

// sendAlone sends an event of CloudFormation to a function in an account of its
// own, and prints the answer that arrives at the reply URL.
func sendAlone(ctx context.Context, stdout io.Writer, logs *logs, function string, event []byte) error {
	bin, err := programs()
	if err != nil {
		return err
	}
	account := localaws.New(localaws.Config{})
	if err := account.Start(); err != nil {
		return err
	}
	defer account.Close()
	if _, err := account.AddRepository(localaws.Repository{Name: sampleRepository}); err != nil {
		return err
	}
	f, err := account.StartFunction(ctx, localaws.FunctionConfig{
		Name: function, Binary: filepath.Join(bin, function, "bootstrap"), Timeout: time.Minute, MemoryMB: 256, Stderr: logs,
	})
	if err != nil {
		return err
	}
	answer, _, err := account.SendCustomResource(ctx, f, event)
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

// sampleRepository is the repository in events/image-create.json.
const sampleRepository = "agentcore-mcp-auth-repository"

// localConfig is the configuration for a stand-in in another process.
func localConfig(endpoint string) aws.Config {
	return aws.Config{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String(endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, localaws.SecretAccessKey, ""),
	}
}
