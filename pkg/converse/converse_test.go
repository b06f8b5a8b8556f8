package converse_test

// Where the cases of the specification are held:
//
//	 71  TestRun_inputBytes
//	 72  TestRun_parallelTools
//	 73  TestRun_faultyTools
//	 74  TestRun_emptyResults
//	 75  TestRun_unusableToolUse, TestRun_strangeIDs, FuzzRun_toolInput
//	 76  TestRun_limits, testdata/max_turns.txtar
//	 77  TestRun_cutToolUse, TestRun_cutToolUseAtLimit, TestRun_failsAfterCutToolUse, TestRun_refusedAfterCutToolUse,
//	     testdata/max_tokens.txtar
//	 78  TestRun_stopReasons
//	 79  TestRun_retries, TestRun_streamFaults, TestRun_fallback
//	 80  TestRun_deadline
//	 81  TestRun_allowedTools
//	 82  TestRun_toolsOfOneName
//	 83  TestRun_hugeResults
//	 84  TestRun_badRequest
//	 86  TestRun_fiftyAtOnce
//	 87  testdata/reasoning.txtar
//	 89  TestRun_limits
//	 90  TestRun_usage
//
// 85 is held by the entry points and 88 by whoever fills the toolbox.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

// turns is a model in the process: a list of messages with their stop reason.
type turns struct {
	replies []*bedrockruntime.ConverseOutput
	inputs  []*bedrockruntime.ConverseInput
}

func (m *turns) Converse(_ context.Context, in *bedrockruntime.ConverseInput, _ ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error) {
	m.inputs = append(m.inputs, in)
	out := m.replies[0]
	m.replies = m.replies[1:]
	return out, nil
}

func turn(stop types.StopReason, blocks ...types.ContentBlock) *bedrockruntime.ConverseOutput {
	return &bedrockruntime.ConverseOutput{StopReason: stop, Output: &types.ConverseOutputMemberMessage{
		Value: types.Message{Role: types.ConversationRoleAssistant, Content: blocks},
	}}
}

// cases 76 and 89
func TestRun_limits(t *testing.T) {
	always := func(same bool) localaws.Model {
		return func(req localaws.ConverseRequest) localaws.ConverseReply {
			n := len(req.Messages)
			input := fmt.Sprintf(`{"n":%d}`, n)
			if same {
				input = `{"n":1}`
			}
			reply := localaws.Ask(use(fmt.Sprintf("a%d", n), "echo", input), use(fmt.Sprintf("b%d", n), "echo", input))
			reply.Content = append([]localaws.ContentBlock{{Text: fmt.Sprintf("Turn %d.", (n+1)/2)}}, reply.Content...)
			reply.Usage = &localaws.TokenUsage{InputTokens: 90, OutputTokens: 10}
			return reply
		}
	}
	obedient := func(m localaws.Model) localaws.Model {
		return func(req localaws.ConverseRequest) localaws.ConverseReply {
			last := req.Messages[len(req.Messages)-1].Content
			if text := last[len(last)-1].Text; strings.Contains(text, "no tool calls left") {
				return localaws.Say("My best answer.")
			}
			return m(req)
		}
	}
	tests := []struct {
		name         string
		cfg          converse.Config
		model        localaws.Model
		stop, output string
		turns, calls int
	}{
		{"turns", converse.Config{MaxTurns: 3}, obedient(always(false)), converse.StopMaxTurns, "My best answer.", 4, 4},
		{"turns, deaf model", converse.Config{MaxTurns: 3}, always(false), converse.StopMaxTurns, "Turn 4.", 4, 4},
		{"tool calls", converse.Config{MaxToolCalls: 4}, obedient(always(false)), converse.StopMaxToolCalls, "My best answer.", 4, 4},
		{"tool calls, in the middle of a turn", converse.Config{MaxToolCalls: 3}, always(false), converse.StopMaxToolCalls, "Turn 3.", 3, 3},
		{"tokens", converse.Config{TokenBudget: 400}, obedient(always(false)), converse.StopTokenBudget, "My best answer.", 5, 6},
		{"repeats", converse.Config{}, obedient(always(true)), converse.StopRepeatedCalls, "My best answer.", 5, 6},
		{"repeats, deaf model", converse.Config{MaxRepeats: 1}, always(true), converse.StopRepeatedCalls, "Turn 3.", 3, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, events func(converse.Event)) {
				model := &watched{model: tt.model}
				box := tools(nil, "echo")
				answer, err := newRig(tt.cfg, model.answer).Run(t.Context(), converse.Request{Prompt: "go", Events: events}, box)
				if err != nil {
					t.Fatal(err)
				}
				if answer.StopReason != tt.stop || answer.Output != tt.output || answer.Turns != tt.turns {
					t.Errorf("got %q, %q after %d turns, want %q, %q after %d", answer.StopReason, answer.Output, answer.Turns, tt.stop, tt.output, tt.turns)
				}
				if len(box.calls) != tt.calls || len(answer.ToolCalls) != tt.calls {
					t.Errorf("got %d calls and %d of them in the answer, want %d", len(box.calls), len(answer.ToolCalls), tt.calls)
				}
				last := model.last()
				if len(last.Tools) == 0 {
					t.Error("the last request has no tools configured")
				}
				results := lastResults(last)
				why := "there are no tool calls left"
				if tt.stop == converse.StopRepeatedCalls {
					why = "the same call has been made too often"
				}
				if got, want := results[len(results)-1], "!Not run: "+why+". Answer with what you know."; got != want {
					t.Errorf("got %q as the last result, want %q", got, want)
				}
			})
		})
	}
}

