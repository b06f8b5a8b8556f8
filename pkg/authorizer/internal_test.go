package authorizer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// The memory of verified tokens is bounded, and what has ended leaves first.
func TestRemember_bounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a, err := New(Config{DiscoveryURL: "https://idp.example" + discoverySuffix, AllowedClients: []string{"x"}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	id := func(n int) (id [sha256.Size]byte) {
		binary.BigEndian.PutUint64(id[:], uint64(n))
		return id
	}
	at := func(d time.Duration) verified { return verified{token: &token{Claims: Claims{Expires: now.Add(d)}}} }
	a.remember(id(0), at(time.Hour))
	for n := 1; n < maxVerified; n++ {
		a.remember(id(n), at(0))
	}
	a.remember(id(maxVerified), at(time.Hour))
	if _, ok := a.verified[id(0)]; !ok || len(a.verified) != 2 {
		t.Errorf("%d tokens remembered (the live one: %t), want 2 with it", len(a.verified), ok)
	}
	for n := range 3 * maxVerified {
		a.remember(id(n), at(time.Hour))
	}
	if got := len(a.verified); got != maxVerified {
		t.Errorf("%d tokens remembered, want %d", got, maxVerified)
	}
}

// Ages are judged by the wall clock: the monotonic one stands still while a
// process is frozen. case 46
func TestNew_wallClock(t *testing.T) {
	a, err := New(Config{DiscoveryURL: "https://idp.example" + discoverySuffix, AllowedClients: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.keys.now(); got != got.Round(0) {
		t.Errorf("the time is %v, want no monotonic reading", got)
	}
}

// What is remembered of unknown key ids during a fetch is bounded, and enough to
// know that the fetch did not bring them all. case 133
func TestKeys_wantedBounded(t *testing.T) {
	begun := make(chan struct{})
	a, err := New(Config{DiscoveryURL: "https://idp.example" + discoverySuffix, AllowedClients: []string{"x"}, HTTPClient: &http.Client{Transport: blocked(begun)}})
	if err != nil {
		t.Fatal(err)
	}
	s := a.keys
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range 10 * maxKeys {
		if _, err := s.find(gone, fmt.Sprint(n)); err == nil {
			t.Fatal("found a key")
		}
	}
	<-begun
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := len(s.flight.wanted); got != maxKeys+1 {
		t.Errorf("%d ids are remembered, want one more than a set may have: %d", got, maxKeys+1)
	}
}

// blocked is a network on which nothing comes back.
type blocked chan struct{}

func (b blocked) RoundTrip(r *http.Request) (*http.Response, error) {
	close(b)
	<-r.Context().Done()
	return nil, r.Context().Err()
}
