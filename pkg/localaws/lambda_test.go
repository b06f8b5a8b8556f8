package localaws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
)

func TestFunction(t *testing.T) {
	bin := buildBootstrap()
	s := startServer(t)

	t.Run("echo", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin})
		cold := mustInvoke(t, f, []byte(`{"n":12345678901234567890}`))
		if got, want := string(cold.Payload), `{"n":12345678901234567890}`; got != want {
			t.Errorf("payload = %s, want %s", got, want)
		}
		if cold.FunctionError != "" || cold.Init <= 0 {
			t.Errorf("cold result = %+v, want no error and an Init", cold)
		}
		warm := mustInvoke(t, f, do("calls"))
		if string(warm.Payload) != "2" || warm.Init != 0 {
			t.Errorf("warm result = %s after Init %v, want 2 and none", warm.Payload, warm.Init)
		}
		if _, err := f.Invoke(t.Context(), []byte(`{"do"`)); err == nil {
			t.Error("an event that is not JSON was taken")
		}
	})

	t.Run("context", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, MemoryMB: 512})
		var got struct {
			RequestID string `json:"request_id"`
			ARN       string `json:"arn"`
			Left      int    `json:"left_ms"`
			Trace     string `json:"trace"`
			Name      string `json:"name"`
			Memory    int    `json:"memory"`
		}
		if err := json.Unmarshal(mustInvoke(t, f, do("context")).Payload, &got); err != nil {
			t.Fatal(err)
		}
		if got.RequestID == "" || got.ARN != "arn:aws:lambda:eu-central-1:000000000000:function:agent" ||
			got.Left < 2000 || got.Left > 3000 || !strings.HasPrefix(got.Trace, "Root=1-") || got.Name != "agent" || got.Memory != 512 {
			t.Errorf("context = %+v", got)
		}
	})

	// What Lambda reports, whether the process goes on, and that the function
	// works again afterwards. case 104
	for _, tt := range []struct {
		do, typ, message string
		restarts         bool
	}{
		{"error", "errorString", "told to fail", false},
		{"typed", "mcp_unavailable", "try later", false},
		{"panic", "string", "told to panic", true},
		{"exit", "Runtime.ExitError", "RequestId: * Error: Runtime exited with error: exit status 3", true},
		{"exit0", "Runtime.ExitError", "RequestId: * Error: Runtime exited without providing a reason", true},
		{"hang", "Sandbox.Timedout", "RequestId: * Error: Task timed out after 0.30 seconds", true},
		{"stream-fail", "model_failed", "broke off", false},
	} {
		t.Run(tt.do, func(t *testing.T) {
			f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Timeout: 300 * time.Millisecond})
			mustInvoke(t, f, do("echo"))
			res := mustInvoke(t, f, do(tt.do))
			if res.FunctionError != "Unhandled" || res.ErrorType != tt.typ || !like(res.ErrorMessage, tt.message) {
				t.Errorf("got %q %q %q, want Unhandled %q %q", res.FunctionError, res.ErrorType, res.ErrorMessage, tt.typ, tt.message)
			}
			var doc struct{ ErrorType, ErrorMessage string }
			if err := json.Unmarshal(res.Payload, &doc); err != nil || doc.ErrorType != tt.typ || !like(doc.ErrorMessage, tt.message) {
				t.Errorf("payload = %s, want an error document", res.Payload)
			}
			next := mustInvoke(t, f, do("calls"))
			if got, want := string(next.Payload), map[bool]string{true: "1", false: "3"}[tt.restarts]; got != want {
				t.Errorf("calls of the process afterwards = %s, want %s", got, want)
			}
			if restarted := next.Init > 0; restarted != tt.restarts {
				t.Errorf("restarted = %v, want %v", restarted, tt.restarts)
			}
		})
	}

	t.Run("nothing is inherited", func(t *testing.T) {
		t.Setenv("AWS_PROFILE", "somebody")
		t.Setenv("CANARY", "inherited")
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Env: map[string]string{"MCP_SERVERS": "calculator"}})
		var env []string
		if err := json.Unmarshal(mustInvoke(t, f, do("env")).Payload, &env); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, kv := range env {
			name, value, _ := strings.Cut(kv, "=")
			names = append(names, name)
			if want, ok := map[string]string{
				"MCP_SERVERS": "calculator", "AWS_ENDPOINT_URL": s.URL(), "AWS_REGION": "eu-central-1",
				"AWS_LAMBDA_FUNCTION_NAME": "agent", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
				"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "_HANDLER": "bootstrap", "TZ": ":UTC",
			}[name]; ok && value != want {
				t.Errorf("%s = %q, want %q", name, value, want)
			}
		}
		want := []string{
			"AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL",
			"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
			"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API",
			"AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE",
			"LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "LANG", "MCP_SERVERS", "PATH", "TZ", "_HANDLER", "_X_AMZN_TRACE_ID",
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("environment = %v\nwant          %v", names, want)
		}
	})

	t.Run("init fails", func(t *testing.T) { // case 107
		var log testenv.Log
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Env: map[string]string{"FAIL_INIT": "1"}, Stderr: &log})
		res := mustInvoke(t, f, do("echo"))
		if res.ErrorType != "Runtime.ExitError" || !like(res.ErrorMessage, "RequestId: * Error: Runtime exited with error: exit status 1") {
			t.Errorf("result = %q %q", res.ErrorType, res.ErrorMessage)
		}
		if got := strings.Count(log.String(), "MCP_SERVERS is missing"); got != 2 {
			t.Errorf("init ran %d times, want 2", got)
		}
	})

	t.Run("init recovers", func(t *testing.T) { // case 107
		marker := filepath.Join(t.TempDir(), "marker")
		if err := os.WriteFile(marker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Env: map[string]string{"FAIL_ONCE": marker}})
		if res := mustInvoke(t, f, do("calls")); res.FunctionError != "" || string(res.Payload) != "1" {
			t.Errorf("result = %+v, want the second start to answer", res)
		}
	})

	t.Run("one at a time", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin})
		mustInvoke(t, f, do("echo"))
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				res, err := f.Invoke(t.Context(), do("sleep"))
				mu.Lock()
				defer mu.Unlock()
				if got = append(got, string(res.Payload)); err != nil {
					t.Error(err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := f.Invoke(ctx, do("sleep")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("queued with a short deadline: %v, want deadline exceeded", err)
		}
		wg.Wait()
		slices.Sort(got)
		if len(slices.Compact(got)) != 4 {
			t.Errorf("answers = %v, want four different counts of one process", got)
		}
	})

	t.Run("size of the answer", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin})
		if res := mustInvoke(t, f, []byte(`{"do":"large","bytes":6291556}`)); res.FunctionError != "" || len(res.Payload) != 6291556 {
			t.Errorf("largest answer: %q, %d bytes", res.ErrorType, len(res.Payload))
		}
		res := mustInvoke(t, f, []byte(`{"do":"large","bytes":7000000}`))
		if res.ErrorType != "Function.ResponseSizeTooLarge" {
			t.Errorf("too large an answer: %q, %d bytes", res.ErrorType, len(res.Payload))
		}
		st, err := f.InvokeStream(t.Context(), []byte(`{"do":"large","bytes":7000000}`))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Body.Close()
		if n, err := io.Copy(io.Discard, st.Body); n != 7000000 || err != nil {
			t.Errorf("streamed %d bytes, %v", n, err)
		}
	})

	t.Run("stream", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin})
		for _, tt := range []struct{ do, body, typ string }{
			{"stream", "part 0\npart 1\npart 2\n", ""},
			{"stream-fail", "half", "model_failed"},
			{"stream-exit", "half", "Runtime.ExitError"},
		} {
			st, err := f.InvokeStream(t.Context(), do(tt.do))
			if err != nil {
				t.Fatal(err)
			}
			if st.ContentType != "text/event-stream" {
				t.Errorf("%s: content type %q", tt.do, st.ContentType)
			}
			body, err := io.ReadAll(st.Body)
			var failed *localaws.InvokeError
			if tt.typ == "Runtime.ExitError" && strings.HasPrefix(tt.body, string(body)) {
				body = []byte(tt.body) // data on its way may be lost when a process exits
			}
			if string(body) != tt.body || errors.As(err, &failed) != (tt.typ != "") || failed != nil && failed.Type != tt.typ {
				t.Errorf("%s: %q, %v; want %q, %q", tt.do, body, err, tt.body, tt.typ)
			}
			st.Body.Close()
		}
		var failed *localaws.InvokeError
		if _, err := f.InvokeStream(t.Context(), do("error")); !errors.As(err, &failed) || failed.Message != "told to fail" {
			t.Errorf("failing before the answer: %v", err)
		}
		// A reader who disconnects halfway does not disturb the next one.
		st, err := f.InvokeStream(t.Context(), do("stream"))
		if err != nil {
			t.Fatal(err)
		}
		st.Body.Close()
		if res := mustInvoke(t, f, do("echo")); res.FunctionError != "" {
			t.Errorf("after an abandoned stream: %+v", res)
		}
	})

	t.Run("freeze", func(t *testing.T) { // case 103
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin})
		mustInvoke(t, f, do("echo"))
		if err := f.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		if res := mustInvoke(t, f, do("calls")); string(res.Payload) != "2" {
			t.Errorf("calls after a thaw = %s, want 2 of the same process", res.Payload)
		}
		if err := f.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.Close() // ends a frozen process too
	})

	t.Run("SIGTERM", func(t *testing.T) { // case 105
		var log testenv.Log
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Env: map[string]string{"ON_SIGTERM": "1"}, Stderr: &log})
		mustInvoke(t, f, do("echo"))
		f.Close()
		if !strings.Contains(log.String(), "sessions closed") {
			t.Errorf("log = %q, want the SIGTERM callback to have run", log.String())
		}
	})

	t.Run("close", func(t *testing.T) {
		f := startFunction(t, s, localaws.FunctionConfig{Binary: bin, Timeout: time.Minute})
		mustInvoke(t, f, do("echo"))
		pid, err := f.PID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := f.Invoke(context.Background(), do("hang"))
			failed <- err
		}()
		f.Close()
		if err := <-failed; err == nil {
			t.Error("an invocation outlived its function")
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("process %d is still there", pid)
		}
		if _, err := f.Invoke(t.Context(), do("echo")); err == nil {
			t.Error("a closed function was invoked")
		}
		ctx, cancel := context.WithCancel(t.Context())
		f, err = s.StartFunction(ctx, localaws.FunctionConfig{Name: "agent", Binary: bin})
		if err != nil {
			t.Fatalf("the name is not free again: %v", err)
		}
		cancel()
		f.Close()
	})

	t.Run("Invoke API", func(t *testing.T) { testInvokeAPI(t, s, bin) })
	t.Run("custom resource", func(t *testing.T) { testSendCustomResource(t, s, bin) })
}

