package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/localaws"
)

// The life of an image: made, made again with nothing to do, pulled as the
// runtime does, run, and left alone at the end.
func TestLifeOfAnImage(t *testing.T) {
	w := newWorld(t)
	created := w.send(t, cfn.RequestCreate, "", nil)
	uri, _ := created.Data["ImageUri"].(string)
	if created.Status != cfn.StatusSuccess || !strings.HasPrefix(uri, w.repository+"@sha256:") || created.Data["Digest"] != strings.TrimPrefix(uri, w.repository+"@") {
		t.Fatalf("got %+v", created)
	}
	n := len(w.Records())
	updated := w.send(t, cfn.RequestUpdate, created.PhysicalResourceID, map[string]any{"Version": w.f.ARN() + ":2"})
	if updated.Data["ImageUri"] != uri || updated.PhysicalResourceID != created.PhysicalResourceID {
		t.Errorf("the same program again: got %+v, want %s and id %s", updated, uri, created.PhysicalResourceID)
	}
	for _, r := range w.Records()[n:] {
		if r.Service == "registry" && r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("the same program again: %s %s", r.Method, r.Path)
		}
	}
	agent := w.send(t, cfn.RequestCreate, "", map[string]any{"Binary": "agent"})
	if agent.Status != cfn.StatusSuccess || agent.PhysicalResourceID == created.PhysicalResourceID || agent.Data["ImageUri"] == uri {
		t.Errorf("the agent's image: got %+v", agent)
	}
	if tags := w.Images("stack-images"); len(tags) != 2 || !strings.HasPrefix(tags[0], "agent-") || !strings.HasPrefix(tags[1], "mcp-server-") {
		t.Errorf("got tags %q", tags)
	}

	c, err := w.UnpackImage(t.Context(), uri, w.role, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "65532:65532" || c.Architecture != runtime.GOARCH || strings.Join(c.Env, " ") != "MCP_ALLOWED_HOSTS=*" || len(c.Args) != 0 {
		t.Errorf("got %+v", c)
	}
	dockerfile, err := os.ReadFile("../mcp-server/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	port, size := w.pull(t, uri)
	if size > 12_000_000 {
		t.Errorf("the image has %d bytes", size)
	}
	for _, line := range []string{"USER " + c.User, "ENV " + c.Env[0], "EXPOSE " + port, `ENTRYPOINT ["/` + filepath.Base(c.Program) + `"]`} {
		if !strings.Contains(string(dockerfile), "\n"+line+"\n") {
			t.Errorf("the Dockerfile has no line %s", line)
		}
	}
	if deleted := w.send(t, cfn.RequestDelete, created.PhysicalResourceID, nil); deleted.Status != cfn.StatusSuccess {
		t.Errorf("got %+v", deleted)
	}
	if _, err := w.UnpackImage(t.Context(), uri, w.role, t.TempDir()); err != nil {
		t.Errorf("after Delete, which a runtime may outlive: %v", err)
	}
	if runtime.GOOS == "linux" {
		callTool(t, c)
	}
	w.checkSecrets(t)
}

// callTool runs the container's program with nothing but its environment, in a
// folder where nothing can be written.
func callTool(t *testing.T, c localaws.Container) {
	t.Helper()
	root := filepath.Dir(c.Program)
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(root, 0o755)
	cmd := exec.Command(c.Program, c.Args...)
	cmd.Dir, cmd.Env = root, append([]string{"HOST=127.0.0.1", "PORT=0"}, c.Env...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var entry struct{ Addr string }
	for d := json.NewDecoder(log); entry.Addr == ""; {
		if err := d.Decode(&entry); err != nil {
			t.Fatalf("the server did not listen: %v", err)
		}
	}
	go io.Copy(io.Discard, log)
	req, err := http.NewRequest("POST", "http://"+entry.Addr+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":2,"b":2}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "cell01.eu-central-1.prod.example" // whatever the platform sends
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !bytes.Contains(body, []byte(`"text":"4"`)) {
		t.Errorf("got %s %s", resp.Status, body)
	}
}

// case 6, case 13: one event in two processes at once, and again, ends in one
// image and answers that are the same.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	twin, err := w.StartFunction(t.Context(), localaws.FunctionConfig{Name: "twin", Binary: bootstrap(), Timeout: 30 * time.Second, Stderr: w.log})
	if err != nil {
		t.Fatal(err)
	}
	// Neither writes before both have looked and found nothing.
	var manifests atomic.Int32
	both := make(chan struct{})
	w.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "registry" && r.Method == http.MethodPut && strings.Contains(r.Path, "/manifests/") {
			if manifests.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both:
			case <-t.Context().Done():
			}
		}
		return nil
	})
	other := *w
	other.f = twin
	answers := make([]cfn.Response, 2)
	t.Run("at once", func(t *testing.T) {
		for i, w := range []*world{w, &other} {
			t.Run(w.f.ARN(), func(t *testing.T) {
				t.Parallel()
				answers[i] = w.send(t, cfn.RequestCreate, "", nil)
			})
		}
	})
	w.SetFault(nil)
	answers = append(answers, w.send(t, cfn.RequestCreate, "", nil))
	for _, got := range answers {
		if got.Status != cfn.StatusSuccess || got.Data["ImageUri"] != answers[0].Data["ImageUri"] || got.PhysicalResourceID != answers[0].PhysicalResourceID {
			t.Errorf("got %+v, and first %+v", got, answers[0])
		}
	}
	if images := w.Images("stack-images"); len(images) != 1 {
		t.Errorf("got images %q", images)
	}
}

