package agentcore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
)

// server serves s on loopback until the test ends or stop is called, which
// waits for it.
func server(t *testing.T, s *agentcore.Server) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

func reply(status int, body string) agentcore.Reply {
	return agentcore.Reply{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: io.NopCloser(strings.NewReader(body))}
}

func post(t *testing.T, ctx context.Context, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServer_invocation(t *testing.T) {
	var got agentcore.Invocation
	url, _ := server(t, &agentcore.Server{Invoke: func(_ context.Context, in agentcore.Invocation) agentcore.Reply {
		got = in
		return reply(201, `{"ok":true}`)
	}})
	resp := post(t, t.Context(), url+"/invocations?x=1", `{"prompt":"hi"}`, agentcore.HeaderRuntimeSession, "session-1", "Accept", "text/event-stream")
	if body := read(t, resp); resp.StatusCode != 201 || body != `{"ok":true}` || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	if string(got.Body) != `{"prompt":"hi"}` || got.SessionID != "session-1" || got.Header.Get("Accept") != "text/event-stream" {
		t.Errorf("got %+v", got)
	}
}

func TestServer_refused(t *testing.T) {
	url, _ := server(t, &agentcore.Server{MaxBody: 10, Invoke: func(_ context.Context, in agentcore.Invocation) agentcore.Reply {
		if string(in.Body) == "panic" {
			panic("canary")
		}
		return reply(200, "{}")
	}})
	tests := []struct {
		method, path, body string
		want               int
		wantCode           string
	}{
		{"GET", "/invocations", "", 405, "invalid_request"},
		{"POST", "/ping", "", 405, "invalid_request"},
		{"GET", "/", "", 404, "invalid_request"},
		{"POST", "/invocations/", "", 404, "invalid_request"},
		{"GET", "/ws", "", 404, "invalid_request"},
		{"POST", "/invocations", "12345678901", 413, "request_too_large"},
		{"POST", "/invocations", "panic", 500, "internal_error"},
		{"POST", "/invocations", "1234567890", 200, ""},
	}
	for _, tt := range tests {
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, url+tt.path, strings.NewReader(tt.body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := read(t, resp)
		var doc struct {
			Error struct{ Code, Message string }
		}
		json.Unmarshal([]byte(body), &doc)
		if resp.StatusCode != tt.want || doc.Error.Code != tt.wantCode || strings.Contains(body, "canary") {
			t.Errorf("%s %s: got %d %s", tt.method, tt.path, resp.StatusCode, body)
		}
	}
}

// The status is busy while work is under way, and its time moves only with it.
func TestServer_ping(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	url, _ := server(t, &agentcore.Server{Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply {
		entered <- struct{}{}
		<-release
		return reply(200, "{}")
	}})
	type state struct {
		Status string `json:"status"`
		Time   int64  `json:"time_of_last_update"`
	}
	ping := func() (s state) {
		t.Helper()
		resp, err := http.Get(url + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("got %d, %v", resp.StatusCode, err)
		}
		return s
	}
	idle := ping()
	if idle.Status != "Healthy" || time.Since(time.Unix(idle.Time, 0)) > time.Minute {
		t.Errorf("got %+v", idle)
	}
	if again := ping(); again != idle {
		t.Errorf("got %+v after %+v", again, idle)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		read(t, post(t, t.Context(), url+"/invocations", "{}"))
	}()
	<-entered
	if busy := ping(); busy.Status != "HealthyBusy" || busy.Time < idle.Time {
		t.Errorf("got %+v", busy)
	}
	close(release)
	<-done
	for s := ping(); s.Status != "Healthy"; s = ping() { // the place is given back after the answer is sent
		if t.Context().Err() != nil {
			t.Fatalf("got %+v", s)
		}
	}
}

// Each piece of an answer arrives when it is made.
func TestServer_stream(t *testing.T) {
	r, w := io.Pipe()
	url, _ := server(t, &agentcore.Server{Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply {
		return agentcore.Reply{Status: 200, Header: map[string]string{"Content-Type": "text/event-stream"}, Body: r}
	}})
	go io.WriteString(w, "data: 1\n")
	resp := post(t, t.Context(), url+"/invocations", "{}")
	lines := bufio.NewReader(resp.Body)
	if got, err := lines.ReadString('\n'); got != "data: 1\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	go func() {
		io.WriteString(w, "data: 2\n")
		w.Close()
	}()
	if got, err := io.ReadAll(lines); string(got) != "data: 2\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// A caller who leaves ends the invocation.
func TestServer_callerLeaves(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error, 1)
	url, _ := server(t, &agentcore.Server{Invoke: func(ctx context.Context, _ agentcore.Invocation) agentcore.Reply {
		close(entered)
		<-ctx.Done()
		ended <- ctx.Err()
		return reply(504, "{}")
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/invocations", strings.NewReader("{}"))
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("got %d", resp.StatusCode)
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

// More invocations than there are places for are told to come again.
func TestServer_atOnce(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	url, _ := server(t, &agentcore.Server{AtOnce: 2, Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply {
		entered <- struct{}{}
		<-release
		return reply(200, "{}")
	}})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if resp := post(t, t.Context(), url+"/invocations", "{}"); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		})
	}
	<-entered
	<-entered
	resp := post(t, t.Context(), url+"/invocations", "{}")
	if body := read(t, resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, `"retryable":true`) {
		t.Errorf("got %d %q %s", resp.StatusCode, resp.Header, body)
	}
	close(release)
	wg.Wait()
}

// A body that does not come, or breaks off, holds no place and no connection for
// ever, wherever it was meant to go.
func TestServer_slowBody(t *testing.T) {
	url, _ := server(t, &agentcore.Server{BodyTimeout: 50 * time.Millisecond, Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply { return reply(200, "{}") }})
	for request, want := range map[string]int{"POST /invocations": http.StatusRequestTimeout, "GET /ping": 0, "POST /ping": 0, "PUT /invocations": 0, "POST /nowhere": 0} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
		r := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(r, nil); want != 0 && (err != nil || resp.StatusCode != want) {
			t.Errorf("%s: got %v, %v", request, resp, err)
		}
		if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", request)
		}
	}
}

