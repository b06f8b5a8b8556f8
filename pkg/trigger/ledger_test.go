package trigger_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

// case 97: a record that comes twice is answered once.
func TestLedger(t *testing.T) {
	t.Run("Memory", func(t *testing.T) {
		testLedger(t, func(*testing.T) trigger.Ledger { return &trigger.Memory{} })
	})
	t.Run("Table", func(t *testing.T) {
		testLedger(t, func(t *testing.T) trigger.Ledger { return newTable(t, localaws.New(localaws.Config{})) })
	})
}

func testLedger(t *testing.T, newLedger func(*testing.T) trigger.Ledger) {
	event := sample(t, "eventbridge.json")
	setting := func(t *testing.T) (*trigger.Handler, *recording, *memoryBus) {
		agent, bus := &recording{}, &memoryBus{}
		h, _ := newHandler(agent)
		h.Results = &trigger.Bus{API: bus, Name: "results"}
		h.Ledger = newLedger(t)
		return h, agent, bus
	}
	t.Run("one after the other", func(t *testing.T) {
		h, agent, bus := setting(t)
		first, err1 := invoke(t, h, event)
		second, err2 := invoke(t, h, event)
		if err1 != nil || err2 != nil || first != second {
			t.Errorf("got %s, %v and %s, %v, want the same twice", first, err1, second, err2)
		}
		if len(agent.prompts()) != 1 || len(bus.got) != 1 {
			t.Errorf("asked %d times, published %d results", len(agent.prompts()), len(bus.got))
		}
	})
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, agent, bus := setting(t)
			slow := with(t, event, "detail", `{"prompt":"take 5s"}`)
			var mu sync.Mutex
			codes := map[string]int{}
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_, err := invoke(t, h, slow)
					mu.Lock()
					defer mu.Unlock()
					codes[codeOf(err)]++
				})
			}
			wg.Wait()
			if codes[""] != 1 || codes["deadline_exceeded"] != 9 {
				t.Errorf("got %v, want one answer and nine to be delivered again", codes)
			}
			if len(agent.prompts()) != 1 || len(bus.got) != 1 {
				t.Errorf("asked %d times, published %d results", len(agent.prompts()), len(bus.got))
			}
		})
	})
	t.Run("twice in a batch", func(t *testing.T) {
		h, agent, bus := setting(t)
		h.Parallel = 1
		out, err := invoke(t, h, with(t, batch("hi", "hi"), "Records.1.messageId", `"m0"`))
		// The second is left only if the first was still under way.
		if err != nil || len(agent.prompts()) != 1 || len(bus.got) != 1 {
			t.Errorf("got %s, %v; asked %d times, published %d results", out, err, len(agent.prompts()), len(bus.got))
		}
	})
	t.Run("failed for good", func(t *testing.T) {
		h, agent, bus := setting(t)
		bad := with(t, event, "detail", `{"prompt":"code token_refused"}`)
		first, _ := invoke(t, h, bad)
		second, err := invoke(t, h, bad)
		if err != nil || first != second || len(agent.prompts()) != 1 || !slices.Equal(bus.published(), []string{"17793124-05d4-b198-2fde-7ededc63b103: Agent Failed"}) {
			t.Errorf("got %s and %s, %v; published %q", first, second, err, bus.published())
		}
	})
	t.Run("may pass", func(t *testing.T) {
		h, agent, _ := setting(t)
		bad := with(t, event, "detail", `{"prompt":"code model_throttled"}`)
		invoke(t, h, bad)
		if invoke(t, h, bad); len(agent.prompts()) != 2 {
			t.Errorf("asked %d times, want again", len(agent.prompts()))
		}
	})
	t.Run("answered but not published", func(t *testing.T) {
		h, agent, bus := setting(t)
		bus.refuse = func(types.PutEventsRequestEntry) string { return "AccessDeniedException" }
		if _, err := invoke(t, h, event); codeOf(err) != "internal_error" {
			t.Errorf("got %v", err)
		}
		bus.refuse = nil
		for range 2 { // the next delivery publishes it, and the one after that need not
			if out, err := invoke(t, h, event); err != nil || len(agent.prompts()) != 1 || len(bus.got) != 1 {
				t.Errorf("got %s, %v; asked %d times, published %d results", out, err, len(agent.prompts()), len(bus.got))
			}
		}
	})
	t.Run("tampered with", func(t *testing.T) {
		h, agent, bus := setting(t)
		invoke(t, h, event)
		out, err := invoke(t, h, with(t, event, "detail", `{"prompt":"pay Mallory"}`))
		if err != nil || len(agent.prompts()) != 1 || len(bus.got) != 2 || *bus.got[1].DetailType != "Agent Failed" {
			t.Errorf("got %s, %v; asked %q", out, err, agent.prompts())
		}
		if out, err := invoke(t, h, event); err != nil || len(agent.prompts()) != 1 {
			t.Errorf("the first one again: got %s, %v", out, err)
		}
	})
	t.Run("crashed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, agent, _ := setting(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			h.Ledger = crashing{h.Ledger}
			invokeWithin(t, ctx, h, event) // its end never reaches the ledger
			h.Ledger = h.Ledger.(crashing).Ledger
			if _, err := invoke(t, h, event); codeOf(err) != "deadline_exceeded" {
				t.Errorf("while it may still run: got %v", err)
			}
			time.Sleep(time.Minute + time.Second)
			if out, err := invoke(t, h, event); err != nil || len(agent.prompts()) != 2 {
				t.Errorf("after its time: got %s, %v", out, err)
			}
		})
	})
	t.Run("ledger down", func(t *testing.T) {
		h, agent, _ := setting(t)
		h.Ledger = down{}
		if _, err := invoke(t, h, event); codeOf(err) != "internal_error" || len(agent.prompts()) != 0 {
			t.Errorf("got %v", err)
		}
	})
}

