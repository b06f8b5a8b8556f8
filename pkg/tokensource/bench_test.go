package tokensource_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"agentcore-mcp-auth/pkg/tokensource"
)

// A warm token costs under 300 ns and no allocation.
func BenchmarkToken_warm(b *testing.B) {
	s := newSource(b, newIssuer(), tokensource.Config{})
	if _, err := s.Token(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Token(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToken_warmParallel(b *testing.B) {
	s := newSource(b, newIssuer(), tokensource.Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Token(b.Context()); err != nil {
				b.Error(err)
			}
		}
	})
}

// 10,000 callers of a cold source cost one token request.
func BenchmarkToken_cold10000(b *testing.B) {
	posts := 0
	for b.Loop() {
		i := newIssuer()
		s := newSource(b, i, tokensource.Config{})
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				if _, err := s.Token(b.Context()); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		posts += len(i.requests())
	}
	b.ReportMetric(float64(posts)/float64(b.N), "posts/op")
	if posts != b.N {
		b.Errorf("got %d token requests in %d runs", posts, b.N)
	}
}

// What the transport adds to a request that costs nothing itself.
func BenchmarkRoundTrip(b *testing.B) {
	i := newIssuer()
	base := roundTripFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	s := newSource(b, i, tokensource.Config{Base: base})
	req, _ := http.NewRequest(http.MethodPost, resourceURL, io.NopCloser(strings.NewReader("")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

func TestToken_warmAllocations(t *testing.T) {
	s := newSource(t, newIssuer(), tokensource.Config{})
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() { s.Token(ctx) }); got != 0 {
		t.Errorf("a warm token costs %v allocations, want none", got)
	}
}
