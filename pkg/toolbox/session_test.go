package toolbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/toolbox"
)

// case 52: the session ends; the call that finds out opens a new one and is
// carried out once.
func TestSessionGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		gone func(*exchange)
	}{
		{"404", func(x *exchange) { http.Error(x, "no such session", 404) }},
		{"404 with JSON-RPC", func(x *exchange) {
			x.raw(404, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)
		}},
		{"-32004", func(x *exchange) { x.refuse(agentcore.CodeNotFound, "session not found") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{sessions: true}
			f.on = map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
				if x.r.Header.Get("Mcp-Session-Id") == "session-1" {
					tt.gone(x)
					return true
				}
				return false
			}}
			b := connect(t, f)
			if r, err := b.Call(t.Context(), "add", json.RawMessage(`{"a":1}`)); err != nil || r.Text != `{"a":1}` {
				t.Fatalf("got %+v, %v", r, err)
			}
			if n, calls := len(f.requests("initialize")), len(f.requests("tools/call")); n != 2 || calls != 2 {
				t.Errorf("%d handshakes and %d calls, want 2 and 2", n, calls)
			}
			if n := len(f.requests("DELETE")); n != 0 {
				t.Errorf("%d DELETE requests for a session that is gone", n)
			}
		})
	}
}

// A session that ends before its handshake is through is opened once more; a
// server that knows no initialize is not asked again.
func TestSessionGone_early(t *testing.T) { // case 52
	for phase, want := range map[string]int{"initialize": 1, "notifications/initialized": 2, "tools/list": 2} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{sessions: true, on: map[string]func(*exchange) bool{phase: func(x *exchange) bool {
				if x.n == 0 {
					http.Error(x, "no such session", 404)
				}
				return x.n == 0
			}}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			_, _, err := b.Tools(t.Context())
			if n := len(f.requests("initialize")); n != want || (err == nil) != (want == 2) {
				t.Errorf("gone at %s: %v after %d handshakes, want %d", phase, err, n, want)
			}
			b.Close(context.Background())
		})
	}
}

// A server that forgets each session at once costs a few handshakes per call,
// not an endless row of them.
func TestSessionGone_always(t *testing.T) {
	f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool { http.Error(x, "", 404); return true }}}
	b := connect(t, f)
	_, err := b.Call(t.Context(), "add", nil)
	if e := platformError(err); e == nil || e.Status != 404 {
		t.Errorf("got %v, want status 404", err)
	}
	if n, calls := len(f.requests("initialize")), len(f.requests("tools/call")); n != 4 || calls != 4 {
		t.Errorf("%d handshakes and %d calls, want 4 and 4", n, calls)
	}
}

// case 53: 50 callers lose their session again and again. One handshake per
// loss, every call carried out exactly once. For the race detector.
func TestSessionGone_storm(t *testing.T) {
	var done sync.Map
	var ran, losses atomic.Int64
	f := &fake{sessions: true}
	f.on = map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
		f.mu.Lock()
		known := x.r.Header.Get("Mcp-Session-Id") == f.alive
		if known {
			if ran.Add(1)%100 == 50 {
				f.alive = ""
				losses.Add(1)
			}
		}
		f.mu.Unlock()
		if !known {
			http.Error(x, "no such session", 404)
			return true
		}
		if _, twice := done.LoadOrStore(string(x.params.Arguments), true); twice {
			t.Errorf("carried out twice: %s", x.params.Arguments)
		}
		x.text("done")
		return true
	}}
	b := connect(t, f)
	const callers, calls = 50, 20
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range calls {
				input, _ := json.Marshal(map[string]int{"caller": i, "call": j})
				if r, err := b.Call(t.Context(), "add", input); err != nil || r.Text != "done" {
					t.Errorf("got %+v, %v", r, err)
				}
				b.Tools(t.Context())
			}
		})
	}
	wg.Wait()
	if n := int64(len(f.requests("initialize"))); n > 1+losses.Load() || losses.Load() < 5 {
		t.Errorf("%d handshakes after %d losses", n, losses.Load())
	}
	if ran.Load() != callers*calls {
		t.Errorf("%d calls were carried out, want %d", ran.Load(), callers*calls)
	}
}

