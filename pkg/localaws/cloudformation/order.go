package cloudformation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// atOnce is how many resources are worked on at once.
const atOnce = 8

// order maps each id to the ids that it waits for. Ids without an entry are not
// waited for.
type order map[string][]string

// check refuses an order with a circle.
func (o order) check() error {
	done := map[string]bool{} // false: being checked
	var follow func(id string) []string
	follow = func(id string) []string {
		done[id] = false
		for _, other := range o[id] {
			finished, begun := done[other]
			if _, known := o[other]; !known || finished {
				continue
			}
			if begun {
				return []string{other}
			}
			if circle := follow(other); circle != nil {
				return append(circle, other)
			}
		}
		done[id] = true
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(o)) {
		if _, begun := done[id]; begun {
			continue
		}
		if circle := follow(id); circle != nil {
			slices.Sort(circle)
			return fmt.Errorf("Circular dependency between resources: [%s]", strings.Join(slices.Compact(circle), ", "))
		}
	}
	return nil
}

// reversed returns the order in which to delete what was made in this order.
func (o order) reversed() order {
	r := order{}
	for id := range o {
		r[id] = nil
	}
	for id, others := range o {
		for _, other := range others {
			if _, known := o[other]; known {
				r[other] = append(r[other], id)
			}
		}
	}
	return r
}

// run calls do with every id, several at once, after do has returned for those
// that it waits for. If do fails for an id, it is not called for those that wait
// for that id. With stop, it is then not called for any further id. run returns
// after all calls have ended, and reports whether all succeeded.
func (o order) run(stop bool, do func(id string) error) bool {
	type end struct {
		id string
		ok bool
	}
	var (
		waits = map[string]int{}
		ready []string
		ended = make(chan end)
		wg    sync.WaitGroup
	)
	behind := o.reversed()
	for _, id := range slices.Sorted(maps.Keys(o)) {
		for _, other := range o[id] {
			if _, known := o[other]; known {
				waits[id]++
			}
		}
		if waits[id] == 0 {
			ready = append(ready, id)
		}
	}
	done, busy, failed := 0, 0, false
	for {
		for len(ready) > 0 && busy < atOnce && !(failed && stop) {
			id := ready[0]
			ready = ready[1:]
			busy++
			wg.Go(func() { err := do(id); ended <- end{id, err == nil} })
		}
		if busy == 0 {
			wg.Wait()
			return done == len(o)
		}
		e := <-ended
		busy--
		if !e.ok {
			failed = true
			continue
		}
		done++
		for _, id := range behind[e.id] {
			if waits[id]--; waits[id] == 0 {
				ready = append(ready, id)
			}
		}
	}
}