// A guardrail's stop says more than the limit at which it came.
func TestRun_guardrailAtLimit(t *testing.T) {
	for _, stop := range []string{"guardrail_intervened", "content_filtered"} {
		blocked := localaws.Say("I cannot answer that.")
		blocked.StopReason = stop
		r := newRig(converse.Config{MaxTurns: 1}, localaws.Script(localaws.Ask(use("t1", "echo", "{}")), blocked))
		answer, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil, "echo"))
		if err != nil || answer.StopReason != stop {
			t.Errorf("got %q, %v, want %q", answer.StopReason, err, stop)
		}
	}
}

// case 77
func TestRun_cutToolUse(t *testing.T) {
	cutShort := func(input string) localaws.ConverseReply {
		reply := localaws.Ask(use("t1", "echo", `{"a":1}`), use("t2", "echo", input))
		reply.Content = append([]localaws.ContentBlock{{Text: "Let me see."}}, reply.Content...)
		reply.StopReason = "max_tokens"
		return reply
	}
	bothWays(t, func(t *testing.T, events func(converse.Event)) {
		input := `{}`
		if events != nil {
			input = `{"a":`
		}
		again := localaws.Ask(use("t3", "echo", `{"a":1}`))
		tests := []struct {
			name   string
			second []localaws.ConverseReply
			stop   string
			output string
			calls  int
		}{
			{"room helps", []localaws.ConverseReply{again, localaws.Say("done")}, "end_turn", "done", 1},
			{"room does not help", []localaws.ConverseReply{cutShort(input)}, "max_tokens", "Let me see.", 0},
			{"room is refused", []localaws.ConverseReply{refusal("ValidationException")}, "max_tokens", "Let me see.", 0},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				model := &watched{model: localaws.Script(append([]localaws.ConverseReply{cutShort(input)}, tt.second...)...)}
				box := tools(nil, "echo")
				answer, err := newRig(converse.Config{MaxOutputTokens: 100}, model.answer).Run(t.Context(), converse.Request{Prompt: "go", Events: events}, box)
				if err != nil {
					t.Fatal(err)
				}
				if answer.StopReason != tt.stop || answer.Output != tt.output || len(box.calls) != tt.calls {
					t.Errorf("got %q, %q and %d calls, want %q, %q and %d", answer.StopReason, answer.Output, len(box.calls), tt.stop, tt.output, tt.calls)
				}
				if got, want := len(model.seen), 1+len(tt.second); got != want {
					t.Errorf("the model was asked %d times, want %d", got, want)
				}
				if first, second := model.seen[0], model.seen[1]; first.MaxTokens != 100 || second.MaxTokens != 200 || len(second.Messages) != 1 {
					t.Errorf("asked with %d and then %d tokens and %d messages, want 100, 200 and 1", first.MaxTokens, second.MaxTokens, len(second.Messages))
				}
			})
		}
	})
}

