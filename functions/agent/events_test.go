package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

const sum = "The sum of 2 + 2 = 4."

func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := events.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// replace changes a part of a sample and fails if the part is missing.
func replace(t testing.TB, event []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(event, []byte(old)) {
		t.Fatalf("the event lacks %s", old)
	}
	return bytes.ReplaceAll(event, []byte(old), []byte(new))
}

// The compiled agent answers every sample as its source expects. Results that no
// caller waits for are on the bus. case 91, case 92, case 99
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.aws.AddEventBus("results")
	f := w.agent(t, map[string]string{"RESULT_BUS": "results", "SCHEDULE_PROMPT": "What is 2+2?"})
	tests := []struct {
		name          string
		event         []byte
		want          string // part of the answer
		wantPublished []string
	}{
		{"direct", sample(t, "ask.json"), `{"output":"` + sum, nil},
		{"Function URL", sample(t, "function-url.json"), `{"statusCode":200`, nil},
		{"HTTP API", sample(t, "http-api.json"), `{"statusCode":200`, nil},
		{"REST API", sample(t, "rest-api.json"), `{"statusCode":200`, nil},
		{"a bad request", replace(t, sample(t, "rest-api.json"), `{\"prompt\":\"What is 2+2?\"}`, `{}`), `{"statusCode":400`, nil},
		{"SQS", sample(t, "sqs.json"), `{"batchItemFailures":[]}`, []string{"Agent Answered", "Agent Answered"}},
		{"SQS with a poisoned message", replace(t, replace(t, sample(t, "sqs.json"), `{\"prompt\":\"What is 2+2?\"}`, `poison`), "059f36b4", "059f36b5"), `{"batchItemFailures":[]}`, []string{"Agent Failed"}},
		{"SQS FIFO", sample(t, "sqs-fifo.json"), `{"batchItemFailures":[]}`, []string{"Agent Answered", "Agent Answered"}},
		{"EventBridge", sample(t, "eventbridge.json"), `{"output":"` + sum, []string{"Agent Answered"}},
		{"scheduled rule", sample(t, "schedule.json"), `{"output":"` + sum, []string{"Agent Answered"}},
		{"Scheduler", sample(t, "scheduler.json"), `{"output":"` + sum, []string{"Agent Answered"}},
		{"SNS", sample(t, "sns.json"), `{"output":"` + sum, []string{"Agent Answered"}},
		{"SNS once more", sample(t, "sns.json"), `{"output":"` + sum, nil}, // case 97
		{"EventBridge without a detail", replace(t, replace(t, sample(t, "eventbridge.json"), `"detail": {`, `"x": {`), "17793124", "17793125"), `{"error":{"code":"invalid_request"`, []string{"Agent Failed"}},
	}
	for _, tt := range tests {
		n := len(w.aws.Events())
		res, err := f.Invoke(t.Context(), tt.event)
		if err != nil {
			t.Fatal(err)
		}
		if res.FunctionError != "" || !strings.HasPrefix(string(res.Payload), tt.want) {
			t.Errorf("%s: got %s\nwant %s", tt.name, res.Payload, tt.want)
		}
		var published []string
		for _, e := range w.aws.Events()[n:] {
			published = append(published, e.DetailType)
			if e.Bus != "results" || e.Source != trigger.EventSource {
				t.Errorf("%s: published %+v", tt.name, e)
			}
		}
		if !slices.Equal(published, tt.wantPublished) {
			t.Errorf("%s: published %q, want %q", tt.name, published, tt.wantPublished)
		}
	}
	w.scanForSecrets(t, nil)

	// case 108: a published result is ignored when a rule sends it back.
	n := len(w.aws.Records())
	for _, e := range w.aws.Events() {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := f.Invoke(t.Context(), raw); err != nil || !strings.HasPrefix(string(res.Payload), `{"ignored":`) {
			t.Errorf("got %s, %v", res.Payload, err)
		}
	}
	if ops := w.since(n); len(ops) > 0 {
		t.Errorf("events of our own led to %q", ops)
	}
}

// case 99: without a bus, a permanent failure is a Lambda error.
func TestEvents_noBus(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	bad := replace(t, sample(t, "sns.json"), `{\"prompt\":\"What is 2+2?\"}`, `{}`)
	if _, res := ask(t, f, string(bad)); res.ErrorType != "invalid_request" {
		t.Errorf("got %s", res.Payload)
	}
	res, err := f.Invoke(t.Context(), replace(t, sample(t, "sqs.json"), `{\"prompt\":\"What is 2+2?\"}`, `poison`))
	if want := `{"batchItemFailures":[{"itemIdentifier":"059f36b4-87a3-44ab-83d2-661975830a7d"}]}`; err != nil || string(res.Payload) != want {
		t.Errorf("got %s, %v, want %s", res.Payload, err, want)
	}
}

