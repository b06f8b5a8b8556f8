package converse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

// taking has every reply of a model take d.
func taking(d time.Duration, model localaws.Model) localaws.Model {
	return func(req localaws.ConverseRequest) localaws.ConverseReply {
		reply := model(req)
		reply.Latency = d
		return reply
	}
}

// case 80. The answer time is 8 s: no model call begins with 4 s or less, no
// tool with 9 s or less, tools are cut off with 8 s left, and with 12 s or less
// after them the model is asked for its last answer.
func TestRun_deadline(t *testing.T) {
	ask := localaws.Ask(use("t1", "slow", "{}"))
	again := localaws.Ask(use("t2", "slow", `{"more":1}`))
	tests := []struct {
		name            string
		left            time.Duration // of the context at the start
		model, tool     time.Duration // how long each call takes
		replies         []localaws.ConverseReply
		stop            string // empty: a DeadlineError
		calls, requests int
		took            time.Duration
	}{
		{"plenty", time.Minute, time.Second, time.Second, []localaws.ConverseReply{ask, localaws.Say("done")}, "end_turn", 1, 2, 3 * time.Second},
		{"3 s left at the start", 3 * time.Second, time.Second, 0, []localaws.ConverseReply{localaws.Say("done")}, "", 0, 0, 0},
		{"just enough to answer", 4001 * time.Millisecond, time.Second, 0, []localaws.ConverseReply{localaws.Say("done")}, "end_turn", 0, 1, time.Second},
		{"no time for the tool", 10 * time.Second, time.Second, time.Second, []localaws.ConverseReply{ask, localaws.Say("best")}, converse.StopDeadline, 0, 2, 2 * time.Second},
		{"the tool takes too long", 20 * time.Second, time.Second, time.Hour, []localaws.ConverseReply{ask, localaws.Say("best")}, converse.StopDeadline, 1, 2, 13 * time.Second},
		{"late after the tool", 14 * time.Second, time.Second, time.Second, []localaws.ConverseReply{ask, localaws.Say("best")}, converse.StopDeadline, 1, 2, 3 * time.Second},
		{"time enough after the tool", 14100 * time.Millisecond, time.Second, time.Second, []localaws.ConverseReply{ask, localaws.Say("done")}, "end_turn", 1, 2, 3 * time.Second},
		{"the model asks on", 14 * time.Second, time.Second, time.Second, []localaws.ConverseReply{ask, again}, converse.StopDeadline, 1, 2, 3 * time.Second},
		{"no time for the last answer", 10 * time.Second, 7 * time.Second, time.Second, []localaws.ConverseReply{ask}, "", 0, 1, 7 * time.Second},
		{"the model takes too long", 10 * time.Second, time.Minute, 0, []localaws.ConverseReply{localaws.Say("done")}, "", 0, 0, 10 * time.Second},
		{"the last answer takes too long", 20 * time.Second, 11 * time.Second, 0, []localaws.ConverseReply{ask, localaws.Say("done")}, "", 0, 1, 20 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, events func(converse.Event)) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(converse.Config{ToolTimeout: 30 * time.Minute}, taking(tt.model, localaws.Script(tt.replies...)))
					box := tools(func(ctx context.Context, _ string, _ json.RawMessage) (converse.Result, error) {
						select {
						case <-time.After(tt.tool):
							return converse.Result{Text: "ok"}, nil
						case <-ctx.Done():
							return converse.Result{}, ctx.Err()
						}
					}, "slow")
					ctx, cancel := context.WithTimeout(t.Context(), tt.left)
					defer cancel()
					start := time.Now()
					if events != nil && tt.name == "plenty" {
						events = func(e converse.Event) {
							if e.Kind == converse.EventToolResult && e.Duration != tt.tool {
								t.Errorf("the event of a tool's result says %s, want %s", e.Duration, tt.tool)
							}
						}
					}
					answer, err := r.Run(ctx, converse.Request{Prompt: "go", Events: events}, box)
					if tt.name == "plenty" && answer.ToolCalls[0].Duration != tt.tool {
						t.Errorf("the answer says that the tool took %s, want %s", answer.ToolCalls[0].Duration, tt.tool)
					}
					if tt.name == "the tool takes too long" {
						if last := r.requests()[1]; !strings.Contains(last, `"The tool did not answer in the time that was left."`) || !strings.Contains(last, `"status":"error"`) {
							t.Errorf("the model was told %s", last)
						}
					}
					if got := time.Since(start); got != tt.took {
						t.Errorf("it took %s, want %s", got, tt.took)
					}
					if len(box.calls) != tt.calls {
						t.Errorf("got %d tool calls, want %d", len(box.calls), tt.calls)
					}
					answered := 0
					for _, rec := range r.srv.Records() {
						if rec.Status == 200 {
							answered++
						}
					}
					if answered != tt.requests || answer.Turns != tt.requests {
						t.Errorf("got %d answered model calls and %d turns, want %d", answered, answer.Turns, tt.requests)
					}
					if answer.Turns > 0 && answer.Usage.InputTokens == 0 {
						t.Error("the usage so far is missing")
					}
					if tt.stop == "" {
						var late *converse.DeadlineError
						if !errors.As(err, &late) || !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("got %v, want a DeadlineError", err)
						}
						return
					}
					if err != nil || answer.StopReason != tt.stop {
						t.Errorf("got %q, %v, want %q", answer.StopReason, err, tt.stop)
					}
				})
			})
		})
	}
}

