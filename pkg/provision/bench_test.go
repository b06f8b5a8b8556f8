package provision_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
)

// BenchmarkCreate counts the calls of the first Create of so many servers, one
// after the other, and how long they would take with 100 ms for each call. The
// calls of one Create follow on each other, so that its time is theirs and that
// of its pauses.
func BenchmarkCreate(b *testing.B) {
	for _, own := range []bool{false, true} {
		for _, n := range []int{1, 5, 20} {
			b.Run(fmt.Sprintf("own_pool=%t/servers=%d", own, n), func(b *testing.B) {
				w := newWorld(b)
				var paused time.Duration
				w.p.Wait = func(_ context.Context, d time.Duration) error {
					w.pass(d)
					paused += d
					return nil
				}
				w.p.Backoff = nil
				pool := w.pool
				if own {
					pool = ""
				}
				calls := 0
				for b.Loop() {
					var events []cfn.Event
					for i := range n {
						e := create(properties(pool, map[string]any{"McpName": fmt.Sprint("server", i)}))
						e.LogicalResourceID = fmt.Sprint("Server", i)
						events = append(events, e)
					}
					calls += len(w.calls(func() {
						for i := range events {
							events[i].PhysicalResourceID, _ = w.must(events[i])
						}
					}))
					for _, e := range events {
						e.RequestType = cfn.RequestDelete
						w.must(e)
					}
				}
				b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
				b.ReportMetric((float64(calls)*0.1+paused.Seconds())/float64(b.N), "virtual-s/op")
			})
		}
	}
}
