package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"agentcore-mcp-auth/events"
	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
)

// BenchmarkAnswer measures the compiled agent against bench/byhand, a Lambda
// function that sends the same requests by hand over kept-alive connections,
// both run by one stand-in in turns. The stand-in's model answers at once; at
// 20ms it takes that long for each call, as no real model does.
func BenchmarkAnswer(b *testing.B) {
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run("model="+delay.String(), func(b *testing.B) {
			w := newWorld(b)
			w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Service == "bedrock" {
					return &localaws.Fault{Delay: delay}
				}
				return nil
			})
			f, byHand, requests := w.pair(b)
			defer byHand.Close()
			var agent, floor []time.Duration
			for b.Loop() {
				start := time.Now()
				ask(b, f, question)
				agent = append(agent, time.Since(start))
				floor = append(floor, invoke(b, byHand, []byte(`{}`)))
			}
			report(b, agent, floor)
			b.ReportMetric(float64(requests), "cold-requests")
			if pid, err := f.PID(b.Context()); err == nil {
				b.ReportMetric(residentMiB(b, pid), "resident-MiB")
			}
		})
	}
}

// BenchmarkFirstAnswer is BenchmarkAnswer from the start of the process.
func BenchmarkFirstAnswer(b *testing.B) {
	w := newWorld(b)
	f, byHand, _ := w.pair(b)
	f.Close()
	byHand.Close()
	var agent, floor []time.Duration
	for b.Loop() {
		f := w.agent(b, nil)
		start := time.Now()
		ask(b, f, question)
		agent = append(agent, time.Since(start))
		f.Close()

		byHand := w.byHand(b)
		floor = append(floor, invoke(b, byHand, []byte(`{}`)))
		byHand.Close()
	}
	report(b, agent, floor)
	info, err := os.Stat(bootstrap())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "bootstrap-MiB")
}

// BenchmarkFirstDelta measures the time to the first piece of a streamed answer,
// compared with the time of the whole answer by hand.
func BenchmarkFirstDelta(b *testing.B) {
	w := newWorld(b)
	f := w.agent(b, map[string]string{"INVOKE_MODE": "RESPONSE_STREAM"})
	event, err := events.FS.ReadFile("function-url.json")
	if err != nil {
		b.Fatal(err)
	}
	event = bytes.ReplaceAll(event, []byte(`"accept": "application/json"`), []byte(`"accept": "text/event-stream"`))
	event = bytes.ReplaceAll(event, []byte("What is 2+2?"), []byte("Good morning"))
	first := func() time.Duration {
		start := time.Now()
		stream, err := f.InvokeStream(b.Context(), event)
		if err != nil {
			b.Fatal(err)
		}
		defer stream.Body.Close()
		var got []byte
		var at time.Duration
		for chunk := make([]byte, 4096); ; {
			n, err := stream.Body.Read(chunk)
			got = append(got, chunk[:n]...)
			if at == 0 && bytes.Contains(got, []byte("event: delta")) {
				at = time.Since(start)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if at == 0 {
			b.Fatalf("no delta in %s", got)
		}
		return at
	}
	first()
	n := len(w.aws.Records())
	first()
	w.plan(b, nil, w.aws.Records()[n:])
	byHand := w.byHand(b)
	invoke(b, byHand, []byte(`{}`))
	var agent, floor []time.Duration
	for b.Loop() {
		agent = append(agent, first())
		floor = append(floor, invoke(b, byHand, []byte(`{}`)))
	}
	report(b, agent, floor)
}

const question = `{"prompt":"What is 2+2?"}`

// pair returns the agent and the function that repeats its requests, both warm.
func (w *world) pair(b *testing.B) (agent, byHand *localaws.Function, coldRequests int) {
	b.Helper()
	agent = w.agent(b, nil)
	record := func() []localaws.Record {
		n := len(w.aws.Records())
		if got, res := ask(b, agent, question); got.Output == "" {
			b.Fatalf("got %s", res.Payload)
		}
		return slices.DeleteFunc(w.aws.Records()[n:], func(r localaws.Record) bool {
			return r.RequestHeader.Get("User-Agent") == localaws.FrontDoorAgent
		})
	}
	cold, warm := record(), record()
	if len(warm) != 3 {
		b.Fatalf("a warm invocation made %d requests, want 3", len(warm))
	}
	w.plan(b, cold, warm)
	byHand = w.byHand(b)
	invoke(b, byHand, []byte(`{}`))
	return agent, byHand, len(cold) - len(warm)
}

// plan writes the requests that bench/byhand sends.
func (w *world) plan(b *testing.B, cold, warm []localaws.Record) {
	b.Helper()
	w.requests = filepath.Join(b.TempDir(), "requests.json")
	type request struct {
		Method, URL string
		Header      http.Header
		Body        []byte
	}
	plan := map[string][]request{}
	for part, records := range map[string][]localaws.Record{"Cold": cold, "Warm": warm} {
		for _, r := range records {
			target := w.aws.URL() + r.Path
			if r.Service == "agentcore" {
				target += "?qualifier=DEFAULT"
			}
			plan[part] = append(plan[part], request{r.Method, target, r.RequestHeader, r.RequestBody})
		}
	}
	text, err := json.Marshal(plan)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(w.requests, text, 0o600); err != nil {
		b.Fatal(err)
	}
}

// byHand starts bench/byhand.
func (w *world) byHand(b *testing.B) *localaws.Function {
	b.Helper()
	binary := filepath.Join(filepath.Dir(bootstrap()), "byhand")
	if _, err := os.Stat(binary); err != nil {
		testenv.Build(binary, "bench/byhand")
	}
	f, err := w.aws.StartFunction(b.Context(), localaws.FunctionConfig{
		Name: "byhand", Binary: binary, Timeout: 20 * time.Second, Env: map[string]string{"REQUESTS": w.requests}, Stderr: w.log,
	})
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func invoke(b *testing.B, f *localaws.Function, event []byte) time.Duration {
	b.Helper()
	start := time.Now()
	res, err := f.Invoke(b.Context(), event)
	if err != nil || res.FunctionError != "" {
		b.Fatalf("got %+v, %v", res, err)
	}
	return time.Since(start)
}

// report reports the medians, their ratio, and the time that the agent adds.
func report(b *testing.B, agent, floor []time.Duration) {
	a, f := median(agent), median(floor)
	b.ReportMetric(float64(a.Microseconds())/1000, "agent-ms")
	b.ReportMetric(float64(f.Microseconds())/1000, "byhand-ms")
	b.ReportMetric(float64((a-f).Microseconds())/1000, "own-ms")
	b.ReportMetric(float64(a)/float64(f), "ratio")
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// residentMiB returns the resident memory of a process, or 0 if the system does
// not tell.
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
