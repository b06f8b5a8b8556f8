package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	template "agentcore-mcp-auth"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// localStack is the name of the stack on this machine: samconfig.toml's.
const localStack = "agentcore-mcp-auth"

// The logical ids in the template that are spoken of here.
const (
	clientResource  = "McpClient"
	imageResource   = "McpImage"
	serverResource  = "McpServer"
	agentResource   = "AgentFunction"
	setupFunction   = "cognito-setup" // folders of the other functions
	imageFunction   = "image-publisher"
	agentFunction   = "agent"
	repositoryEvent = "agentcore-mcp-auth-repository" // of events/image-create.json
)

// stack is template.yaml deployed on this machine: into the stand-in for AWS,
// with the functions as compiled for Lambda, and the MCP server in the image
// that the template's own function published.
type stack struct {
	aws      *localaws.Server
	deployed *cloudformation.Stack
	bin      string // where the programs are
	logs     *logs
}

// newStack starts the stand-in on addr; an empty addr picks a free port. Nothing
// is read from the AWS configuration of whoever runs it. Close the stack even
// after an error of one of its methods.
func newStack(addr string, logs *logs, onEvent func(cloudformation.Event)) (*stack, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &stack{aws: localaws.New(localaws.Config{Addr: addr}), bin: bin, logs: logs}
	if err := s.aws.Start(); err != nil {
		return nil, err
	}
	s.deployed, err = cloudformation.New(s.aws, cloudformation.Options{Name: localStack, Programs: bin, Log: logs, OnEvent: onEvent})
	if err != nil {
		s.aws.Close()
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

// deploy deploys a template, or updates the stack to it.
func (s *stack) deploy(ctx context.Context, text string, parameters map[string]string) error {
	t, err := cloudformation.Parse(strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("reading template.yaml: %w", err)
	}
	return s.deployed.Deploy(ctx, t, parameters)
}

// deployTemplate deploys the template that this program was built with.
func (s *stack) deployTemplate(ctx context.Context) error {
	return s.deploy(ctx, template.Template, nil)
}

// attribute is an attribute of a resource, empty when there is none.
func (s *stack) attribute(logicalID, name string) string {
	for _, r := range s.deployed.Resources() {
		if r.LogicalID == logicalID {
			v, _ := r.Attributes[name].(string)
			return v
		}
	}
	return ""
}

// bringUp deploys the stack and makes everything available that mcpauth local
// offers.
func (s *stack) bringUp(ctx context.Context) error {
	if err := s.deployTemplate(ctx); err != nil {
		return err
	}
	return s.addAlone(ctx)
}

// addAlone makes the functions that answer CloudFormation available by the
// names of their folders, with the account's own credentials: their sample
// events are about a pool and a repository that are not the stack's, and which
// the stack's roles let nobody touch.
func (s *stack) addAlone(ctx context.Context) error {
	_, err := s.aws.AddRepository(localaws.Repository{Name: repositoryEvent})
	for _, name := range []string{setupFunction, imageFunction} {
		_, e := s.aws.StartFunction(ctx, localaws.FunctionConfig{
			Name: name, Binary: filepath.Join(s.bin, name, "bootstrap"), Timeout: 60 * time.Second, MemoryMB: 256, Stderr: s.logs,
		})
		err = errors.Join(err, e)
	}
	return err
}

// close ends every process that the stack started.
func (s *stack) close() {
	s.deployed.Close()
	s.aws.Close()
}

// functions are what mcpauth local invoke can send events to.
var functions = []string{agentFunction, setupFunction, imageFunction}

// knownFunction refuses a function that there is none of.
func knownFunction(name string) error {
	if !slices.Contains(functions, name) {
		return fmt.Errorf("no function %q: there are %s", name, strings.Join(functions, ", "))
	}
	return nil
}
