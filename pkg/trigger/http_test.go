package trigger_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/trigger"
)

// httpAnswer is what a front reads of an answer.
type httpAnswer struct {
	StatusCode      int
	Headers         map[string]string
	Body            string
	IsBase64Encoded bool
}

func invokeHTTP(t testing.TB, ctx context.Context, h *trigger.Handler, event string) httpAnswer {
	t.Helper()
	out, err := invokeWithin(t, ctx, h, event)
	if err != nil {
		t.Fatalf("an HTTP event became a Lambda error: %v", err)
	}
	var a httpAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// wantError checks that a is a small JSON error with this code.
func (a httpAnswer) wantError(t *testing.T, status int, code, in string) {
	t.Helper()
	var doc struct {
		Error struct {
			Code, Message string
			Retryable     *bool
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &doc); err != nil || doc.Error.Retryable == nil {
		t.Errorf("got the body %.200s", a.Body)
	}
	if a.StatusCode != status || doc.Error.Code != code || !strings.Contains(doc.Error.Message, in) || len(a.Body) > 600 {
		t.Errorf("got %d %s\nwant %d %s with %q", a.StatusCode, a.Body, status, code, in)
	}
	if a.Headers["Content-Type"] != "application/json" || a.IsBase64Encoded {
		t.Errorf("got %q, base64 %t", a.Headers, a.IsBase64Encoded)
	}
}

func TestHTTP_answer(t *testing.T) {
	for _, name := range []string{"function-url.json", "http-api.json", "rest-api.json"} {
		h, _ := newHandler(agentFunc(echo))
		got := invokeHTTP(t, t.Context(), h, sample(t, name))
		var a trigger.Answer
		if err := json.Unmarshal([]byte(got.Body), &a); err != nil || a.Output != "What is 2+2?" || a.SessionID == "" {
			t.Errorf("%s: got the body %s, %v", name, got.Body, err)
		}
		if got.StatusCode != 200 || got.Headers["Content-Type"] != "application/json" || got.Headers["Cache-Control"] != "no-store" || got.IsBase64Encoded {
			t.Errorf("%s: got %d %q", name, got.StatusCode, got.Headers)
		}
	}
}

// case 100, case 84: what a caller gets wrong has a status and a small JSON
// error, before the agent is asked, whatever the payload format.
func TestHTTP_refused(t *testing.T) {
	type edit struct{ path, value string }
	body := func(s string) edit {
		raw, _ := json.Marshal(s)
		return edit{"body", string(raw)}
	}
	tests := []struct {
		name       string
		v1, v2     []edit // v1: nil: as v2
		wantStatus int
		wantCode   string
		wantIn     string
	}{
		{"GET", []edit{{"httpMethod", `"GET"`}}, []edit{{"requestContext.http.method", `"GET"`}}, 405, "invalid_request", "GET"},
		{"lower case", []edit{{"httpMethod", `"post"`}}, []edit{{"requestContext.http.method", `"post"`}}, 405, "invalid_request", "post"},
		{"odd method", []edit{{"httpMethod", `"P\n` + strings.Repeat("x", 900) + `"`}}, []edit{{"requestContext.http.method", `"P\n` + strings.Repeat("x", 900) + `"`}}, 405, "invalid_request", "POST"},
		{"no content type", []edit{{"multiValueHeaders.Content-Type", ""}}, []edit{{"headers.content-type", ""}}, 415, "invalid_request", "application/json"},
		{"a form", []edit{{"multiValueHeaders.Content-Type", `["application/x-www-form-urlencoded"]`}}, []edit{{"headers.content-type", `"application/x-www-form-urlencoded"`}}, 415, "invalid_request", "application/json"},
		{"two content types", []edit{{"multiValueHeaders.Content-Type", `["application/json","text/plain"]`}}, []edit{{"headers.content-type", `"application/json,text/plain"`}}, 415, "invalid_request", "Content-Type"},
		{"one content type twice", []edit{{"multiValueHeaders.content-type", `["application/json"]`}}, []edit{{"headers.Content-Type", `"application/json"`}}, 415, "invalid_request", "once"},
		{"another charset", []edit{{"multiValueHeaders.Content-Type", `["application/json; charset=latin1"]`}}, []edit{{"headers.content-type", `"application/json; charset=latin1"`}}, 415, "invalid_request", "utf-8"},
		{"compressed", []edit{{"multiValueHeaders.Content-Encoding", `["gzip"]`}}, []edit{{"headers.content-encoding", `"gzip"`}}, 415, "invalid_request", "Content-Encoding"},
		{"no body", nil, []edit{{"body", ""}, {"isBase64Encoded", "false"}}, 400, "invalid_request", "nothing"},
		{"null body", nil, []edit{{"body", "null"}}, 400, "invalid_request", "nothing"},
		{"blank body", nil, []edit{body(" \n ")}, 400, "invalid_request", "nothing"},
		{"body no JSON", nil, []edit{body("prompt=hi")}, 400, "invalid_request", "JSON object"},
		{"body a list", nil, []edit{body("[]")}, 400, "invalid_request", "JSON object"},
		{"body no string", nil, []edit{{"body", `{"prompt":"hi"}`}}, 400, "unsupported_event", "malformed"},
		{"no prompt", nil, []edit{body(`{"Records":[]}`)}, 400, "invalid_request", "no prompt"},
		{"null prompt", nil, []edit{body(`{"prompt":null}`)}, 400, "invalid_request", "string"},
		{"base64 although not said", nil, []edit{body(base64.StdEncoding.EncodeToString([]byte(`{"prompt":"hi"}`)))}, 400, "invalid_request", "JSON object"},
		{"not base64 although said", nil, []edit{{"isBase64Encoded", "true"}, body(`{"prompt":"hi"}`)}, 400, "invalid_request", "base64"},
		{"base64 cut off", nil, []edit{{"isBase64Encoded", "true"}, body("eyJwcm9tcHQiOiJoaSJ9e")}, 400, "invalid_request", "base64"},
		{"base64 of no UTF-8", nil, []edit{{"isBase64Encoded", "true"}, body(base64.StdEncoding.EncodeToString([]byte("{\"prompt\":\"\xff\"}")))}, 400, "invalid_request", "UTF-8"},
		{"flag no boolean", nil, []edit{{"isBase64Encoded", `"true"`}}, 400, "unsupported_event", "malformed"},
		{"too long", nil, []edit{body(`{"prompt":"` + strings.Repeat("a", 256<<10+1) + `"}`)}, 413, "request_too_large", "262144"},
		{"history too long", nil, []edit{body(`{"prompt":"a","messages":[{"role":"user","text":"` + strings.Repeat("a", 1<<20) + `"}]}`)}, 413, "request_too_large", "messages"},
		{"headers no object", []edit{{"multiValueHeaders", "3"}}, []edit{{"headers", "3"}}, 400, "unsupported_event", "malformed"},
	}
	for _, name := range []string{"function-url.json", "http-api.json", "rest-api.json"} {
		base := sample(t, name)
		for _, tt := range tests {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				edits := tt.v2
				if name == "rest-api.json" && tt.v1 != nil {
					edits = tt.v1
				}
				event := with(t, base, "isBase64Encoded", "false")
				for _, e := range edits {
					event = with(t, event, e.path, e.value)
				}
				agent := &recording{}
				h, _ := newHandler(agent)
				got := invokeHTTP(t, t.Context(), h, event)
				got.wantError(t, tt.wantStatus, tt.wantCode, tt.wantIn)
				if tt.wantStatus == 405 && got.Headers["Allow"] != "POST" {
					t.Errorf("got Allow %q", got.Headers["Allow"])
				}
				if len(agent.prompts()) > 0 {
					t.Errorf("the agent was asked %q", agent.prompts())
				}
			})
		}
	}
}

