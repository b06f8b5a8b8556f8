package cloudformation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// In every order, nothing starts before what it waits for, and never more at
// once than allowed.
func TestOrder_run(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			o := order{}
			for i := range 40 {
				id := fmt.Sprint(i)
				o[id] = []string{"not in the order"}
				for range random.IntN(3) {
					if i > 0 {
						o[id] = append(o[id], fmt.Sprint(random.IntN(i)))
					}
				}
			}
			var mu sync.Mutex
			done, busy, most := map[string]bool{}, 0, 0
			ok := o.run(true, func(id string) error {
				mu.Lock()
				for _, other := range o[id] {
					if _, known := o[other]; known && !done[other] {
						t.Errorf("seed %d: %s before %s", seed, id, other)
					}
				}
				busy++
				most = max(most, busy)
				takes := time.Duration(random.IntN(1000)) * time.Millisecond
				mu.Unlock()
				time.Sleep(takes)
				mu.Lock()
				defer mu.Unlock()
				busy--
				done[id] = true
				return nil
			})
			if !ok || len(done) != 40 || most > atOnce || most < 2 {
				t.Errorf("seed %d: got %v, %d done, %d at once", seed, ok, len(done), most)
			}
		})
	}
}

// A failure holds back what waits for it, and with stop everything that has not
// begun.
func TestOrder_runFails(t *testing.T) {
	o := order{"a": nil, "b": {"a"}, "c": {"b"}, "d": {"a"}, "e": {"d"}}
	for stop, want := range map[bool][]string{false: {"a", "b", "d", "e"}, true: {"a", "b", "d"}} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var done []string
			ok := o.run(stop, func(id string) error {
				mu.Lock()
				done = append(done, id)
				mu.Unlock()
				if id == "b" {
					return errors.New("failed")
				}
				time.Sleep(time.Second) // d ends after b
				return nil
			})
			slices.Sort(done)
			if ok || !slices.Equal(done, want) {
				t.Errorf("stop %v: got %v, %v, want %v", stop, ok, done, want)
			}
		})
	}
}

func TestOrder_reversed(t *testing.T) {
	o := order{"a": nil, "b": {"a"}, "c": {"a", "b", "elsewhere"}}
	r := o.reversed()
	slices.Sort(r["a"])
	if !slices.Equal(r["a"], []string{"b", "c"}) || !slices.Equal(r["b"], []string{"c"}) || len(r) != 3 {
		t.Errorf("got %v", r)
	}
}
