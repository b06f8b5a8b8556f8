package mcpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// start runs Serve on loopback. stop asks it to end; ended has what it returned.
func start(t testing.TB, s *server.MCPServer, cfg mcpserver.Config) (url string, log *logBuffer, stop func(), ended chan error) {
	t.Helper()
	log = &logBuffer{}
	cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h, err := mcpserver.New(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended = make(chan error, 1)
	go func() { ended <- h.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), log, cancel, ended
}

// gate is a server with a tool that waits until it is let go.
func gate() (s *server.MCPServer, entered, release chan struct{}) {
	s = server.NewMCPServer("x", "1")
	entered, release = make(chan struct{}, 1000), make(chan struct{})
	s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		entered <- struct{}{}
		select {
		case <-release:
			return mcp.NewToolResultText("done"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return s, entered, release
}

// Running calls finish, new ones are refused with an answer, health says so
// first. case 120
func TestServe_drain(t *testing.T) {
	s, entered, release := gate()
	url, log, stop, ended := start(t, s, mcpserver.Config{})
	got := make(chan string, 1)
	go func() {
		_, body := post(t, url+"/mcp", toolCall("wait", `{}`))
		got <- body
	}()
	<-entered
	stop()
	log.await(t, `"msg":"stopping"`)
	for deadline := time.Now().Add(10 * time.Second); ; { // health says so first
		resp, body := do(t, request(t, "GET", url+"/healthz"))
		if resp.StatusCode == 503 && body == `{"status":"stopping"}` {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d %s, want health to say that the server is stopping", resp.StatusCode, body)
		}
	}
	resp, body := post(t, url+"/mcp", ping)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !resp.Close {
		t.Errorf("a new call got %d %s, Retry-After %q, close %v, want 503 and a closed connection", resp.StatusCode, body, resp.Header.Get("Retry-After"), resp.Close)
	}
	close(release)
	if got, failed := text(t, <-got); got != "done" || failed {
		t.Errorf("the running call got %q, error %v, want done", got, failed)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if _, err := net.Dial("tcp", url[len("http://"):]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: got %v, want a refused connection", err)
	}
}

// A call that does not end in time is told so before its connection goes.
func TestServe_drainCuts(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s.AddTool(mcp.NewTool("hang"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		close(entered)
		<-release
		return nil, nil
	})
	url, _, stop, ended := start(t, s, mcpserver.Config{DrainTimeout: 400 * time.Millisecond})
	got := make(chan string, 1)
	go func() {
		_, body := post(t, url+"/mcp", toolCall("hang", `{}`))
		got <- body
	}()
	<-entered
	stop()
	if got, failed := text(t, <-got); !failed || !strings.Contains(got, "stopping") {
		t.Errorf("got %q, error %v, want word that the server is stopping", got, failed)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
}

// neverAccepted reports whether a request ended because the server had stopped
// listening: the connection was refused, or the kernel reset it because it was
// still queued for the server to accept. A server that drops a request it has
// begun to read closes the connection properly, which is io.EOF.
func neverAccepted(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Under load, every request that gets an answer gets a whole one. case 120
func TestServe_drainUnderLoad(t *testing.T) {
	url, _, stop, ended := start(t, calcserver.New("1"), mcpserver.Config{})
	var served, refused, broken atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	tr := &http.Transport{MaxIdleConnsPerHost: 16}
	defer tr.CloseIdleConnections()
	for range 16 {
		wg.Go(func() {
			for {
				req, _ := http.NewRequest(http.MethodPost, url+"/mcp", strings.NewReader(addCall))
				req.Header.Set("Content-Type", "application/json")
				resp, err := tr.RoundTrip(req)
				if neverAccepted(err) {
					return
				}
				if err != nil {
					broken.Add(1)
					t.Errorf("a request broke: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case err == nil && resp.StatusCode == 200 && strings.Contains(string(body), `"42"`):
					if served.Add(1) == 200 {
						once.Do(stop)
					}
				case err == nil && resp.StatusCode == 503:
					refused.Add(1)
				default:
					t.Errorf("got %d %s, %v", resp.StatusCode, body, err)
				}
			}
		})
	}
	wg.Wait()
	if err := <-ended; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if served.Load() < 200 || refused.Load() == 0 || broken.Load() != 0 {
		t.Errorf("got %d served, %d refused, %d broken", served.Load(), refused.Load(), broken.Load())
	}
}

func TestServe_listenerFails(t *testing.T) {
	h, err := mcpserver.New(calcserver.New("1"), mcpserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := h.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// Slow senders are cut off and cost the others nothing. case 111
func TestServe_slow(t *testing.T) {
	url, _, stop, ended := start(t, calcserver.New("1"), mcpserver.Config{HeaderTimeout: 300 * time.Millisecond, ReadTimeout: 400 * time.Millisecond, IdleTimeout: 300 * time.Millisecond, MaxCalls: 4})
	addr := url[len("http://"):]
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 300 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		switch i % 3 {
		case 0: // headers without an end
			fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-")
		case 1: // a body without an end
			fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
		case 2: // nothing after one request
			fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	_, body := post(t, url+"/mcp", addCall)
	if got, _ := text(t, body); got != "42" {
		t.Errorf("beside 300 slow senders: got %q, want 42", got)
	}
	for i, c := range conns {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := io.ReadAll(c) // until the server closes
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection %d: got %q, %v, want it closed", i, got, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A call may take longer than its request may take to arrive.
func TestServe_longCall(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewTool("long"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-time.After(400 * time.Millisecond):
			return mcp.NewToolResultText("done"), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	url, _, _, _ := start(t, s, mcpserver.Config{HeaderTimeout: 100 * time.Millisecond, ReadTimeout: 150 * time.Millisecond})
	_, body := post(t, url+"/mcp", toolCall("long", `{}`))
	if got, failed := text(t, body); got != "done" || failed {
		t.Errorf("got %q, error %v, want done", got, failed)
	}
}

// A caller that does not read its answer is given up. case 111
func TestServe_unreadAnswer(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewTool("big"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(strings.Repeat("x", 16<<20)), nil
	})
	url, log, _, _ := start(t, s, mcpserver.Config{WriteTimeout: 300 * time.Millisecond})
	c, err := net.Dial("tcp", url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4096)
	body := toolCall("big", `{}`)
	fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	log.await(t, `"outcome":"disconnected"`)
	log.await(t, "writing the answer")
}

// case 110
func TestBodyCap(t *testing.T) {
	url, _ := serve(t, calcserver.New("1"), mcpserver.Config{MaxBody: 1000})
	pad := func(n int) string { return addCall + strings.Repeat(" ", n-len(addCall)) }
	for _, tc := range []struct {
		body    string
		chunked bool
		status  int
	}{
		{pad(1000), false, 200},
		{pad(1000), true, 200},
		{pad(1001), false, 413},
		{pad(1001), true, 413},
		{pad(1 << 20), true, 413},
	} {
		req, err := http.NewRequest(http.MethodPost, url+"/mcp", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if tc.chunked {
			req.ContentLength = -1
		}
		if resp, body := do(t, req); resp.StatusCode != tc.status {
			t.Errorf("%d bytes, chunked %v: got %d %.100s, want %d", len(tc.body), tc.chunked, resp.StatusCode, body, tc.status)
		}
	}

	// The answer comes before the body.
	c, err := net.Dial("tcp", url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 200000000\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Errorf("got %v, %v, want 413 and a closed connection before any of the body", resp, err)
	}
}

// case 124
func TestOverload(t *testing.T) {
	s, entered, release := gate()
	url, _ := serve(t, s, mcpserver.Config{MaxCalls: 3})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			_, body := post(t, url+"/mcp", toolCall("wait", `{}`))
			if got, failed := text(t, body); got != "done" || failed {
				t.Errorf("got %q, error %v, want done", got, failed)
			}
		})
	}
	for range 3 {
		<-entered
	}
	resp, body := post(t, url+"/mcp", toolCall("wait", `{}`))
	if a := decode(t, body); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || a.Error == nil || string(a.ID) != "1" {
		t.Errorf("got %d %s, want 503 with Retry-After", resp.StatusCode, body)
	}
	if resp, body := post(t, url+"/mcp", ping); resp.StatusCode != 200 {
		t.Errorf("ping at the cap: got %d %s, want 200", resp.StatusCode, body)
	}
	if resp, _ := do(t, request(t, "GET", url+"/healthz")); resp.StatusCode != 200 {
		t.Errorf("health at the cap: got %d, want 200", resp.StatusCode)
	}
	close(release)
	wg.Wait()
	if resp, body := post(t, url+"/mcp", toolCall("wait", `{}`)); resp.StatusCode != 200 {
		t.Errorf("afterwards: got %d %s, want 200", resp.StatusCode, body)
	}
}