// Fifty tools of which sixteen run at once: those whose turn comes too late are
// not started.
func TestRun_deadlineInQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var uses []localaws.ToolUse
		for i := range 50 {
			uses = append(uses, use(fmt.Sprintf("t%d", i), "slow", "{}"))
		}
		model := &watched{model: localaws.Script(localaws.Ask(uses...), localaws.Say("best"))}
		box := tools(func(context.Context, string, json.RawMessage) (converse.Result, error) {
			time.Sleep(4 * time.Second)
			return converse.Result{Text: "ok"}, nil
		}, "slow")
		ctx, cancel := context.WithTimeout(t.Context(), 16500*time.Millisecond)
		defer cancel()
		answer, err := newRig(converse.Config{}, model.answer).Run(ctx, converse.Request{Prompt: "go"}, box)
		if err != nil || answer.StopReason != converse.StopDeadline || answer.Output != "best" {
			t.Fatalf("got %q, %q, %v, want the best answer at the deadline", answer.StopReason, answer.Output, err)
		}
		count := map[string]int{}
		for _, text := range lastResults(model.last()) {
			count[text]++
		}
		if count["ok"] != 32 || count["!Not run: there is no time left. Answer with what you know."] != 18 {
			t.Errorf("got results %v, want 32 ok and 18 not run", count)
		}
	})
}

