package cloudformation_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// binaries is a folder as `make build` makes it, built once for all tests.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bin")
	if err != nil {
		panic(err)
	}
	binaries = dir
	for out, pkg := range map[string]string{
		"cognito-setup/bootstrap": "./functions/cognito-setup",
		"agent/bootstrap":         "./functions/agent",
		"mcp-server":              "./functions/mcp-server",
	} {
		build := exec.Command("go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", filepath.Join(dir, out), pkg)
		build.Dir = "../../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go build: %v\n%s", err, out))
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestQuick(t *testing.T) {
	f, err := os.Open("../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := cloudformation.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	start := time.Now()
	log := &syncBuffer{}
	s, err := cloudformation.New(srv, cloudformation.Options{Name: "mcp", Programs: binaries, Log: log,
		OnEvent: func(e cloudformation.Event) {
			fmt.Println(time.Since(start).Milliseconds(), e.LogicalID, e.PhysicalID, e.Status, e.Reason)
		},
		Container: func(_ context.Context, _, _, _ string) (cloudformation.Container, error) {
			return cloudformation.Container{Entrypoint: []string{filepath.Join(binaries, "mcp-server")}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Deploy(t.Context(), tpl, map[string]string{"SecretRotationDays": "30", "McpServerImageUri": "000000000000.dkr.ecr.eu-central-1.amazonaws.com/mcp-server:1"})
	if err != nil {
		t.Fatal(err, log)
	}
	fmt.Println(time.Since(start), s.Outputs())
	res, err := s.Function("AgentFunction").Invoke(t.Context(), []byte(`{"prompt":"What is 2+2?"}`))
	fmt.Println(string(res.Payload), err)
	fmt.Println(strings.Join(srv.Leftovers(), "\n"))
	if err := s.Delete(t.Context()); err != nil {
		t.Fatal(err, log)
	}
	fmt.Println(time.Since(start), srv.Leftovers())
}

// syncBuffer is a buffer that processes may write while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