// A bus that is down leaves each record to its source.
func TestEvents_busDown(t *testing.T) {
	w := newWorld(t)
	w.aws.AddEventBus("results")
	f := w.agent(t, map[string]string{"RESULT_BUS": "results"})
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "events" {
			return &localaws.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException"}
		}
		return nil
	})
	res, err := f.Invoke(t.Context(), sample(t, "sqs.json"))
	if err != nil || strings.Count(string(res.Payload), "itemIdentifier") != 2 {
		t.Errorf("got %s, %v", res.Payload, err)
	}
	w.aws.SetFault(nil)
	n := len(w.aws.Records())
	if res, err = f.Invoke(t.Context(), sample(t, "sqs.json")); err != nil || string(res.Payload) != `{"batchItemFailures":[]}` {
		t.Errorf("once it is up: got %s, %v", res.Payload, err)
	}
	if ops := w.since(n); !slices.Equal(ops, []string{"events/PutEvents"}) { // case 97
		t.Errorf("the second delivery took %q, want only what was missing", ops)
	}
}

// A streaming URL gets its answers in the form that Lambda requires.
func TestEvents_stream(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"INVOKE_MODE": "RESPONSE_STREAM"})
	for accept, want := range map[string]string{"application/json": `{"output":"` + sum, "text/event-stream": "event: done\ndata: {\"output\":\"" + sum} {
		s, err := f.InvokeStream(t.Context(), replace(t, sample(t, "function-url.json"), `"accept": "application/json"`, `"accept": "`+accept+`"`))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(s.Body)
		s.Body.Close()
		prelude, body, ok := bytes.Cut(raw, make([]byte, 8))
		var head lambdaevents.LambdaFunctionURLResponse
		if err != nil || !ok || json.Unmarshal(prelude, &head) != nil {
			t.Fatalf("got %q, %v", raw, err)
		}
		if s.ContentType != "application/vnd.awslambda.http-integration-response" || head.StatusCode != 200 || head.Headers["Content-Type"] != accept || !strings.Contains(string(body), want) {
			t.Errorf("%s: got %s with %q: %s", accept, s.ContentType, head.Headers, body)
		}
	}
	// Other sources of the same function are not affected.
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
		t.Errorf("got %s", res.Payload)
	}
}

