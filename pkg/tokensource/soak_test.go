package tokensource_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// Not one call fails across 100 expiries, 20 rotations of the issuer's keys and
// 20 of the secret, and no token is fetched without one of these as the reason.
func TestSoak(t *testing.T) {
	for _, tt := range []struct {
		life             int // of tokens, in seconds
		rotation, length time.Duration
		renewal          time.Duration // the least age at which a token is renewed
	}{
		{40, 35 * time.Second, 1430 * time.Second, 9 * time.Second},
		{5, 3 * time.Second, 450 * time.Second, 1100 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tt.life), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, c := newIssuer(), newSet()
				i.life = tt.life
				s := newSource(t, i, tokensource.Config{Credentials: c})
				calls, failed, rotations := 0, 0, 0
				start := time.Now()
				next := start.Add(tt.rotation)
				for time.Since(start) < tt.length {
					if rotations < 40 && !time.Now().Before(next) { // by turns secret and keys
						next = next.Add(tt.rotation)
						if rotations++; rotations%2 == 0 {
							i.revoke()
						} else {
							secret := fmt.Sprint("secret-", rotations)
							c.change(func(c *credstore.Credentials) { c.ClientSecret = credstore.NewSecret(secret) })
							i.rotate(secret)
						}
					}
					calls++
					if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
						if failed++; failed < 5 {
							t.Logf("call %d: %v", calls, err)
						}
					}
					time.Sleep(5 * time.Millisecond)
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
					if granted[n].at.Sub(granted[n-1].at) >= tt.renewal {
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
		})
	}
}

// A token that lives for seconds is not sent after its end, however seldom calls
// come.
func TestSoak_seldom(t *testing.T) { // case 39
	for _, life := range []int{1, 2, 5, 20} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer()
			i.life = life
			i.latency = 50 * time.Millisecond
			s := newSource(t, i, tokensource.Config{})
			for n := range 100 {
				if _, err := call(t.Context(), s.Client(), resourceURL, "x"); err != nil {
					t.Fatalf("life %d s, call %d: %v", life, n, err)
				}
				time.Sleep(time.Duration(life)*time.Second - 10*time.Millisecond)
			}
			if got := len(i.requests()); got != 100 {
				t.Errorf("life %d s: got %d token requests for 100 calls, each at the end of a life, want 100", life, got)
			}
		})
	}
}
