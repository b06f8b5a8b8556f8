package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/trigger"
)

// container runs the compiled agent outside Lambda, as AgentCore does, and
// returns its address and its process.
func (w *world) container(t *testing.T, env ...string) (string, *exec.Cmd) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.Command(bootstrap())
	cmd.Env = append(append(w.aws.Env(), "PORT="+port, "MCP_SERVERS="+calc, "BEDROCK_MODEL_ID=eu.anthropic.claude-sonnet-4-5-20250929-v1:0"), env...)
	cmd.Stderr = w.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // fails if the test has waited already
	})
	url := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, err := http.Get(url + "/ping")
		if err == nil {
			resp.Body.Close()
			return url, cmd
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent does not answer: %v\n%s", err, w.log)
		}
	}
}

func invokeContainer(t *testing.T, url, accept, session, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/invocations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	req.Header.Set(agentcore.HeaderRuntimeSession, session)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(out)
}

// Outside Lambda the same binary serves AgentCore's HTTP contract.
func TestContainer(t *testing.T) {
	w := newWorld(t)
	url, cmd := w.container(t, "LOG_LEVEL=warn")
	session := strings.Repeat("s", 33)

	resp, body := invokeContainer(t, url, "application/json", session, `{"prompt":"What is 2+2?"}`)
	var got trigger.Answer
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 || got.Output != sum || got.SessionID != session {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	resp, body = invokeContainer(t, url, "text/event-stream", session, `{"prompt":"greet Alice","session_id":"mine"}`)
	if resp.Header.Get("Content-Type") != "text/event-stream" || !strings.Contains(body, "event: done\ndata: {\"output\":\"Hello, Alice! Nice to meet you.\",\"session_id\":\"mine\"") {
		t.Errorf("got %q %s", resp.Header, body)
	}
	if resp, body = invokeContainer(t, url, "*/*", session, `{}`); resp.StatusCode != 400 || !strings.Contains(body, `"invalid_request"`) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}

	// It stops on SIGTERM with status 0.
	start := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || time.Since(start) > 2*time.Second {
		t.Errorf("stopped with %v after %v", err, time.Since(start))
	}
	if log := w.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "invalid_request") {
		t.Errorf("it logged more than the one bad request: %s", log)
	}
	w.scanForSecrets(t, []byte(body))
}

// case 86: concurrent conversations in one process share nothing.
func TestContainer_noBleed(t *testing.T) {
	w := newWorld(t)
	url, _ := w.container(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("Guest%c", 'A'+i)
			_, body := invokeContainer(t, url, "application/json", "", `{"prompt":"greet `+name+`"}`)
			if want := `{"output":"Hello, ` + name + `!`; !strings.HasPrefix(body, want) {
				t.Errorf("got %s, want %s", body, want)
			}
		})
	}
	wg.Wait()
	for _, r := range w.aws.Records() {
		// The model sees the prompt once; then come the tool's input and result.
		if n := strings.Count(string(r.RequestBody), "greet Guest"); r.Service == "bedrock" && n != 1 {
			t.Errorf("a conversation has %d prompts in it: %s", n, r.RequestBody)
		}
	}
}

// A port that cannot be listened on is named.
func TestContainer_badPort(t *testing.T) {
	cmd := exec.Command(bootstrap())
	cmd.Env = []string{"PORT=99999"}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `PORT "99999"`) {
		t.Errorf("got %v: %s", err, out)
	}
}
