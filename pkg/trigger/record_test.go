package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

// recording is an agent that does what its prompt says, and keeps what it was
// asked, in order.
type recording struct {
	mu    sync.Mutex
	asked []string
}

func (a *recording) Ask(ctx context.Context, r trigger.Request) (trigger.Answer, error) {
	a.mu.Lock()
	a.asked = append(a.asked, r.Prompt)
	a.mu.Unlock()
	switch {
	case r.Prompt == "panic":
		panic("canary")
	case r.Prompt == "stuck":
		<-ctx.Done()
		return trigger.Answer{}, ctx.Err()
	case strings.HasPrefix(r.Prompt, "code "):
		return trigger.Answer{}, &trigger.Error{Code: trigger.Code(r.Prompt[5:]), Message: "as asked"}
	case strings.HasPrefix(r.Prompt, "take "):
		d, err := time.ParseDuration(r.Prompt[5:])
		if err != nil {
			return trigger.Answer{}, err
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return trigger.Answer{}, ctx.Err()
		}
	}
	return echo(ctx, r)
}

func (a *recording) prompts() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// memoryBus is a bus that keeps what is published.
type memoryBus struct {
	mu     sync.Mutex
	got    []types.PutEventsRequestEntry
	calls  [][]types.PutEventsRequestEntry
	refuse func(types.PutEventsRequestEntry) string // error code
	fail   error
}

func (b *memoryBus) PutEvents(_ context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, in.Entries)
	if b.fail != nil {
		return nil, b.fail
	}
	out := &eventbridge.PutEventsOutput{}
	for _, e := range in.Entries {
		if b.refuse != nil {
			if code := b.refuse(e); code != "" {
				out.FailedEntryCount++
				out.Entries = append(out.Entries, types.PutEventsResultEntry{ErrorCode: aws.String(code)})
				continue
			}
		}
		b.got = append(b.got, e)
		out.Entries = append(out.Entries, types.PutEventsResultEntry{EventId: aws.String("e")})
	}
	return out, nil
}

// published is what is on the bus, as "detail type: correlation id", in order of the ids.
func (b *memoryBus) published() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, e := range b.got {
		var d struct {
			CorrelationID string `json:"correlation_id"`
		}
		json.Unmarshal([]byte(*e.Detail), &d)
		list = append(list, d.CorrelationID+": "+*e.DetailType)
	}
	slices.Sort(list)
	return list
}

// batch is an SQS event of these bodies, with the ids m0, m1, … A body may
// begin with a group, as in "g1|body"; then the queue is a FIFO queue.
func batch(bodies ...string) string {
	type attributes struct{ MessageGroupId string }
	var records []map[string]any
	for i, body := range bodies {
		arn := "arn:aws:sqs:eu-central-1:000000000000:questions"
		group, rest, ok := strings.Cut(body, "|")
		if ok {
			body, arn = rest, arn+".fifo"
		}
		if !strings.HasPrefix(body, "{") && !strings.HasPrefix(body, "raw ") {
			raw, _ := json.Marshal(map[string]string{"prompt": body})
			body = string(raw)
		}
		records = append(records, map[string]any{
			"messageId": fmt.Sprintf("m%d", i), "eventSource": "aws:sqs", "eventSourceARN": arn,
			"body": strings.TrimPrefix(body, "raw "), "attributes": attributes{group},
		})
	}
	raw, _ := json.Marshal(map[string]any{"Records": records})
	return string(raw)
}

