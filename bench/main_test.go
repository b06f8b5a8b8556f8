package main

import "testing"

// Medians and quartiles of what go test prints; units of one's own leave the
// plain ones out.
func TestRows(t *testing.T) {
	got := rows([]byte(`goos: linux
BenchmarkA/x=1-2         	     100	   10 ns/op	   1.000 ratio	 5 B/op
BenchmarkA/x=1-2         	     100	   12 ns/op	   3.000 ratio	 5 B/op
BenchmarkA/x=1-2         	     100	   11 ns/op	   2.000 ratio	 5 B/op
BenchmarkB-2             	     100	   20 ns/op	   3 allocs/op
PASS
`))
	want := []Row{{"A/x=1", "ratio", 2, 1.5, 2.5, 3}, {"B", "ns/op", 20, 20, 20, 1}, {"B", "allocs/op", 3, 3, 3, 1}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}