const threeTools = `[{"name":"write","inputSchema":{"type":"object"}},
	{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},
	{"name":"put","inputSchema":{"type":"object"},"annotations":{"idempotentHint":true}}]`

// cases 52, 59: the answer is lost after the call was written. It is sent again
// only if the tool says that this does no harm.
func TestUnknownOutcome(t *testing.T) {
	lose := map[string]func(*exchange){
		"connection broken": (*exchange).drop,
		"answer cut": func(x *exchange) {
			x.ResponseWriter.Header().Set("Content-Length", "1000")
			x.raw(200, "application/json", `{"jsonrpc":"2.0",`)
			x.flush()
			x.drop()
		},
		"bad gateway": func(x *exchange) { x.raw(502, "text/html", "<html>") },
	}
	for name, lose := range lose {
		for tool, want := range map[string]int{"write": 1, "read": 2, "put": 2} {
			t.Run(name+"/"+tool, func(t *testing.T) {
				f := &fake{tools: threeTools, on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
					if x.n == 0 {
						lose(x)
						return true
					}
					return false
				}}}
				b := connect(t, f)
				_, err := b.Call(t.Context(), tool, nil)
				if n := len(f.requests("tools/call")); n != want {
					t.Errorf("%d calls, want %d", n, want)
				}
				if unknown := errors.As(err, new(*toolbox.UnknownOutcomeError)); unknown != (want == 1) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// case 54: the container needs two attempts of 30 seconds. A caller leaves at
// its own deadline, the attempt goes on, and the next caller finds it done.
func TestColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{on: map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
			time.Sleep(29 * time.Second)
			if x.n == 0 {
				x.raw(424, "application/json", `{"message":"Runtime initialization time exceeded"}`)
			}
			return x.n == 0
		}}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, _, err := b.Tools(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("after %s: %v, want the deadline", time.Since(start), err)
		}
		tools, _, err := b.Tools(t.Context())
		if took := time.Since(start); err != nil || len(tools) != 1 || took < 58*time.Second || took > 59*time.Second {
			t.Errorf("after %s: %v, %v", took, tools, err)
		}
		if n := len(f.requests("initialize")); n != 2 {
			t.Errorf("%d handshakes, want 2", n)
		}
		b.Close(context.Background())
	})
}

// case 54: a server that does not come up is the server's fault, not the
// caller's deadline; and a caller without one is not kept for ever.
func TestCallBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(x *exchange) bool {
			if x.n == 0 {
				<-x.r.Context().Done()
			}
			return x.n == 0
		}
		f := &fake{on: map[string]func(*exchange) bool{"initialize": hang, "tools/call": hang}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		start := time.Now()
		_, _, err := b.Tools(t.Context())
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1m30s") || time.Since(start) != 90*time.Second {
			t.Errorf("connecting: %v after %s", err, time.Since(start))
		}
		mustTools(t, b)
		start = time.Now()
		_, err = b.Call(t.Context(), "add", nil)
		if !errors.As(err, new(*toolbox.UnknownOutcomeError)) || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 15*time.Minute {
			t.Errorf("calling: %v after %s", err, time.Since(start))
		}
		b.Close(context.Background())
	})
}

// A server that never comes to its answer does not keep a caller without a
// deadline for ever, whether it goes on talking or has itself asked again.
func TestCallBudget_stream(t *testing.T) { // case 57
	for name, on := range map[string]func(*exchange) bool{
		"talks": func(x *exchange) bool {
			x.ResponseWriter.Header().Set("Content-Type", "text/event-stream")
			for x.r.Context().Err() == nil {
				io.WriteString(x, ": working\n\n")
				select {
				case <-time.After(30 * time.Second):
				case <-x.r.Context().Done():
				}
			}
			return true
		},
		"is asked again": func(x *exchange) bool { x.raw(200, "text/event-stream", "id: 1\nretry: 30000\n\n"); return true },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": on, "GET": on}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			mustTools(t, b)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(2*time.Hour, cancel) // what the test waits for at most
			start := time.Now()
			_, err := b.Call(ctx, "add", nil)
			if !errors.As(err, new(*toolbox.UnknownOutcomeError)) || errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Hour {
				t.Errorf("%s: %v after %s", name, err, time.Since(start))
			}
			b.Close(context.Background())
		})
	}
}

