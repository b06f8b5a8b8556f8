package main

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// heavyCall keeps a processor busy for some milliseconds.
const heavyCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"integrate","arguments":{"expression":"sin(1/x)","lower":0.001,"upper":1}}}`

// Twice as many calls arrive as can be served, without waiting for earlier
// answers. Each gets a complete answer: the result, or an error that the server
// is busy. Accepted calls are finished, and memory stays bounded. case 124
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps a processor busy for two seconds")
	}
	p := launch(t, "LOG_LEVEL=error", "GOMAXPROCS=1")
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	var served, refused atomic.Int64
	var mu sync.Mutex
	var took []time.Duration // of the calls that were served
	call := func() {
		start := time.Now()
		resp, err := c.Post(p.url+"/mcp", "application/json", strings.NewReader(heavyCall))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		switch {
		case err == nil && resp.StatusCode == 200 && bytes.Contains(body, []byte(`"text":"≈`)) && !bytes.Contains(body, []byte("isError")):
			served.Add(1)
			mu.Lock()
			took = append(took, time.Since(start))
			mu.Unlock()
		case err == nil && resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "":
			refused.Add(1)
		default:
			t.Errorf("got %d %s, %v", resp.StatusCode, body, err)
		}
	}

	// First measure the throughput: callers that wait for their answers.
	start := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for time.Since(start) < 500*time.Millisecond {
				call()
			}
		})
	}
	wg.Wait()
	capacity := float64(served.Load()) / time.Since(start).Seconds()
	idle := p.memory(t, "VmHWM")

	served.Store(0)
	took = nil
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	start = time.Now()
	sent := 0
	for now := range tick.C {
		sofar := min(now.Sub(start), time.Second) // a late tick brings no more
		for due := int(2 * capacity * sofar.Seconds()); sent < due; sent++ {
			wg.Go(call)
		}
		if sofar == time.Second {
			break
		}
	}
	wg.Wait()
	slices.Sort(took)
	t.Logf("capacity %.0f/s; of %d calls at twice that, %d served (99%% of them within %v) and %d refused; memory grew by %d kB",
		capacity, sent, served.Load(), took[len(took)*99/100], refused.Load(), p.memory(t, "VmHWM")-idle)
	if served.Load()+refused.Load() != int64(sent) || served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("of %d calls, %d were served and %d refused", sent, served.Load(), refused.Load())
	}
	if got := p.memory(t, "VmHWM") - idle; got > 64<<10 {
		t.Errorf("memory grew by %d kB, want under 64 MB", got)
	}
	if status, body, err := post(c, p.url+"/mcp", addCall); err != nil || status != 200 {
		t.Errorf("afterwards: got %d %s, %v", status, body, err)
	}
}