// A last answer that asks for tools once more is taken as it is, also where it is
// cut short. case 77
func TestRun_cutToolUseAtLimit(t *testing.T) {
	cutShort := localaws.Ask(use("t2", "echo", "{}"))
	cutShort.Content = append([]localaws.ContentBlock{{Text: "Let me see."}}, cutShort.Content...)
	cutShort.StopReason = "max_tokens"
	r := newRig(converse.Config{MaxTurns: 1}, localaws.Script(localaws.Ask(use("t1", "echo", "{}")), cutShort, localaws.Say("never")))
	answer, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil, "echo"))
	if err != nil || answer.StopReason != converse.StopMaxTurns || answer.Output != "Let me see." || len(r.requests()) != 2 {
		t.Errorf("got %q, %q after %d requests, %v", answer.StopReason, answer.Output, len(r.requests()), err)
	}
}

// A model that fails when it is asked for more room has failed. case 77
func TestRun_failsAfterCutToolUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutShort := localaws.Ask(use("t1", "echo", "{}"))
		cutShort.StopReason = "max_tokens"
		first := localaws.Script(cutShort)
		asked := 0
		model := func(req localaws.ConverseRequest) localaws.ConverseReply {
			if asked++; asked == 1 {
				return first(req)
			}
			return refusal("ServiceUnavailableException")
		}
		_, err := newRig(converse.Config{}, model).Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil, "echo"))
		wantModelError(t, err, converse.Unavailable, "ServiceUnavailableException")
	})
}

// What is refused after the turn that was asked for again is no matter of its
// room, and an error. case 77, case 85
func TestRun_refusedAfterCutToolUse(t *testing.T) {
	cutShort := localaws.Ask(use("t1", "echo", `{"a":1}`))
	cutShort.StopReason = "max_tokens"
	model := localaws.Script(cutShort, localaws.Ask(use("t2", "echo", `{"a":1}`)), refusal("ValidationException"))
	answer, err := newRig(converse.Config{}, model).Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil, "echo"))
	wantModelError(t, err, converse.Refused, "ValidationException")
	if answer.Turns != 2 {
		t.Errorf("got %d turns, want 2", answer.Turns)
	}
}

// case 78
func TestRun_stopReasons(t *testing.T) {
	type outcome struct {
		answer bool
		kind   converse.Kind
	}
	want := map[types.StopReason]outcome{
		types.StopReasonEndTurn:                    {answer: true},
		types.StopReasonStopSequence:               {answer: true},
		types.StopReasonMaxTokens:                  {answer: true},
		types.StopReasonGuardrailIntervened:        {answer: true},
		types.StopReasonContentFiltered:            {answer: true},
		types.StopReasonToolUse:                    {kind: converse.Failed}, // without a tool use
		types.StopReasonMalformedModelOutput:       {kind: converse.Failed},
		types.StopReasonMalformedToolUse:           {kind: converse.Failed},
		types.StopReasonModelContextWindowExceeded: {kind: converse.Failed},
		"a_new_one": {kind: converse.Failed},
	}
	for _, stop := range append(types.StopReason("").Values(), "a_new_one") {
		t.Run(string(stop), func(t *testing.T) {
			bothWays(t, func(t *testing.T, events func(converse.Event)) {
				w, known := want[stop]
				if !known {
					t.Fatal("this stop reason has no defined outcome")
				}
				reply := localaws.Say("so far")
				reply.StopReason = string(stop)
				r := newRig(converse.Config{}, localaws.Script(reply))
				answer, err := r.Run(t.Context(), converse.Request{Prompt: "go", Events: events}, tools(nil, "echo"))
				if got := len(r.requests()); got != 1 {
					t.Errorf("the model was asked %d times, want once", got)
				}
				if answer.Usage.InputTokens == 0 || answer.Turns != 1 {
					t.Errorf("got usage %+v of %d turns, want some of one", answer.Usage, answer.Turns)
				}
				if !w.answer {
					wantModelError(t, err, w.kind, "")
					return
				}
				if err != nil || answer.StopReason != string(stop) || answer.Output != "so far" {
					t.Errorf("got %q, %q, %v, want %q, so far", answer.StopReason, answer.Output, err, stop)
				}
			})
		})
	}
}