// case 8, case 22: wrong properties are refused by name before anything is done,
// and the Delete that follows has nothing to do.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	tests := map[string]struct {
		changes map[string]any
		want    string
	}{
		"unknown property":   {map[string]any{"Tag": "latest"}, `"Tag"`},
		"not a string":       {map[string]any{"Binary": []any{"agent"}}, "Binary"},
		"no program":         {map[string]any{"Binary": nil}, "agent, mcp-server"},
		"a path":             {map[string]any{"Binary": "../bootstrap"}, "agent, mcp-server"},
		"no repository":      {map[string]any{"RepositoryUri": nil}, "RepositoryUri"},
		"another registry":   {map[string]any{"RepositoryUri": "ghcr.io/somebody/images"}, "RepositoryUri"},
		"another region":     {map[string]any{"RepositoryUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/stack-images"}, "us-east-1"},
		"another account":    {map[string]any{"RepositoryUri": strings.Replace(w.repository, "000000000000", "111111111111", 1)}, "account 111111111111"},
		"a tag":              {map[string]any{"RepositoryUri": w.repository + ":latest"}, "RepositoryUri"},
		"a host in disguise": {map[string]any{"RepositoryUri": "000000000000.dkr.ecr.eu-central-1.amazonaws.com.example.com/stack-images"}, "RepositoryUri"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := w.send(t, cfn.RequestCreate, "", tt.changes)
			if res.Status != cfn.StatusFailed || !strings.Contains(res.Reason, tt.want) {
				t.Errorf("got %s %q, want %q", res.Status, res.Reason, tt.want)
			}
			if deleted := w.send(t, cfn.RequestDelete, res.PhysicalResourceID, tt.changes); deleted.Status != cfn.StatusSuccess {
				t.Errorf("its Delete: got %+v", deleted)
			}
		})
	}
	for _, r := range w.Records() {
		if r.Service == "ecr" || r.Service == "registry" {
			t.Errorf("a refused resource made the request %s %s", r.Service, r.Operation)
		}
	}
}

// An error of the registry says what to do about it.
func TestRegistryRefuses(t *testing.T) {
	w := newWorld(t)
	missing := strings.Replace(w.repository, "stack-images", "other-images", 1)
	if res := w.send(t, cfn.RequestCreate, "", map[string]any{"RepositoryUri": missing}); res.Status != cfn.StatusFailed || !strings.Contains(res.Reason, "allow pushing") {
		t.Errorf("a repository that the role does not name: got %s %s", res.Status, res.Reason)
	}
	w.RemoveRepository("stack-images")
	if res := w.send(t, cfn.RequestCreate, "", nil); res.Status != cfn.StatusFailed || !strings.Contains(res.Reason, "make the repository first") {
		t.Errorf("no repository: got %s %s", res.Status, res.Reason)
	}
}

// case 18: throttling and cut connections are retried.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	n := 0
	var mu sync.Mutex
	w.SetFault(func(r localaws.Record) *localaws.Fault {
		mu.Lock()
		defer mu.Unlock()
		n++
		switch {
		case r.Service == "ecr" && n == 1:
			return &localaws.Fault{Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"}
		case r.Service == "registry" && n == 4:
			return &localaws.Fault{Reset: true}
		case r.Service == "registry" && n == 6:
			return &localaws.Fault{Status: 503, Type: "ServiceUnavailable", Message: "try again"}
		}
		return nil
	})
	if res := w.send(t, cfn.RequestCreate, "", nil); res.Status != cfn.StatusSuccess {
		t.Errorf("got %s %s", res.Status, res.Reason)
	}
	if n < 7 {
		t.Errorf("%d requests: not every fault happened", n)
	}
	w.checkSecrets(t)
}

// case 2: a registry that hangs ends in an answer before Lambda ends the
// function.
func TestDeadline(t *testing.T) {
	w := newWorld(t)
	w.f.Close()
	f, err := w.StartFunction(t.Context(), localaws.FunctionConfig{Name: "image-publisher", Binary: bootstrap(), Timeout: 2 * time.Second, Stderr: w.log})
	if err != nil {
		t.Fatal(err)
	}
	w.f = f
	w.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "registry" && r.Method == http.MethodPost {
			return &localaws.Fault{Delay: time.Minute}
		}
		return nil
	})
	if res := w.send(t, cfn.RequestCreate, "", nil); res.Status != cfn.StatusFailed || !strings.Contains(res.Reason, "deadline") {
		t.Errorf("got %s %s", res.Status, res.Reason)
	}
}
