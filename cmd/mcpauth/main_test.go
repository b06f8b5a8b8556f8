package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/rogpeppe/go-internal/testscript"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
)

// binaries is a folder as `make build` makes it, built once for all tests.
var binaries string

func TestMain(m *testing.M) {
	os.Setenv("GOGC", "400") // hundreds of short processes start, for which memory does not matter
	testenv.Main(m, &binaries, "functions/cognito-setup", "functions/agent", "functions/image-publisher", "functions/mcp-server", "cmd/mcpauth")
}

// TestLocal runs the commands that need no account, each time with an
// environment that would lead an AWS SDK astray.
func TestLocal(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/local",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", binaries+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("BIN", binaries)
			e.Setenv("EVENTS", filepath.Join(e.Cd, "events"))
			e.Setenv("AWS_PROFILE", "someones-own")
			e.Setenv("AWS_ACCESS_KEY_ID", "AKIASOMEONESOWN00000")
			e.Setenv("AWS_SECRET_ACCESS_KEY", "someones-own-secret")
			e.Setenv("AWS_REGION", "us-west-2")
			e.Setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:1")
			return os.CopyFS(filepath.Join(e.Cd, "events"), os.DirFS("../../events"))
		},
	})
}

// TestAccount runs the commands that work on an account, each script against a
// stand-in of its own.
func TestAccount(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/account",
		Setup: func(e *testscript.Env) error {
			srv := localaws.New(localaws.Config{})
			if err := srv.Start(); err != nil {
				return err
			}
			e.Defer(func() { srv.Close() })
			e.Values["aws"] = srv
			e.Setenv("PATH", binaries+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Vars = append(e.Vars, srv.Env()...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": func(ts *testscript.TestScript, _ bool, args []string) { exitsWith(ts, args) },
			// leftovers fails unless the account is empty: ! leftovers, unless it is not.
			"leftovers": func(ts *testscript.TestScript, neg bool, _ []string) {
				left := ts.Value("aws").(*localaws.Server).Leftovers()
				if neg != (len(left) > 0) {
					ts.Fatalf("left in the account: %q", left)
				}
			},
			// remove deletes parameters below the default prefix, as by hand.
			"remove": func(ts *testscript.TestScript, _ bool, names []string) {
				for i, name := range names {
					names[i] = credstore.DefaultPrefix + "/" + name
				}
				client := ssm.NewFromConfig(ts.Value("aws").(*localaws.Server).AWSConfig())
				_, err := client.DeleteParameters(context.Background(), &ssm.DeleteParametersInput{Names: names})
				ts.Check(err)
			},
			// masked fails if a secret that went over the wire was printed last.
			"masked": func(ts *testscript.TestScript, _ bool, _ []string) {
				printed := ts.ReadFile("stdout") + ts.ReadFile("stderr")
				for _, r := range ts.Value("aws").(*localaws.Server).Records() {
					for _, secret := range secretsOf(r) {
						if strings.Contains(printed, secret) {
							ts.Fatalf("%s %s: a secret of %d characters was printed", r.Service, r.Operation, len(secret))
						}
					}
				}
			},
		},
	})
}

// besideBinaries runs the rest of a test in a folder whose bin is built.
func besideBinaries(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Symlink(binaries, "bin"); err != nil {
		t.Fatal(err)
	}
}

// A stack on this machine, in its test's own process. case 45: nothing that the
// demo prints or its programs log holds a secret or a token, although the demo
// reads them off the wire.
func TestStack(t *testing.T) {
	var printed, logged bytes.Buffer
	logs := &logs{out: &logged}
	besideBinaries(t)
	s, err := newStack("", logs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	d := &demo{out: &printed, report: demoReport{Ask: askReport{Prompt: "greet Alice"}}}
	if err := d.run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	report, err := json.Marshal(d.report)
	if err != nil {
		t.Fatal(err)
	}
	logs.mu.Lock()
	text := printed.String() + logged.String() + string(report)
	logs.mu.Unlock()
	if !strings.Contains(text, "Nice to meet you") || !strings.Contains(text, "custom resource answer") {
		t.Fatalf("the demo or its logs are missing: %s", text)
	}
	found := 0
	for _, r := range s.aws.Records() {
		for _, secret := range secretsOf(r) {
			found++
			if strings.Contains(text, secret) {
				t.Errorf("%s %s: a secret of %d characters was printed", r.Service, r.Operation, len(secret))
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d secrets on the wire, want the client secret, a token and the reply URL's signature", found)
	}

	// An agent that fails is an error.
	var answer bytes.Buffer
	err = sendTo(t.Context(), &answer, s.aws.URL(), agentFunction, []byte("{}"))
	if err == nil || !strings.HasPrefix(err.Error(), "agent failed: invalid_request: no prompt") || answer.Len() > 0 {
		t.Errorf("got %v, %q", err, &answer)
	}

	// A stack whose agent is on AgentCore has no function of that name.
	if err := s.deploy(t.Context(), map[string]string{"AgentHost": "agentcore"}); err != nil {
		t.Fatal(err)
	}
	err = sendTo(t.Context(), &answer, s.aws.URL(), agentFunction, []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "has no function agent; an agent on AgentCore is asked with: mcpauth invoke ") {
		t.Errorf("got %v", err)
	}
}

// secretsOf are the secrets and tokens that went over the wire in r.
func secretsOf(r localaws.Record) []string {
	var found []string
	var put struct{ Value, Type string }
	if r.Operation == "PutParameter" && json.Unmarshal(r.RequestBody, &put) == nil && put.Type == "SecureString" {
		found = append(found, put.Value)
	}
	var set struct{ Password string }
	if r.Operation == "AdminSetUserPassword" && json.Unmarshal(r.RequestBody, &set) == nil {
		found = append(found, set.Password)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if r.Service == "oauth" && json.Unmarshal(r.ResponseBody, &token) == nil && token.AccessToken != "" {
		found = append(found, token.AccessToken)
	}
	if auth := r.RequestHeader.Get("Authorization"); strings.HasPrefix(auth, "B") {
		_, value, _ := strings.Cut(auth, " ")
		found = append(found, value)
	}
	return found
}

// A context that ends takes every process with it.
func TestLocal_stops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	besideBinaries(t)
	out := &cancelOnWrite{cancel: cancel}
	var progress bytes.Buffer
	if err := run(ctx, []string{"local", "--addr", "127.0.0.1:0"}, out, &progress); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(progress.String(), "local invoke agent -e events/ask.json --addr 127.0.0.1:") {
		t.Errorf("got %s", &progress)
	}
	if !strings.Contains(out.String(), "export AWS_ENDPOINT_URL=http://127.0.0.1:") {
		t.Errorf("got %s", out)
	}
}

// cancelOnWrite cancels with the first write.
type cancelOnWrite struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (c *cancelOnWrite) Write(p []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(p)
}
