package tokensource_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// Not one call fails across 100 expiries, 20 rotations of the issuer's keys and
// 20 of the secret, and no token is fetched without one of these as the reason.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			life     = 40 // seconds; renewed after 9 to 10
			second   = 200
			duration = 1430 * time.Second
		)
		i, c := newIssuer(), newSet()
		i.life = life
		s := newSource(t, i, tokensource.Config{Credentials: c})
		calls, failed, rotations := 0, 0, 0
		start := time.Now()
		for tick := 0; time.Since(start) < duration; tick++ {
			// Every 35 s something is rotated: by turns keys and secret.
			if tick%(35*second) == 35*second-1 && rotations < 40 {
				if rotations++; rotations%2 == 0 {
					i.revoke()
				} else {
					next := credstore.NewSecret("secret-" + strings.Repeat("x", rotations))
					c.change(func(c *credstore.Credentials) { c.ClientSecret = next })
					i.rotate(next.Reveal())
				}
			}
			calls++
			if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
				failed++
				t.Logf("call %d: %v", calls, err)
			}
			time.Sleep(time.Second / second)
		}
		synctest.Wait()

		var granted []post
		refusals := 0
		for _, p := range i.requests() {
			if p.granted {
				granted = append(granted, p)
			} else {
				refusals++
			}
		}
		expiries := 0
		for n := 1; n < len(granted); n++ {
			if granted[n].at.Sub(granted[n-1].at) >= 9*time.Second { // old enough to be renewed
				expiries++
			}
		}
		t.Logf("%d calls, %d failed; %d tokens = 1 + %d expiries + %d rotations; %d refused requests", calls, failed, len(granted), expiries, rotations, refusals)
		if failed != 0 || rotations != 40 || expiries < 100 || len(granted) > 1+expiries+rotations {
			t.Error("want no failed call, and tokens = 1 + expiries + rotations")
		}
		if refusals != 20 {
			t.Errorf("got %d refused token requests, want one for each new secret", refusals)
		}
	})
}
