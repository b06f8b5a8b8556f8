package main_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
)

// binaries is a folder with the compiled function, built once for all tests.
var binaries string

func TestMain(m *testing.M) { testenv.Main(m, &binaries, "functions/cognito-setup") }

// newFunction runs the compiled function in an account of its own.
func newFunction(t *testing.T) (*localaws.Server, *localaws.Function, *testenv.Log) {
	t.Helper()
	return newFunctionAt(t, time.Now)
}

// newFunctionAt is newFunction in an account with a clock of its own.
func newFunctionAt(t *testing.T, now func() time.Time) (*localaws.Server, *localaws.Function, *testenv.Log) {
	t.Helper()
	srv, log := localaws.New(localaws.Config{Now: now}), &testenv.Log{}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	f, err := srv.StartFunction(t.Context(), localaws.FunctionConfig{Name: "cognito-setup", Binary: filepath.Join(binaries, "cognito-setup", "bootstrap"), Timeout: 30 * time.Second, Stderr: log})
	if err != nil {
		t.Fatal(err)
	}
	return srv, f, log
}

// case 107: CloudFormation is told of a wrong setting at once. It need not wait
// for a function that does not start.
func TestSettings_refused(t *testing.T) {
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	f, err := srv.StartFunction(t.Context(), localaws.FunctionConfig{
		Name: "cognito-setup", Binary: filepath.Join(binaries, "cognito-setup", "bootstrap"), Timeout: 30 * time.Second,
		Env: map[string]string{"LOG_LEVEL": "loud", "AWS_MAX_ATTEMPTS": "many"},
	})
	if err != nil {
		t.Fatal(err)
	}
	res := send(t, srv, f, "cfn-create.json")
	if res.Status != cfn.StatusFailed || !strings.Contains(res.Reason, "LOG_LEVEL") || !strings.Contains(res.Reason, "many") {
		t.Errorf("got %s %q, want both settings refused", res.Status, res.Reason)
	}
}

// send has CloudFormation send a sample event and returns its answer.
func send(t *testing.T, srv *localaws.Server, f *localaws.Function, name string) cfn.Response {
	t.Helper()
	event, err := events.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	res, reply, err := srv.SendCustomResource(t.Context(), f, event)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PID(t.Context()); err != nil { // waits until the function is idle
		t.Fatal(err)
	}
	if n := reply.Puts(); n != 1 {
		t.Errorf("%s: %d answers, want 1", name, n)
	}
	return res
}

// The compiled function handles the sample events in the order of a stack's
// life: everything exists in between, and nothing does at the end.
func TestLifeOfAStack(t *testing.T) {
	srv, f, log := newFunction(t)
	created := send(t, srv, f, "cfn-create.json")
	if created.Status != cfn.StatusSuccess || created.Data["Scope"] != "mcp_simple_calculator/invoke" {
		t.Fatalf("got %+v", created)
	}
	for _, name := range []string{"machine_client_id", "cognito_secret", "cognito_discovery_url", "cognito_domain", "userpool_id", "scope"} {
		if srv.Parameters()["/app/mcp/mcp_simple_calculator/"+name].Value == "" {
			t.Errorf("parameter %s is missing", name)
		}
	}
	updated := send(t, srv, f, "cfn-update.json")
	if updated.Status != cfn.StatusSuccess || updated.PhysicalResourceID != created.PhysicalResourceID {
		t.Errorf("got %+v, want the id %s", updated, created.PhysicalResourceID)
	}

	before := srv.Parameters()["/app/mcp/mcp_simple_calculator/cognito_secret"].Value
	rotate, err := events.FS.ReadFile("setup-rotate.json")
	if err != nil {
		t.Fatal(err)
	}
	if res, err := f.Invoke(t.Context(), rotate); err != nil || res.FunctionError != "" {
		t.Fatalf("rotate: %v %s", err, res.Payload)
	}
	after := srv.Parameters()["/app/mcp/mcp_simple_calculator/cognito_secret"].Value
	if after == before || after == "" {
		t.Error("the secret was not rotated")
	}

	if deleted := send(t, srv, f, "cfn-delete.json"); deleted.Status != cfn.StatusSuccess {
		t.Errorf("got %+v", deleted)
	}
	if left := srv.Leftovers(); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}

	// case 5, case 24: neither secret is anywhere except in Parameter Store.
	answers, err := json.Marshal([]cfn.Response{created, updated})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{before, after, "X-Amz-Signature"} {
		if strings.Contains(log.String(), secret) || bytes.Contains(answers, []byte(secret)) {
			t.Errorf("a secret of %d characters is in an answer or the log", len(secret))
		}
	}
}

// The daily event logs the age of the secret, for the template's alarm.
func TestTidyTellsTheAge(t *testing.T) {
	srv, f, log := newFunctionAt(t, func() time.Time { return time.Now().Add(-10*24*time.Hour - time.Hour) })
	send(t, srv, f, "cfn-create.json")
	event, err := events.FS.ReadFile("setup-tidy.json")
	if err != nil {
		t.Fatal(err)
	}
	if res, err := f.Invoke(t.Context(), event); err != nil || res.FunctionError != "" {
		t.Fatalf("tidy: %v %s", err, res.Payload)
	}
	f.Close() // flushes its log
	if !strings.Contains(log.String(), `"secret_age_days":10`) {
		t.Errorf("no age of 10 days in the log:\n%s", log)
	}
}

// A wrong event of a schedule is refused by name, and nothing is done.
func TestUpkeep_refused(t *testing.T) {
	srv, f, _ := newFunction(t)
	for event, want := range map[string]string{
		`{"action":"explode","mcp_name":"a"}`:                          "neither rotate nor tidy",
		`{"action":"rotate"}`:                                          "server name",
		`{"action":"rotate","mcp_name":"../x"}`:                        "server name",
		`{"action":"rotate","mcp_name":"a","parameter_prefix":"/aws"}`: "parameter prefix",
		`{"action":"rotate","mcp_name":"a","RequestType":"Create"}`:    "unknown field",
		`{"action":"rotate","mcp_name":"a"}`:                           "/app/mcp/a/",
	} {
		res, err := f.Invoke(t.Context(), []byte(event))
		if err != nil || !strings.Contains(res.ErrorMessage, want) {
			t.Errorf("%s: got %v %s, want %q", event, err, res.Payload, want)
		}
	}
	if left := srv.Leftovers(); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}