// A time limit of the HTTP transport is not the caller's deadline either.
func TestCallBudget_transport(t *testing.T) {
	f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool { <-x.r.Context().Done(); return true }}}
	for _, client := range []*http.Client{
		{Transport: &http.Transport{ResponseHeaderTimeout: 500 * time.Millisecond}},
		{Timeout: 500 * time.Millisecond},
	} {
		b := open(t, toolbox.Options{}, at("calc", f.serve(t), client))
		mustTools(t, b)
		_, err := b.Call(t.Context(), "add", nil)
		if !errors.As(err, new(*toolbox.UnknownOutcomeError)) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
}

// case 55
func TestEra(t *testing.T) {
	answers := func(result string) func(*exchange) bool {
		return func(x *exchange) bool { x.result(result); return true }
	}
	for _, tt := range []struct {
		name, era string
		on        map[string]func(*exchange) bool
		want      string // in the error; empty: none
		sent      string // methods of the handshake
	}{
		{"default is not probed for", "", nil, "", "initialize notifications/initialized tools/list"},
		{"2025 is not probed for", toolbox.Era2025, nil, "", "initialize notifications/initialized tools/list"},
		{"an older server with the same handshake", "", map[string]func(*exchange) bool{"initialize": answers(`{"protocolVersion":"2025-03-26"}`)}, "", "initialize notifications/initialized tools/list"},
		{"initialize answered with {}", "", map[string]func(*exchange) bool{"initialize": answers(`{}`)}, "protocol version", "initialize"},
		{"initialize answered with the other era", "", map[string]func(*exchange) bool{"initialize": answers(`{"protocolVersion":"2026-07-28"}`)}, "protocol version", "initialize"},
		{"a session id that no header can carry", "", map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
			x.ResponseWriter.Header().Set("Mcp-Session-Id", "é")
			return false
		}}, "session id", "initialize"},
		{"2026", toolbox.Era2026, nil, "", "server/discover tools/list"},
		{"discover answered with {}", toolbox.Era2026, map[string]func(*exchange) bool{"server/discover": answers(`{}`)}, "2026-07-28", "server/discover"},
		{"discover names others", toolbox.Era2026, map[string]func(*exchange) bool{"server/discover": answers(`{"supportedVersions":["2025-11-25"]}`)}, "2025-11-25", "server/discover"},
		{"discover is unknown", toolbox.Era2026, map[string]func(*exchange) bool{"server/discover": func(x *exchange) bool { x.refuse(-32601, "no such method"); return true }}, "no such method", "server/discover"},
		{"discover refused once", toolbox.Era2026, map[string]func(*exchange) bool{"server/discover": func(x *exchange) bool {
			if x.n == 0 {
				x.raw(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"]}}}`)
			}
			return x.n == 0
		}}, "", "server/discover server/discover tools/list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{on: tt.on}
			s := at("calc", f.serve(t), nil)
			s.Era = tt.era
			b := open(t, toolbox.Options{}, s)
			_, _, err := b.Tools(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var sent []string
			for _, x := range f.seen {
				sent = append(sent, x.method)
			}
			if got := strings.Join(sent, " "); got != tt.sent {
				t.Errorf("sent %s, want %s", got, tt.sent)
			}
		})
	}
}

// case 55: neither era gives up on a server that takes 25 seconds to answer,
// nor turns to the other.
func TestEra_slow(t *testing.T) {
	for _, era := range []string{toolbox.Era2025, toolbox.Era2026} {
		synctest.Test(t, func(t *testing.T) {
			slow := func(*exchange) bool { time.Sleep(25 * time.Second); return false }
			f := &fake{on: map[string]func(*exchange) bool{"initialize": slow, "server/discover": slow}}
			s := inMemory("calc", f)
			s.Era = era
			b := open(t, toolbox.Options{}, s)
			mustTools(t, b)
			if a, z := len(f.requests("initialize")), len(f.requests("server/discover")); a+z != 1 || a == 1 != (era == toolbox.Era2025) {
				t.Errorf("%s: %d initialize, %d server/discover", era, a, z)
			}
			b.Close(context.Background())
		})
	}
}