// Some models' turns that ask for tools come with the stop reason of a turn that
// asks for none.
func TestRun_endTurnWithToolUse(t *testing.T) { // case 78
	bothWays(t, func(t *testing.T, events func(converse.Event)) {
		ask := localaws.Ask(use("t1", "echo", `{}`))
		ask.StopReason = string(types.StopReasonEndTurn)
		box := tools(nil, "echo")
		answer, err := newRig(converse.Config{}, localaws.Script(ask, localaws.Say("done"))).Run(t.Context(), converse.Request{Prompt: "go", Events: events}, box)
		if err != nil || answer.Output != "done" || len(box.calls) != 1 {
			t.Errorf("got %q after %d calls, %v, want done after one", answer.Output, len(box.calls), err)
		}
	})
}

// case 84
func TestRun_badRequest(t *testing.T) {
	user := func(texts ...string) (m []converse.Message) {
		for _, text := range texts {
			m = append(m, converse.Message{Role: converse.User, Text: text})
		}
		return m
	}
	tests := []struct {
		name    string
		request converse.Request
		want    string
		large   bool
	}{
		{"empty", converse.Request{}, "prompt is empty", false},
		{"blank", converse.Request{Prompt: " \n"}, "prompt is empty", false},
		{"not UTF-8", converse.Request{Prompt: "a\xff"}, "prompt is not valid UTF-8", false},
		{"large", converse.Request{Prompt: strings.Repeat("x", 1<<20)}, "prompt makes the request longer than 393216 bytes", true},
		{"large together", converse.Request{Prompt: "x", Messages: user(strings.Repeat("x", 200<<10), strings.Repeat("x", 200<<10))}, "messages[1] makes the request longer than 393216 bytes", true},
		{"role", converse.Request{Prompt: "x", Messages: []converse.Message{{Role: "system", Text: "x"}}}, `messages[0] has the role "system"; it must be user or assistant`, false},
		{"empty message", converse.Request{Prompt: "x", Messages: user("x", "")}, "messages[1] is empty", false},
		{"assistant first", converse.Request{Prompt: "x", Messages: []converse.Message{{Role: "assistant", Text: "x"}}}, "messages[0] is the assistant's; a conversation begins with the user", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(converse.Config{}, localaws.Arithmetic)
			_, err := r.Run(t.Context(), tt.request, tools(nil, "echo"))
			var bad *converse.RequestError
			if !errors.As(err, &bad) || err.Error() != tt.want || bad.TooLarge != tt.large {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if len(r.requests()) > 0 {
				t.Error("the model was asked")
			}
		})
	}
}

// case 86: fifty conversations at once in one loop keep to themselves, over
// real connections.
func TestRun_fiftyAtOnce(t *testing.T) {
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	// Each turn asks for the next number of the secret until all were heard.
	srv.SetModel(func(req localaws.ConverseRequest) localaws.ConverseReply {
		secret, n := req.Messages[0].Content[0].Text, len(req.Messages)
		for _, m := range req.Messages[1:] {
			for _, b := range m.Content {
				if b.ToolResult != nil && b.ToolResult.Text != secret {
					return localaws.Say("leaked: " + b.ToolResult.Text)
				}
			}
		}
		if n < 7 {
			ask := use(fmt.Sprintf("t%d", n), "echo", fmt.Sprintf(`{"secret":%q,"n":%d}`, secret, n))
			also := ask
			also.ID += "b"
			return localaws.Ask(ask, also)
		}
		return localaws.Say(secret)
	})
	client := bedrockruntime.NewFromConfig(srv.AWSConfig())
	loop := converse.New(converse.Config{Model: client, ModelIDs: []string{modelID}})
	box := tools(func(_ context.Context, _ string, input json.RawMessage) (converse.Result, error) {
		var in struct{ Secret string }
		err := json.Unmarshal(input, &in)
		return converse.Result{Text: in.Secret}, err
	}, "echo")
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			secret := fmt.Sprintf("secret %d", i)
			request := converse.Request{Prompt: secret}
			if i%2 == 0 {
				request.Events = func(converse.Event) {}
			}
			answer, err := loop.Run(t.Context(), request, box)
			if err != nil || answer.Output != secret || answer.Turns != 4 || len(answer.ToolCalls) != 6 {
				t.Errorf("%s: got %q after %d turns and %d tool calls, %v", secret, answer.Output, answer.Turns, len(answer.ToolCalls), err)
			}
		})
	}
	wg.Wait()
}

