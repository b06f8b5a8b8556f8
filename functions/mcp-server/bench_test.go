package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// measured is a server in a process of its own, whose log goes to the null
// device.
type measured struct {
	*process
	addr  string
	first time.Duration // from start to the first answer
}

// measure starts a program that listens on addr and, if token is not empty,
// wants it.
func measure(tb testing.TB, addr, token string, env []string, program string, args ...string) *measured {
	tb.Helper()
	m := &measured{process: &process{Cmd: exec.Command(program, args...)}, addr: addr}
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
	return fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nMcp-Session-Id: 00000000-0000-0000-0000-000000000001\r\n%sContent-Length: %d\r\n\r\n%s",
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

// calls sends n calls over conns connections and returns how long that took.
func (m *measured) calls(tb testing.TB, token string, conns, n int) time.Duration {
	send := request(m.addr, token, smallCall)
	var wg sync.WaitGroup
	start := time.Now()
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", m.addr)
			if err != nil {
				tb.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for range n / conns {
				body, err := roundTrip(conn, r, send)
				if err != nil || !bytes.Contains(body, []byte(`"42"`)) {
					tb.Errorf("got %s, %v", body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// cpu is how much time of a processor the process has used, in ticks.
func (m *measured) cpu(tb testing.TB) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Process.Pid))
	if err != nil {
		tb.Skipf("no processor time to be read here: %v", err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')'):]) // from the state, field 3, on
	user, err1 := strconv.Atoi(string(fields[11]))
	system, err2 := strconv.Atoi(string(fields[12]))
	if err1 != nil || err2 != nil {
		tb.Fatalf("no processor time in %s", stat)
	}
	return float64(user + system)
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

func buildPlain(tb testing.TB) string {
	plain := filepath.Join(tb.TempDir(), "plain")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", plain, "./testdata/plain")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v", out, err)
	}
	return plain
}

// shares are one quantity of ours over the plain server's, turn by turn.
type shares []float64

// report gives the median and the middle half of what was measured. Absolute
// figures depend on the machine and on what else it does, shares hardly do.
func (s shares) report(b *testing.B, name string) {
	slices.Sort(s)
	b.ReportMetric(s[len(s)/2], name)
	b.ReportMetric(s[len(s)/4], name+"-q1")
	b.ReportMetric(s[len(s)*3/4], name+"-q3")
}

// BenchmarkAgainstPlain runs the server with everything on, once as on AgentCore
// and once checking tokens itself, and the plainest mcp-go server with the same
// tools, each in its own process, in turns. The metrics are throughput and
// processor time as shares of the plain server's, and resident memory beyond it.
func BenchmarkAgainstPlain(b *testing.B) {
	plainBinary := buildPlain(b)
	for _, conns := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			is := newIssuer(b)
			id, secret := is.client()
			token := is.token(id, secret, calc+"/invoke")
			addr := freeAddr(b)
			plain := measure(b, addr, "", nil, plainBinary, addr)
			addr = freeAddr(b)
			open := measure(b, addr, "", ours(addr), binary())
			addr = freeAddr(b)
			checked := measure(b, addr, token, ours(addr, is.settings(id)...), binary())
			const round = 640
			for _, m := range []*measured{plain, open, checked} {
				m.calls(b, token, conns, 4*round)
			}
			var ofPlain, ofPlainChecked shares
			var took time.Duration
			plainBefore, openBefore, checkedBefore := plain.cpu(b), open.cpu(b), checked.cpu(b)
			for b.Loop() {
				p := plain.calls(b, "", conns, round)
				o := open.calls(b, "", conns, round)
				c := checked.calls(b, token, conns, round)
				took += o
				ofPlain = append(ofPlain, p.Seconds()/o.Seconds())
				ofPlainChecked = append(ofPlainChecked, p.Seconds()/c.Seconds())
			}
			ofPlain.report(b, "of-plain")
			ofPlainChecked.report(b, "checked-of-plain")
			used := plain.cpu(b) - plainBefore
			b.ReportMetric((open.cpu(b)-openBefore)/used, "cpu-of-plain")
			b.ReportMetric((checked.cpu(b)-checkedBefore)/used, "checked-cpu-of-plain")
			b.ReportMetric(float64(len(ofPlain)*(round/conns*conns))/took.Seconds(), "calls/s")
			b.ReportMetric(float64(open.memory(b, "VmRSS")-plain.memory(b, "VmRSS"))/1024, "MB-beyond-plain")
			b.ReportMetric(float64(checked.memory(b, "VmRSS")-plain.memory(b, "VmRSS"))/1024, "checked-MB-beyond-plain")
		})
	}
}

// BenchmarkStart measures the time from the start of the process to its first
// answer.
func BenchmarkStart(b *testing.B) {
	plainBinary := buildPlain(b)
	var times, ofPlain shares
	for b.Loop() {
		addr := freeAddr(b)
		plain := measure(b, addr, "", nil, plainBinary, addr)
		plain.Process.Kill()
		addr = freeAddr(b)
		open := measure(b, addr, "", ours(addr), binary())
		open.Process.Kill()
		times = append(times, float64(open.first.Microseconds())/1000)
		ofPlain = append(ofPlain, open.first.Seconds()/plain.first.Seconds())
	}
	times.report(b, "ms")
	ofPlain.report(b, "of-plain")
}