// The newer era's requests say in headers what they say in the body, arguments
// included where the tool asks for it. A tool whose request for that is invalid
// is left out.
func TestEra_headers(t *testing.T) {
	f := &fake{tools: `[{"name":"größe","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}},
		{"name":"bad","inputSchema":{"type":"object","properties":{"x":{"type":"object","x-mcp-header":"X"}}}}]`}
	s := at("calc", f.serve(t), nil)
	s.Era = toolbox.Era2026
	b := open(t, toolbox.Options{}, s)
	tools := mustTools(t, b)
	if len(tools) != 1 || len(b.Dropped()) != 1 {
		t.Fatalf("tools %v, dropped %v", tools, b.Dropped())
	}
	if _, err := b.Call(t.Context(), tools[0].Name, json.RawMessage(`{"region":"eu"}`)); err != nil {
		t.Fatal(err)
	}
	x := f.requests("tools/call")[0]
	for name, want := range map[string]string{
		"Mcp-Method": "tools/call", "Mcp-Name": "=?base64?Z3LDtsOfZQ==?=", "Mcp-Param-Region": "eu", "Mcp-Protocol-Version": "2026-07-28",
	} {
		if got := x.r.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	const want = `"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"agentcore-mcp-auth","version":"1"}},"name":"größe","arguments":{"region":"eu"}}`
	if !strings.Contains(string(x.body), want) {
		t.Errorf("got %s, want in it %s", x.body, want)
	}
}

// case 88: an optional server that is down is reported, left alone for a while
// that grows, and used again once it is up. Nobody waits for it for long.
func TestOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := false
		down := &fake{tools: `[{"name":"find","inputSchema":{"type":"object"}}]`, on: map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
			if !up {
				x.raw(500, "", "")
			}
			return !up
		}}}
		s := inMemory("search", down)
		s.Optional = true
		b := open(t, toolbox.Options{}, inMemory("calc", &fake{}), s)
		for range 3600 {
			tools, unavailable, err := b.Tools(t.Context())
			if err != nil || toolNames(tools) != "add" || len(unavailable) != 1 || unavailable[0] != "search" {
				t.Fatalf("got %v, unavailable %v, %v", toolNames(tools), unavailable, err)
			}
			time.Sleep(time.Second)
		}
		if n := len(down.requests("initialize")); n < 12 || n > 35 {
			t.Errorf("%d attempts in an hour", n)
		}
		up = true
		time.Sleep(5 * time.Minute)
		tools, unavailable, err := b.Tools(t.Context())
		if err != nil || toolNames(tools) != "add find" || len(unavailable) > 0 {
			t.Errorf("got %v, unavailable %v, %v", toolNames(tools), unavailable, err)
		}
		b.Close(context.Background())
	})
}

func TestOptional_slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fake{on: map[string]func(*exchange) bool{"initialize": func(*exchange) bool { time.Sleep(28 * time.Second); return false }}}
		s := inMemory("search", slow)
		s.Optional = true
		b := open(t, toolbox.Options{}, s)
		start := time.Now()
		for _, want := range []time.Duration{10 * time.Second, 10 * time.Second} { // the second does not wait at all
			if _, unavailable, err := b.Tools(t.Context()); err != nil || len(unavailable) != 1 || time.Since(start) != want {
				t.Errorf("after %s: unavailable %v, %v", time.Since(start), unavailable, err)
			}
		}
		time.Sleep(20 * time.Second)
		if tools := mustTools(t, b); len(tools) != 1 || len(slow.requests("initialize")) != 1 {
			t.Errorf("got %v after %d attempts", toolNames(tools), len(slow.requests("initialize")))
		}
		b.Close(context.Background())
	})
}

