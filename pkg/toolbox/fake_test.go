package toolbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"

	"agentcore-mcp-auth/pkg/toolbox"
)

// fake is an MCP server whose faults a test scripts. It speaks raw JSON-RPC, so
// that it can be wrong in every way. Without a script it has the tools of tools
// and answers a call with the arguments it got.
type fake struct {
	tools    string // JSON array
	sessions bool   // hands out session ids, and knows no others

	// on is asked about each message first, by its method, or by the HTTP method
	// for a request without one; true says that it has answered.
	on map[string]func(*exchange) bool

	mu      sync.Mutex // guards what follows
	seen    []*exchange
	counter int
	alive   string // the session that is known
}

// exchange is one request to a fake.
type exchange struct {
	http.ResponseWriter
	r      *http.Request
	n      int // how many of its method came before it
	body   []byte
	id     json.RawMessage
	method string
	params struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
		Cursor    string          `json:"cursor"`
	}
}

const addTool = `[{"name":"add","description":"adds","inputSchema":{"type":"object"}}]`

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, r: r, method: r.Method}
	x.body, _ = io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(x.body, &m); m.Method != "" {
		x.id, x.method = m.ID, m.Method
		json.Unmarshal(m.Params, &x.params)
	}
	f.mu.Lock()
	for _, other := range f.seen {
		if other.method == x.method {
			x.n++
		}
	}
	f.seen = append(f.seen, x)
	known := !f.sessions || r.Header.Get("Mcp-Session-Id") == f.alive && f.alive != ""
	f.mu.Unlock()
	if on := f.on[x.method]; on != nil && on(x) {
		return
	}
	switch {
	case x.method == "initialize":
		if f.sessions {
			f.mu.Lock()
			f.counter++
			f.alive = fmt.Sprintf("session-%d", f.counter)
			w.Header().Set("Mcp-Session-Id", f.alive)
			f.mu.Unlock()
		}
		x.result(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}`)
	case !known:
		http.Error(w, "no such session", http.StatusNotFound)
	case x.method == "server/discover":
		x.result(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}`)
	case x.method == "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
	case x.method == "tools/list":
		x.result(`{"tools":` + f.list() + `}`)
	case x.method == "tools/call":
		x.text(string(x.params.Arguments))
	case x.id != nil:
		x.refuse(-32601, "no such method")
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (f *fake) list() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tools == "" {
		return addTool
	}
	return f.tools
}

func (f *fake) setTools(list string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tools = list
}

// requests returns what came with the method so far.
func (f *fake) requests(method string) []*exchange {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.seen), func(x *exchange) bool { return x.method != method })
}

// raw answers with the body as it is.
func (x *exchange) raw(status int, contentType, body string) {
	x.ResponseWriter.Header().Set("Content-Type", contentType)
	x.WriteHeader(status)
	io.WriteString(x, body)
}

func (x *exchange) result(result string) {
	x.raw(200, "application/json", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, x.id, result))
}

func (x *exchange) text(text string) {
	quoted, _ := json.Marshal(text)
	x.result(fmt.Sprintf(`{"content":[{"type":"text","text":%s}]}`, quoted))
}

func (x *exchange) refuse(code int, message string) {
	x.raw(200, "application/json", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q}}`, x.id, code, message))
}

// drop breaks the connection off.
func (x *exchange) drop() { panic(http.ErrAbortHandler) }

func (x *exchange) flush() { http.NewResponseController(x.ResponseWriter).Flush() }

// serve makes the fake reachable over loopback.
func (f *fake) serve(t testing.TB) (url string) {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL + "/mcp"
}

// at is a server that is found at once.
func at(name, url string, client *http.Client) toolbox.Server {
	return toolbox.Server{Name: name, Resolve: func(context.Context) (toolbox.Endpoint, error) {
		return toolbox.Endpoint{URL: url, Client: client}, nil
	}}
}

// open makes a toolbox for the servers, closed with the test.
func open(t testing.TB, o toolbox.Options, servers ...toolbox.Server) *toolbox.Toolbox {
	b := toolbox.New(servers, o)
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// connect makes a toolbox for one fake over loopback and connects it.
func connect(t testing.TB, f *fake) *toolbox.Toolbox {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(client.CloseIdleConnections)
	b := open(t, toolbox.Options{}, at("calc", f.serve(t), client))
	mustTools(t, b)
	return b
}

func mustTools(t testing.TB, b *toolbox.Toolbox) []toolbox.Tool {
	t.Helper()
	tools, unavailable, err := b.Tools(context.Background())
	if err != nil || len(unavailable) > 0 {
		t.Fatalf("Tools: unavailable %v, error %v", unavailable, err)
	}
	return tools
}

func toolNames(tools []toolbox.Tool) string {
	var list []string
	for _, t := range tools {
		list = append(list, t.Name)
	}
	return strings.Join(list, " ")
}

// memory is a transport that calls a handler in this process, so that a test
// can run on synctest's clock. It reports its progress as net/http does.
type memory struct{ http.Handler }

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(req.Context())
	trace.GetConn("memory")
	inner := req.Clone(req.Context())
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	trace.WroteHeaders()
	body, sink := io.Pipe()
	stop := context.AfterFunc(req.Context(), func() { sink.CloseWithError(context.Cause(req.Context())) })
	w := &memoryWriter{sink: sink, header: http.Header{}, begun: make(chan struct{})}
	go func() {
		defer stop()
		defer func() {
			if recover() != nil {
				sink.CloseWithError(io.ErrUnexpectedEOF)
				w.once.Do(func() { w.status = -1; close(w.begun) })
			}
		}()
		m.Handler.ServeHTTP(w, inner)
		w.WriteHeader(200)
		sink.CloseWithError(context.Cause(req.Context())) // nil: io.EOF
	}()
	select {
	case <-w.begun:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if w.status < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	trace.GotFirstResponseByte()
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.sent, Body: body, ContentLength: -1, Request: req,
	}, nil
}

type memoryWriter struct {
	sink         *io.PipeWriter
	header, sent http.Header
	status       int
	once         sync.Once
	begun        chan struct{}
}

func (w *memoryWriter) Header() http.Header { return w.header }
func (w *memoryWriter) Flush()              { w.WriteHeader(200) }
func (w *memoryWriter) WriteHeader(status int) {
	w.once.Do(func() { w.status, w.sent = status, w.header.Clone(); close(w.begun) })
}
func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	return w.sink.Write(p)
}

// inMemory is a server behind a memory transport.
func inMemory(name string, h http.Handler) toolbox.Server {
	return at(name, "http://"+name+".test/mcp", &http.Client{Transport: memory{h}})
}
