package cloudformation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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
	command := func(env string, args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = "../../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", env)
		if out, err := cmd.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go %v: %v\n%s", args, err, out))
		}
	}
	build := func(env, out, pkg string) {
		command(env, "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", filepath.Join(dir, out), pkg)
	}
	const custom = "./pkg/localaws/cloudformation/testdata/custom"
	for out, pkg := range map[string]string{
		"cognito-setup/bootstrap":   "./functions/cognito-setup",
		"image-publisher/bootstrap": "./functions/image-publisher",
		"agent/bootstrap":           "./functions/agent",
		"custom/bootstrap":          custom,
		"mcp-server":                "./functions/mcp-server",
	} {
		build("", out, pkg)
	}
	for out, pkg := range map[string]string{
		"images/mcp-server": "./functions/mcp-server", "images/agent": "./functions/agent",
		"ends/mcp-server": custom, "ends/agent": custom, // outside Lambda it ends at once
	} {
		build("GOOS=linux", out, pkg)
	}
	for archive, folder := range map[string]string{"image-publisher/images.tar.zst": "images", "ends.tar.zst": "ends"} {
		command("", "run", "./functions/image-publisher/pack", filepath.Join(dir, archive), filepath.Join(dir, folder, "mcp-server"), filepath.Join(dir, folder, "agent"))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// account is a stand-in and one stack in it.
type account struct {
	*cloudformation.Stack
	t        *testing.T
	aws      *localaws.Server
	log      *syncBuffer
	programs string // as binaries; see rebuild

	mu     sync.Mutex // guards events
	events []cloudformation.Event
}

func newAccount(t *testing.T) *account {
	t.Helper()
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { aws.Close() })
	return newStack(t, aws, "test")
}

// newStack is another stack of the same stand-in.
func newStack(t *testing.T, aws *localaws.Server, name string) *account {
	t.Helper()
	a := &account{t: t, aws: aws, log: &syncBuffer{}, programs: t.TempDir()}
	entries, err := os.ReadDir(binaries)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Symlink(filepath.Join(binaries, e.Name()), filepath.Join(a.programs, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	a.Stack, err = cloudformation.New(aws, cloudformation.Options{
		Name: name, Programs: a.programs, Log: a.log,
		OnEvent: func(e cloudformation.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events = append(a.events, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// rebuild gives a function another binary: the same one, and a file beside it.
func (a *account) rebuild(function, content string) {
	a.t.Helper()
	dir := filepath.Join(a.programs, function)
	if err := os.RemoveAll(dir); err != nil {
		a.t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(binaries, function))); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "build"), []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// breakImages gives the image publisher programs that end at once; rebuild gives
// it the right ones again.
func (a *account) breakImages() {
	a.t.Helper()
	a.rebuild("image-publisher", "broken")
	archive, err := os.ReadFile(filepath.Join(binaries, "ends.tar.zst"))
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.programs, "image-publisher", "images.tar.zst"), archive, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func parse(t *testing.T, template string) *cloudformation.Template {
	t.Helper()
	parsed, err := cloudformation.Parse(strings.NewReader(template))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// deploy deploys a template with NAME=VALUE parameters and forgets the events
// so far.
func (a *account) deploy(template string, parameters ...string) error {
	a.t.Helper()
	a.mu.Lock()
	a.events = nil
	a.mu.Unlock()
	if strings.Contains(template, "Requests:") {
		parameters = append(parameters, "Requests="+filepath.Join(a.programs, "requests"))
	}
	return a.Deploy(a.t.Context(), parse(a.t, template), values(parameters))
}

func (a *account) mustDeploy(template string, parameters ...string) {
	a.t.Helper()
	if err := a.deploy(template, parameters...); err != nil {
		a.t.Fatalf("%v\n%s", err, a.log)
	}
}

func values(parameters []string) map[string]string {
	all := map[string]string{}
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		all[name] = value
	}
	return all
}

// states are the states that a resource, or the stack, went through since the
// last deploy.
func (a *account) states(logicalID string) (all []cloudformation.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.LogicalID == logicalID {
			all = append(all, e.Status)
		}
	}
	return all
}

func (a *account) wantStates(logicalID string, want ...cloudformation.Status) {
	a.t.Helper()
	if got := a.states(logicalID); !slices.Equal(got, want) {
		a.t.Errorf("%s: got %v, want %v", logicalID, got, want)
	}
}

// id is the physical id of a resource.
func (a *account) id(logicalID string) string {
	for _, r := range a.Resources() {
		if r.LogicalID == logicalID {
			return r.PhysicalID
		}
	}
	return ""
}

// request is a request that the function custom got, when its environment
// names the file requests.
type request struct {
	Type, ID, Name, Stack string
	Properties, Old       map[string]any
}

// requests are those so far.
func (a *account) requests() (all []request) {
	a.t.Helper()
	file, err := os.ReadFile(filepath.Join(a.programs, "requests"))
	if err != nil {
		a.t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		var r request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			a.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// wantNothing fails when anything is left in the stand-in.
func (a *account) wantNothing() {
	a.t.Helper()
	if left := a.aws.Leftovers(); len(left) > 0 {
		a.t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
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
