package trigger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"agentcore-mcp-auth/pkg/trigger"
)

// agentFunc is an agent that is one function.
type agentFunc func(context.Context, trigger.Request) (trigger.Answer, error)

func (f agentFunc) Ask(ctx context.Context, r trigger.Request) (trigger.Answer, error) {
	return f(ctx, r)
}

func echo(_ context.Context, r trigger.Request) (trigger.Answer, error) {
	return trigger.Answer{Output: r.Prompt, StopReason: "end_turn", Turns: 1}, nil
}

// The tests that hold the cases of entry points:
//
//	 84  TestInvoke, TestHTTP_refused, TestQueue
//	 85  TestInvoke_agentError, TestHTTP_agentError, TestQueue, TestEvent
//	 91  TestDetect, TestDetect_refused, FuzzInvoke
//	 92  TestQueue
//	 93  TestQueue, TestQueue_allFail
//	 94  TestQueue_deadline
//	 95  TestQueue_order
//	 96  TestQueue_reportedIDs, FuzzInvoke
//	 97  TestLedger, TestMemory, TestTable, TestTable_written, TestTable_unreachable
//	 99  TestEvent, TestTopic
//	100  TestHTTP_refused, TestHTTP_tooBig, TestHTTP_base64
//	101  TestHTTP_frontBudget
//	104  TestInvoke_panic, TestStream_silence, TestQueue
//	108  TestEvent, TestEvent_own
//
// Those of a whole process, 86, 103, 105, 106 and 107, are in functions/agent.
// 98 and 102 are the template's.

func newHandler(a trigger.Agent) (*trigger.Handler, *bytes.Buffer) {
	var log bytes.Buffer
	return &trigger.Handler{Agent: a, Logger: slog.New(slog.NewJSONHandler(&log, nil))}, &log
}