// A cancelled conversation stops within 50 ms wherever it is, and leaves
// nothing running but what ignores its context.
func TestRun_cancel(t *testing.T) {
	cause := errors.New("the caller has left")
	deaf := func(context.Context, string, json.RawMessage) (converse.Result, error) {
		time.Sleep(time.Hour)
		return converse.Result{}, nil
	}
	left := 0
	good := func(ctx context.Context, _ string, _ json.RawMessage) (converse.Result, error) {
		<-ctx.Done()
		time.Sleep(10 * time.Millisecond) // tidying up
		left++
		return converse.Result{}, ctx.Err()
	}
	ask := localaws.Ask(use("t1", "tool", "{}"))
	var many []localaws.ToolUse
	for i := range 40 {
		many = append(many, use(fmt.Sprintf("t%d", i), "tool", "{}"))
	}
	slow := localaws.Say("a long story about nothing")
	slow.Interval = time.Hour
	tests := []struct {
		name  string
		model localaws.Model
		tool  func(context.Context, string, json.RawMessage) (converse.Result, error)
	}{
		{"in the model call", taking(time.Hour, localaws.Script(ask)), nil},
		{"in the stream", localaws.Script(slow), nil},
		{"in a tool", localaws.Script(ask), good},
		{"in a tool that ignores it", localaws.Script(ask), deaf},
		{"in many tools that ignore it", localaws.Script(localaws.Ask(many...)), deaf},
		{"between retries", func(localaws.ConverseRequest) localaws.ConverseReply { return refusal("ThrottlingException") }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left = 0
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
				start := time.Now()
				r := newRig(converse.Config{}, tt.model)
				_, err := r.Run(ctx, converse.Request{Prompt: "go", Events: func(converse.Event) {}}, tools(tt.tool, "tool"))
				if !errors.Is(err, cause) {
					t.Errorf("got %v, want %v", err, cause)
				}
				if got := time.Since(start); got > 150*time.Millisecond {
					t.Errorf("it stopped %s after the cancellation, want at most 50ms", got-100*time.Millisecond)
				}
				if tt.name == "in a tool" && left != 1 {
					t.Error("it left before the tool that heeds its context had ended")
				}
				asked := len(r.srv.Records())
				time.Sleep(2 * time.Hour)
				if got := len(r.srv.Records()); got > asked+1 { // the call under way is noted when it ends
					t.Errorf("%d more model calls after the end", got-asked)
				}
			})
		})
	}
}

// case 79
func TestRun_retries(t *testing.T) {
	const retried, not = 5, 1
	tests := []struct {
		typ   string
		tries int
		kind  converse.Kind
	}{
		{"ThrottlingException", retried, converse.Throttled},
		{"ModelNotReadyException", retried, converse.Throttled},
		{"ModelTimeoutException", retried, converse.Unavailable},
		{"ServiceUnavailableException", retried, converse.Unavailable},
		{"InternalServerException", retried, converse.Unavailable},
		{"ModelErrorException", retried, converse.Failed},
		{"", retried, converse.Unavailable}, // the connection is cut
		{"ServiceQuotaExceededException", not, converse.Throttled},
		{"ValidationException", not, converse.Refused},
		{"AccessDeniedException", not, converse.Refused},
		{"ResourceNotFoundException", not, converse.Refused},
	}
	for _, tt := range tests {
		t.Run(tt.typ, func(t *testing.T) {
			bothWays(t, func(t *testing.T, events func(converse.Event)) {
				synctest.Test(t, func(t *testing.T) {
					always := func(localaws.ConverseRequest) localaws.ConverseReply { return refusal(tt.typ) }
					r := newRig(converse.Config{}, always)
					start := time.Now()
					_, err := r.Run(t.Context(), converse.Request{Prompt: "go", Events: events}, tools(nil))
					wantModelError(t, err, tt.kind, modelID)
					if got := len(r.requests()); got != tt.tries {
						t.Errorf("got %d tries, want %d", got, tt.tries)
					}
					took := time.Since(start)
					if tt.tries == not && took != 0 || tt.tries == retried && (took < 3750*time.Millisecond || took > 7500*time.Millisecond) {
						t.Errorf("it took %s", took)
					}

					if tt.tries == not {
						return
					}
					// It passes, in the middle of a conversation.
					passing := newRig(converse.Config{}, localaws.Script(
						refusal(tt.typ), localaws.Ask(use("t1", "echo", "{}")), refusal(tt.typ), refusal(tt.typ), localaws.Say("done")))
					answer, err := passing.Run(t.Context(), converse.Request{Prompt: "go", Events: events}, tools(nil, "echo"))
					if err != nil || answer.Output != "done" || answer.Turns != 2 {
						t.Errorf("got %q after %d turns, %v, want done after 2", answer.Output, answer.Turns, err)
					}
				})
			})
		})
	}

	t.Run("inside the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(converse.Config{}, taking(time.Second, func(localaws.ConverseRequest) localaws.ConverseReply { return refusal("ThrottlingException") }))
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			defer cancel()
			start := time.Now()
			_, err := r.Run(ctx, converse.Request{Prompt: "go"}, tools(nil))
			wantModelError(t, err, converse.Throttled, "ThrottlingException") // which says more than the deadline
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %s: it began a try with less than half the answer time left", took)
			}
		})
	})
}

