package localaws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// Which parts of a request reach the container, and which parts of the answer
// reach the caller.
func TestRuntime_headers(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) { rt.HeaderAllowlist = []string{"x-api-key"} })
	d.behave(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"Server", "Set-Cookie", "X-Internal", "Www-Authenticate", "Location", "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id"} {
			w.Header().Set(h, "leak")
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Mcp-Protocol-Version", "2025-11-25")
		w.Header().Set("Traceparent", "00-a-b-01")
		w.WriteHeader(202)
	})
	const body = "{\"a\": 1.0,\t\"b\":12345678901234567890 }\n"
	r := d.request(body)
	modelled := []string{"Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name", "X-Amzn-Bedrock-Agentcore-Runtime-User-Id", "X-Amzn-Trace-Id", "Traceparent", "Tracestate", "Baggage", "X-Api-Key"}
	for _, h := range append([]string{"X-Other", "Cookie", "Origin", "Referer", "X-Forwarded-For", "X-Amz-Date", "Accept-Language", "User-Agent", "Te"}, modelled...) {
		r.Header.Set(h, "v-"+h)
	}
	r.Header.Set("Mcp-Session-Id", "mine")
	r.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", strings.Repeat("s", 33))
	resp, _ := d.do(r)

	seen, bodies := d.reached()
	if len(seen) != 1 || bodies[0] != body {
		t.Fatalf("the container saw %d requests, bodies %q; want one, %q", len(seen), bodies, body)
	}
	if seen[0].Method != "POST" || seen[0].URL.String() != "/mcp" {
		t.Errorf("the container saw %s %s, want POST /mcp", seen[0].Method, seen[0].URL)
	}
	got := slices.Sorted(maps.Keys(seen[0].Header))
	want := slices.Sorted(slices.Values(append(slices.Clone(modelled), "Accept", "Content-Type", "Content-Length", "Mcp-Session-Id", "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id")))
	if !slices.Equal(got, want) {
		t.Errorf("headers at the container\n%q\nwant\n%q", got, want)
	}
	if got := seen[0].Header.Get("Mcp-Session-Id"); got != "mine" {
		t.Errorf("session id at the container %q, want the caller's", got)
	}
	got = slices.Sorted(maps.Keys(resp.Header))
	want = []string{"Content-Length", "Content-Type", "Date", "Mcp-Protocol-Version", "Mcp-Session-Id", "Traceparent", "X-Amzn-Requestid"}
	if !slices.Equal(got, want) || resp.StatusCode != 202 {
		t.Errorf("status %d, headers of the answer\n%q\nwant 202\n%q", resp.StatusCode, got, want)
	}
}

func TestRuntime_authorizationAllowed(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) { rt.HeaderAllowlist = []string{"Authorization"} })
	r := d.request(call)
	d.do(r)
	if seen, _ := d.reached(); len(seen) != 1 || seen[0].Header.Get("Authorization") != r.Header.Get("Authorization") {
		t.Errorf("the container did not get the Authorization header of its allow-list")
	}
	r = d.request(call)
	r.Header.Set("Authorization", "Bearer "+d.token(map[string]any{"pad": strings.Repeat("x", 5000)}))
	d.mustDo(r, 200, `{"error":{"code":-32006,"message":"the value of header Authorization is longer than 4 KB"},"id":7,"jsonrpc":"2.0"}`)
}