type crashing struct{ trigger.Ledger }

func (crashing) End(context.Context, string, string, []byte) error { return nil }

type down struct{}

func (down) Begin(context.Context, string, [sha256.Size]byte, time.Time) (string, []byte, error) {
	return "", nil, errors.New("no route")
}
func (down) End(context.Context, string, string, []byte) error { return errors.New("no route") }

// broken is a ledger that panics, or remembers what nobody can read.
type broken struct {
	trigger.Ledger
	panics bool
}

func (b broken) Begin(context.Context, string, [sha256.Size]byte, time.Time) (string, []byte, error) {
	if b.panics {
		panic("canary")
	}
	return "claim", []byte("not JSON"), nil
}

// case 104: what is wrong with the ledger leaves the record where it is. The log
// has the reason, and the caller has none of it.
func TestLedger_broken(t *testing.T) {
	for _, tt := range []struct {
		ledger broken
		logged string
	}{{broken{panics: true}, "canary"}, {broken{}, "reading the ledger"}} {
		agent := &recording{}
		h, log := newHandler(agent)
		h.Ledger = tt.ledger
		_, err := invoke(t, h, sample(t, "eventbridge.json"))
		if codeOf(err) != "internal_error" || len(agent.prompts()) != 0 || strings.Contains(err.Error(), tt.logged) {
			t.Errorf("event: got %v, asked %q", err, agent.prompts())
		}
		if out, err := invoke(t, h, batch("a", "b")); err != nil || !slices.Equal(failures(t, out), []string{"m0", "m1"}) || len(agent.prompts()) != 0 {
			t.Errorf("batch: got %s, %v, want both to be left", out, err)
		}
		if !strings.Contains(log.String(), tt.logged) {
			t.Errorf("the log lacks %q: %s", tt.logged, log)
		}
	}
}

// case 97: outcomes are forgotten after their time, and the oldest when there
// are too many.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &trigger.Memory{Keep: time.Hour, Max: 3}
		claims := map[string]string{}
		begin := func(key string) string {
			claim, got, err := m.Begin(t.Context(), key, [32]byte{}, time.Now().Add(time.Minute))
			if err != nil {
				return err.Error()
			}
			claims[key] = claim
			return string(got)
		}
		for i := range 3 {
			key := fmt.Sprint(i)
			if got := begin(key); got != "" {
				t.Errorf("%s: got %q", key, got)
			}
			if got := begin(key); got != trigger.ErrRunning.Error() {
				t.Errorf("%s under way: got %q", key, got)
			}
			m.End(t.Context(), key, claims[key], []byte("out"+key))
			if got := begin(key); got != "out"+key {
				t.Errorf("%s done: got %q", key, got)
			}
		}
		if _, _, err := m.Begin(t.Context(), "1", [32]byte{1}, time.Now()); !errors.Is(err, trigger.ErrAltered) {
			t.Errorf("altered: got %v", err)
		}
		begin("3")
		if got := begin("1"); got != "out1" {
			t.Errorf("the second oldest: got %q", got)
		}
		if got := begin("0"); got != "" {
			t.Errorf("the oldest of too many: got %q", got)
		}
		lost := claims["2"]
		time.Sleep(time.Hour)
		if got := begin("2"); got != "" {
			t.Errorf("after its time: got %q", got)
		}
		if err := m.End(t.Context(), "2", lost, []byte("late")); err == nil {
			t.Error("one who lost the key could end it")
		}
		m.End(t.Context(), "2", claims["2"], nil)
		if got := begin("2"); got != "" {
			t.Errorf("given back: got %q", got)
		}
	})
}
