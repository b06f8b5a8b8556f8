package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// BenchmarkWarm measures a warm invocation of the compiled agent, through the
// Lambda runtime API, against the floor: the same two Converse calls and one
// tools/call sent by hand over kept-alive connections to the same stand-in.
// own-ms is what the agent and the runtime API add to that.
func BenchmarkWarm(b *testing.B) {
	w := newWorld(b)
	f := w.agent(b, nil)
	n := len(w.aws.Records())
	if got, res := ask(b, f, `{"prompt":"What is 2+2?"}`); got.Output == "" {
		b.Fatalf("got %s", res.Payload)
	}
	cold := len(w.since(n)) - 3
	n = len(w.aws.Records())
	ask(b, f, `{"prompt":"What is 2+2?"}`)
	requests := w.aws.Records()[n:]
	if len(requests) != 3 {
		b.Fatalf("a warm invocation made %d requests, want 3", len(requests))
	}

	var agent, floor []time.Duration
	for b.Loop() {
		start := time.Now()
		ask(b, f, `{"prompt":"What is 2+2?"}`)
		agent = append(agent, time.Since(start))

		start = time.Now()
		for _, r := range requests {
			again(b, w.aws.URL(), r)
		}
		floor = append(floor, time.Since(start))
	}
	a, fl := median(agent), median(floor)
	b.ReportMetric(float64(a.Microseconds())/1000, "agent-ms")
	b.ReportMetric(float64(fl.Microseconds())/1000, "floor-ms")
	b.ReportMetric(float64((a-fl).Microseconds())/1000, "own-ms")
	b.ReportMetric(float64(a)/float64(fl), "ratio")
	b.ReportMetric(float64(cold), "cold-requests")
	if pid, err := f.PID(b.Context()); err == nil {
		b.ReportMetric(residentMiB(b, pid), "resident-MiB")
	}
}

// BenchmarkCold measures a first answer, from the start of the process.
func BenchmarkCold(b *testing.B) {
	w := newWorld(b)
	var times, inits []time.Duration
	for b.Loop() {
		f := w.agent(b, nil)
		start := time.Now()
		_, res := ask(b, f, `{"prompt":"What is 2+2?"}`)
		times = append(times, time.Since(start))
		inits = append(inits, res.Init)
		f.Close()
	}
	b.ReportMetric(float64(median(times).Microseconds())/1000, "first-answer-ms")
	b.ReportMetric(float64(median(inits).Microseconds())/1000, "init-ms")
	info, err := os.Stat(bootstrap)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "bootstrap-MiB")
}

// again sends a recorded request once more, signature and bearer included.
func again(b *testing.B, base string, r localaws.Record) {
	b.Helper()
	target := base + r.Path
	if r.Service == "agentcore" {
		target += "?qualifier=DEFAULT"
	}
	req, err := http.NewRequest(r.Method, target, bytes.NewReader(r.RequestBody))
	if err != nil {
		b.Fatal(err)
	}
	req.Header = r.RequestHeader
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s %s: %d %s %v", r.Service, r.Operation, resp.StatusCode, body, err)
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// residentMiB is 0 where the system does not tell.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	m := vmRSS.FindSubmatch(status)
	if m == nil {
		return 0
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return float64(kb) / 1024
}