// failures are the ids that a batch answer reports.
func failures(t testing.TB, answer string) []string {
	t.Helper()
	var out lambdaevents.SQSEventResponse
	if err := json.Unmarshal([]byte(answer), &out); err != nil || out.BatchItemFailures == nil {
		t.Fatalf("got %s: %v", answer, err)
	}
	ids := []string{}
	for _, f := range out.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

// case 92, case 93, case 99: each record has its own outcome. What failed for
// good is published and gone; what may pass is left to the queue.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &memoryBus{}
		h, log := newHandler(&recording{})
		h.Results = &trigger.Bus{API: bus, Name: "results"}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := invokeWithin(t, ctx, h, batch("hi", "raw not JSON", "panic", "code model_throttled", "raw ", `{"prompt":""}`, "stuck", "code token_refused", "hi", `{"x":1}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := failures(t, out), []string{"m2", "m3", "m6"}; !slices.Equal(got, want) {
			t.Errorf("reported %q, want %q: a panic, throttling and a stuck one", got, want)
		}
		want := []string{"m0: Agent Answered", "m1: Agent Failed", "m4: Agent Failed", "m5: Agent Failed", "m7: Agent Failed", "m8: Agent Answered", "m9: Agent Failed"}
		if got := bus.published(); !slices.Equal(got, want) {
			t.Errorf("published %q, want %q", got, want)
		}
		if got := strings.Count(log.String(), "canary"); got != 1 {
			t.Errorf("the panic is in the log %d times, want once", got)
		}
	})
}

// What is published says what came of which record, in the form that every
// entry point gives it.
func TestQueue_published(t *testing.T) {
	bus := &memoryBus{}
	h, _ := newHandler(&recording{})
	h.Results = &trigger.Bus{API: bus, Name: "results"}
	if _, err := invoke(t, h, batch(`g|{"prompt":"hi","session_id":"s"}`, "g|code token_refused")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"correlation_id":"m0","origin":{"source":"aws:sqs","arn":"arn:aws:sqs:eu-central-1:000000000000:questions.fifo","group":"g"},` +
			`"answer":{"output":"hi","session_id":"s","stop_reason":"end_turn","turns":1,"tool_calls":[],"usage":{"input_tokens":0,"output_tokens":0}}}`,
		`{"correlation_id":"m1","origin":{"source":"aws:sqs","arn":"arn:aws:sqs:eu-central-1:000000000000:questions.fifo","group":"g"},` +
			`"error":{"code":"token_refused","message":"as asked","retryable":false}}`,
	}
	for i, e := range bus.got {
		if *e.Detail != want[i] || *e.Source != trigger.EventSource || *e.EventBusName != "results" || !slices.Equal(e.Resources, []string{"arn:aws:sqs:eu-central-1:000000000000:questions.fifo"}) {
			t.Errorf("got %s, %q on %s\nwant %s", *e.Detail, e.Resources, *e.EventBusName, want[i])
		}
	}
	if len(bus.got) != 2 {
		t.Errorf("published %d events", len(bus.got))
	}
}

// Without a bus, what failed for good is left to the queue too, whose
// dead-letter queue is then all that keeps it.
func TestQueue_noBus(t *testing.T) {
	h, _ := newHandler(&recording{})
	out, err := invoke(t, h, batch("hi", "raw not JSON", "code token_refused"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := failures(t, out), []string{"m1", "m2"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

// case 93
func TestQueue_allFail(t *testing.T) {
	for _, how := range []string{"panic", "code model_throttled", "code internal_error", "code mcp_unavailable"} {
		h, _ := newHandler(&recording{})
		h.Results = &trigger.Bus{API: &memoryBus{}, Name: "results"}
		out, err := invoke(t, h, batch(how, how, how))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := failures(t, out), []string{"m0", "m1", "m2"}; !slices.Equal(got, want) {
			t.Errorf("%s: reported %q, want all", how, got)
		}
	}
}

// A bus that does not answer, as on a connection that died in a freeze, does not
// hold the invocation until its end.
func TestQueue_busHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHandler(&recording{})
		h.Results = &trigger.Bus{API: hangingBus{}, Name: "results"}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		start := time.Now()
		out, err := invokeWithin(t, ctx, h, batch("one", "two"))
		if err != nil {
			t.Fatal(err)
		}
		if got := failures(t, out); len(got) != 2 || time.Since(start) > 10*time.Second {
			t.Errorf("reported %q after %v", got, time.Since(start))
		}
	})
}

type hangingBus struct{}

func (hangingBus) PutEvents(ctx context.Context, _ *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// case 94: at the deadline the rest is reported, what runs is cancelled, and
// there is time to publish what is done.
func TestQueue_deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, bus := &recording{}, &memoryBus{}
		h, _ := newHandler(agent)
		h.Parallel = 1
		h.Results = &trigger.Bus{API: bus, Name: "results"}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		out, err := invokeWithin(t, ctx, h, batch(slices.Repeat([]string{"take 4s"}, 10)...))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := failures(t, out), []string{"m4", "m5", "m6", "m7", "m8", "m9"}; !slices.Equal(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
		if got := len(agent.prompts()); got != 4 && got != 5 {
			t.Errorf("%d records were begun", got)
		}
		if got := time.Since(start); got > 17*time.Second+200*time.Millisecond {
			t.Errorf("answered after %v of 20s", got)
		}
		if got := len(bus.published()); got != 4 {
			t.Errorf("published %d results, want 4", got)
		}
	})
}

// Records go on at once, as many as the setting says.
func TestQueue_parallel(t *testing.T) {
	for _, tt := range []struct {
		parallel int
		want     time.Duration
	}{{0, 2 * time.Second}, {1, 10 * time.Second}, {10, time.Second}, {100, time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := newHandler(&recording{})
			h.Parallel = tt.parallel
			start := time.Now()
			if _, err := invoke(t, h, batch(slices.Repeat([]string{"take 1s"}, 10)...)); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != tt.want {
				t.Errorf("parallel %d: ten records took %v, want %v", tt.parallel, got, tt.want)
			}
		})
	}
}

