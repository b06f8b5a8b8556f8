package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/internal/testenv"
)

// measured is a server in a process of its own, which logs to the null device,
// with its measurements.
type measured struct {
	*process
	addr, token string
	first       time.Duration // from start to the first answer

	rates []float64       // calls per second, round by round
	calls []time.Duration // how long each took
	used  float64         // seconds of a processor
}

// measure starts a program that listens on addr and requires token, unless that
// is empty.
func measure(tb testing.TB, addr, token string, env []string, program string, args ...string) *measured {
	tb.Helper()
	m := &measured{process: &process{Cmd: exec.Command(program, args...)}, addr: addr, token: token}
	m.Env = env
	start := time.Now()
	if err := m.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		m.Process.Kill()
		m.Wait()
	})
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_, err = roundTrip(conn, bufio.NewReader(conn), request(addr, token, pingCall))
			conn.Close()
		}
		if err == nil {
			m.first = time.Since(start)
			return m
		}
		if time.Since(start) > 20*time.Second {
			tb.Fatalf("%s does not answer: %v", program, err)
		}
	}
}

const (
	pingCall  = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	smallCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":2,"b":40}}}`
)

// request is a POST in raw bytes, so that sending it costs as little as it can.
func request(addr, token, body string) []byte {
	authorization := ""
	if token != "" {
		authorization = "Authorization: Bearer " + token + "\r\n"
	}
	return fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Session-Id: 00000000-0000-0000-0000-000000000001\r\n%sContent-Length: %d\r\n\r\n%s",
		addr, authorization, len(body), body)
}

// roundTrip sends a request and returns the body of the answer.
func roundTrip(conn net.Conn, r *bufio.Reader, request []byte) ([]byte, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return body, err
}