func TestRuntime_sessionMCP(t *testing.T) {
	d := newDoor(t, nil)
	var ids []string
	for _, id := range []string{"", "", "mine", "mine"} {
		r := d.request(call)
		if id != "" {
			r.Header.Set("Mcp-Session-Id", id)
		}
		resp, _ := d.do(r)
		seen, _ := d.reached()
		atContainer := seen[len(seen)-1].Header.Get("Mcp-Session-Id")
		if atContainer == "" || id != "" && atContainer != id {
			t.Errorf("request with id %q: the container saw %q", id, atContainer)
		}
		ids = append(ids, resp.Header.Get("Mcp-Session-Id"))
	}
	// The platform's answers never bear the same id twice, nor the caller's.
	if slices.Contains(ids, "") || slices.Contains(ids, "mine") || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 4 {
		t.Errorf("session ids of four answers %q, want four different ones", ids)
	}
	// A stateful server's own id comes with the answer to initialize only.
	d.behave(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Mcp-Session-Id", "stateful") })
	resp, _ := d.do(d.request(call))
	if got := resp.Header.Get("Mcp-Session-Id"); got != "stateful" {
		t.Errorf("id after a request without one %q, want the server's", got)
	}
	r := d.request(call)
	r.Header.Set("Mcp-Session-Id", "stateful")
	resp, _ = d.do(r)
	if got := resp.Header.Get("Mcp-Session-Id"); got == "stateful" || got == "" {
		t.Errorf("id after a request with one %q, want a fresh one", got)
	}
	r = d.request(call)
	r.Header["Mcp-Session-Id"] = []string{"a", "b"}
	if _, body := d.do(r); !strings.Contains(body, "-32006") {
		t.Errorf("two session ids: body %s, want -32006", body)
	}
}

func TestRuntime_sessionHTTP(t *testing.T) {
	d := newDoor(t, isHTTP)
	const h = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
	for _, tt := range []struct {
		id     string
		status int
	}{{"", 200}, {strings.Repeat("s", 33), 200}, {strings.Repeat("s", 256), 200}, {strings.Repeat("s", 32), 400}, {strings.Repeat("s", 257), 400}} {
		r := d.request(`{}`)
		if tt.id != "" {
			r.Header.Set(h, tt.id)
		}
		resp, body := d.do(r)
		if resp.StatusCode != tt.status {
			t.Errorf("session id of %d characters: status %d (%s), want %d", len(tt.id), resp.StatusCode, body, tt.status)
		}
		if tt.status != 200 {
			if got := resp.Header.Get("X-Amzn-Errortype"); got != "ValidationException" {
				t.Errorf("error type %q, want ValidationException", got)
			}
			continue
		}
		seen, _ := d.reached()
		last := seen[len(seen)-1]
		if got := resp.Header.Get(h); got == "" || got != last.Header.Get(h) || tt.id != "" && got != tt.id {
			t.Errorf("session id %q: answered %q, the container saw %q", tt.id, got, last.Header.Get(h))
		}
		if last.URL.Path != "/invocations" || last.Header.Get("Mcp-Session-Id") != "" || resp.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("path %s and MCP session id at an HTTP runtime", last.URL.Path)
		}
	}
}

// The API model bounds the headers that are its members.
func TestRuntime_headerLengths(t *testing.T) {
	d := newDoor(t, isHTTP)
	for h, most := range map[string]int{
		"X-Amzn-Bedrock-AgentCore-Runtime-User-Id": 1024, "Mcp-Session-Id": 1024, "Mcp-Protocol-Version": 1024, "Content-Type": 256,
		"Accept": 256, "X-Amzn-Trace-Id": 128, "Traceparent": 128, "Tracestate": 512, "Baggage": 8192,
	} {
		for length, want := range map[int]int{most: 200, most + 1: 400} {
			r := d.request(`{}`)
			r.Header.Set(h, strings.Repeat("a", length))
			resp, body := d.do(r)
			if resp.StatusCode != want || want == 400 && !strings.Contains(body, fmt.Sprintf("and %d", most)) {
				t.Errorf("%s of %d characters: %d %s, want %d", h, length, resp.StatusCode, body, want)
			}
		}
	}
}

func TestRuntime_accept(t *testing.T) {
	const refused = `{"error":{"code":-32011,"message":"Accept must name application/json and text/event-stream"},"id":7,"jsonrpc":"2.0"}`
	d := newDoor(t, nil)
	for _, tt := range []struct {
		accept []string
		ok     bool
	}{
		{[]string{"application/json, text/event-stream"}, true},
		{[]string{"text/event-stream;q=0.5,APPLICATION/JSON"}, true},
		{[]string{"application/json", "text/event-stream"}, true},
		{[]string{"application/json"}, false},
		{[]string{"text/event-stream"}, false},
		{[]string{"*/*"}, false},
		{[]string{"application/*, text/*"}, false},
		{nil, false},
	} {
		r := d.request(call)
		r.Header["Accept"] = tt.accept
		if tt.ok {
			d.mustDo(r, 200, `{"jsonrpc":"2.0","id":7,"result":{}}`)
		} else {
			d.mustDo(r, 406, refused)
		}
	}
	plain := newDoor(t, isHTTP)
	r := plain.request(`{}`)
	r.Header.Del("Accept")
	if resp, body := plain.do(r); resp.StatusCode != 200 {
		t.Errorf("HTTP runtime without Accept: status %d (%s), want 200", resp.StatusCode, body)
	}
}

