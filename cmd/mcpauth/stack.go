package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// localStack is the name of the local stack, as in samconfig.toml.
const localStack = "agentcore-mcp-auth"

// Logical ids of the template that the code refers to.
const (
	clientResource = "McpClient"
	imageResource  = "McpImage"
	serverResource = "McpServer"
	agentResource  = "AgentFunction"
)

// stack is template.yaml deployed on this machine: in the stand-in for AWS, with
// the functions compiled for Lambda and with the MCP server from the image that
// the template's function published.
type stack struct {
	aws      *localaws.Server
	deployed *cloudformation.Stack
	bin      string // where the programs are
	logs     *logs
}

// newStack starts the stand-in on addr; an empty addr picks a free port. It
// ignores the caller's AWS configuration. Close the stack even after one of its
// methods failed.
func newStack(addr string, logs *logs) (*stack, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &stack{aws: localaws.New(localaws.Config{Addr: addr}), bin: bin, logs: logs}
	if err := s.aws.Start(); err != nil {
		return nil, err
	}
	s.deployed, err = cloudformation.New(s.aws, cloudformation.Options{Name: localStack, Programs: bin, Log: logs})
	if err != nil {
		s.aws.Close()
		return nil, err
	}
	return s, nil
}

// programs returns the folder of the compiled programs: the one that this
// program is in, or bin in the working directory.
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

// deploy creates the stack from the template that was built with the programs,
// or updates it.
func (s *stack) deploy(ctx context.Context, parameters map[string]string) error {
	f, err := os.Open(filepath.Join(s.bin, "template.yaml"))
	if err != nil {
		return fmt.Errorf("opening the template: %w; run: make build", err)
	}
	defer f.Close()
	t, err := cloudformation.Parse(f)
	if err != nil {
		return fmt.Errorf("reading template.yaml: %w", err)
	}
	err = s.deployed.Deploy(ctx, t, parameters)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // no report of how far it came: the stack ends with this process
	}
	return err
}

// attribute returns an attribute of a resource, or "".
func (s *stack) attribute(logicalID, name string) string {
	for _, r := range s.deployed.Resources() {
		if r.LogicalID == logicalID {
			v, _ := r.Attributes[name].(string)
			return v
		}
	}
	return ""
}

// close ends every process that the stack started.
func (s *stack) close() {
	s.deployed.Close()
	s.aws.Close()
}

// functions are the folders of the functions that mcpauth local invoke can call.
var functions = []string{agentFunction, setupFunction, imageFunction}

const (
	agentFunction = "agent"
	setupFunction = "cognito-setup"
	imageFunction = "image-publisher"
)
