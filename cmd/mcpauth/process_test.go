//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// program is mcpauth as a process of its own, with the environment env and no
// other.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "mcpauth"), args...)
	cmd.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	return cmd
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

func startStandIn(t *testing.T) *localaws.Server {
	t.Helper()
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// case 141: Ctrl-C ends a command that waits for a server, and one that waits
// for a person, in a line and with the code of an interrupt.
func TestProcess_interrupted(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t)
	p := provision.New(srv.AWSConfig())
	p.Owner = provision.CommandLine
	if _, err := p.Ensure(t.Context(), provision.Desired{Name: "calculator"}); err != nil {
		t.Fatal(err)
	}

	t.Run("waiting for a server", func(t *testing.T) {
		asked := make(chan struct{})
		server := silentServer(t, func() { close(asked) })
		cmd := program(t, srv.Env(), "tools", "--url", server+"/mcp")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		cmd.Process.Signal(os.Interrupt)
		if code := exitCode(cmd.Wait()); code != exitInterrupted || !strings.HasPrefix(stderr.String(), "mcpauth: interrupted") || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("code %d, stdout %q, stderr %q", code, &stdout, &stderr)
		}
	})

	t.Run("waiting for a person", func(t *testing.T) {
		cmd := program(t, srv.Env(), "teardown", "--mcp-name", "calculator")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		r := startReading(t, cmd)
		if prompt, err := r.ReadString(':'); err != nil {
			t.Fatalf("%q, %v", prompt, err)
		}
		cmd.Process.Signal(os.Interrupt)
		rest, _ := io.ReadAll(r)
		if code := exitCode(cmd.Wait()); code != exitInterrupted || !strings.Contains(string(rest), "\nmcpauth: interrupted\n") {
			t.Errorf("code %d, stderr %q", code, rest)
		}
		if _, err := p.Status(t.Context(), "calculator"); err != nil {
			t.Errorf("after the interrupt: %v", err)
		}
	})

	t.Run("waiting for another run", func(t *testing.T) {
		until := time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339)
		if _, err := p.SSM.PutParameter(t.Context(), &ssm.PutParameterInput{
			Name: aws.String("/app/mcp/.lock/calculator"), Value: aws.String(`{"holder":"another","until":"` + until + `"}`), Type: types.ParameterTypeString,
		}); err != nil {
			t.Fatal(err)
		}
		cmd := program(t, srv.Env(), "rotate", "--mcp-name", "calculator")
		r := startReading(t, cmd)
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "/app/mcp/.lock/calculator") || !strings.Contains(line, until) {
			t.Errorf("%q, %v, want a line that says what it waits for and until when", line, err)
		}
		cmd.Process.Signal(os.Interrupt)
		rest, _ := io.ReadAll(r)
		if code := exitCode(cmd.Wait()); code != exitInterrupted {
			t.Errorf("code %d, stderr %q", code, rest)
		}
	})
}

// startReading starts a command and returns what it writes to stderr.
func startReading(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(stderr)
}