// case 95: a FIFO group is worked on in order and not beyond one that failed;
// other groups go on.
func TestQueue_order(t *testing.T) {
	agent, bus := &recording{}, &memoryBus{}
	h, _ := newHandler(agent)
	h.Results = &trigger.Bus{API: bus, Name: "results"}
	out, err := invoke(t, h, batch("a|a1", "b|b1", "a|code model_throttled", "b|code token_refused", "a|a3", "b|b3", "c|c1", "a|a4"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := failures(t, out), []string{"m2", "m4", "m7"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
	got := agent.prompts()
	order := func(names ...string) bool {
		last := -1
		for _, n := range names {
			i := slices.Index(got, n)
			if i <= last {
				return false
			}
			last = i
		}
		return true
	}
	if !order("a1", "code model_throttled") || !order("b1", "code token_refused", "b3") || slices.Contains(got, "a3") || slices.Contains(got, "a4") {
		t.Errorf("asked %q", got)
	}

	// A result that is not out holds its group as well.
	bus.refuse = func(e types.PutEventsRequestEntry) string {
		if strings.Contains(*e.Detail, `"correlation_id":"m0"`) {
			return "InvalidArgument"
		}
		return ""
	}
	if out, err = invoke(t, h, batch("a|1", "a|2", "b|3")); err != nil {
		t.Fatal(err)
	}
	if got, want := failures(t, out), []string{"m0", "m1"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}

	// A standard queue has no order, although its messages may have groups.
	out, err = invoke(t, h, strings.ReplaceAll(batch("a|code model_throttled", "a|2"), ".fifo", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := failures(t, out), []string{"m0"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

// case 96: over random batches, what is reported was sent, and only once.
func TestQueue_reportedIDs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	bodies := []string{"hi", "panic", "code model_throttled", "code token_refused", "raw x", "g|hi", "g|code model_throttled", "h|panic"}
	for range 200 {
		var all []string
		for range 1 + random.IntN(10) {
			all = append(all, bodies[random.IntN(len(bodies))])
		}
		event := batch(all...)
		if random.IntN(2) == 0 {
			event = strings.ReplaceAll(event, `"m1"`, `"m0"`) // delivered twice in one batch
		}
		h, _ := newHandler(&recording{})
		out, err := invoke(t, h, event)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, id := range failures(t, out) {
			if seen[id] || !strings.Contains(event, `"messageId":"`+id+`"`) {
				t.Fatalf("%s: reported %q", event, id)
			}
			seen[id] = true
		}
	}
}

// Results go out ten at a time; those that fail alone are sent again, and what
// cannot be sent counts as the record's failure.
func TestPublish(t *testing.T) {
	many := slices.Repeat([]string{"hi"}, 25)
	all := make([]string, 25)
	for i := range all {
		all[i] = fmt.Sprintf("m%d", i)
	}
	tries := 0
	tests := []struct {
		name      string
		bus       *memoryBus
		wantLeft  []string
		wantCalls []int
	}{
		{"all well", &memoryBus{}, []string{}, []int{10, 10, 5}},
		{"down", &memoryBus{fail: errors.New("no route")}, all, []int{10, 10, 5}},
		{"one throttled", &memoryBus{refuse: func(e types.PutEventsRequestEntry) string {
			if strings.Contains(*e.Detail, `"m3"`) {
				if tries++; tries < 3 {
					return "ThrottlingException"
				}
			}
			return ""
		}}, []string{}, []int{10, 10, 5, 1, 1}},
		{"one always throttled", &memoryBus{refuse: func(e types.PutEventsRequestEntry) string {
			if strings.Contains(*e.Detail, `"m3"`) {
				return "InternalFailure"
			}
			return ""
		}}, []string{"m3"}, []int{10, 10, 5, 1, 1}},
		{"one refused", &memoryBus{refuse: func(e types.PutEventsRequestEntry) string {
			if strings.Contains(*e.Detail, `"m3"`) {
				return "MalformedDetail"
			}
			return ""
		}}, []string{"m3"}, []int{10, 10, 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := newHandler(&recording{})
				h.Results = &trigger.Bus{API: tt.bus, Name: "results"}
				out, err := invoke(t, h, batch(many...))
				if err != nil {
					t.Fatal(err)
				}
				if got := failures(t, out); !slices.Equal(got, tt.wantLeft) {
					t.Errorf("left %q, want %q", got, tt.wantLeft)
				}
				var calls []int
				for _, c := range tt.bus.calls {
					calls = append(calls, len(c))
				}
				if !slices.Equal(calls, tt.wantCalls) {
					t.Errorf("requests of %v entries, want %v", calls, tt.wantCalls)
				}
			})
		})
	}
}

// A result that does not fit whatever is cut of it is left to its source.
func TestPublish_tooLarge(t *testing.T) {
	bus := &memoryBus{}
	h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
		return trigger.Answer{Output: "hi", ToolCalls: make([]trigger.ToolCall, 10_000)}, nil
	}))
	h.Results = &trigger.Bus{API: bus, Name: "results"}
	out, err := invoke(t, h, batch("hi"))
	if err != nil || !slices.Equal(failures(t, out), []string{"m0"}) || len(bus.calls) > 0 || !strings.Contains(log.String(), "does not fit into an event") {
		t.Errorf("got %s, %v, %d requests: %s", out, err, len(bus.calls), log)
	}
}

// Against the stand-in, which holds PutEvents' limits: big results share no
// request, and an output that fits into none is cut and says so.
func TestPublish_sizes(t *testing.T) {
	s := localaws.New(localaws.Config{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	arn := s.AddEventBus("results")
	h, log := newHandler(agentFunc(func(_ context.Context, r trigger.Request) (trigger.Answer, error) {
		return trigger.Answer{Output: strings.Repeat("ü<", 20<<10<<len(r.Prompt)), StopReason: "end_turn"}, nil
	}))
	h.Results = &trigger.Bus{API: eventbridge.NewFromConfig(s.AWSConfig()), Name: arn}
	out, err := invoke(t, h, batch("a", "aa", "a", "aaa"))
	if err != nil || len(failures(t, out)) > 0 {
		t.Fatalf("got %s, %v: %s", out, err, log)
	}
	got := s.Events()
	if len(got) != 4 {
		t.Fatalf("there are %d events, want 4", len(got))
	}
	for i, e := range got {
		var d struct {
			Answer    trigger.Answer
			OutputCut bool `json:"output_cut"`
		}
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			t.Fatal(err)
		}
		cut := len(e.Detail) > 250<<10
		if e.Bus != "results" || d.OutputCut != cut || !strings.HasPrefix(d.Answer.Output, "ü<ü<") || strings.ContainsRune(d.Answer.Output, '\uFFFD') {
			t.Errorf("event %d of %d bytes on %s: cut %t", i, len(e.Detail), e.Bus, d.OutputCut)
		}
	}
	if last := got[3]; len(last.Detail) < 200<<10 {
		t.Errorf("the cut output has %d bytes left", len(last.Detail))
	}
}