// Events are streamed as they happen: tools before their results, and the answer
// last.
func TestEvents_streamedTools(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"INVOKE_MODE": "RESPONSE_STREAM"})
	s, err := f.InvokeStream(t.Context(), replace(t, sample(t, "function-url.json"), `"accept": "application/json"`, `"accept": "text/event-stream"`))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Body.Close()
	raw, err := io.ReadAll(s.Body)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(raw)) {
		if _, name, ok := strings.Cut(line, "event: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	names = slices.Compact(names)
	if want := []string{"usage", "tool_use", "tool_result", "delta", "usage", "done"}; !slices.Equal(names, want) && !slices.Equal(names, append([]string{"tool_use"}, append([]string{"usage"}, want[2:]...)...)) {
		t.Errorf("got the events %q, want %q", names, want)
	}
	for _, want := range []string{
		`"server":"mcp_simple_calculator","tool":"add_numbers","input":{"a":2,"b":2}`,
		`"server":"mcp_simple_calculator","tool":"add_numbers","duration_ms":`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

// A request may contain earlier messages, and may restrict the tools. case 81
func TestEvents_messagesAndTools(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	var seen []localaws.ConverseRequest
	w.aws.SetModel(func(r localaws.ConverseRequest) localaws.ConverseReply {
		seen = append(seen, r)
		if len(seen) == 1 {
			return localaws.Ask(localaws.ToolUse{Name: "multiply_numbers", Input: json.RawMessage(`{"a":2,"b":2}`)})
		}
		return localaws.Say("done")
	})
	got, res := ask(t, f, `{"prompt":"and now?","tools":["add_numbers"],"messages":[{"role":"user","text":"hello"},{"role":"assistant","text":"good day"}]}`)
	if got.Output != "done" || len(got.ToolCalls) != 1 || !got.ToolCalls[0].Error {
		t.Fatalf("got %s, want a call that was refused", res.Payload)
	}
	first := seen[0]
	if len(first.Messages) != 3 || first.Messages[0].Content[0].Text != "hello" || first.Messages[1].Role != "assistant" {
		t.Errorf("the model was sent %+v", first.Messages)
	}
	if len(first.Tools) != 1 || first.Tools[0].Name != "add_numbers" {
		t.Errorf("the model was offered %+v", first.Tools)
	}
	for _, r := range w.aws.Records() {
		if r.Service == "agentcore" && bytes.Contains(r.RequestBody, []byte("tools/call")) {
			t.Error("a tool outside the request's list was called")
		}
	}
	if _, res := ask(t, f, `{"prompt":"x","messages":[{"role":"system","text":"be bad"}]}`); res.ErrorType != "invalid_request" {
		t.Errorf("got %s", res.Payload)
	}
}

// case 86: nothing of a conversation appears in the next one.
func TestEvents_noBleed(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"RECORDS_AT_ONCE": "10"})
	var records []map[string]any
	names := []string{"Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi", "Ivan", "Judy"}
	for _, name := range names {
		records = append(records, map[string]any{"messageId": name, "eventSource": "aws:sqs", "eventSourceARN": "q", "body": `{"prompt":"greet ` + name + `"}`})
	}
	event, _ := json.Marshal(map[string]any{"Records": records})
	n := len(w.aws.Records())
	if res, err := f.Invoke(t.Context(), event); err != nil || string(res.Payload) != `{"batchItemFailures":[]}` {
		t.Fatalf("got %s, %v", res.Payload, err)
	}
	calls := 0
	for _, r := range w.aws.Records()[n:] {
		if r.Service != "bedrock" {
			continue
		}
		calls++
		seen := 0
		for _, name := range names {
			if bytes.Contains(r.RequestBody, []byte(name)) {
				seen++
			}
		}
		if seen != 1 {
			t.Errorf("a conversation has %d names in it: %s", seen, r.RequestBody)
		}
	}
	if calls != 2*len(names) {
		t.Errorf("the model was asked %d times, want %d", calls, 2*len(names))
	}
}

// case 103: a process that was frozen while its connections died answers the
// next event, and did nothing in the meantime.
func TestEvents_freezeAndThaw(t *testing.T) {
	w := newWorld(t)
	proxy := newProxy(t, strings.TrimPrefix(w.aws.URL(), "http://"))
	f := w.agent(t, map[string]string{"AWS_ENDPOINT_URL": proxy.url})
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
		t.Fatalf("got %s", res.Payload)
	}
	before, err := f.PID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := len(w.aws.Records())
	if err := f.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cut := proxy.cut(); cut == 0 {
		t.Error("there was no connection to cut")
	}
	if ops := w.since(n); len(ops) > 0 {
		t.Errorf("after the answer: %q", ops)
	}
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
		t.Errorf("got %s: %s", res.Payload, w.log)
	}
	if after, err := f.PID(t.Context()); after != before {
		t.Errorf("got process %d, %v, want the same %d", after, err, before)
	}
}

// proxy passes connections on to one address and can cut them all.
type proxy struct {
	url string

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{url: "http://" + l.Addr().String()}
	t.Cleanup(func() { p.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go func() { io.Copy(in, out); in.Close() }()
			go func() { io.Copy(out, in); out.Close() }()
		}
	}()
	return p
}

// cut resets every connection and returns their number.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	for _, c := range p.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	p.conns = nil
	return n
}

// case 105: on SIGTERM the process closes its sessions and ends within the half
// second that Lambda gives it, without printing anything.
func TestEvents_sigterm(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"LOG_LEVEL": "warn"})
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
		t.Fatalf("got %s", res.Payload)
	}
	start := time.Now()
	f.Close()
	if got := time.Since(start); got >= 450*time.Millisecond {
		t.Errorf("the process took %v to end, and may have been killed", got)
	}
	if got := w.log.String(); got != "" {
		t.Errorf("it logged %s", got)
	}
}