// case 90
func TestRun_usage(t *testing.T) {
	first := localaws.Ask(use("t1", "echo", "{}"))
	first.Usage = &localaws.TokenUsage{InputTokens: 10, OutputTokens: 20, CacheReadInputTokens: 5, CacheWriteInputTokens: 7}
	second := localaws.Say("done")
	second.Usage = &localaws.TokenUsage{InputTokens: 100, OutputTokens: 200, CacheReadInputTokens: 50}
	var log bytes.Buffer
	bothWays(t, func(t *testing.T, events func(converse.Event)) {
		var last converse.Usage
		if events != nil {
			events = func(e converse.Event) {
				if e.Kind == converse.EventUsage {
					last = e.Usage
				}
			}
		}
		r := newRig(converse.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, localaws.Script(first, second))
		answer, err := r.Run(t.Context(), converse.Request{Prompt: "canary-prompt", Events: events}, tools(nil, "echo"))
		if err != nil {
			t.Fatal(err)
		}
		want := converse.Answer{
			Output: "done", StopReason: "end_turn", ModelID: modelID, Turns: 2, ToolCalls: []converse.ToolCall{{Name: "echo"}},
			Usage: converse.Usage{InputTokens: 110, OutputTokens: 220, CacheReadTokens: 55, CacheWriteTokens: 7},
		}
		answer.ToolCalls[0].Duration = 0
		if !reflect.DeepEqual(answer, want) {
			t.Errorf("got %+v, want %+v", answer, want)
		}
		if events != nil && last != want.Usage {
			t.Errorf("the last usage event says %+v, want %+v", last, want.Usage)
		}
	})
	if strings.Contains(log.String(), "canary-prompt") {
		t.Errorf("the prompt is in the log:\n%s", &log)
	}
}

// A tool that is described anew, or takes something else, is offered as it is
// now, and checked as such.
func TestRun_toolsChange(t *testing.T) {
	var input string
	model := func(req localaws.ConverseRequest) localaws.ConverseReply {
		if len(req.Messages) == 1 {
			return localaws.Ask(use("t1", "echo", input))
		}
		return localaws.Say("done")
	}
	r := newRig(converse.Config{System: "Be brief."}, model)
	for _, now := range []struct{ description, required string }{{"first", "a"}, {"second", "a"}, {"second", "b"}} {
		for _, key := range []string{"a", "b"} {
			box := tools(nil, "echo")
			box.tools[0].Description = now.description
			box.tools[0].InputSchema = json.RawMessage(`{"type":"object","properties":{"a":{},"b":{}},"required":["` + now.required + `"]}`)
			input = `{"` + key + `":1}`
			n := len(r.requests())
			answer, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, box)
			if err != nil {
				t.Fatal(err)
			}
			if fits := key == now.required; (len(box.calls) == 1) != fits || answer.ToolCalls[0].IsError == fits {
				t.Errorf("%+v with %s: got calls %q, want it run: %t", now, input, box.calls, fits)
			}
			body := r.requests()[n]
			if !strings.Contains(body, `"description":"`+now.description+`"`) || !strings.Contains(body, `"required":["`+now.required+`"]`) || strings.Contains(body, "cachePoint") {
				t.Errorf("asked with %s, want the tool as %+v, and nothing cached", body, now)
			}
		}
	}
}

// The same tools are converted, and their schemas compiled, once for all
// conversations of a loop.
func TestRun_warm(t *testing.T) {
	box := benchBox(100, nil)
	loop := converse.New(converse.Config{Model: instant{uses: 1, turns: 2}, ModelIDs: []string{"m"}})
	one := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if answer, err := loop.Run(t.Context(), converse.Request{Prompt: "go"}, box); err != nil || len(answer.ToolCalls) != 1 {
			t.Fatal(answer, err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	cold, warm := one(), one()
	if warm*5 > cold || warm > 64<<10 {
		t.Errorf("a second conversation with the same tools allocates %d bytes, the first %d", warm, cold)
	}
	// Another tool makes a new catalogue of what is there already.
	box.tools = append(box.tools[1:], converse.Tool{Name: "another"})
	box.tools[0].Name = "tool_0"
	if changed := one(); changed*2 > cold {
		t.Errorf("a conversation with one more tool allocates %d bytes, the first %d", changed, cold)
	}
}