func TestInvoke(t *testing.T) {
	h, _ := newHandler(agentFunc(echo))
	tests := []struct {
		name, payload string
		wantOutput    string
		wantSession   string // empty: one is made up
		wantCode      trigger.Code
		wantIn        string // part of the message
	}{
		{name: "prompt", payload: `{"prompt":"hi"}`, wantOutput: "hi"},
		{name: "input", payload: `{"input":"hi"}`, wantOutput: "hi"},
		{name: "both alike", payload: `{"input":"hi","prompt":"hi"}`, wantOutput: "hi"},
		{name: "session", payload: `{"prompt":"hi","session_id":"s-1"}`, wantOutput: "hi", wantSession: "s-1"},
		{name: "beyond ASCII", payload: `{"prompt":"Grüße 👋"}`, wantOutput: "Grüße 👋"},
		{name: "the longest prompt", payload: `{"prompt":"` + strings.Repeat("a", 256<<10) + `"}`, wantOutput: strings.Repeat("a", 256<<10)},

		// case 84
		{name: "both, different", payload: `{"input":"hi","prompt":"ho"}`, wantCode: trigger.InvalidRequest, wantIn: "differ"},
		{name: "both, one empty", payload: `{"input":"hi","prompt":""}`, wantCode: trigger.InvalidRequest, wantIn: "differ"},
		{name: "empty", payload: `{"prompt":""}`, wantCode: trigger.InvalidRequest, wantIn: "empty"},
		{name: "blank", payload: `{"prompt":" \n"}`, wantCode: trigger.InvalidRequest, wantIn: "empty"},
		{name: "null", payload: `{"prompt":null}`, wantCode: trigger.InvalidRequest, wantIn: "prompt must be a string"},
		{name: "number", payload: `{"input":4}`, wantCode: trigger.InvalidRequest, wantIn: "input must be a string"},
		{name: "not UTF-8", payload: "{\"prompt\":\"\xff\"}", wantCode: trigger.InvalidRequest, wantIn: "UTF-8"},
		{name: "no prompt", payload: `{}`, wantCode: trigger.InvalidRequest, wantIn: "no prompt"},
		{name: "session only", payload: `{"session_id":"x"}`, wantCode: trigger.InvalidRequest, wantIn: "no prompt"},
		{name: "too long", payload: `{"prompt":"` + strings.Repeat("a", 256<<10+1) + `"}`, wantCode: trigger.RequestTooLarge, wantIn: "262144"},
		{name: "session not a string", payload: `{"prompt":"hi","session_id":7}`, wantCode: trigger.InvalidRequest, wantIn: "session_id"},
		{name: "session empty", payload: `{"prompt":"hi","session_id":""}`, wantCode: trigger.InvalidRequest, wantIn: "session_id"},
		{name: "session too long", payload: `{"prompt":"hi","session_id":"` + strings.Repeat("ü", 257) + `"}`, wantCode: trigger.InvalidRequest, wantIn: "session_id"},

		{name: "messages no list", payload: `{"prompt":"hi","messages":{}}`, wantCode: trigger.InvalidRequest, wantIn: "messages must be a list"},
		{name: "message without a role", payload: `{"prompt":"hi","messages":[{"text":"x","y":"z"}]}`, wantCode: trigger.InvalidRequest, wantIn: "messages[0]"},
		{name: "message that is more", payload: `{"prompt":"hi","messages":[{"role":"user","text":"x","y":"z"}]}`, wantCode: trigger.InvalidRequest, wantIn: "messages[0]"},
		{name: "tools no list", payload: `{"prompt":"hi","tools":"add"}`, wantCode: trigger.InvalidRequest, wantIn: "tools must be a list"},
		{name: "tools null", payload: `{"prompt":"hi","tools":null}`, wantCode: trigger.InvalidRequest, wantIn: "tools must be a list"},
		{name: "tool no name", payload: `{"prompt":"hi","tools":[1,"add"]}`, wantCode: trigger.InvalidRequest, wantIn: "tools must be a list"},
		{name: "tool with an empty name", payload: `{"prompt":"hi","tools":["","add"]}`, wantCode: trigger.InvalidRequest, wantIn: "tools must be a list"},

		// case 91
		{name: "array", payload: `[{"prompt":"hi"}]`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "JSON null", payload: `null`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "not JSON", payload: `hi`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "S3 event", payload: `{"Records":[{"eventSource":"aws:s3"}]}`, wantCode: trigger.UnsupportedEvent, wantIn: "Records"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := invoke(t, h, tt.payload)
			if tt.wantCode != "" {
				var got messages.InvokeResponse_Error
				if !errors.As(err, &got) {
					t.Fatalf("got answer %s and error %v, want a Lambda error", out, err)
				}
				if got.Type != string(tt.wantCode) || !strings.Contains(got.Message, tt.wantIn) {
					t.Errorf("got %s: %s, want %s with %q", got.Type, got.Message, tt.wantCode, tt.wantIn)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got trigger.Answer
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if got.Output != tt.wantOutput {
				t.Errorf("got output of %d bytes, want %d", len(got.Output), len(tt.wantOutput))
			}
			if got.SessionID == "" || tt.wantSession != "" && got.SessionID != tt.wantSession {
				t.Errorf("got session id %q, want %q", got.SessionID, tt.wantSession)
			}
		})
	}
}

// A request may name the tools that there are for it: some, none, or all by
// saying nothing.
func TestInvoke_tools(t *testing.T) {
	for payload, want := range map[string][]string{
		`{"prompt":"hi"}`: nil, `{"prompt":"hi","tools":[]}`: {}, `{"prompt":"hi","tools":["add","greet"]}`: {"add", "greet"},
	} {
		h, _ := newHandler(agentFunc(func(_ context.Context, r trigger.Request) (trigger.Answer, error) {
			if !reflect.DeepEqual(r.Tools, want) {
				t.Errorf("%s: got tools %#v, want %#v", payload, r.Tools, want)
			}
			return trigger.Answer{}, nil
		}))
		if _, err := invoke(t, h, payload); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func TestInvoke_answerForm(t *testing.T) {
	h, _ := newHandler(agentFunc(echo))
	got, err := invoke(t, h, `{"prompt":"hi","session_id":"s"}`)
	want := `{"output":"hi","session_id":"s","stop_reason":"end_turn","turns":1,"tool_calls":[],"usage":{"input_tokens":0,"output_tokens":0}}`
	if err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

// case 85: a failure is an error and never an answer; what is internal stays in
// the log.
func TestInvoke_agentError(t *testing.T) {
	tests := []struct {
		name              string
		err               error
		wantType, wantMsg string
		wantLogged        string
	}{
		{"typed", &trigger.Error{Code: trigger.TokenRefused, Message: "check x", Err: errors.New("inner detail")}, "token_refused", "check x", "inner detail"},
		{"after some tokens", &trigger.Error{Code: trigger.DeadlineExceeded, Message: "late", Usage: trigger.Usage{InputTokens: 7, OutputTokens: 3}},
			"deadline_exceeded", "late", `"input_tokens":7,"output_tokens":3`}, // case 90
		{"a caller that left", context.Canceled, "deadline_exceeded", "no answer fits in the time left", "context canceled"},
		{"any other", errors.New("inner detail"), "internal_error", "the agent failed; its log has the details", "inner detail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
				return trigger.Answer{Output: "half an answer"}, tt.err
			}))
			out, err := invoke(t, h, `{"prompt":"hi"}`)
			var got messages.InvokeResponse_Error
			if out != "" || !errors.As(err, &got) || got.Type != tt.wantType || got.Message != tt.wantMsg {
				t.Errorf("got %s, %v, want %s: %s", out, err, tt.wantType, tt.wantMsg)
			}
			if !strings.Contains(log.String(), tt.wantLogged) {
				t.Errorf("the log lacks %q: %s", tt.wantLogged, log)
			}
		})
	}
}

