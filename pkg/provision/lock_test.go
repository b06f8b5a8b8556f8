package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/localaws"
)

// Two runs that see a lock free at the same moment, because a run released it or
// died, get it one after the other. Neither waits longer than the other works,
// and nothing of the lock is left.
func TestLock_seenFreeAtOnce(t *testing.T) {
	for name, before := range map[string]func(w *world){
		"given back": func(w *world) {
			if _, err := w.rotator().Rotate(w.t.Context(), "calc"); err != nil {
				w.t.Fatal(err)
			}
		},
		"left": func(w *world) {
			dead, _ := json.Marshal(map[string]any{"holder": "dead", "until": w.time().Add(-time.Second)})
			w.put("/app/mcp/.lock/calc", string(dead), ssmtypes.ParameterTypeString)
		},
		"illegible": func(w *world) { w.put("/app/mcp/.lock/calc", "not JSON", ssmtypes.ParameterTypeString) },
		"left while another's was taken": func(w *world) {
			dead, _ := json.Marshal(map[string]any{"holder": "dead", "until": w.time().Add(-time.Second)})
			w.put("/app/mcp/.lock/calc", string(dead), ssmtypes.ParameterTypeString)
			w.put("/app/mcp/.lock/calc.evict", string(dead), ssmtypes.ParameterTypeString)
		},
	} {
		t.Run(name, inWorld(func(t *testing.T, w *world) {
			props := properties(w.pool, nil)
			id, _ := w.must(create(props))
			before(w)
			var mu sync.Mutex
			looks, both := 0, make(chan struct{})
			w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
				// What follows on the look at a lock that is there.
				body := string(rec.RequestBody)
				if rec.Operation != "PutParameter" || !strings.Contains(body, `/.lock/calc.evict"`) &&
					!(strings.Contains(body, `/.lock/calc"`) && strings.Contains(body, `"Overwrite":true`)) {
					return nil
				}
				mu.Lock()
				looks++
				n := looks
				mu.Unlock()
				if n == 2 {
					close(both)
				}
				select {
				case <-both:
				case <-time.After(10 * time.Second): // there is only one who looks
				}
				return nil
			})
			start := w.time()
			errs := make([]error, 2)
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() { _, errs[i] = w.rotator().Rotate(t.Context(), "calc") })
			}
			all.Wait()
			w.aws.SetFault(nil)
			for _, err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			if took := w.time().Sub(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			w.working(path)
			w.must(event("Delete", id, props, nil))
			w.nothingLeft()
		}))
	}
}

// A run whose request for the lock takes effect after a look has not found it
// does not wait for itself.
func TestLock_takenLate(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, nil)))
	late := ""
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		var put struct{ Name, Value string }
		if rec.Operation != "PutParameter" || json.Unmarshal(rec.RequestBody, &put) != nil || put.Name != "/app/mcp/.lock/calc" {
			return nil
		}
		if late == "" {
			late = put.Value
			return &localaws.Fault{Reset: true}
		}
		w.aws.SetFault(nil)
		w.put(put.Name, late, ssmtypes.ParameterTypeString)
		return nil
	})
	start := w.time()
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	if took := w.time().Sub(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// A run without a deadline that has waited for long has its lock for as long as
// one that has not.
func TestLock_afterLongWait(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, nil)))
	dead, _ := json.Marshal(map[string]any{"holder": "dead", "until": w.time().Add(10 * time.Minute)})
	w.put("/app/mcp/.lock/calc", string(dead), ssmtypes.ParameterTypeString)
	var left time.Duration
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation == "AddUserPoolClientSecret" {
			var lock struct{ Until time.Time }
			if err := json.Unmarshal([]byte(w.aws.Parameters()["/app/mcp/.lock/calc"].Value), &lock); err != nil {
				t.Error(err)
			}
			left = lock.Until.Sub(w.time())
		}
		return nil
	})
	if _, err := w.rotator().Rotate(t.Context(), "calc"); err != nil {
		t.Fatal(err)
	}
	if left < 14*time.Minute {
		t.Errorf("the lock has %v left, want a quarter of an hour", left)
	}
}

// A run that is interrupted while it takes a lock gives it back. case 141
func TestLock_interrupted(t *testing.T) {
	w := newWorld(t)
	w.must(create(properties(w.pool, nil)))
	ctx, interrupt := context.WithCancel(t.Context())
	w.aws.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "PutParameter" {
			return nil
		}
		return &localaws.Fault{Reset: true, After: true, Then: interrupt}
	})
	if _, err := w.rotator().Rotate(ctx, "calc"); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of an interrupt", err)
	}
	if lock, there := w.aws.Parameters()["/app/mcp/.lock/calc"]; there {
		t.Errorf("the lock is there still: %s", lock.Value)
	}
}
