package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/localaws"
)

// bootstrap is the compiled function, with the programs beside it, made once
// for all tests.
var bootstrap string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "image-publisher")
	if err != nil {
		panic(err)
	}
	bootstrap = filepath.Join(dir, "bootstrap")
	server, agent := filepath.Join(dir, "images", "mcp-server"), filepath.Join(dir, "images", "agent")
	for _, args := range [][]string{
		{"build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", bootstrap, "."},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", server, "../mcp-server"},
		{"build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", agent, "../agent"},
		{"run", "./pack", filepath.Join(dir, "images.tar.zst"), server, agent},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if strings.Contains(args[len(args)-1], "..") { // what goes into images
			cmd.Env = append(cmd.Env, "GOOS=linux")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go %s: %v\n%s", strings.Join(args, " "), err, out))
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

type world struct {
	*localaws.Server
	f          *localaws.Function
	log        *syncBuffer
	repository string // URI
	role       string // ARN
}

// permissions are what the template gives the function.
const permissions = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
	{"Effect":"Allow","Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:CompleteLayerUpload","ecr:InitiateLayerUpload","ecr:PutImage","ecr:UploadLayerPart"],
	 "Resource":"arn:aws:ecr:eu-central-1:000000000000:repository/stack-images"}]}`

const pulling = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
	{"Effect":"Allow","Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Resource":"arn:aws:ecr:eu-central-1:000000000000:repository/stack-images"}]}`

func trust(service string) json.RawMessage {
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
}

// newWorld is the compiled function in an account with one repository, whose
// tags are immutable, under its own role.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: localaws.New(localaws.Config{}), log: &syncBuffer{}}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	var err error
	if w.repository, err = w.AddRepository(localaws.Repository{Name: "stack-images", ImmutableTags: true}); err != nil {
		t.Fatal(err)
	}
	publisher, err := w.AddRole(localaws.Role{Name: "publisher", Trust: trust("lambda.amazonaws.com"), Policies: []json.RawMessage{json.RawMessage(permissions)}})
	if err != nil {
		t.Fatal(err)
	}
	if w.role, err = w.AddRole(localaws.Role{Name: "runtime", Trust: trust("bedrock-agentcore.amazonaws.com"), Policies: []json.RawMessage{json.RawMessage(pulling)}}); err != nil {
		t.Fatal(err)
	}
	w.f, err = w.StartFunction(t.Context(), localaws.FunctionConfig{Name: "image-publisher", Binary: bootstrap, Timeout: 30 * time.Second, Stderr: w.log, Role: publisher})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// send has CloudFormation send an event; changes are properties beside the
// usual, and nil takes one away.
func (w *world) send(t *testing.T, typ cfn.RequestType, id string, changes map[string]any) cfn.Response {
	t.Helper()
	properties := map[string]any{
		"ServiceToken": w.f.ARN() + ":live", "ServiceTimeout": "60",
		"RepositoryUri": w.repository, "Binary": "mcp-server", "Version": w.f.ARN() + ":1",
	}
	for k, v := range changes {
		if properties[k] = v; v == nil {
			delete(properties, k)
		}
	}
	event, err := json.Marshal(map[string]any{
		"RequestType": typ, "ResourceType": "Custom::MCPImage", "LogicalResourceId": "McpImage", "PhysicalResourceId": id,
		"StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/s/00000000-0000-0000-0000-000000000000", "ResourceProperties": properties,
	})
	if err != nil {
		t.Fatal(err)
	}
	res, reply, err := w.SendCustomResource(t.Context(), w.f, event)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.f.PID(t.Context()); err != nil { // waits until the function is idle
		t.Fatal(err)
	}
	if n := reply.Puts(); n != 1 {
		t.Errorf("%d answers, want 1", n)
	}
	return res
}

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
	for _, line := range []string{"USER " + c.User, "ENV " + c.Env[0], `ENTRYPOINT ["/` + filepath.Base(c.Program) + `"]`} {
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
	w.f.Close()
	for _, r := range w.Records() {
		if r.Service != "registry" {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.RequestHeader.Get("Authorization"), "Basic "))
		if _, password, _ := strings.Cut(string(secret), ":"); err == nil && password != "" && strings.Contains(w.log.String(), password) {
			t.Fatal("the registry's password is in the log")
		}
	}
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

// case 1 and after, for this resource: what is wrong is refused by name before
// anything is done, and CloudFormation always has an answer.
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

// What the registry refuses is told with what to do about it.
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

// case 14 and after: throttling and cut connections pass.
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
}

// A registry that hangs ends in an answer before Lambda ends the function.
func TestDeadline(t *testing.T) {
	w := newWorld(t)
	w.f.Close()
	f, err := w.StartFunction(t.Context(), localaws.FunctionConfig{Name: "image-publisher", Binary: bootstrap, Timeout: 2 * time.Second, Stderr: w.log})
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

// syncBuffer is a buffer for what a process writes while a test reads.
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
