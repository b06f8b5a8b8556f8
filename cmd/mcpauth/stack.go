package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
)

// The names under which the functions run, as their folders are called.
const (
	setupFunction = "cognito-setup"
	agentFunction = "agent"
)

// localModel is a model id of the right form. The stand-in's model answers to
// any.
const localModel = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

// stack is the whole system on this machine: the stand-in for AWS, the
// functions as compiled for Lambda, and the MCP server's container process.
type stack struct {
	aws  *localaws.Server
	bin  string // where the programs are
	logs *logs

	functions  map[string]*localaws.Function
	stopServer func() // nil: not started

	client  credentialData // of setup
	runtime string         // ARN, of serve
}

// credentialData is what Custom::MCPClient answers.
type credentialData struct {
	McpName      string // from the event
	ClientID     string `json:"ClientId"`
	Scope        string
	DiscoveryURL string `json:"DiscoveryUrl"`
	Path         string `json:"ParameterPath"`
}

// newStack starts the stand-in on addr and prepares the functions; an empty
// addr picks a free port. Nothing is read from the AWS configuration of whoever
// runs it. Close the stack even after an error of one of its methods.
func newStack(ctx context.Context, addr string, logs *logs) (*stack, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &stack{aws: localaws.New(localaws.Config{Addr: addr}), bin: bin, logs: logs, functions: map[string]*localaws.Function{}}
	if err := s.aws.Start(); err != nil {
		return nil, err
	}
	err = errors.Join(
		s.addFunction(ctx, setupFunction, 60*time.Second, nil),
		s.addFunction(ctx, agentFunction, 60*time.Second, map[string]string{
			"BEDROCK_MODEL_ID": localModel,
			"MCP_SERVERS":      "mcp_simple_calculator",
			"SCHEDULE_PROMPT":  "What is 2+2?",
		}),
	)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// programs finds the folder of the compiled programs: the one this program is
// in, or bin below the working directory.
func programs() (string, error) {
	var looked []string
	if self, err := os.Executable(); err == nil {
		looked = append(looked, filepath.Dir(self))
	}
	looked = append(looked, "bin")
	for _, dir := range looked {
		if _, err := os.Stat(filepath.Join(dir, agentFunction, "bootstrap")); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("the functions are not built (looked for %s/bootstrap in %s); run: make build", agentFunction, strings.Join(looked, " and "))
}

func (s *stack) addFunction(ctx context.Context, name string, timeout time.Duration, env map[string]string) error {
	f, err := s.aws.StartFunction(ctx, localaws.FunctionConfig{
		Name: name, Binary: filepath.Join(s.bin, name, "bootstrap"), Timeout: timeout, Env: env, MemoryMB: 256, Stderr: s.logs,
	})
	if err == nil {
		s.functions[name] = f
	}
	return err
}

// close ends every process that the stack started.
func (s *stack) close() {
	if s.stopServer != nil {
		s.stopServer()
	}
	s.aws.Close()
}

// setup has CloudFormation create the sample's Custom::MCPClient.
func (s *stack) setup(ctx context.Context) (cfn.Response, error) {
	event, err := events.FS.ReadFile("cfn-create.json")
	if err != nil {
		return cfn.Response{}, err
	}
	reply, _, err := s.aws.SendCustomResource(ctx, s.functions[setupFunction], event)
	if err != nil {
		return reply, err
	}
	if reply.Status != cfn.StatusSuccess {
		return reply, fmt.Errorf("%s answered CloudFormation %s: %s", setupFunction, reply.Status, reply.Reason)
	}
	data, err := json.Marshal(reply.Data)
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(data, &s.client); err != nil {
		return reply, fmt.Errorf("reading the answer of %s: %w", setupFunction, err)
	}
	var sent cfn.Event
	if err := json.Unmarshal(event, &sent); err != nil {
		return reply, err
	}
	s.client.McpName, _ = sent.ResourceProperties["McpName"].(string)
	return reply, nil
}

// serve starts the MCP server, puts the AgentCore front door before it and
// records where it is.
func (s *stack) serve(ctx context.Context) error {
	target, err := s.startServer(ctx)
	if err != nil {
		return err
	}
	s.runtime, err = s.aws.AddRuntime(localaws.Runtime{
		Name:   s.client.McpName,
		Target: target,
		Authorizer: &authorizer.Config{
			DiscoveryURL:   s.client.DiscoveryURL,
			AllowedClients: []string{s.client.ClientID},
			AllowedScopes:  strings.Fields(s.client.Scope),
		},
	})
	if err != nil {
		return err
	}
	_, err = ssm.NewFromConfig(s.aws.AWSConfig()).PutParameter(ctx, &ssm.PutParameterInput{
		Name:      aws.String(s.client.Path + credstore.Endpoint),
		Value:     aws.String(s.runtime),
		Type:      types.ParameterTypeString,
		Overwrite: aws.Bool(true),
	})
	return err
}

// startServer runs the MCP server as its container would, on a free port, and
// returns its address once it listens.
func (s *stack) startServer(ctx context.Context) (string, error) {
	addr := make(chan string, 1)
	cmd := exec.Command(filepath.Join(s.bin, "mcp-server"))
	cmd.Env = []string{"HOST=127.0.0.1", "PORT=0"}
	cmd.Stderr = &serverLog{logs: s.logs, addr: addr}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the MCP server: %w; run: make build", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait() }()
	s.stopServer = func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case a := <-addr:
		return "http://" + a, nil
	case <-ended:
		return "", errors.New("the MCP server ended before it listened")
	case <-ctx.Done():
		return "", errors.New("the MCP server does not listen")
	}
}

// serverLog passes the MCP server's log on and finds the address in it.
type serverLog struct {
	logs *logs
	addr chan string // gets the address, once
	rest []byte      // the line under way; nil once the address is found
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.logs.Write(p)
	if l.addr == nil {
		return len(p), nil
	}
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		var entry struct{ Addr string }
		if json.Unmarshal(line, &entry) == nil && entry.Addr != "" {
			l.addr <- entry.Addr
			l.addr, l.rest = nil, nil
			return len(p), nil
		}
	}
}
