package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"

	"agentcore-mcp-auth/pkg/trigger"
)

// talker is an agent with all kinds of events; gate, unless it is nil, is what
// its tool waits for.
func talker(gate <-chan struct{}) agentFunc {
	return func(ctx context.Context, r trigger.Request) (trigger.Answer, error) {
		if r.Events != nil {
			r.Events(trigger.Delta{Text: "one\nmoment\r\n\u2028"})
			r.Events(trigger.ToolUse{ID: "t1", Server: "calc", Tool: "add", Input: json.RawMessage(`{"a":9007199254740993}`)})
		}
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				return trigger.Answer{}, ctx.Err()
			}
		}
		if r.Events != nil {
			r.Events(trigger.ToolResult{ID: "t1", Server: "calc", Tool: "add", DurationMS: 3})
			r.Events(trigger.Usage{InputTokens: 5, OutputTokens: 6})
		}
		return trigger.Answer{Output: r.Prompt, StopReason: "end_turn", Turns: 2}, nil
	}
}

const (
	firstEvents = "event: delta\ndata: {\"text\":\"one\\nmoment\\r\\n\\u2028\"}\n\n" +
		"event: tool_use\ndata: {\"id\":\"t1\",\"server\":\"calc\",\"tool\":\"add\",\"input\":{\"a\":9007199254740993}}\n\n"
	lastEvents = "event: tool_result\ndata: {\"id\":\"t1\",\"server\":\"calc\",\"tool\":\"add\",\"duration_ms\":3,\"error\":false}\n\n" +
		"event: usage\ndata: {\"input_tokens\":5,\"output_tokens\":6}\n\n" +
		"event: done\ndata: {\"output\":\"hi\",\"session_id\":\"s\",\"stop_reason\":\"end_turn\",\"turns\":2,\"tool_calls\":[],\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}\n\n"
)

