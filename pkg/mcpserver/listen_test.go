package mcpserver_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// stream is an open answer of server-sent events.
type stream struct {
	*http.Response
	r *bufio.Reader
}

// listen opens a stream of the notifications that filter, a JSON object, asks
// for. The id of its request is "l".
func listen(t testing.TB, url, filter string) *stream {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":`+filter+`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &stream{resp, bufio.NewReader(resp.Body)}
}

// event is one message of a stream of notifications.
type event struct {
	ID     string
	Method string
	Params struct {
		Meta          map[string]any `json:"_meta"`
		Notifications json.RawMessage
	}
	Result *struct {
		ResultType string
		Meta       map[string]any `json:"_meta"`
	}
}

// next returns the next message, or false at the end of the stream.
func (s *stream) next(t testing.TB) (event, bool) {
	t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err == io.EOF {
			return event{}, false
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var e event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			return e, true
		}
	}
}

const subscriptionID = "io.modelcontextprotocol/subscriptionId"

// acknowledged wants the acknowledgement of exactly these notifications next.
func (s *stream) acknowledged(t testing.TB, want string) {
	t.Helper()
	e, _ := s.next(t)
	if e.Method != "notifications/subscriptions/acknowledged" || string(e.Params.Notifications) != want || e.Params.Meta[subscriptionID] != "l" {
		t.Errorf("got %+v with %s, want the acknowledgement of %s", e, e.Params.Notifications, want)
	}
}

// ended wants the result that ends a subscription in good order, and nothing
// after it.
func (s *stream) ended(t testing.TB) {
	t.Helper()
	e, _ := s.next(t)
	if e.ID != "l" || e.Result == nil || e.Result.ResultType != "complete" || e.Result.Meta[subscriptionID] != "l" {
		t.Errorf("got %+v, want the result of the subscription", e)
	}
	if e, more := s.next(t); more {
		t.Errorf("got %+v after the result", e)
	}
}

// Streams of notifications have places of their own, carry what the server
// broadcasts, and end with the drain.
func TestListen(t *testing.T) {
	s := server.NewMCPServer("x", "1", server.WithToolCapabilities(true))
	url, _, stop, ended := start(t, s, mcpserver.Config{MaxCalls: 4})
	got := listen(t, url, `{"toolsListChanged":true,"promptsListChanged":true}`)
	if kind := got.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("got %d %s, want a stream", got.StatusCode, kind)
	}
	got.acknowledged(t, `{"toolsListChanged":true}`)
	s.AddTool(mcp.NewTool("late"), nil)
	if e, _ := got.next(t); e.Method != "notifications/tools/list_changed" || e.Params.Meta[subscriptionID] != "l" {
		t.Errorf("got %+v, want the change", e)
	}
	s.SendNotificationToAllClients("notifications/unasked", nil) // nobody asked for it
	if second := listen(t, url, `{}`); second.StatusCode != 503 {
		t.Errorf("a second stream: got %d, want 503", second.StatusCode)
	}
	stop()
	got.ended(t)
	if err := <-ended; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
}

// A server that has nothing to deliver says so and ends the stream at once:
// the acknowledgement comes first all the same.
// https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#acknowledgment
func TestListen_nothingToDeliver(t *testing.T) {
	url, _ := serve(t, calcserver.New("1"), mcpserver.Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { // mcp-go's own transport loses about one in ten
			for range 50 {
				got := listen(t, url, `{"toolsListChanged":true}`)
				got.acknowledged(t, `{}`)
				got.ended(t)
			}
		})
	}
	wg.Wait()
}

// A stream that has lasted as long as a call may is ended in good order, so
// that the client asks again rather than takes it for a lost connection.
func TestListen_timeout(t *testing.T) {
	url, log := serve(t, server.NewMCPServer("x", "1", server.WithToolCapabilities(true)), mcpserver.Config{CallTimeout: 50 * time.Millisecond})
	got := listen(t, url, `{"toolsListChanged":true}`)
	got.acknowledged(t, `{"toolsListChanged":true}`)
	got.ended(t)
	log.await(t, `"method":"subscriptions/listen"`)
	if strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("logged as an error: %s", log)
	}
}