// A long invocation outlives the time for its body, and a connection that is
// used again is not held to the time of the answer before.
func TestServer_longInvocation(t *testing.T) {
	const short = 50 * time.Millisecond
	url, _ := server(t, &agentcore.Server{BodyTimeout: short, Invoke: func(ctx context.Context, _ agentcore.Invocation) agentcore.Reply {
		select {
		case <-time.After(4 * short):
		case <-ctx.Done():
			return reply(504, "{}")
		}
		return reply(200, "{}")
	}})
	for range 2 {
		resp := post(t, t.Context(), url+"/invocations", "{}")
		if read(t, resp); resp.StatusCode != 200 {
			t.Errorf("got %d", resp.StatusCode)
		}
	}
}

// lateEnd is a body that ends a while after its last piece.
type lateEnd struct{ io.Reader }

func (b lateEnd) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		<-time.After(200 * time.Millisecond)
	}
	return n, err
}

// A stream that pauses before its end arrives whole.
func TestServer_lateEnd(t *testing.T) {
	url, _ := server(t, &agentcore.Server{BodyTimeout: 50 * time.Millisecond, Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply {
		return agentcore.Reply{Status: http.StatusOK, Body: io.NopCloser(lateEnd{strings.NewReader("all")})}
	}})
	if got := read(t, post(t, t.Context(), url+"/invocations", "{}")); got != "all" {
		t.Errorf("got %q", got)
	}
}

// What is under way when the server stops may finish; what does not is told to.
func TestServer_stop(t *testing.T) {
	for _, finishes := range []bool{true, false} {
		entered, release, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
		url, stop := server(t, &agentcore.Server{DrainTimeout: 200 * time.Millisecond, Invoke: func(ctx context.Context, _ agentcore.Invocation) agentcore.Reply {
			close(entered)
			select {
			case <-release:
				return reply(200, "{}")
			case <-ctx.Done():
				return reply(504, "{}")
			}
		}})
		go func() {
			<-entered
			go func() {
				defer close(stopped)
				stop()
			}()
			if finishes {
				close(release)
			}
		}()
		want := 504
		if finishes {
			want = 200
		}
		if resp := post(t, t.Context(), url+"/invocations", "{}"); resp.StatusCode != want {
			t.Errorf("finishes %t: got %d, want %d", finishes, resp.StatusCode, want)
		}
		<-stopped
		if _, err := http.Get(url + "/ping"); err == nil {
			t.Error("it still answers")
		}
	}
}

// A body that breaks off breaks the connection, after what there was of it: no
// caller takes the half for the whole.
func TestServer_brokenBody(t *testing.T) {
	url, _ := server(t, &agentcore.Server{Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply {
		half := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("the model has gone")))
		return agentcore.Reply{Status: http.StatusOK, Body: io.NopCloser(half)}
	}})
	resp := post(t, t.Context(), url+"/invocations", `{"prompt":"x"}`)
	body, err := io.ReadAll(resp.Body)
	if string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v, want half and an unexpected end", body, err)
	}
}

// A listener that fails is an error; a stop is none.
func TestServer_listenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := &agentcore.Server{Invoke: func(context.Context, agentcore.Invocation) agentcore.Reply { return reply(200, "{}") }}
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "serving on 127.0.0.1:") {
		t.Errorf("got %v, want the address and what is wrong", err)
	}
}

// Who comes while a stopping server waits for an invocation is told so, and is
// not cut off.
func TestServer_stopping(t *testing.T) {
	entered, release, held := make(chan struct{}), make(chan struct{}), make(chan int)
	url, stop := server(t, &agentcore.Server{Invoke: func(_ context.Context, in agentcore.Invocation) agentcore.Reply {
		if string(in.Body) == "hold" {
			close(entered)
			<-release
		}
		return reply(200, "{}")
	}})
	go func() { held <- post(t, t.Context(), url+"/invocations", "hold").StatusCode }()
	<-entered
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	for {
		resp := post(t, t.Context(), url+"/invocations", "{}")
		if read(t, resp); resp.StatusCode == 200 {
			continue // not stopping yet
		}
		if resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d %q, want 503 and a closed connection", resp.StatusCode, resp.Header)
		}
		break
	}
	close(release)
	if got := <-held; got != 200 {
		t.Errorf("the invocation under way got %d", got)
	}
	<-stopped
}