// Paths, queries, cookies and headers that do not matter change nothing.
func TestHTTP_accepted(t *testing.T) {
	for _, e := range []struct{ path, value string }{
		{"rawPath", `"/../%00/😀"`}, {"rawPath", ""}, {"rawQueryString", `"prompt=other&input=1"`}, {"cookies", `["a=b"]`},
		{"headers.content-type", `"Application/JSON; charset=\"UTF-8\""`}, {"headers.content-encoding", `"identity"`},
		{"headers.accept", `"text/html"`}, {"headers.accept", `";;;,"`}, {"requestContext.timeEpoch", "0"},
	} {
		h, _ := newHandler(agentFunc(echo))
		if got := invokeHTTP(t, t.Context(), h, with(t, sample(t, "function-url.json"), e.path, e.value)); got.StatusCode != 200 || got.Headers["Content-Type"] != "application/json" {
			t.Errorf("%s %s: got %d %s", e.path, e.value, got.StatusCode, got.Body)
		}
	}
}

// An event that was written by hand may have each header once only.
func TestHTTP_plainHeaders(t *testing.T) {
	event := with(t, sample(t, "rest-api.json"), "multiValueHeaders", "null")
	h, _ := newHandler(agentFunc(echo))
	if got := invokeHTTP(t, t.Context(), h, event); got.StatusCode != 200 {
		t.Errorf("got %d %s", got.StatusCode, got.Body)
	}
	invokeHTTP(t, t.Context(), h, with(t, event, "headers.Content-Type", `"text/plain"`)).wantError(t, 415, "invalid_request", "application/json")
}

