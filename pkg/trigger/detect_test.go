package trigger_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/pkg/trigger"
)

// sample is an event of the corpus.
func sample(t testing.TB, name string) string {
	t.Helper()
	raw, err := events.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// with is an event with one member, at a path of names separated by dots and
// indexes, set to a JSON value, or taken away where that is empty.
func with(t testing.TB, event, path, value string) string {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(event), &doc); err != nil {
		t.Fatal(err)
	}
	at := doc
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		switch v := at.(type) {
		case map[string]any:
			at = v[step]
		case []any:
			at = v[int(step[0]-'0')]
		}
	}
	m, ok := at.(map[string]any)
	if !ok {
		t.Fatalf("no object at %s", path)
	}
	last := steps[len(steps)-1]
	if value == "" {
		delete(m, last)
	} else {
		m[last] = json.RawMessage(value)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// case 91: every shape of the corpus reaches the agent and is answered in the
// form that its source expects.
func TestDetect(t *testing.T) {
	answer := `"output":"What is 2+2?"`
	tests := map[string]struct{ want, not string }{
		"ask.json":          {want: `{` + answer, not: "statusCode"},
		"function-url.json": {want: `"statusCode":200`},
		"http-api.json":     {want: `"statusCode":200`},
		"rest-api.json":     {want: `"statusCode":200`},
		"sqs.json":          {want: `{"batchItemFailures":[]}`},
		"sqs-fifo.json":     {want: `{"batchItemFailures":[]}`},
		"eventbridge.json":  {want: `{` + answer},
		"schedule.json":     {want: `{` + answer},
		"scheduler.json":    {want: `{` + answer},
		"sns.json":          {want: `{` + answer},
	}
	names, err := fs.Glob(events.FS, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { // those of the other functions
		return strings.HasPrefix(n, "cfn-") || strings.HasPrefix(n, "setup-") || strings.HasPrefix(n, "image-")
	})
	if want := slices.Sorted(maps.Keys(tests)); !slices.Equal(names, want) {
		t.Fatalf("the corpus has %q, tests for %q", names, want)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			agent := &recording{}
			h, _ := newHandler(agent)
			h.SchedulePrompt = "What is 2+2?"
			got, err := invoke(t, h, sample(t, name))
			if err != nil || !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
			if prompts := agent.prompts(); len(prompts) == 0 || !slices.Contains(prompts, "What is 2+2?") {
				t.Errorf("the agent was asked %q", prompts)
			}
		})
	}
}

// case 91: what looks like two sources is the first of them, and what is like
// none is refused by name before the agent is asked.
func TestDetect_refused(t *testing.T) {
	url, sqs, sns, bus := sample(t, "function-url.json"), sample(t, "sqs.json"), sample(t, "sns.json"), sample(t, "eventbridge.json")
	tests := []struct{ name, event, wantIn string }{
		{"load balancer", with(t, url, "requestContext", `{"elb":{"targetGroupArn":"arn"}}`), "Load Balancer"},
		{"WebSocket", `{"requestContext":{"connectionId":"x","eventType":"MESSAGE"},"body":"{\"prompt\":\"hi\"}"}`, "WebSocket"},
		{"payload of a version to come", with(t, url, "version", `"3.0"`), "3.0"},
		{"payload 2.0 without http", with(t, url, "requestContext.http", ``), "2.0"},
		{"HTTP without a version", with(t, url, "version", ``), "payload format"},
		{"S3", `{"Records":[{"eventSource":"aws:s3"}]}`, "aws:s3"},
		{"Kinesis", `{"Records":[{"eventSource":"aws:kinesis"}]}`, "aws:kinesis"},
		{"no record", with(t, sqs, "Records", `[]`), "empty list of Records"},
		{"Records is no list", with(t, sqs, "Records", `{}`), "Records"},
		{"a record is null", with(t, sqs, "Records", `[null]`), "no known source"},
		{"records of two services", `{"Records":[{"eventSource":"aws:sqs"},{"EventSource":"aws:sns"}]}`, "aws:sqs and aws:sns"},
		{"record of none", with(t, sns, "Records.0.EventSource", ``), "no known source"},
		{"message without an id", with(t, sqs, "Records.1.messageId", ``), "messageId"},
		{"message with an empty id", with(t, sqs, "Records.1.messageId", `""`), "messageId"},
		{"message body no string", with(t, sqs, "Records.1.body", `{}`), "malformed"},
		{"notification without an id", with(t, sns, "Records.0.Sns", `{}`), "MessageId"},
		{"notification no object", with(t, sns, "Records.0.Sns", `3`), "malformed"},
		{"event without an id", with(t, bus, "id", ``), "no id"},
		{"event without a source", with(t, bus, "source", ``), "detail-type"},
		{"event whose source is no string", with(t, bus, "source", `["example.shop"]`), "detail-type"},
		{"CloudFormation", sample(t, "cfn-create.json"), "CloudFormation"},
		{"something else", `{"b":1,"a":{"prompt":"hi"}}`, "a, b"},
		{"names that would break a line", `{"a\nb\u0000":1}`, "members a b "},
		{"names that are hostile", `{"` + strings.Repeat("x", 5000) + `\n":1}`, "members xxx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			agent := &recording{}
			h, _ := newHandler(agent)
			_, err := invoke(t, h, tt.event)
			got, _ := errors.AsType[messages.InvokeResponse_Error](err)
			if got.Type != "unsupported_event" || !strings.Contains(got.Message, tt.wantIn) || len(got.Message) > 500 || strings.Contains(got.Message, "\n") {
				t.Errorf("got %v, want unsupported_event with %q", err, tt.wantIn)
			}
			if len(agent.prompts()) > 0 {
				t.Errorf("the agent was asked %q", agent.prompts())
			}
		})
	}
}