// An attempt to connect in which the process was frozen, and whose connection has
// died meanwhile, holds up nobody after the thaw and harms nothing when it ends.
func TestConnect_frozen(t *testing.T) { // case 103
	for _, optional := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var frozen atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
			f := &fake{sessions: true, on: map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
				if x.n == 0 {
					<-x.r.Context().Done()
				}
				return x.n == 0
			}}}
			s := inMemory("calc", f)
			s.Optional = optional
			b := open(t, toolbox.Options{Now: now}, s)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			b.Tools(ctx)
			frozen.Store(int64(time.Hour)) // the wall clock alone has moved
			start := time.Now()
			tools, unavailable, err := b.Tools(t.Context())
			if len(tools) != 1 || unavailable != nil || err != nil || time.Since(start) != 0 {
				t.Errorf("optional %t: got %v, unavailable %v, %v after %v", optional, toolNames(tools), unavailable, err, time.Since(start))
			}
			time.Sleep(2 * time.Minute) // the first attempt has ended
			if tools := mustTools(t, b); len(tools) != 1 || len(f.requests("initialize")) != 2 {
				t.Errorf("optional %t: got %v after %d attempts", optional, toolNames(tools), len(f.requests("initialize")))
			}
			b.Close(context.Background())
		})
	}
}

// A listing in which the process was frozen, and whose connection has died
// meanwhile, does not delay the next one after the thaw and harms nothing when it
// ends.
func TestCatalogue_frozen(t *testing.T) { // case 103
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
		f := &fake{tools: list("a"), on: map[string]func(*exchange) bool{"tools/list": func(x *exchange) bool {
			if x.n == 1 {
				<-x.r.Context().Done()
			}
			return x.n == 1
		}}}
		b := open(t, toolbox.Options{Now: now}, inMemory("calc", f))
		mustTools(t, b)
		time.Sleep(11 * time.Minute)
		mustTools(t, b) // lists again in the background
		synctest.Wait()
		frozen.Store(int64(time.Hour)) // the wall clock alone has moved
		f.setTools(list("b"))
		for range 2 {
			mustTools(t, b)
			synctest.Wait()
			if got, n := toolNames(mustTools(t, b)), len(f.requests("tools/list")); got != "b" || n != 3 {
				t.Errorf("got tools %q after %d listings, want b after 3", got, n)
			}
			time.Sleep(2 * time.Minute) // the frozen listing has ended
		}
		b.Close(context.Background())
	})
}

// A clock that was ahead and is set back neither keeps an optional server left
// alone nor a listing in use until it has caught up again.
func TestClockSetBack(t *testing.T) { // case 46
	synctest.Test(t, func(t *testing.T) {
		ahead := 8 * time.Hour
		now := func() time.Time { return time.Now().Add(ahead) }
		calc := &fake{}
		search := &fake{tools: list("find"), on: map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
			if x.n == 0 {
				x.raw(500, "", "")
			}
			return x.n == 0
		}}}
		s := inMemory("search", search)
		s.Optional = true
		b := open(t, toolbox.Options{Now: now}, inMemory("calc", calc), s)
		if _, unavailable, err := b.Tools(t.Context()); len(unavailable) != 1 || err != nil {
			t.Fatalf("unavailable %v, %v", unavailable, err)
		}
		ahead = 0
		calc.setTools(list("sub"))
		b.Tools(t.Context())
		synctest.Wait()
		if got := toolNames(mustTools(t, b)); got != "sub find" {
			t.Errorf("got tools %q, want sub find", got)
		}
		b.Close(context.Background())
	})
}

// A required server that is down fails the request with its name, and is tried
// again by the next one.
func TestRequired(t *testing.T) {
	f := &fake{on: map[string]func(*exchange) bool{"initialize": func(x *exchange) bool {
		if x.n < 3 {
			x.raw(500, "", "")
		}
		return x.n < 3
	}}}
	b := open(t, toolbox.Options{}, at("calc", f.serve(t), nil))
	for range 3 {
		if _, _, err := b.Tools(t.Context()); err == nil || !strings.Contains(err.Error(), "MCP server calc: initialize") {
			t.Errorf("got %v", err)
		}
	}
	mustTools(t, b)
}
