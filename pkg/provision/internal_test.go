package provision

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The default pauses: they grow to five seconds, half of each is random, and
// they end with the context.
func TestProvisioner_pauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Provisioner{}
		most := 100 * time.Millisecond
		for attempt := range 100 {
			d := p.backoff(attempt)
			if d < most/2 || d >= most {
				t.Errorf("attempt %d: got a pause of %v, want from %v to %v", attempt, d, most/2, most)
			}
			most = min(2*most, 5*time.Second)
			start := time.Now()
			if err := p.wait(t.Context(), d); err != nil || time.Since(start) != d {
				t.Errorf("waiting for %v took %v, error %v", d, time.Since(start), err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := p.wait(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the context's error after 1s", err, time.Since(start))
		}
	})
}
