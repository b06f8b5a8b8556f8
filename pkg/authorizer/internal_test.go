package authorizer

import (
	"crypto/sha256"
	"encoding/binary"
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