// case 91: a prompt at the top comes first.
func TestDetect_precedence(t *testing.T) {
	for _, name := range []string{"function-url.json", "rest-api.json", "sqs.json", "eventbridge.json", "sns.json"} {
		h, _ := newHandler(agentFunc(echo))
		got, err := invoke(t, h, with(t, sample(t, name), "prompt", `"mine"`))
		if err != nil || !strings.HasPrefix(got, `{"output":"mine"`) {
			t.Errorf("%s with a prompt: got %s, %v", name, got, err)
		}
	}
	h, _ := newHandler(agentFunc(echo))
	both := with(t, with(t, sample(t, "function-url.json"), "Records", `[{"eventSource":"aws:sqs","messageId":"m","body":"{}"}]`), "detail-type", `"x"`)
	if got, err := invoke(t, h, with(t, both, "source", `"x"`)); err != nil || !strings.Contains(got, "statusCode") {
		t.Errorf("HTTP before records before EventBridge: got %s, %v", got, err)
	}
}

// case 91, case 96: whatever comes, there is one outcome and no panic, and a
// batch answer reports no id that was not in the batch.
func FuzzInvoke(f *testing.F) {
	names, err := fs.Glob(events.FS, "*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add([]byte(sample(f, name)))
	}
	for _, s := range []string{
		`{"prompt":"hi","session_id":"s"}`, `{"input":"\ud800"}`, `{"Records":[]}`, `{"prompt":"x","messages":[{"role":"user","text":"y"}],"tools":["a"]}`,
		`{"Records":[{"eventSource":"aws:sqs","messageId":"a","body":"x","eventSourceARN":"q.fifo"},{"eventSource":"aws:sqs","messageId":"a","body":"","eventSourceARN":"q.fifo"}]}`,
		`{"version":"2.0","requestContext":{"domainName":"a.lambda-url.b","http":{"method":"POST"}},"headers":{"Content-Type":"application/json","accept":"text/event-stream"},"body":"{\"prompt\":\"x\"}"}`,
	} {
		f.Add([]byte(s))
	}
	h, log := newHandler(agentFunc(echo))
	f.Fuzz(func(t *testing.T, event []byte) {
		if !json.Valid(event) {
			return // Lambda takes none
		}
		log.Reset()
		h.Stream = len(event)%2 == 0
		out, err := h.Invoke(t.Context(), event)
		if strings.Contains(log.String(), "panic: ") {
			t.Fatalf("%s", log)
		}
		switch out := out.(type) {
		case nil:
			if err == nil || codeOf(err) == "" {
				t.Fatalf("got %v, want an error with a code", err)
			}
		case json.RawMessage:
			var batch lambdaevents.SQSEventResponse
			if err != nil || !json.Valid(out) || json.Unmarshal(out, &batch) != nil {
				t.Fatalf("got %s and %v", out, err)
			}
			for _, failure := range batch.BatchItemFailures {
				if id, _ := json.Marshal(failure.ItemIdentifier); failure.ItemIdentifier == "" || !strings.Contains(canonical(event), string(id)) {
					t.Fatalf("reported %q, which was not sent", failure.ItemIdentifier)
				}
			}
		case *lambdaevents.LambdaFunctionURLStreamingResponse:
			out.Close()
		default:
			t.Fatalf("got a %T", out)
		}
	})
}

// canonical is a JSON text with its strings written in one way.
func canonical(event []byte) string {
	var v any
	json.Unmarshal(event, &v)
	out, _ := json.Marshal(v)
	return string(out)
}

var _ trigger.Agent = &recording{}
