package main

import (
	"os"
	"os/exec"
	"testing"
)

// The comparison is with the committed results, not with those that a run has
// written since.
func TestLast(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	t.Chdir(t.TempDir())
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	write := func(date string) {
		t.Helper()
		if err := os.WriteFile("results.json", []byte(`{"date":"`+date+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	date := func() string {
		t.Helper()
		r, err := last("results.json")
		if err != nil {
			t.Fatal(err)
		}
		return r.Date
	}
	if got := date(); got != "" {
		t.Errorf("got %q where there is no file", got)
	}
	write("committed")
	if got := date(); got != "committed" {
		t.Errorf("got %q of a file that git does not have", got)
	}
	git("init", "-q")
	git("add", "results.json")
	git("commit", "-q", "-m", "x")
	write("later")
	if got := date(); got != "committed" {
		t.Errorf("got %q, want what was committed", got)
	}
}

// rows computes medians and quartiles of what go test prints. A benchmark with
// units of its own has no rows for the standard ones.
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
