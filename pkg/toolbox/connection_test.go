package toolbox_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/toolbox"
)

// case 59: a connection that died without a word while the process was frozen.
// The next call takes a new one at once, instead of waiting on the dead.
func TestDeadConnection(t *testing.T) {
	f := &fake{}
	target := strings.TrimSuffix(strings.TrimPrefix(f.serve(t), "http://"), "/mcp")
	proxy := &deadProxy{target: target}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go proxy.serve(l)
	var frozen atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	b := open(t, toolbox.Options{Now: now}, at("calc", "http://"+l.Addr().String()+"/mcp", client))
	mustTools(t, b)
	for range 3 {
		if _, err := b.Call(t.Context(), "add", nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := proxy.count.Load(); n != 1 {
		t.Errorf("%d connections while awake, want 1", n)
	}
	proxy.kill()
	frozen.Add(int64(10 * time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := b.Call(ctx, "add", nil); err != nil { // a call on the dead connection gets no answer
		t.Errorf("after the freeze: %v", err)
	}
}

// deadProxy forwards connections, until it is told to let those it has fall
// silent.
type deadProxy struct {
	target string
	count  atomic.Int64
	dead   atomic.Int64 // connections up to this number are silent
}

func (p *deadProxy) kill() { p.dead.Store(p.count.Load()) }

func (p *deadProxy) serve(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		n := p.count.Add(1)
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			return
		}
		pipe := func(to, from net.Conn) {
			buf := make([]byte, 32<<10)
			for {
				k, err := from.Read(buf)
				silent := n <= p.dead.Load()
				if err != nil && silent {
					return // and the other side never learns of it
				}
				if err != nil {
					to.Close()
					return
				}
				if !silent {
					to.Write(buf[:k])
				}
			}
		}
		go pipe(out, in)
		go pipe(in, out)
	}
}

// case 60: callers that leave take everything of theirs with them.
func TestCancel(t *testing.T) {
	var arrived, gone sync.WaitGroup
	f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
		if string(x.params.Arguments) == "{}" {
			arrived.Done()
			<-x.r.Context().Done()
			gone.Done()
		}
		return string(x.params.Arguments) == "{}"
	}}}
	b := connect(t, f)
	if _, err := b.Call(t.Context(), "add", []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	const rounds, callers = 20, 50
	for range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var left sync.WaitGroup
		arrived.Add(callers)
		gone.Add(callers)
		for range callers {
			left.Go(func() {
				_, err := b.Call(ctx, "add", nil)
				if !errors.Is(err, context.Canceled) || !errors.As(err, new(*toolbox.UnknownOutcomeError)) {
					t.Errorf("got %v", err)
				}
			})
		}
		arrived.Wait()
		cancel()
		left.Wait()
	}
	gone.Wait() // the server notices each caller leave
	settle(t, "goroutines", before, runtime.NumGoroutine)
	if _, err := b.Call(t.Context(), "add", []byte(`{"a":1}`)); err != nil {
		t.Errorf("a call after the cancelled ones: %v", err)
	}
}

// A server that keeps sessions is told of a call that is given up, because it
// must not take a caller who leaves for one who cancels. Others are not: by the
// id alone, theirs may be another caller's request.
func TestCancel_told(t *testing.T) { // case 60
	for _, tt := range []struct {
		era      string
		sessions bool
		want     int
	}{{toolbox.Era2025, true, 1}, {toolbox.Era2025, false, 0}, {toolbox.Era2026, false, 0}} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{sessions: tt.sessions, on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
				<-x.r.Context().Done()
				return true
			}}}
			s := inMemory("calc", f)
			s.Era = tt.era
			b := open(t, toolbox.Options{}, s)
			mustTools(t, b)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			if _, err := b.Call(ctx, "add", nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("got %v after %s, want the deadline at once", err, time.Since(start))
			}
			synctest.Wait()
			told := f.requests("notifications/cancelled")
			if len(told) != tt.want {
				t.Fatalf("era %s, sessions %t: told %d times, want %d", tt.era, tt.sessions, len(told), tt.want)
			}
			for _, x := range told {
				want := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + string(f.requests("tools/call")[0].id) + `}}`
				if session := x.r.Header.Get("Mcp-Session-Id"); string(x.body) != want || session != "session-1" {
					t.Errorf("told %s in session %q, want %s in session-1", x.body, session, want)
				}
			}
			b.Close(context.Background())
		})
	}
}

// settle waits until a count is back near where it was.
func settle(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for count() > before+5 {
		if time.Now().After(deadline) {
			t.Errorf("%s: %d before, %d after", what, before, count())
			return
		}
		runtime.Gosched()
	}
}

// case 70: 10,000 toolboxes opened and closed, half of them on servers that
// fail somewhere in the handshake, leave nothing behind.
func TestConnects_flat(t *testing.T) {
	fail := []string{"", "", "", "initialize", "notifications/initialized", "tools/list"}
	f := &fake{sessions: true}
	f.on = map[string]func(*exchange) bool{}
	for _, phase := range fail[3:] {
		f.on[phase] = func(x *exchange) bool {
			if x.r.Header.Get("X-Fail") == phase {
				x.raw(500, "", "")
				return true
			}
			return phase != "initialize" && answer(x)
		}
	}
	f.on["initialize"] = func(x *exchange) bool {
		if x.r.Header.Get("X-Fail") == "initialize" {
			x.raw(500, "", "")
		} else {
			x.ResponseWriter.Header().Set("Mcp-Session-Id", "s")
			x.result(`{"protocolVersion":"2025-11-25"}`)
		}
		f.drain()
		return true
	}
	var deleted atomic.Int64
	f.on["DELETE"] = func(x *exchange) bool { deleted.Add(1); return true }
	url := f.serve(t)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	run := func(n int) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range n / 8 {
					phase := fail[(w+i)%len(fail)]
					client := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
						r = r.Clone(r.Context())
						r.Header.Set("X-Fail", phase)
						return transport.RoundTrip(r)
					})}
					b := toolbox.New([]toolbox.Server{at("calc", url, client)}, toolbox.Options{})
					if _, _, err := b.Tools(context.Background()); (err == nil) != (phase == "") {
						t.Errorf("%q: %v", phase, err)
					}
					b.Close(context.Background())
				}
			})
		}
		wg.Wait()
		transport.CloseIdleConnections() // how many there are depends on the scheduler
	}
	run(80)
	goroutines, files := runtime.NumGoroutine(), openFiles()
	total := 10_000
	if testing.Short() {
		total = 800
	}
	run(total)
	settle(t, "goroutines", goroutines, runtime.NumGoroutine)
	settle(t, "descriptors", files, openFiles)
	// Every session that was opened was ended, also where the handshake failed
	// after it.
	if got, want := deleted.Load(), int64((total+80)*5/6); got < want-10 || got > want+10 {
		t.Errorf("%d sessions ended, want about %d", got, want)
	}
}

func answer(x *exchange) bool {
	switch x.method {
	case "tools/list":
		x.result(`{"tools":` + addTool + `}`)
	default:
		x.WriteHeader(http.StatusAccepted)
	}
	return true
}

// drain forgets what came so far.
func (f *fake) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
}

// openFiles counts this process's descriptors, where the system tells.
func openFiles() int {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return 0
	}
	return len(names)
}
