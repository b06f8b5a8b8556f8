package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// sqsBatch returns ten SQS messages with new ids, since the agent answers no
// message twice. All ask the question, except the one at index stuck, if there
// is one.
func sqsBatch(b *testing.B, run, stuck int) (event []byte, ids []string) {
	b.Helper()
	var records []map[string]string
	for i := range 10 {
		body := question
		if i == stuck {
			body = `{"prompt":"` + stuckPrompt + `"}`
		}
		ids = append(ids, fmt.Sprintf("%d-%d", run, i))
		records = append(records, map[string]string{"messageId": ids[i], "eventSource": "aws:sqs", "eventSourceARN": "q", "body": body})
	}
	event, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		b.Fatal(err)
	}
	return event, ids
}

const stuckPrompt = "What never ends?"

// BenchmarkBatch measures how many SQS records one process of the agent answers
// per second, in batches of ten. It compares that with bench/byhand, which sends
// the same requests for as many records at once (ratio, of their times). It also
// compares it with direct invocations of the same agent, one per record, since a
// process takes one invocation at a time (of-direct, of their records per
// second).
func BenchmarkBatch(b *testing.B) {
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run("model="+delay.String(), func(b *testing.B) {
			w := newWorld(b)
			w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Service == "bedrock" {
					return &localaws.Fault{Delay: delay}
				}
				return nil
			})
			f, byHand, _ := w.pair(b)
			defer byHand.Close()
			const none = -1
			warm, _ := sqsBatch(b, -1, none)
			invoke(b, f, warm)
			invoke(b, byHand, warm)
			before := w.toolCalls()
			var agent, floor, direct []time.Duration
			for b.Loop() {
				event, _ := sqsBatch(b, len(agent), none)
				start := time.Now()
				res, err := f.Invoke(b.Context(), event)
				agent = append(agent, time.Since(start))
				if err != nil || string(res.Payload) != `{"batchItemFailures":[]}` {
					b.Fatalf("got %s, %v", res.Payload, err)
				}
				floor = append(floor, invoke(b, byHand, event))
				direct = append(direct, invoke(b, f, []byte(question)))
			}
			if got, want := w.toolCalls()-before, (10+10+1)*len(agent); got != want {
				b.Fatalf("got %d tool calls, want %d: not every record was answered", got, want)
			}
			report(b, agent, floor)
			b.ReportMetric(10/median(agent).Seconds(), "records/s")
			b.ReportMetric(10/median(floor).Seconds(), "byhand-records/s")
			b.ReportMetric(10*median(direct).Seconds()/median(agent).Seconds(), "of-direct")
		})
	}
}

// BenchmarkStuckRecord measures how long before the end of the invocation a
// batch is answered when one of its records waits for a model that never
// answers. The agent keeps three seconds of a batch's time back for reporting,
// or a fifth if that is less. The invocation has Lambda's default timeout, which
// is short for a batch.
func BenchmarkStuckRecord(b *testing.B) {
	const timeout = 3 * time.Second
	w := newWorld(b)
	w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "bedrock" && bytes.Contains(r.RequestBody, []byte(stuckPrompt)) {
			return &localaws.Fault{Delay: time.Hour} // until the caller gives up
		}
		return nil
	})
	f, err := w.aws.StartFunction(b.Context(), localaws.FunctionConfig{Name: "agent", Binary: bootstrap(), Timeout: timeout, Stderr: w.log,
		Env: map[string]string{"BEDROCK_MODEL_ID": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "MCP_SERVERS": calc,
			"ANSWER_TIME": "500ms"}}) // the default would use up so short a time
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	invoke(b, f, []byte(question))
	before := w.toolCalls()
	var left []time.Duration
	for b.Loop() {
		event, ids := sqsBatch(b, len(left), len(left)%10)
		start := time.Now()
		res, err := f.Invoke(b.Context(), event)
		left = append(left, timeout-time.Since(start))
		if want := `{"batchItemFailures":[{"itemIdentifier":` + strconv.Quote(ids[(len(left)-1)%10]) + `}]}`; err != nil || string(res.Payload) != want {
			b.Fatalf("got %s, %v, want %s", res.Payload, err, want)
		}
	}
	if got := w.toolCalls() - before; got != 9*len(left) {
		b.Fatalf("got %d tool calls, want %d: the other nine are to be answered", got, 9*len(left))
	}
	b.ReportMetric(float64(median(left).Milliseconds()), "ms-before-deadline")
}

// toolCalls returns the number of calls that reached the MCP server.
func (w *world) toolCalls() int {
	n := 0
	for _, op := range w.since(0) {
		if op == "tools/call" {
			n++
		}
	}
	return n
}