// case 141: a command ends quietly when its reader leaves.
func TestProcess_closedPipe(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t)
	for _, args := range [][]string{{"version", "--json"}, {"status", "--all"}, {"completion", "bash"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := program(t, srv.Env(), args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &stderr
		err = cmd.Run()
		w.Close()
		if code := exitCode(err); code != exitClosedPipe || stderr.Len() > 0 {
			t.Errorf("%q: code %d, stderr %q", args, code, &stderr)
		}
	}
}

// case 141: without credentials a command ends soon, in one line that says what
// to do, also where the network swallows what is sent to an instance's metadata.
func TestProcess_noCredentials(t *testing.T) {
	t.Parallel()
	none := []string{"AWS_REGION=eu-central-1", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}
	sso := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(sso, []byte("[profile work]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-central-1\nsso_account_id = 000000000000\nsso_role_name = r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		code int
		want string
	}{
		{"none", append(none, "AWS_EC2_METADATA_DISABLED=true"), nil, exitFailed, "mcpauth: no AWS credentials were found: sign in with aws sso login or aws login, or choose a profile with --profile\n"},
		{"a silent network", append(none, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+silentServer(t, nil)), nil, exitFailed, "mcpauth: no AWS credentials were found: sign in"},
		{"signed out", []string{"AWS_REGION=eu-central-1", "AWS_CONFIG_FILE=" + sso}, []string{"--profile", "work"}, exitFailed, "; sign in with aws sso login --profile work or aws login --profile work\n"},
		{"no such profile", none, []string{"--profile", "mine"}, exitUsage, `mcpauth: there is no AWS profile "mine"; list them with aws configure list-profiles`},
		{"no region", none[1:], nil, exitUsage, "mcpauth: no AWS region is set: use --region, or set AWS_REGION\n"},
		{"no region's name", none, []string{"--region", "Frankfurt"}, exitUsage, `mcpauth: region "Frankfurt": want one such as eu-central-1`},
		{"a host for a region", none, []string{"--region", "evil.example/x"}, exitUsage, `mcpauth: region "evil.example/x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			commands := [][]string{{"status", "--mcp-name", "x"}, {"token", "--mcp-name", "x"}, {"invoke", "hello", "--function", "f"}}
			if tt.name != "none" {
				commands = commands[:1] // they read the configuration in one place
			}
			for _, command := range commands {
				cmd := program(t, tt.env, append(command, tt.args...)...)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				start := time.Now()
				code := exitCode(cmd.Run())
				if code != tt.code || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
					t.Errorf("%s: code %d, %q, want %d, %q", command[0], code, &stderr, tt.code, tt.want)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("%s: it took %s", command[0], took)
				}
			}
		})
	}
}

// An endpoint that does not answer is most often a local stack that is not
// running.
func TestProcess_noLocalStack(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t)
	env := srv.Env()
	srv.Close()
	cmd := program(t, env, "status", "--mcp-name", "x")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if code := exitCode(cmd.Run()); code != exitFailed || !strings.Contains(stderr.String(), "connection refused; AWS_ENDPOINT_URL is "+srv.URL()+": start it with mcpauth local, or unset it\n") {
		t.Errorf("code %d, %q", code, &stderr)
	}
}

// A terminal gets an agent's words before the answer is complete, and gets
// nothing that it would obey. case 141: pseudo-terminal
func TestProcess_terminal(t *testing.T) {
	t.Parallel()
	screen, tty := openTerminal(t)
	seen := make(chan struct{})
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: delta\ndata: {\"text\":\"It is \\u001b[31mfour:\"}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-seen:
			io.WriteString(w, "event: delta\ndata: {\"text\":\" 4\"}\n\nevent: done\ndata: {\"output\":\"It is \\u001b[31mfour: 4\",\"stop_reason\":\"end_turn\"}\n\n")
		case <-r.Context().Done():
		}
	}))
	defer agent.Close()
	cmd := program(t, []string{"TERM=xterm-256color", "NO_COLOR=1"}, "invoke", "What is 2+2?", "--url", agent.URL+"/invocations")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	r := bufio.NewReader(screen)
	first, err := r.ReadString(':')
	if err != nil {
		t.Fatalf("%q, %v", first, err)
	}
	close(seen)
	rest, _ := io.ReadAll(r) // ends with an error once nobody has the other end
	if err := cmd.Wait(); err != nil || first+string(rest) != "It is \uFFFD[31mfour: 4\r\n" {
		t.Errorf("%v, %q", err, first+string(rest))
	}
}

// If the owner of the server is unknown, teardown leaves its endpoint alone. The
// removal of the rest leaves it alone too, and says nothing.
func TestTeardown_unread(t *testing.T) {
	srv := startStandIn(t)
	for _, kv := range srv.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	p := provision.New(srv.AWSConfig())
	p.Owner = "arn:aws:cloudformation:eu-central-1:000000000000:stack/mcp/0"
	if _, err := p.Ensure(t.Context(), provision.Desired{Name: "calculator"}); err != nil {
		t.Fatal(err)
	}
	const endpoint = "https://mcp.example.com/mcp"
	if err := record(t.Context(), storeOf(p), "calculator", credstore.Endpoint, endpoint); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int32
	srv.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation == "GetParametersByPath" && reads.Add(1) == 1 {
			return &localaws.Fault{Status: 400, Type: "AccessDeniedException", Message: "not yet"}
		}
		return nil
	})
	err := run(t.Context(), []string{"teardown", "--mcp-name", "calculator", "--yes"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("got %v, want the error of the first read", err)
	}
	set, err := storeOf(p).Read(t.Context(), "calculator")
	if err != nil || set.Endpoint != endpoint {
		t.Errorf("endpoint %q, %v", set.Endpoint, err)
	}
}