// case 85: each code has its status, and tells nothing from inside.
func TestHTTP_agentError(t *testing.T) {
	tests := map[trigger.Code]struct {
		status int
		says   string
	}{
		trigger.InvalidRequest: {400, "see canary-in-message"}, trigger.UnsupportedEvent: {400, "see canary-in-message"}, trigger.RequestTooLarge: {413, "see canary-in-message"},
		trigger.ConfigurationError: {500, "is not set up"}, trigger.InternalError: {500, "its log has the details"},
		trigger.TokenRefused: {502, "own credentials"}, trigger.MCPAuthRefused: {502, "own credentials"}, trigger.MCPUnavailable: {502, "a server that the agent needs"},
		trigger.ModelRefused: {502, "the model refused"}, trigger.ModelFailed: {502, "no usable answer"},
		trigger.CredentialsUnavailable: {503, "cannot read its credentials"}, trigger.ModelThrottled: {503, "busy"}, trigger.ModelUnavailable: {503, "busy"},
		trigger.DeadlineExceeded: {504, "time left"},
	}
	for code, tt := range tests {
		status, level := tt.status, `"level":"ERROR"`
		if status < 500 {
			level = `"level":"WARN"` // nothing that whoever runs the agent could mend
		}
		h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
			return trigger.Answer{}, fmt.Errorf("asking: %w", &trigger.Error{
				Code: code, Message: "see canary-in-message", Usage: trigger.Usage{InputTokens: 7}, Err: errors.New("canary-inside")})
		}))
		got := invokeHTTP(t, t.Context(), h, sample(t, "function-url.json"))
		got.wantError(t, status, string(code), tt.says)
		if strings.Contains(got.Body, "canary-inside") || status >= 500 && strings.Contains(got.Body, "canary") {
			t.Errorf("%s: something from inside is in %s", code, got.Body)
		}
		if !strings.Contains(got.Body, `"input_tokens":7`) {
			t.Errorf("%s: no usage in %s", code, got.Body)
		}
		if (got.Headers["Retry-After"] != "") != (status == 503) {
			t.Errorf("%s: got Retry-After %q with %d", code, got.Headers["Retry-After"], status)
		}
		if !strings.Contains(log.String(), "canary-in-message") || !strings.Contains(log.String(), "canary-inside") || !strings.Contains(log.String(), level) {
			t.Errorf("%s: the log lacks the details: %s", code, log)
		}
	}
}

// case 100: an answer too large for the way back is an error, not a crash.
func TestHTTP_tooBig(t *testing.T) {
	h, _ := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
		return trigger.Answer{Output: strings.Repeat("\"", 4<<20)}, nil // doubled, and doubled again in the event
	}))
	invokeHTTP(t, t.Context(), h, sample(t, "rest-api.json")).wantError(t, 500, "internal_error", "6291456")
}