// What a gateway in front of Bedrock answers is sorted by its status.
func TestRun_gatewayErrors(t *testing.T) {
	tests := []struct {
		status int
		typ    string
		tries  int
		kind   converse.Kind
	}{
		{502, "BadGateway", 5, converse.Unavailable},
		{504, "GatewayTimeout", 5, converse.Unavailable},
		{429, "SlowDownPlease", 5, converse.Throttled},
		{418, "Teapot", 1, converse.Refused},
		{400, "RequestTimeoutException", 5, converse.Unavailable}, // which the SDK knows to pass
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(converse.Config{}, localaws.Arithmetic)
			r.srv.SetFault(func(localaws.Record) *localaws.Fault {
				return &localaws.Fault{Status: tt.status, Type: tt.typ, Message: "scripted"}
			})
			_, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
			wantModelError(t, err, tt.kind, tt.typ)
			if got := len(r.requests()); got != tt.tries {
				t.Errorf("%d: got %d tries, want %d", tt.status, got, tt.tries)
			}
		})
	}
}

// case 79: an answer that breaks off is asked for again, which the SDK by itself
// would not do.
func TestRun_cutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		client := newClient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"stopReason":"end_turn","output":{"message":{"role":"assistant","content":[{"text":"do`)
			if tries++; tries == 1 {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, `ne"}]}}}`)
		}))
		answer, err := converse.New(converse.Config{Model: client, ModelIDs: []string{modelID}}).Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
		if err != nil || answer.Output != "done" || tries != 2 {
			t.Errorf("got %q, %v after %d tries, want done after 2", answer.Output, err, tries)
		}
	})
}

// case 79: exceptions inside a stream, and streams that end early. A turn is
// asked for again until some of its text has gone out.
func TestRun_streamFaults(t *testing.T) {
	broken := func(typ string, after int, reply localaws.ConverseReply) localaws.ConverseReply {
		reply.Error = &localaws.ConverseError{Type: typ, Message: "scripted", AfterEvents: after}
		return reply
	}
	ask := localaws.Ask(use("t1", "echo", `{"a":1}`))
	say := localaws.Say("Once upon a time")
	tests := []struct {
		name  string
		reply localaws.ConverseReply
		kind  converse.Kind // empty: the next try succeeds
	}{
		{"throttled before any text", broken("ThrottlingException", 1, say), ""},
		{"model error in a tool use", broken("ModelStreamErrorException", 3, ask), ""},
		{"unavailable in a tool use", broken("ServiceUnavailableException", 2, ask), ""},
		{"connection cut in a tool use", broken("", 3, ask), ""},
		{"model error after some text", broken("ModelStreamErrorException", 3, say), converse.Failed},
		{"internal error after some text", broken("InternalServerException", 3, say), converse.Unavailable},
		{"connection cut after some text", broken("", 3, say), converse.Unavailable},
		{"refused in the stream", broken("ValidationException", 1, say), converse.Refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var text string
				events := func(e converse.Event) {
					if e.Kind == converse.EventDelta {
						text += e.Text
					}
				}
				answer, err := newRig(converse.Config{}, localaws.Script(tt.reply, localaws.Say("done"))).
					Run(t.Context(), converse.Request{Prompt: "go", Events: events}, tools(nil, "echo"))
				if tt.kind != "" {
					wantModelError(t, err, tt.kind, "")
					return
				}
				if err != nil || answer.Output != "done" || text != "done" || answer.Turns != 1 {
					t.Errorf("got %q, streamed %q in %d turns, %v, want done in one", answer.Output, text, answer.Turns, err)
				}
			})
		})
	}
}

