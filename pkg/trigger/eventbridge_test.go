package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/trigger"
)

// case 99, case 108: what an event asks, or fails to, and what Lambda is told.
// Without a bus a failure for good is an error, so that the function's
// dead-letter queue gets the event; on a bus it ends there.
func TestEvent(t *testing.T) {
	detail := func(value string) string { return with(t, sample(t, "eventbridge.json"), "detail", value) }
	tests := []struct {
		name, event string
		schedule    string // what schedules ask
		wantOutput  string
		wantCode    string // of a failure
		wantError   bool   // Lambda's, with a bus
	}{
		{name: "rule", event: sample(t, "eventbridge.json"), wantOutput: "What is 2+2?"},
		{name: "session", event: detail(`{"input":"hi","session_id":"s"}`), wantOutput: "hi"},
		{name: "details that are much like ours", event: detail(`{"prompt":"hi","correlation_id":"x","answer":1}`), wantOutput: "hi"},
		{name: "others that are", event: detail(`{"prompt":"hi","origin":{},"error":1}`), wantOutput: "hi"},
		{name: "and others", event: detail(`{"prompt":"hi","correlation_id":"x","origin":{}}`), wantOutput: "hi"},
		{name: "scheduled rule", event: sample(t, "schedule.json"), schedule: "report", wantOutput: "report"},
		{name: "Scheduler", event: sample(t, "scheduler.json"), schedule: "report", wantOutput: "report"},
		{name: "Scheduler with a prompt of its own", event: with(t, sample(t, "scheduler.json"), "detail", `"{\"prompt\":\"own\"}"`), schedule: "report", wantOutput: "own"},
		{name: "schedule without a prompt", event: sample(t, "schedule.json"), wantCode: "invalid_request"},
		{name: "no detail", event: detail(""), wantCode: "invalid_request"},
		{name: "null detail", event: detail("null"), wantCode: "invalid_request"},
		{name: "detail a list", event: detail("[]"), wantCode: "invalid_request"},
		{name: "detail a string", event: detail(`"{\"prompt\":\"hi\"}"`), wantCode: "invalid_request"},
		{name: "no prompt", event: detail(`{"orderId":1}`), wantCode: "invalid_request"},
		{name: "prompt no string", event: detail(`{"prompt":{}}`), wantCode: "invalid_request"},
		{name: "credentials refused", event: detail(`{"prompt":"code mcp_auth_refused"}`), wantCode: "mcp_auth_refused"},
		{name: "configuration", event: detail(`{"prompt":"code configuration_error"}`), wantCode: "configuration_error"},
		{name: "throttled", event: detail(`{"prompt":"code model_throttled"}`), wantCode: "model_throttled", wantError: true},
		{name: "no time", event: detail(`{"prompt":"code deadline_exceeded"}`), wantCode: "deadline_exceeded", wantError: true},
		{name: "nobody knows", event: detail(`{"prompt":"code internal_error"}`), wantCode: "internal_error", wantError: true},
		{name: "panic", event: detail(`{"prompt":"panic"}`), wantCode: "internal_error", wantError: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bus := &memoryBus{}
			h, log := newHandler(&recording{})
			h.SchedulePrompt = tt.schedule
			out, err := invoke(t, h, tt.event)
			if codeOf(err) != tt.wantCode || tt.wantOutput != "" && !strings.Contains(out, `"output":"`+tt.wantOutput+`"`) {
				t.Errorf("without a bus: got %s, %v", out, err)
			}

			log.Reset()
			h.Results = &trigger.Bus{API: bus, Name: "results"}
			out, err = invoke(t, h, tt.event)
			var id struct{ ID string }
			json.Unmarshal([]byte(tt.event), &id)
			want := []string{id.ID + ": Agent Answered"}
			switch {
			case tt.wantError:
				want = nil
				if codeOf(err) != tt.wantCode {
					t.Errorf("got %s, %v, want an error for Lambda to retry", out, err)
				}
			case tt.wantCode != "":
				want = []string{id.ID + ": Agent Failed"}
				if err != nil || !strings.HasPrefix(out, `{"error":{"code":"`+tt.wantCode+`"`) {
					t.Errorf("got %s, %v", out, err)
				}
			case err != nil || !strings.Contains(out, `"output":"`+tt.wantOutput+`"`):
				t.Errorf("got %s, %v", out, err)
			}
			if got := bus.published(); !slices.Equal(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
			for _, e := range bus.got { // and says where the event came from
				var from struct {
					Source    string
					Resources []string
				}
				var d struct{ Origin struct{ Source, ARN string } }
				if err := errors.Join(json.Unmarshal([]byte(tt.event), &from), json.Unmarshal([]byte(*e.Detail), &d)); err != nil {
					t.Fatal(err)
				}
				if d.Origin.Source != from.Source || d.Origin.ARN != strings.Join(from.Resources, "") || !slices.Equal(e.Resources, from.Resources) {
					t.Errorf("published the origin %+v and resources %q of an event of %+v", d.Origin, e.Resources, from)
				}
			}
			if got := strings.Count(log.String(), "request failed"); (tt.wantCode != "") != (got == 1) {
				t.Errorf("logged %d times: %s", got, log)
			}
		})
	}
}