// The error of a failed container reveals nothing from it.
func TestRuntime_containerFails(t *testing.T) {
	const failed = `{"error":{"code":-32010,"message":"Received error from runtime. Please check your CloudWatch logs for more information."},"id":7,"jsonrpc":"2.0"}`
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/mcp/")
			w.WriteHeader(n)
			io.WriteString(w, "stack trace")
		}
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	mcp, plain := newDoor(t, nil), newDoor(t, isHTTP)
	for _, tt := range []struct {
		name      string
		container http.HandlerFunc
		mcp       int // status; 200: the JSON-RPC error
		http      int
	}{
		{"500", status(500), 200, 424},
		{"503", status(503), 200, 424},
		{"redirect", status(307), 200, 424},
		{"cut", cut, 200, 424},
		{"404", status(404), 404, 424},
		{"400", status(400), 400, 424},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mcp.behave(tt.container)
			plain.behave(tt.container)
			resp, body := mcp.do(mcp.request(call))
			if resp.StatusCode != tt.mcp || tt.mcp == 200 && strings.TrimSpace(body) != failed || tt.mcp != 200 && body != "stack trace" {
				t.Errorf("MCP: status %d, body %s; want %d", resp.StatusCode, body, tt.mcp)
			}
			resp, body = plain.do(plain.request(call))
			if resp.StatusCode != tt.http || resp.Header.Get("X-Amzn-Errortype") != "RuntimeClientError" || strings.Contains(body, "trace") {
				t.Errorf("HTTP: status %d, header %v, body %s; want %d RuntimeClientError", resp.StatusCode, resp.Header, body, tt.http)
			}
		})
	}
}

// freeAddress is a loopback address on which nothing listens any more.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRuntime_start(t *testing.T) {
	for _, protocol := range []string{localaws.ProtocolMCP, localaws.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			addr := freeAddress(t)
			d := newDoor(t, func(rt *localaws.Runtime) {
				rt.Protocol, rt.Target, rt.StartTimeout = protocol, "http://"+addr, 30*time.Millisecond
			})
			resp, body := d.do(d.request(call))
			if resp.StatusCode != 424 || !strings.Contains(body, "initialization time exceeded") || resp.Header.Get("X-Amzn-Errortype") != "RuntimeClientError" {
				t.Errorf("never started: status %d, body %s; want 424 that names the initialization", resp.StatusCode, body)
			}
			// It starts later, and then ends for good.
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Skipf("the port was taken meanwhile: %v", err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "up") })}
			go srv.Serve(l)
			d.mustDo(d.request(call), 200, "up")
			srv.Close()
			resp, body = d.do(d.request(call))
			if protocol == localaws.ProtocolMCP && (resp.StatusCode != 200 || !strings.Contains(body, "-32010")) ||
				protocol == localaws.ProtocolHTTP && resp.StatusCode != 424 || strings.Contains(body, "initialization") {
				t.Errorf("gone: status %d, body %s; want a failed container", resp.StatusCode, body)
			}
		})
	}
}

// A request that comes before the container listens waits for it.
func TestRuntime_startWaits(t *testing.T) {
	addr := freeAddress(t)
	came := make(chan struct{})
	d := newDoor(t, func(rt *localaws.Runtime) {
		rt.Target = "http://" + addr
		rt.Fail = func(*http.Request) localaws.RuntimeFault { close(came); return "" }
	})
	r, done := d.request(call), make(chan string)
	go func() {
		_, body := d.do(r)
		done <- body
	}()
	<-came
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "up") })}
	go srv.Serve(l)
	defer srv.Close()
	if got := <-done; got != "up" {
		t.Errorf("body %q, want up", got)
	}
}

// Server-sent events reach the caller one by one. A caller who disconnects
// cancels the container's request.
func TestRuntime_stream(t *testing.T) {
	d := newDoor(t, nil)
	next, left := make(chan struct{}), make(chan struct{})
	d.behave(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next: // the caller has read it
			case <-r.Context().Done():
			}
		}
		<-r.Context().Done()
		close(left)
	})
	ctx, leave := context.WithTimeout(t.Context(), 20*time.Second) // if events are held back
	defer leave()
	resp, err := http.DefaultClient.Do(d.request(call).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q, want text/event-stream", got)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("line %q (%v), want data: %d", lines.Text(), lines.Err(), i)
		}
		next <- struct{}{}
	}
	leave()
	<-left
}

// A stream that the container breaks off does not look complete.
func TestRuntime_streamCut(t *testing.T) {
	d := newDoor(t, nil)
	d.behave(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: 0\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	resp, err := http.DefaultClient.Do(d.request(call))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q to its end, want an error", body)
	}
}