// case 100: a body that is base64 and says so.
func TestHTTP_base64(t *testing.T) {
	h, _ := newHandler(agentFunc(echo))
	event := with(t, sample(t, "http-api.json"), "body", `"`+base64.StdEncoding.EncodeToString([]byte(`{"prompt":"Grüße 👋"}`))+`"`)
	if got := invokeHTTP(t, t.Context(), h, event); !strings.Contains(got.Body, "Grüße 👋") {
		t.Errorf("got %s", got.Body)
	}
}

// case 101: the agent gets what is left of the front's time or of the
// function's, whichever is less.
func TestHTTP_frontBudget(t *testing.T) {
	now := func(ago time.Duration) func() string {
		return func() string { return fmt.Sprint(time.Now().Add(-ago).UnixMilli()) }
	}
	tests := []struct {
		name, event, epoch string
		arrived            func() string
		front, function    time.Duration
		want               time.Duration
	}{
		{"HTTP API", "http-api.json", "requestContext.timeEpoch", now(0), 0, 15 * time.Minute, 28500 * time.Millisecond},
		{"REST API", "rest-api.json", "requestContext.requestTimeEpoch", now(0), 0, 15 * time.Minute, 28500 * time.Millisecond},
		{"a cold start took 3 s of it", "http-api.json", "requestContext.timeEpoch", now(3 * time.Second), 0, 15 * time.Minute, 25500 * time.Millisecond},
		{"an old event", "rest-api.json", "requestContext.requestTimeEpoch", now(24 * time.Hour), 0, 15 * time.Minute, 28500 * time.Millisecond},
		{"a clock that is ahead", "rest-api.json", "requestContext.requestTimeEpoch", now(-time.Minute), 0, 15 * time.Minute, 28500 * time.Millisecond},
		{"a setting", "http-api.json", "requestContext.timeEpoch", now(0), time.Minute, 15 * time.Minute, 59500 * time.Millisecond},
		{"the function has less", "http-api.json", "requestContext.timeEpoch", now(0), 0, 10 * time.Second, 9500 * time.Millisecond},
		{"the function has next to nothing", "http-api.json", "requestContext.timeEpoch", now(0), 0, time.Second, 800 * time.Millisecond},
		{"a Function URL has no limit of its own", "function-url.json", "requestContext.timeEpoch", now(0), 0, 15 * time.Minute, 15*time.Minute - 500*time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got time.Duration
				h, _ := newHandler(agentFunc(func(ctx context.Context, r trigger.Request) (trigger.Answer, error) {
					deadline, _ := ctx.Deadline()
					got = time.Until(deadline)
					<-ctx.Done()
					return trigger.Answer{}, ctx.Err()
				}))
				h.FrontTimeout = tt.front
				ctx, cancel := context.WithTimeout(t.Context(), tt.function)
				defer cancel()
				invokeHTTP(t, ctx, h, with(t, sample(t, tt.event), tt.epoch, tt.arrived())).wantError(t, 504, "deadline_exceeded", "time")
				if got.Round(time.Millisecond) != tt.want {
					t.Errorf("the agent got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// The session of a header counts when the body names none.
func TestServeRequest_session(t *testing.T) {
	long := strings.Repeat("s", 257)
	tests := []struct {
		header, body string
		wantStatus   int
		want         string
	}{
		{"from-header", `{"prompt":"hi"}`, 200, "from-header"},
		{"from-header", `{"prompt":"hi","session_id":"from-body"}`, 200, "from-body"},
		{"from-header", `{"prompt":"hi","session_id":""}`, 400, ""},
		{long, `{"prompt":"hi"}`, 400, ""},
		{"\xff", `{"prompt":"hi"}`, 400, ""},
		{long, `{"prompt":"hi","session_id":"from-body"}`, 200, "from-body"},
	}
	for _, tt := range tests {
		h, _ := newHandler(agentFunc(echo))
		resp := h.ServeRequest(t.Context(), trigger.HTTPRequest{
			Method: "POST", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(tt.body), SessionID: tt.header})
		var a trigger.Answer
		json.NewDecoder(resp.Body).Decode(&a)
		if resp.Status != tt.wantStatus || a.SessionID != tt.want {
			t.Errorf("%.20s %s: got %d and session %q", tt.header, tt.body, resp.Status, a.SessionID)
		}
	}
}