// case 108: what we published comes to nothing when it comes back, in whatever
// wrapping a rule gives it. In particular nothing is published again.
func TestEvent_own(t *testing.T) {
	bus := &memoryBus{}
	h, _ := newHandler(&recording{})
	h.Results = &trigger.Bus{API: bus, Name: "results"}
	if _, err := invoke(t, h, batch("hi", "code token_refused")); err != nil || len(bus.got) != 2 {
		t.Fatalf("published %d, %v", len(bus.got), err)
	}
	h.Agent = agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
		t.Error("the agent was asked what an event of its own source asks")
		return trigger.Answer{}, nil
	})
	if out, err := invoke(t, h, with(t, sample(t, "eventbridge.json"), "source", `"`+trigger.EventSource+`"`)); err != nil || !strings.HasPrefix(out, `{"ignored":`) || len(bus.got) != 2 {
		t.Errorf("a question of our own source: got %s, %v", out, err)
	}
	for _, e := range slices.Clone(bus.got) {
		event := with(t, with(t, sample(t, "eventbridge.json"), "source", `"`+*e.Source+`"`), "detail", *e.Detail)
		quoted, _ := json.Marshal(event)
		detail, _ := json.Marshal(*e.Detail)
		enveloped, _ := json.Marshal(`{"Type":"Notification","MessageId":"m","Message":` + string(quoted) + `}`)
		for name, back := range map[string]string{
			"rule":                 event,
			"rule to queue":        with(t, sample(t, "sqs.json"), "Records.0.body", string(quoted)),
			"detail to queue":      with(t, sample(t, "sqs.json"), "Records.0.body", string(detail)),
			"rule to topic":        with(t, sample(t, "sns.json"), "Records.0.Sns.Message", string(quoted)),
			"by topic to queue":    with(t, sample(t, "sqs.json"), "Records.0.body", string(enveloped)),
			"detail as new source": with(t, sample(t, "eventbridge.json"), "detail", *e.Detail),
		} {
			agent := &recording{}
			h.Agent = agent
			n := len(bus.got)
			out, err := invoke(t, h, back)
			if err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			for _, p := range agent.prompts() {
				if p != "greet Alice" { // the other message of the sample batch
					t.Errorf("%s: the agent was asked %q", name, p)
				}
			}
			for _, e := range bus.got[n:] {
				if !strings.Contains(*e.Detail, "greet Alice") {
					t.Errorf("%s: published %s, answered %s", name, *e.Detail, out)
				}
			}
		}
		if _, err := invoke(t, h, *e.Detail); codeOf(err) != "unsupported_event" {
			t.Errorf("the bare detail: got %v", err)
		}
	}
}

// case 99 for topics, whose deliveries Lambda retries like those of a bus.
func TestTopic(t *testing.T) {
	message := func(s string) string {
		raw, _ := json.Marshal(s)
		return with(t, sample(t, "sns.json"), "Records.0.Sns.Message", string(raw))
	}
	const id = "95df01b4-ee98-5cb9-9903-4c221d41eb5e"
	tests := []struct {
		name, event, wantCode, wantPublished string
		wantError                            bool
	}{
		{"answered", sample(t, "sns.json"), "", "Agent Answered", false},
		{"no JSON", message("hello"), "invalid_request", "Agent Failed", false},
		{"no prompt", message("{}"), "invalid_request", "Agent Failed", false},
		{"refused", message(`{"prompt":"code token_refused"}`), "token_refused", "Agent Failed", false},
		{"throttled", message(`{"prompt":"code model_throttled"}`), "model_throttled", "", true},
	}
	for _, tt := range tests {
		bus := &memoryBus{}
		h, _ := newHandler(&recording{})
		if _, err := invoke(t, h, tt.event); codeOf(err) != tt.wantCode {
			t.Errorf("%s, without a bus: got %v", tt.name, err)
		}
		h.Results = &trigger.Bus{API: bus, Name: "results"}
		out, err := invoke(t, h, tt.event)
		if (err != nil) != tt.wantError || tt.wantError && codeOf(err) != tt.wantCode || !tt.wantError && !strings.Contains(out, tt.wantCode) {
			t.Errorf("%s: got %s, %v", tt.name, out, err)
		}
		var want []string
		if tt.wantPublished != "" {
			want = []string{id + ": " + tt.wantPublished}
		}
		if got := bus.published(); !slices.Equal(got, want) {
			t.Errorf("%s: published %q, want %q", tt.name, got, want)
		}
		for _, e := range bus.got {
			if want := `"origin":{"source":"aws:sns","arn":"arn:aws:sns:eu-central-1:000000000000:`; !strings.Contains(*e.Detail, want) {
				t.Errorf("%s: published %s, want %s in it", tt.name, *e.Detail, want)
			}
		}
	}
}