// case 79: the next model takes over, at once, and the conversation stays with
// it. It is not given the first one's reasoning.
func TestRun_fallback(t *testing.T) {
	const second, third = "eu.amazon.nova-lite-v1:0", "eu.amazon.nova-pro-v1:0"
	reasoned := localaws.Ask(use("t1", "echo", "{}"))
	reasoned.Content = append([]localaws.ContentBlock{{Reasoning: &localaws.Reasoning{Text: "hm", Signature: "sig"}}}, reasoned.Content...)
	bothWays(t, func(t *testing.T, events func(converse.Event)) {
		synctest.Test(t, func(t *testing.T) {
			var asked []string
			model := func(req localaws.ConverseRequest) localaws.ConverseReply {
				asked = append(asked, req.ModelID)
				switch n := len(req.Messages); {
				case req.ModelID == modelID && n == 1:
					return reasoned
				case req.ModelID == modelID:
					return refusal("ThrottlingException")
				case req.ModelID == second:
					return refusal("ServiceQuotaExceededException")
				case n == 3:
					if req.Messages[1].Content[0].Reasoning != nil {
						return localaws.Say("that is not my reasoning")
					}
					return localaws.Ask(use("t2", "echo", `{"a":1}`))
				}
				return localaws.Say("done")
			}
			r := newRig(converse.Config{ModelIDs: []string{modelID, second, third}}, model)
			start := time.Now()
			answer, err := r.Run(t.Context(), converse.Request{Prompt: "go", Events: events}, tools(nil, "echo"))
			if err != nil || answer.Output != "done" || answer.ModelID != third {
				t.Fatalf("got %q of %s, %v, want done of %s", answer.Output, answer.ModelID, err, third)
			}
			if want := []string{modelID, modelID, second, third, third}; !slices.Equal(asked, want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("it waited %s before asking another model", took)
			}
		})
	})

	t.Run("never after a refusal", func(t *testing.T) {
		for _, typ := range []string{"ValidationException", "AccessDeniedException", "ResourceNotFoundException"} {
			r := newRig(converse.Config{ModelIDs: []string{modelID, second}}, localaws.Script(refusal(typ), localaws.Say("done")))
			_, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
			wantModelError(t, err, converse.Refused, typ)
		}
	})

	t.Run("past a quota", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(converse.Config{ModelIDs: []string{modelID, second}}, localaws.Script(
				refusal("ServiceQuotaExceededException"), refusal("ThrottlingException"), refusal("ServiceQuotaExceededException"), localaws.Say("done")))
			answer, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
			if err != nil || answer.Output != "done" || answer.ModelID != second {
				t.Errorf("got %q of %s, %v, want done of %s", answer.Output, answer.ModelID, err, second)
			}
			r = newRig(converse.Config{ModelIDs: []string{modelID, second}}, func(localaws.ConverseRequest) localaws.ConverseReply { return refusal("ServiceQuotaExceededException") })
			_, err = r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
			wantModelError(t, err, converse.Throttled, second)
			if got := len(r.requests()); got != 2 {
				t.Errorf("got %d tries where all quotas are used up, want 2", got)
			}
		})
	})

	t.Run("round and round", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(converse.Config{ModelIDs: []string{modelID, second}}, func(localaws.ConverseRequest) localaws.ConverseReply { return refusal("ThrottlingException") })
			_, err := r.Run(t.Context(), converse.Request{Prompt: "go"}, tools(nil))
			wantModelError(t, err, converse.Throttled, second)
			if got := len(r.requests()); got != 10 {
				t.Errorf("got %d tries, want 10", got)
			}
		})
	})
}