// invoke sends one event and returns the JSON that comes back.
func invoke(t testing.TB, h *trigger.Handler, event string) (string, error) {
	t.Helper()
	return invokeWithin(t, t.Context(), h, event)
}

func invokeWithin(t testing.TB, ctx context.Context, h *trigger.Handler, event string) (string, error) {
	t.Helper()
	out, err := h.Invoke(ctx, json.RawMessage(event))
	if err != nil {
		if out != nil {
			t.Errorf("got %v beside error %v", out, err)
		}
		return "", err
	}
	raw, ok := out.(json.RawMessage)
	if !ok || !json.Valid(raw) {
		t.Fatalf("got a %T, want JSON", out)
	}
	return string(raw), nil
}

// codeOf is the errorType that Lambda reports for err.
func codeOf(err error) string {
	if e, ok := errors.AsType[messages.InvokeResponse_Error](err); ok {
		return e.Type
	}
	return ""
}

// case 104: a panic becomes the same error as any other, logged once, with its
// stack and the id of the request.
func TestInvoke_panic(t *testing.T) {
	h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) { panic("canary") }))
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "r-1"})
	_, err := invokeWithin(t, ctx, h, `{"prompt":"hi"}`)
	if codeOf(err) != "internal_error" || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	if got := strings.Count(log.String(), "canary"); got != 1 {
		t.Errorf("the panic is in the log %d times, want once: %s", got, log)
	}
	for _, want := range []string{`"request_id":"r-1"`, "trigger_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	h.Agent = agentFunc(echo)
	if _, err := invoke(t, h, `{"prompt":"hi"}`); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

// An agent that does not stop does not hold the answer up, and is heard of in
// the log. case 94, case 103
func TestInvoke_agentHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
			<-release
			return trigger.Answer{}, nil
		}))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := invokeWithin(t, ctx, h, `{"prompt":"hi"}`)
		if got := time.Since(start); codeOf(err) != "deadline_exceeded" || got != 9600*time.Millisecond {
			t.Errorf("got %v after %v, want deadline_exceeded after 9.6s", err, got)
		}
		if !strings.Contains(log.String(), "still runs") {
			t.Errorf("the log does not tell: %s", log)
		}
		close(release)
	})
}

// An answer that Lambda would not take is an error, since the runtime client
// ends the process when Lambda refuses one. case 100
func TestInvoke_tooBig(t *testing.T) {
	h, _ := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
		return trigger.Answer{Output: strings.Repeat("x", 6<<20)}, nil
	}))
	if _, err := invoke(t, h, `{"prompt":"hi"}`); codeOf(err) != "internal_error" || !strings.Contains(err.Error(), "6291456") {
		t.Errorf("got %v", err)
	}
}

func TestInvoke_historyAndTools(t *testing.T) {
	var got trigger.Request
	h, _ := newHandler(agentFunc(func(_ context.Context, r trigger.Request) (trigger.Answer, error) {
		got = r
		return trigger.Answer{}, nil
	}))
	if _, err := invoke(t, h, `{"prompt":"hi","messages":[{"role":"user","text":"a"},{"role":"assistant","text":"b"}],"tools":[]}`); err != nil {
		t.Fatal(err)
	}
	if want := []trigger.Message{{Role: "user", Text: "a"}, {Role: "assistant", Text: "b"}}; !slices.Equal(got.Messages, want) {
		t.Errorf("got messages %v, want %v", got.Messages, want)
	}
	if got.Tools == nil || len(got.Tools) != 0 {
		t.Errorf("got tools %#v, want a list of none", got.Tools)
	}
	for _, bad := range []string{
		`"messages":null`, `"messages":{}`, `"messages":[1]`, `"messages":[{"role":"system","text":"a"}]`, `"messages":[{"role":"user","text":null}]`,
		`"messages":[{"role":"user","text":"a","x":1}]`, `"tools":null`, `"tools":"a"`, `"tools":[1]`, `"tools":[""]`, `"tools":[null]`,
	} {
		if _, err := invoke(t, h, `{"prompt":"hi",`+bad+`}`); codeOf(err) != "invalid_request" {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