func TestRuntime_faults(t *testing.T) {
	var fault localaws.RuntimeFault
	fail := func(*http.Request) localaws.RuntimeFault { return fault }
	mcp := newDoor(t, func(rt *localaws.Runtime) { rt.Fail = fail })
	plain := newDoor(t, func(rt *localaws.Runtime) { rt.Protocol, rt.Fail = localaws.ProtocolHTTP, fail })
	for _, tt := range []struct {
		fault localaws.RuntimeFault
		mcp   int
		code  int // 0: no JSON-RPC error
		http  int
	}{
		{localaws.FaultThrottled, 200, -32003, 429},
		{localaws.FaultQuota, 200, -32003, 402},
		{localaws.FaultNotFound, 200, -32004, 404},
		{localaws.FaultConflict, 200, -32005, 409},
		{localaws.FaultRetryableConflict, 200, -32005, 409},
		{localaws.FaultValidation, 200, -32006, 400},
		{localaws.FaultContainer, 200, -32010, 424},
		{localaws.FaultInternal, 200, -32603, 500},
		{localaws.FaultStart, 424, 0, 424},
		{"Nonsense", 200, -32603, 500},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			fault = tt.fault
			resp, body := mcp.do(mcp.request(call))
			var got struct {
				ID    int
				Error struct{ Code int }
			}
			json.Unmarshal([]byte(body), &got)
			if resp.StatusCode != tt.mcp || got.Error.Code != tt.code || tt.code != 0 && got.ID != 7 {
				t.Errorf("MCP: status %d, body %s; want %d, code %d, id 7", resp.StatusCode, body, tt.mcp, tt.code)
			}
			resp, body = plain.do(plain.request(call))
			if typ := resp.Header.Get("X-Amzn-Errortype"); resp.StatusCode != tt.http || typ == "" || !strings.Contains(body, typ) {
				t.Errorf("HTTP: status %d, type %q, body %s; want %d", resp.StatusCode, typ, body, tt.http)
			}
		})
	}
	fault = ""
	mcp.mustDo(mcp.request(call), 200, `{"jsonrpc":"2.0","id":7,"result":{}}`)
	// Unauthorized callers are refused before any fault.
	fault = localaws.FaultThrottled
	r := mcp.request(call)
	r.Header.Del("Authorization")
	if resp, _ := mcp.do(r); resp.StatusCode != 401 {
		t.Errorf("status %d without a token, want 401", resp.StatusCode)
	}
}

func TestRuntime_refusedQuery(t *testing.T) {
	d := newDoor(t, nil)
	for _, tt := range []struct{ query, want string }{
		{"qualifier=prod", "-32004"}, {"qualifier=", "-32004"}, {"qualifier=DEFAULT&qualifier=DEFAULT", "-32004"}, {"foo=1", "query member foo"},
	} {
		r := d.request(call)
		r.URL.RawQuery = tt.query
		if resp, body := d.do(r); resp.StatusCode != 200 || !strings.Contains(body, tt.want) {
			t.Errorf("%s: status %d, body %s; want 200 and %s", tt.query, resp.StatusCode, body, tt.want)
		}
	}
}

// The error bears the id of the request as it was written, or null.
func TestRuntime_errorID(t *testing.T) {
	d := newDoor(t, func(rt *localaws.Runtime) {
		rt.Fail = func(*http.Request) localaws.RuntimeFault { return localaws.FaultThrottled }
	})
	for body, want := range map[string]string{
		`{"id":7}`: `7`, `{"id":"a/é"}`: `"a/é"`, `{"id":12345678901234567890}`: `12345678901234567890`, `{"id":-1.5}`: `-1.5`,
		`{"id":null}`: `null`, `{"id":{}}`: `null`, `{"id":[1]}`: `null`, `{"ID":7}`: `null`, `{}`: `null`, `[{"id":7}]`: `null`, `{"id":7`: `null`, ``: `null`, `{"id":true}`: `null`,
	} {
		d.mustDo(d.request(body), 200, `{"error":{"code":-32003,"message":"Rate exceeded"},"id":`+want+`,"jsonrpc":"2.0"}`)
	}
}

func TestRuntime_payloadTooLarge(t *testing.T) {
	d := newDoor(t, nil)
	r := d.request("")
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, 25<<20+1))), 25<<20+1
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return // cut off while sending is as good
	}
	resp.Body.Close()
	if seen, _ := d.reached(); resp.StatusCode != 413 || len(seen) != 0 {
		t.Errorf("status %d, %d requests at the container; want 413, none", resp.StatusCode, len(seen))
	}
}

// Calls, additions and removals go on at once.
func TestRuntime_concurrent(t *testing.T) {
	d := newDoor(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				arn, err := d.AddRuntime(localaws.Runtime{Name: fmt.Sprintf("r%d_%d", i, j), Target: "http://127.0.0.1:1"})
				if err != nil {
					t.Error(err)
				}
				if resp, body := d.do(d.request(call)); resp.StatusCode != 200 || !strings.Contains(body, "result") {
					t.Errorf("status %d, body %s", resp.StatusCode, body)
				}
				d.RemoveRuntime(arn)
			}
		})
	}
	wg.Wait()
}
