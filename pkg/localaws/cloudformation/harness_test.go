package cloudformation_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// binaries is a folder as `make build` makes it, built once for all tests.
var binaries string

// images are the programs for images: what the image publisher carries.
var images struct{ server, agent, broken []byte }

// archive is the file in which it does.
const archive = "images.tar.zst"

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "bin"); err != nil {
		panic(err)
	}
	build := func(program, out string) (forImage []byte) {
		out = filepath.Join(binaries, out)
		testenv.Build(out, program)
		if runtime.GOOS != "linux" {
			out += ".linux"
			testenv.Build(out, program, "GOOS=linux")
		}
		forImage, err := os.ReadFile(out)
		if err != nil {
			panic(err)
		}
		return forImage
	}
	testenv.Build(filepath.Join(binaries, "cognito-setup", "bootstrap"), "functions/cognito-setup")
	testenv.Build(filepath.Join(binaries, "image-publisher", "bootstrap"), "functions/image-publisher")
	images.server = build("functions/mcp-server", "mcp-server")
	images.agent = build("functions/agent", "agent/bootstrap")
	images.broken = build("pkg/localaws/cloudformation/testdata/custom", "custom/bootstrap") // outside of Lambda it ends
	if err := pack(filepath.Join(binaries, "image-publisher", archive), images.server, images.agent); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(binaries)
	os.Exit(code)
}

// pack writes an archive of programs for the image publisher, with less effort
// than its own command makes for size.
func pack(name string, server, agent []byte) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, program := range []struct {
		name    string
		content []byte
	}{{"mcp-server", server}, {"agent", agent}} {
		header := &tar.Header{Name: program.name, Size: int64(len(program.content)), Mode: 0o555, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(program.content); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close(), file.Close())
}

// account is a stand-in and one stack in it.
type account struct {
	*cloudformation.Stack
	t        *testing.T
	aws      *localaws.Server
	log      *testenv.Log
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
	a := &account{t: t, aws: aws, log: &testenv.Log{}, programs: t.TempDir()}
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

// restore gives a function the binary of the beginning.
func (a *account) restore(function string) {
	a.t.Helper()
	dir := filepath.Join(a.programs, function)
	if err := errors.Join(os.RemoveAll(dir), os.Symlink(filepath.Join(binaries, function), dir)); err != nil {
		a.t.Fatal(err)
	}
}

// carry gives the image publisher other programs.
func (a *account) carry(server, agent []byte) {
	a.t.Helper()
	a.rebuild("image-publisher", "")
	if err := pack(filepath.Join(a.programs, "image-publisher", archive), server, agent); err != nil {
		a.t.Fatal(err)
	}
}

// breakImages gives the image publisher programs that end at once.
func (a *account) breakImages() { a.t.Helper(); a.carry(images.broken, images.broken) }

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

// mustDelete deletes the stack, of which nothing may be left.
func (a *account) mustDelete() {
	a.t.Helper()
	if err := a.Delete(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	a.wantNothing()
}

// wantNothing fails when anything is left in the stand-in.
func (a *account) wantNothing() {
	a.t.Helper()
	if left := a.aws.Leftovers(); len(left) > 0 {
		a.t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
}
