package trigger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"

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

		// case 91
		{name: "array", payload: `[{"prompt":"hi"}]`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "JSON null", payload: `null`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "not JSON", payload: `hi`, wantCode: trigger.UnsupportedEvent, wantIn: "JSON object"},
		{name: "S3 event", payload: `{"Records":[{"eventSource":"aws:s3"}]}`, wantCode: trigger.UnsupportedEvent, wantIn: "Records"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := h.Invoke(t.Context(), []byte(tt.payload))
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
			if err := json.Unmarshal(out, &got); err != nil {
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

func TestInvoke_answerForm(t *testing.T) {
	h, _ := newHandler(agentFunc(echo))
	got, err := h.Invoke(t.Context(), []byte(`{"prompt":"hi","session_id":"s"}`))
	want := `{"output":"hi","session_id":"s","stop_reason":"end_turn","turns":1,"tool_calls":[],"usage":{"input_tokens":0,"output_tokens":0}}`
	if err != nil || string(got) != want {
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
		{"any other", errors.New("inner detail"), "internal_error", "the agent failed; its log has the details", "inner detail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
				return trigger.Answer{Output: "half an answer"}, tt.err
			}))
			out, err := h.Invoke(t.Context(), []byte(`{"prompt":"hi"}`))
			var got messages.InvokeResponse_Error
			if out != nil || !errors.As(err, &got) || got.Type != tt.wantType || got.Message != tt.wantMsg {
				t.Errorf("got %s, %v, want %s: %s", out, err, tt.wantType, tt.wantMsg)
			}
			if !strings.Contains(log.String(), tt.wantLogged) {
				t.Errorf("the log lacks %q: %s", tt.wantLogged, log)
			}
		})
	}
}

func FuzzInvoke(f *testing.F) {
	f.Add([]byte(`{"prompt":"hi","session_id":"s"}`))
	f.Add([]byte(`{"input":"\ud800"}`))
	f.Add([]byte(`{"Records":[]}`))
	h, _ := newHandler(agentFunc(echo))
	f.Fuzz(func(t *testing.T, payload []byte) {
		out, err := h.Invoke(t.Context(), payload)
		if (out == nil) == (err == nil) {
			t.Fatalf("got %s and %v, want one of them", out, err)
		}
		var answer trigger.Answer
		if err == nil && (json.Unmarshal(out, &answer) != nil || strings.TrimSpace(answer.Output) == "" || answer.SessionID == "") {
			t.Fatalf("got %s: not a whole answer", out)
		}
	})
}