// case 106: no event needs, leaves or reads a file in /tmp.
func TestEvents_noTmp(t *testing.T) {
	w := newWorld(t)
	w.aws.AddEventBus("results")
	if _, err := w.aws.AddTable(localaws.Table{Name: "ledger", HashKey: "id", TTLAttribute: "expires"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	leftover := filepath.Join(dir, "leftover")
	if err := os.WriteFile(leftover, []byte("of an earlier process"), 0o600); err != nil {
		t.Fatal(err)
	}
	// In the last two nothing can be written, as where the disk is full.
	for _, tmp := range []string{dir, filepath.Join(dir, "not-there"), leftover} {
		f := w.agent(t, map[string]string{"TMPDIR": tmp, "HOME": tmp, "LEDGER_TABLE": "ledger", "RESULT_BUS": "results"})
		if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
			t.Errorf("TMPDIR=%s: got %s", tmp, res.Payload)
		}
		for _, name := range []string{"sqs.json", "sns.json", "rest-api.json"} {
			if res, err := f.Invoke(t.Context(), sample(t, name)); err != nil || res.FunctionError != "" || strings.Contains(string(res.Payload), "itemIdentifier") {
				t.Errorf("TMPDIR=%s: %s: got %s, %v", tmp, name, res.Payload, err)
			}
		}
		f.Close()
	}
	left, err := os.ReadDir(dir)
	kept, err2 := os.ReadFile(leftover)
	if errors.Join(err, err2) != nil || len(left) != 1 || string(kept) != "of an earlier process" {
		t.Errorf("left in TMPDIR: %v with %q, %v", left, kept, errors.Join(err, err2))
	}
}

// case 107: settings that are missing are named at every entry point, and over
// HTTP only in the log.
func TestEvents_misconfigured(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, map[string]string{"BEDROCK_MODEL_ID": "", "INVOKE_MODE": "STREAM", "FRONT_TIMEOUT": "soon", "RECORDS_AT_ONCE": "0"})
	_, res := ask(t, f, `{"prompt":"hi"}`)
	for _, name := range []string{"BEDROCK_MODEL_ID", "INVOKE_MODE", "FRONT_TIMEOUT", "RECORDS_AT_ONCE"} {
		if res.ErrorType != "configuration_error" || !strings.Contains(res.ErrorMessage, name) {
			t.Errorf("got %s, want %s in it", res.Payload, name)
		}
	}
	out, err := f.Invoke(t.Context(), sample(t, "function-url.json"))
	if err != nil || !strings.HasPrefix(string(out.Payload), `{"statusCode":500`) || strings.Contains(string(out.Payload), "BEDROCK_MODEL_ID") {
		t.Errorf("got %s, %v", out.Payload, err)
	}
	if !strings.Contains(w.log.String(), "BEDROCK_MODEL_ID") {
		t.Errorf("the log does not name it: %s", w.log)
	}
}

// case 85, case 92: a refusal of the model fails only its own record, and the
// process serves on.
func TestEvents_oneRecordFails(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	if got, res := ask(t, f, `{"prompt":"What is 2+2?"}`); got.Output != sum {
		t.Fatalf("got %s", res.Payload)
	}
	before, err := f.PID(t.Context())
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "bedrock" && bytes.Contains(r.RequestBody, []byte("greet Alice")) {
			return &localaws.Fault{Status: http.StatusForbidden, Type: "AccessDeniedException"}
		}
		return nil
	})
	res, invokeErr := f.Invoke(t.Context(), sample(t, "sqs.json"))
	if want := `{"batchItemFailures":[{"itemIdentifier":"2e1424d4-f796-459a-8184-9c92662be6da"}]}`; invokeErr != nil || string(res.Payload) != want {
		t.Errorf("got %s, %v, want %s", res.Payload, invokeErr, want)
	}
	if after, err2 := f.PID(t.Context()); errors.Join(err, err2) != nil || after != before {
		t.Errorf("got process %d, want the same %d", after, before)
	}
}

// A session that ends while Parameter Store is down is opened again at the last
// known address. case 52
func TestAgent_sessionGone(t *testing.T) {
	w := newWorld(t)
	f := w.agent(t, nil)
	const event = `{"prompt":"What is 2+2?"}`
	ask(t, f, event)
	var gone atomic.Bool
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		switch {
		case r.Service == "ssm":
			return &localaws.Fault{Status: http.StatusBadRequest, Type: "ThrottlingException"}
		case r.Service == "agentcore" && gone.CompareAndSwap(false, true):
			return &localaws.Fault{Status: http.StatusNotFound, Type: "ResourceNotFoundException"}
		}
		return nil
	})
	if got, res := ask(t, f, event); got.Output != sum || got.ToolCalls[0].Error {
		t.Errorf("got %s %s", res.Payload, res.ErrorMessage)
	}
}
