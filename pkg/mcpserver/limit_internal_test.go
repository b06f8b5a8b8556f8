package mcpserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// endless is a listener with a connection for everybody who asks.
type endless struct{ net.Listener }

func (endless) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}

func (endless) Close() error { return nil }

// No more connections are accepted than there are places; one that closes makes
// room, and closing the listener ends the wait. case 111
func TestCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := &connections{busy: map[net.Conn]bool{}, places: make(chan struct{}, 2)}
		l := &capped{Listener: endless{}, places: open.places, closed: make(chan struct{})}
		accepted := make(chan net.Conn, 10)
		failed := make(chan error, 1)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					failed <- err
					return
				}
				open.note(c, http.StateNew)
				accepted <- c
			}
		}()
		synctest.Wait()
		if got := len(accepted); got != 2 {
			t.Fatalf("%d connections accepted, want 2", got)
		}
		first := <-accepted
		open.note(first, http.StateActive)
		open.note(first, http.StateIdle)
		synctest.Wait()
		if got := len(accepted); got != 1 {
			t.Errorf("an idle connection made room")
		}
		open.note(first, http.StateClosed)
		synctest.Wait()
		if got := len(accepted); got != 2 {
			t.Errorf("%d more connections accepted after one was closed, want 1", got-1)
		}
		l.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
		}
	})
}

// Bodies that are announced but do not arrive hold no memory for what is
// missing, and all is given back, however a request ends. case 110, case 111
func TestMemory_givenBack(t *testing.T) {
	const size = 1 << 20
	h, err := New(server.NewMCPServer("x", "1"), Config{MaxBody: size})
	if err != nil {
		t.Fatal(err)
	}
	all := h.memory.Load()
	srv := httptest.NewServer(h)
	for range 200 { // more than there would be memory for
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", size)
	}
	for body, want := range map[string]int{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}` + strings.Repeat(" ", size-100):                                         200,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":[` + strings.Repeat("0,", 90_000) + `0]}}`:            200,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":[` + strings.Repeat("0,", 200_000) + `0]}}`:           400,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":[` + strings.Repeat("0,", 90_000) + `0]},"oops":[0]}`: 400,
	} {
		resp, err := http.Post(srv.URL+Path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d bytes: got %d, want %d", len(body), resp.StatusCode, want)
		}
	}
	srv.CloseClientConnections()
	srv.Close() // waits for the requests under way
	if got := h.memory.Load(); got != all {
		t.Errorf("%d bytes are still held after the last request", all-got)
	}
}

// A body that tells no length is refused when there is no memory for it, as one
// that does. case 110
func TestMemory_unknownLength(t *testing.T) {
	h, err := New(server.NewMCPServer("x", "1"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.memory.Store(smallBody - 1)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, body := range []io.Reader{
		io.MultiReader(strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)), // is sent in chunks
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + strings.Repeat(" ", smallBody)),
	} {
		resp, err := http.Post(srv.URL+Path, "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !resp.Close {
			t.Errorf("got %s %v, want 503 with Retry-After, and the connection closed", resp.Status, resp.Header)
		}
	}
	if got := h.memory.Load(); got != smallBody-1 {
		t.Errorf("%d bytes are left, want the %d that there were", got, smallBody-1)
	}
}

// A handler that has been given up and sends as fast as its notifications are
// written does not hold the answer up. case 115
func TestSession_endless(t *testing.T) {
	w := &flooded{ResponseRecorder: httptest.NewRecorder(), session: &session{}}
	w.session.w = &response{ResponseWriter: w}
	w.session.NotificationChannel() <- mcp.JSONRPCNotification{}
	if err := w.session.end(); err != nil || w.written > 500 {
		t.Errorf("got %d notifications, error %v, want few more than wait at the end", w.written, err)
	}
}

// flooded is sent a further notification with each that it writes, a thousand in
// all, and takes until the end for the first.
type flooded struct {
	*httptest.ResponseRecorder
	session *session
	written int
}

func (w *flooded) Write(p []byte) (int, error) {
	if w.written++; w.written == 1 {
		<-w.session.stop
	}
	if w.written < 1000 {
		w.session.outbox <- mcp.JSONRPCNotification{}
	}
	return len(p), nil
}