// round sends n calls over conns connections.
func (m *measured) round(tb testing.TB, conns, n int) {
	tb.Helper()
	send := request(m.addr, m.token, smallCall)
	var open []net.Conn
	for range conns {
		conn, err := net.Dial("tcp", m.addr)
		if err != nil {
			tb.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
	}
	took := make([]time.Duration, n/conns*conns)
	before := m.cpu(tb)
	var wg sync.WaitGroup
	start := time.Now()
	for share := range slices.Chunk(took, n/conns) {
		conn := open[0]
		open = open[1:]
		wg.Go(func() {
			r := bufio.NewReader(conn)
			for i := range share {
				start := time.Now()
				body, err := roundTrip(conn, r, send)
				share[i] = time.Since(start)
				if err != nil || !bytes.Contains(body, []byte(`"42"`)) {
					tb.Errorf("got %s, %v", body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	m.rates = append(m.rates, float64(len(took))/time.Since(start).Seconds())
	m.calls = append(m.calls, took...)
	m.used += m.cpu(tb) - before
}

// cpu returns the processor time that the process has used, in seconds.
func (m *measured) cpu(tb testing.TB) float64 {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.Process.Pid))
	if len(threads) == 0 {
		tb.Skip("no processor time to be read here")
	}
	var sum float64
	for _, t := range threads {
		stat, err := os.ReadFile(t)
		ran, _, _ := strings.Cut(string(stat), " ")
		nanoseconds, err2 := strconv.ParseFloat(ran, 64)
		if err := errors.Join(err, err2); err != nil {
			tb.Fatal(err)
		}
		sum += nanoseconds / 1e9
	}
	return sum
}

// perCall returns the processor time of a call, in microseconds.
func (m *measured) perCall() float64 { return m.used * 1e6 / float64(len(m.calls)) }

// quantile returns a quantile of the calls' durations, in microseconds.
func (m *measured) quantile(q float64) float64 {
	slices.Sort(m.calls)
	return m.calls[int(q*float64(len(m.calls)-1))].Seconds() * 1e6
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ours is the environment of the server under measurement.
func ours(addr string, more ...string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return append([]string{"HOST=" + host, "PORT=" + port}, more...)
}

// peer returns one of the programs to compare with, compiled like ours.
func peer(name string) string {
	program := filepath.Join(binaries, name)
	if _, err := os.Stat(program); err != nil {
		testenv.Build(program, "bench/"+name)
	}
	return program
}

// shares are ratios of one quantity, ours to another server's, round by round.
type shares []float64

// report reports the median. Absolute figures depend on the machine and its
// load; ratios hardly do.
func (s shares) report(b *testing.B, name string) {
	slices.Sort(s)
	b.ReportMetric(s[len(s)/2], name)
}

// BenchmarkAgainstPlain compares the server with everything on, once as on
// AgentCore and once checking tokens itself, with the plainest servers of mcp-go
// and of the official SDK with the same tools. Each runs in its own process, in
// turns. The metrics of-… are ratios to theirs: throughput (without a name),
// time of calls, processor time and resident memory.
func BenchmarkAgainstPlain(b *testing.B) {
	for _, conns := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			is := newIssuer(b)
			id, secret := is.client()
			token := is.token(id, secret, calc+"/invoke")
			addr := freeAddr(b)
			plain := measure(b, addr, "", nil, peer("plain"), addr)
			addr = freeAddr(b)
			gosdk := measure(b, addr, "", nil, peer("gosdk"), addr)
			addr = freeAddr(b)
			open := measure(b, addr, "", ours(addr), binary())
			addr = freeAddr(b)
			checked := measure(b, addr, token, ours(addr, is.settings(id)...), binary())
			servers := []*measured{plain, gosdk, open, checked}
			round := func() {
				for _, m := range servers {
					m.round(b, conns, 640)
				}
				slices.Reverse(servers) // so that none is always first, or always after the same one
			}
			round() // warms up
			round()
			for _, m := range servers {
				m.rates, m.calls, m.used = nil, nil, 0
			}
			for b.Loop() {
				round()
			}
			compare(b, "", open, plain, "of-plain")
			compare(b, "", open, gosdk, "of-gosdk")
			compare(b, "checked-", checked, plain, "of-plain")
			compare(b, "checked-", checked, gosdk, "of-gosdk")
			rates := slices.Sorted(slices.Values(open.rates))
			b.ReportMetric(rates[len(rates)/2], "calls/s")
			b.ReportMetric(open.quantile(0.5), "p50-µs")
			b.ReportMetric(open.quantile(0.99), "p99-µs")
			b.ReportMetric(open.perCall(), "cpu-µs")
			b.ReportMetric(float64(open.memory(b, "VmRSS"))/1024, "resident-MiB")
		})
	}
}

// compare reports our server's speed and use of resources as ratios to the other
// one's.
func compare(b *testing.B, prefix string, our, other *measured, name string) {
	var throughput shares
	for i := range our.rates {
		throughput = append(throughput, our.rates[i]/other.rates[i])
	}
	throughput.report(b, prefix+name)
	b.ReportMetric(our.quantile(0.5)/other.quantile(0.5), prefix+"p50-"+name)
	b.ReportMetric(our.quantile(0.99)/other.quantile(0.99), prefix+"p99-"+name)
	b.ReportMetric(our.perCall()/other.perCall(), prefix+"cpu-"+name)
	b.ReportMetric(float64(our.memory(b, "VmRSS"))/float64(other.memory(b, "VmRSS")), prefix+"resident-"+name)
}

// BenchmarkStart measures the time from the start of the process to its first
// answer.
func BenchmarkStart(b *testing.B) {
	others := map[string]string{"plain": peer("plain"), "gosdk": peer("gosdk")}
	var times shares
	of := map[string]shares{}
	for b.Loop() {
		addr := freeAddr(b)
		open := measure(b, addr, "", ours(addr), binary())
		open.Process.Kill()
		times = append(times, float64(open.first.Microseconds())/1000)
		for name, program := range others {
			addr := freeAddr(b)
			other := measure(b, addr, "", nil, program, addr)
			other.Process.Kill()
			of[name] = append(of[name], open.first.Seconds()/other.first.Seconds())
		}
	}
	times.report(b, "ms")
	of["plain"].report(b, "of-plain")
	of["gosdk"].report(b, "of-gosdk")
}