// streamed sends a Function URL event that prefers server-sent events to a
// handler that streams.
func streamed(t *testing.T, ctx context.Context, h *trigger.Handler, edits ...string) *lambdaevents.LambdaFunctionURLStreamingResponse {
	t.Helper()
	h.Stream = true
	event := with(t, sample(t, "function-url.json"), "headers.accept", `"text/event-stream"`)
	event = with(t, event, "body", `"{\"prompt\":\"hi\",\"session_id\":\"s\"}"`)
	for i := 0; i < len(edits); i += 2 {
		event = with(t, event, edits[i], edits[i+1])
	}
	out, err := h.Invoke(ctx, json.RawMessage(event))
	resp, ok := out.(*lambdaevents.LambdaFunctionURLStreamingResponse)
	if err != nil || !ok {
		t.Fatalf("got a %T, %v", out, err)
	}
	return resp
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Events arrive as they happen: the first before the first tool call ends.
func TestStream(t *testing.T) {
	gate := make(chan struct{})
	h, _ := newHandler(talker(gate))
	resp := streamed(t, t.Context(), h)
	if resp.StatusCode != 200 || resp.Headers["Content-Type"] != "text/event-stream" {
		t.Fatalf("got %d %q", resp.StatusCode, resp.Headers)
	}
	first := make([]byte, len(firstEvents))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != firstEvents {
		t.Errorf("got %s, %v\nwant %s", first, err, firstEvents)
	}
	close(gate)
	if got := readAll(t, resp.Body); got != lastEvents {
		t.Errorf("got %s\nwant %s", got, lastEvents)
	}
}

// The same caller at a front that does not stream gets the same events at once.
func TestStream_buffered(t *testing.T) {
	for _, name := range []string{"function-url.json", "http-api.json"} {
		h, _ := newHandler(talker(nil))
		h.Stream = name != "function-url.json" // an HTTP API does not stream, whatever the URL does
		event := with(t, sample(t, name), "headers.accept", `"text/event-stream"`)
		event = with(t, with(t, event, "isBase64Encoded", "false"), "body", `"{\"prompt\":\"hi\",\"session_id\":\"s\"}"`)
		got := invokeHTTP(t, t.Context(), h, event)
		if got.StatusCode != 200 || got.Headers["Content-Type"] != "text/event-stream" || got.Body != firstEvents+lastEvents {
			t.Errorf("%s: got %d %q %s", name, got.StatusCode, got.Headers, got.Body)
		}
	}
}

// A URL that streams reads all answers in that form, also JSON and errors.
func TestStream_json(t *testing.T) {
	h, _ := newHandler(agentFunc(echo))
	for _, accept := range []string{`"application/json"`, `"*/*"`, `"application/json, text/event-stream"`, `"text/event-stream;q=0.1, application/json"`, `"text/event-stream;q=x"`, ""} {
		resp := streamed(t, t.Context(), h, "headers.accept", accept)
		if got := readAll(t, resp.Body); resp.StatusCode != 200 || resp.Headers["Content-Type"] != "application/json" || !strings.HasPrefix(got, `{"output":"hi"`) {
			t.Errorf("Accept %s: got %d %q %s", accept, resp.StatusCode, resp.Headers, got)
		}
	}
	resp := streamed(t, t.Context(), h, "body", `"{}"`)
	if got := readAll(t, resp.Body); resp.StatusCode != 400 || !strings.Contains(got, "invalid_request") {
		t.Errorf("got %d %s", resp.StatusCode, got)
	}
}

// A failure before the first event has a status; one after it is the last
// event. Neither is followed by done.
func TestStream_fails(t *testing.T) {
	for _, early := range []bool{true, false} {
		h, log := newHandler(agentFunc(func(_ context.Context, r trigger.Request) (trigger.Answer, error) {
			if !early {
				r.Events(trigger.Delta{Text: "a"})
			}
			return trigger.Answer{}, &trigger.Error{Code: trigger.ModelThrottled, Message: "canary", Err: errors.New("x")}
		}))
		resp := streamed(t, t.Context(), h)
		body := readAll(t, resp.Body)
		doc := `{"error":{"code":"model_throttled","message":"the model is busy; try again later","retryable":true}}`
		wantStatus, want := 503, doc
		if !early {
			wantStatus, want = 200, "event: delta\ndata: {\"text\":\"a\"}\n\nevent: error\ndata: "+doc+"\n\n"
		}
		if resp.StatusCode != wantStatus || body != want {
			t.Errorf("early %t: got %d %s, want %d %s", early, resp.StatusCode, body, wantStatus, want)
		}
		if n := strings.Count(log.String(), `"message":"canary"`); n != 1 {
			t.Errorf("early %t: it is in the log %d times, want once: %s", early, n, log)
		}
	}
}

// A silent agent is heard of all the same, so that nothing between closes the
// connection; at its deadline the stream ends with an error. case 104: so does
// a panic.
func TestStream_silence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHandler(&recording{})
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		start := time.Now()
		resp := streamed(t, ctx, h, "body", `"{\"prompt\":\"stuck\"}"`)
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("the stream began after %v", got)
		}
		got := readAll(t, resp.Body)
		if !strings.HasPrefix(got, ": working\n\n: working\n\nevent: error\ndata: {\"error\":{\"code\":\"deadline_exceeded\"") {
			t.Errorf("got %s", got)
		}
	})
	h, _ := newHandler(&recording{})
	resp := streamed(t, t.Context(), h, "body", `"{\"prompt\":\"panic\"}"`)
	if got := readAll(t, resp.Body); resp.StatusCode != 500 || !strings.Contains(got, `"internal_error"`) || strings.Contains(got, "canary") {
		t.Errorf("a panic: got %d %s", resp.StatusCode, got)
	}
}

// A caller who leaves ends the work, and events that come late do no harm.
func TestStream_callerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		h, _ := newHandler(agentFunc(func(ctx context.Context, r trigger.Request) (trigger.Answer, error) {
			r.Events(trigger.Delta{Text: "a"})
			<-ctx.Done()
			ended <- ctx.Err()
			r.Events(trigger.Delta{Text: "b"})
			return trigger.Answer{}, ctx.Err()
		}))
		resp := streamed(t, t.Context(), h)
		if _, err := resp.Body.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		left := time.Now()
		resp.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(left) > 0 {
			t.Errorf("got %v after %v", err, time.Since(left))
		}
	})
}

// Tools run at once and so tell of themselves at once; frames stay whole.
func TestStream_manyTools(t *testing.T) {
	h, _ := newHandler(agentFunc(func(_ context.Context, r trigger.Request) (trigger.Answer, error) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { r.Events(trigger.Delta{Text: strings.Repeat("x", 1000)}) })
		}
		wg.Wait()
		return trigger.Answer{}, nil
	}))
	for _, stream := range []bool{true, false} {
		resp := h.ServeRequest(t.Context(), trigger.HTTPRequest{Method: "POST", Stream: stream, Body: []byte(`{"prompt":"hi"}`),
			Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}})
		frames := strings.Split(strings.TrimSuffix(readAll(t, resp.Body), "\n\n"), "\n\n")
		if len(frames) != 51 {
			t.Fatalf("stream %t: got %d frames, want 51", stream, len(frames))
		}
		for _, f := range frames[:50] {
			if want := "event: delta\ndata: {\"text\":\"" + strings.Repeat("x", 1000) + "\"}"; f != want {
				t.Fatalf("stream %t: got %s", stream, f)
			}
		}
	}
}
