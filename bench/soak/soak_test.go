package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

// The ledger finds what must not happen, and accepts what may.
func TestLedger(t *testing.T) {
	asked := question{id: "q1", way: byLambda, prompt: "What is 2+2?", want: "The sum of 2 + 2 = 4."}
	stopped := func(reason, session, output string, calls ...trigger.ToolCall) []byte {
		b, err := json.Marshal(trigger.Answer{SessionID: session, Output: output, ToolCalls: calls, StopReason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	answer := func(session, output string, calls ...trigger.ToolCall) []byte {
		return stopped("end_turn", session, output, calls...)
	}
	right := answer("q1", asked.want)
	event, err := json.Marshal(map[string]any{"Entries": []any{map[string]string{
		"Detail": `{"correlation_id":"q1","origin":{},"answer":` + string(right) + `}`,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	published := localaws.Record{Service: "events", Status: 200, RequestBody: event}
	for _, c := range []struct {
		name string
		do   func(*ledger)
		want string // part of the verdict; empty: no error
	}{
		{"right", func(l *ledger) { l.answered(asked, right) }, ""},
		{"typed error", func(l *ledger) { l.failed(asked, "model_throttled") }, ""},
		{"tool failed", func(l *ledger) {
			l.answered(asked, answer("q1", "The tool add_numbers failed: gone", trigger.ToolCall{Error: true}))
		}, ""},
		{"no time left", func(l *ledger) { l.answered(asked, stopped("deadline", "q1", "I could not finish 2+2.")) }, ""},
		{"published", func(l *ledger) { l.published(published); l.done(asked) }, ""},
		{"wrong", func(l *ledger) { l.answered(asked, answer("q1", "The sum of 2 + 2 = 5.")) }, "1 wrong"},
		{"made up after a tool failed", func(l *ledger) {
			l.answered(asked, answer("q1", "The sum of 2 + 2 = 5.", trigger.ToolCall{Error: true}))
		}, "1 wrong"},
		{"made up when no time was left", func(l *ledger) {
			l.answered(asked, stopped("deadline", "q1", "The sum of 2 + 2 = 5."))
		}, "1 wrong"},
		{"somebody else's", func(l *ledger) { l.answered(asked, answer("q2", asked.want)) }, "1 wrong"},
		{"lost", func(l *ledger) {}, "1 lost"},
		{"deleted without a result", func(l *ledger) { l.done(asked) }, "1 lost"},
		{"twice", func(l *ledger) { l.published(published); l.published(published) }, "1 twice"},
		{"error without a code", func(l *ledger) { l.failed(asked, "502 Bad Gateway") }, "1 errors without a code"},
		{"not asked", func(l *ledger) { l.answered(asked, right); l.failed(question{id: "q9"}, "model_failed") }, "which was not asked"},
	} {
		l := newLedger()
		l.ask(asked)
		c.do(l)
		got := ""
		if err := l.report(&stack{logs: newLogs()}, nil, time.Minute, 1, 1).verdict(); err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got verdict %q, want %q in it", c.name, got, c.want)
		}
	}
}

func TestLogs(t *testing.T) {
	l := newLogs()
	l.secret("the-client-secret")
	w := l.of("agent-1")
	w.Write([]byte("{\"level\":\"INFO\"}\nSCHED 10001ms: gomaxprocs=2\n  P0: status=1\n  G1: status=4(chan rec"))
	w.Write([]byte("eive) m=nil\n  G2: status=6() m=nil\n  G3: status=2() m=0\nSCHED 20002ms: gomaxprocs=2\n"))
	w.Write([]byte("a token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhYmMifQ.c2ln\nhas the-client-secret in it\n"))
	w.Write([]byte("SIGQUIT: quit\n\ngoroutine 1 [running]:\nmain.main()\n\ngoroutine 7 gp=0x1 m=nil [select]:\n"))
	if got := l.goroutines("agent-1"); got != 2 {
		t.Errorf("got %d goroutines, want the two that are not dead", got)
	}
	if l.leaks != 2 {
		t.Errorf("got %d leaks, want the token's and the secret's", l.leaks)
	}
	if len(l.dumps) != 1 || l.dumps[0] != 2 {
		t.Errorf("got dumps %v, want one of two goroutines", l.dumps)
	}
}

func TestSlope(t *testing.T) {
	start := time.Unix(0, 0)
	samples := []sample{{start, 20, 9, 50}, {start.Add(30 * time.Minute), 21, 9, 47}, {start.Add(time.Hour), 22, 9, 44}}
	if got := slope(samples, func(s sample) float64 { return s.mb }); got < 1.99 || got > 2.01 {
		t.Errorf("got %v MB per hour, want 2", got)
	}
	if got := slope(samples, func(s sample) float64 { return float64(s.goroutines) }); got < -6.01 || got > -5.99 {
		t.Errorf("got %v goroutines per hour, want -6", got)
	}
}

func TestReport_print(t *testing.T) {
	var b bytes.Buffer
	(&Report{Ways: []Way{{Way: byBus, Asked: 3, Codes: map[string]int{"model_failed": 2}}}, Notes: []string{"strange"}}).print(&b)
	for _, want := range []string{"bus: 2 model_failed", "! strange"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, b.String())
		}
	}
}