func testInvokeAPI(t *testing.T, s *localaws.Server, bin string) {
	startFunction(t, s, localaws.FunctionConfig{Binary: bin})
	for _, tt := range []struct {
		name, path, body string
		header           map[string]string
		status           int
		errorType, want  string
	}{
		{name: "sync", path: "agent", body: `{"a":1}`, status: 200, want: `{"a":1}`},
		{name: "no event", path: "agent", status: 200, want: `{}`},
		{name: "by ARN", path: "arn%3Aaws%3Alambda%3Aeu-central-1%3A000000000000%3Afunction%3Aagent", body: `{}`, status: 200, want: `{}`},
		{name: "latest", path: "agent", body: `{}`, header: map[string]string{"?": "Qualifier=$LATEST"}, status: 200, want: `{}`},
		{name: "event", path: "agent", body: `{}`, header: map[string]string{"X-Amz-Invocation-Type": "Event"}, status: 202},
		{name: "dry run", path: "agent", body: `{}`, header: map[string]string{"X-Amz-Invocation-Type": "DryRun"}, status: 501, errorType: "UnknownOperationException"},
		{name: "odd type", path: "agent", body: `{}`, header: map[string]string{"X-Amz-Invocation-Type": "Later"}, status: 400, errorType: "InvalidParameterValueException"},
		{name: "log tail", path: "agent", body: `{}`, header: map[string]string{"X-Amz-Log-Type": "Tail"}, status: 501, errorType: "UnknownOperationException"},
		{name: "client context", path: "agent", body: `{}`, header: map[string]string{"X-Amz-Client-Context": "e30="}, status: 501, errorType: "UnknownOperationException"},
		{name: "unknown", path: "other", body: `{}`, status: 404, errorType: "ResourceNotFoundException"},
		{name: "version", path: "agent:7", body: `{}`, status: 404, errorType: "ResourceNotFoundException"},
		{name: "not JSON", path: "agent", body: `{`, status: 400, errorType: "InvalidRequestContentException"},
		{name: "too large", path: "agent", body: `"` + strings.Repeat("x", 6291456) + `"`, status: 413, errorType: "RequestTooLargeException"},
		{name: "too large for an event", path: "agent", body: `"` + strings.Repeat("x", 1<<20) + `"`,
			header: map[string]string{"X-Amz-Invocation-Type": "Event"}, status: 413, errorType: "RequestTooLargeException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", s.URL()+"/2015-03-31/functions/"+tt.path+"/invocations", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				if k == "?" {
					req.URL.RawQuery = v
				} else {
					req.Header.Set(k, v)
				}
			}
			signRequest(t, req, []byte(tt.body), "lambda")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status || res.Header.Get("X-Amzn-Errortype") != tt.errorType {
				t.Fatalf("got %d %q %.200s, want %d %q", res.StatusCode, res.Header.Get("X-Amzn-Errortype"), body, tt.status, tt.errorType)
			}
			if tt.errorType == "" && string(body) != tt.want {
				t.Errorf("body = %s, want %s", body, tt.want)
			}
		})
	}

	req, err := http.NewRequest("POST", s.URL()+"/2015-03-31/functions/agent/invocations", bytes.NewReader(do("context")))
	if err != nil {
		t.Fatal(err)
	}
	signRequest(t, req, do("context"), "lambda")
	named, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Body.Close()
	var seen struct {
		ID string `json:"request_id"`
	}
	if err := json.NewDecoder(named.Body).Decode(&seen); err != nil || seen.ID != named.Header.Get("X-Amzn-Requestid") {
		t.Errorf("request id: the function saw %s (%v), the caller %s", seen.ID, err, named.Header.Get("X-Amzn-Requestid"))
	}

	req, err = http.NewRequest("POST", s.URL()+"/2015-03-31/functions/agent/invocations", bytes.NewReader(do("error")))
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := http.DefaultClient.Do(req.Clone(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	unsigned.Body.Close()
	if unsigned.StatusCode != 403 {
		t.Errorf("an unsigned invocation: %d, want 403", unsigned.StatusCode)
	}
	req.Body = io.NopCloser(bytes.NewReader(do("error")))
	signRequest(t, req, do("error"), "lambda")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("X-Amz-Function-Error"); res.StatusCode != 200 || got != "Unhandled" || res.Header.Get("X-Amz-Executed-Version") != "$LATEST" {
		t.Errorf("a failing function: %d %q, want 200 Unhandled", res.StatusCode, got)
	}
}

func TestStartFunction_refused(t *testing.T) {
	s := startServer(t)
	script := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(script, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg  localaws.FunctionConfig
		want string
	}{
		{localaws.FunctionConfig{Name: "a", Binary: "bin/nowhere/bootstrap"}, "run make build first"},
		{localaws.FunctionConfig{Name: "a", Binary: t.TempDir()}, "not an executable file"},
		{localaws.FunctionConfig{Name: "a", Binary: plain}, "not an executable file"},
		{localaws.FunctionConfig{Name: "a/b", Binary: script}, "want a name"},
		{localaws.FunctionConfig{Name: "a", Binary: script, Timeout: time.Hour}, "at most 15 minutes"},
		{localaws.FunctionConfig{Name: "a", Binary: script, MemoryMB: 64}, "want 128"},
		{localaws.FunctionConfig{Name: "a", Binary: script, Env: map[string]string{"AWS_REGION": "x"}}, "AWS_REGION is reserved"},
		{localaws.FunctionConfig{Name: "a", Binary: script, Env: map[string]string{"A-B": "x"}}, "A-B"},
		{localaws.FunctionConfig{Name: "a", Binary: script, Env: map[string]string{"BIG": strings.Repeat("x", 4096)}}, "4096"},
	} {
		f, err := s.StartFunction(t.Context(), tt.cfg)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("StartFunction(%.60v): %v, want %q", tt.cfg, err, tt.want)
		}
	}
	if _, err := localaws.New(localaws.Config{}).StartFunction(t.Context(), localaws.FunctionConfig{Name: "a", Binary: script}); err == nil {
		t.Error("a function was started on a stand-in that is not")
	}
	if _, err := s.StartFunction(t.Context(), localaws.FunctionConfig{Name: "a", Binary: script}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartFunction(t.Context(), localaws.FunctionConfig{Name: "a", Binary: script}); err == nil {
		t.Error("one name was given twice")
	}
}

func TestServer_refusesToStartInLambda(t *testing.T) { // case 139
	for _, name := range []string{"AWS_LAMBDA_FUNCTION_NAME", "AWS_EXECUTION_ENV"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			s := localaws.New(localaws.Config{})
			if err := s.Start(); err == nil {
				s.Close()
				t.Error("it started")
			}
		})
	}
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "localhost:0", "192.0.2.1:0"} {
		s := localaws.New(localaws.Config{Addr: addr})
		if err := s.Start(); err == nil {
			s.Close()
			t.Errorf("it listened on %s", addr)
		}
	}
}
