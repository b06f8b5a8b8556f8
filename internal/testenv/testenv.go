// Package testenv holds what the tests of several packages need: the project's
// programs, compiled, and a log that processes write and tests read.
package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// module is what import paths begin with.
const module = "agentcore-mcp-auth/"

// Main compiles programs, named by their import paths below the module, and then
// runs the tests of a package. It sets dir to the folder of the programs, which
// is laid out as `make build` does it: functions as NAME/bootstrap, other
// commands as NAME. With functions/image-publisher come the images that it
// carries, and with cmd/mcpauth the template that it deploys.
func Main(m *testing.M, dir *string, programs ...string) {
	var err error
	if *dir, err = os.MkdirTemp("", "bin"); err != nil {
		panic(err)
	}
	built := map[string]string{} // compiled programs, by program and system
	build := func(out, program, system string) {
		first, done := built[program+system]
		if !done {
			built[program+system] = out
			Build(out, program, "GOOS="+system)
			return
		}
		// A hard link: compiling it again would take seconds.
		if err := errors.Join(os.MkdirAll(filepath.Dir(out), 0o700), os.Link(first, out)); err != nil {
			panic(err)
		}
	}
	for _, p := range programs {
		out := filepath.Base(p)
		if out != "mcp-server" && !strings.HasPrefix(p, "cmd/") {
			out = filepath.Join(out, "bootstrap")
		}
		build(filepath.Join(*dir, out), p, runtime.GOOS)
		if p == "cmd/mcpauth" {
			template, err := os.ReadFile("../../template.yaml")
			if err == nil {
				err = os.WriteFile(filepath.Join(*dir, "template.yaml"), template, 0o600)
			}
			if err != nil {
				panic(err)
			}
		}
		if p == "functions/image-publisher" {
			server, agent := filepath.Join(*dir, "images", "mcp-server"), filepath.Join(*dir, "images", "agent")
			build(server, "functions/mcp-server", "linux")
			build(agent, "functions/agent", "linux")
			run(exec.Command("go", "run", module+"functions/image-publisher/pack", filepath.Join(*dir, "image-publisher", "images.tar.zst"), server, agent))
		}
	}
	code := m.Run()
	os.RemoveAll(*dir)
	os.Exit(code)
}

// Build compiles one program with the flags of a deployment. It panics on
// failure.
func Build(out, program string, env ...string) {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", out, module+program)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	run(cmd)
}

func run(cmd *exec.Cmd) {
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", cmd.Args, err, out))
	}
}

// Log is a buffer that processes write while tests read. Its zero value is ready.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns the log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
