package toolbox_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/toolbox"
)

const ok = `{"content":[{"type":"text","text":"fine"}]}`

// answering is a server that answers calls with a body; %d in it is the id.
func answering(contentType, body string) *fake {
	return &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
		x.raw(200, contentType, strings.ReplaceAll(body, "%d", string(x.id)))
		return true
	}}}
}

// case 56, and all else that is no answer
func TestAnswer_unusable(t *testing.T) {
	const events = "text/event-stream"
	for _, tt := range []struct{ name, contentType, body string }{
		{"another id", "application/json", `{"jsonrpc":"2.0","id":99,"result":` + ok + `}`},
		{"the id as text", "application/json", `{"jsonrpc":"2.0","id":"%d","result":` + ok + `}`},
		{"no id", "application/json", `{"jsonrpc":"2.0","result":` + ok + `}`},
		{"a null id", "application/json", `{"jsonrpc":"2.0","id":null,"result":` + ok + `}`},
		{"another id after the right one", "application/json", `{"jsonrpc":"2.0","id":%d,"result":` + ok + `,"id":99}`},
		{"two answers", "application/json", `{"jsonrpc":"2.0","id":%d,"result":` + ok + `}{"jsonrpc":"2.0","id":%d,"result":` + ok + `}`},
		{"a batch", "application/json", `[{"jsonrpc":"2.0","id":%d,"result":` + ok + `}]`},
		{"no result", "application/json", `{"jsonrpc":"2.0","id":%d}`},
		{"a null result", "application/json", `{"jsonrpc":"2.0","id":%d,"result":null}`},
		{"a null result after a blank", "application/json", `{"jsonrpc":"2.0","id":%d,"result": null }`},
		{"a result that is no object", "application/json", `{"jsonrpc":"2.0","id":%d,"result":"fine"}`},
		{"a result and an error", "application/json", `{"jsonrpc":"2.0","id":%d,"result":` + ok + `,"error":{"code":1,"message":"x"}}`},
		{"a request", "application/json", `{"jsonrpc":"2.0","id":%d,"method":"ping"}`},
		{"a notification", "application/json", `{"jsonrpc":"2.0","method":"notifications/message"}`},
		{"cut JSON that claims to be whole", "application/json", `{"jsonrpc":"2.0","id":%d,"result":{`},
		{"empty", "application/json", ``},
		{"text", "application/json", `fine`},
		{"HTML", "text/html", `<html>`},
		{"no content type", "", ok},
		{"more input wanted", "application/json", `{"jsonrpc":"2.0","id":%d,"result":{"resultType":"input_required","inputRequests":{}}}`},
		{"stream: another id", events, "data: {\"jsonrpc\":\"2.0\",\"id\":99,\"result\":" + ok + "}\n\n"},
		{"stream: no id", events, "data: {\"jsonrpc\":\"2.0\",\"result\":" + ok + "}\n\n"},
		{"stream: two answers", events, strings.Repeat("data: {\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":"+ok+"}\n\n", 2)},
		{"stream: an answer to another after it", events, "data: {\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":" + ok + "}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"},
		{"stream: not JSON", events, "data: fine\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := answering(tt.contentType, tt.body)
			b := connect(t, f)
			r, err := b.Call(t.Context(), "add", nil)
			if !errors.As(err, new(*toolbox.AnswerError)) {
				t.Errorf("got %+v, %v; want an AnswerError", r, err)
			}
			if n := len(f.requests("tools/call")); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			// The session is as good as before.
			if _, _, err := b.Tools(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The ways to answer well.
func TestAnswer(t *testing.T) {
	const events = "text/event-stream"
	answer := `{"jsonrpc":"2.0","id":%d,"result":` + ok + `}`
	for _, tt := range []struct{ name, contentType, body string }{
		{"JSON", "application/json", answer},
		{"JSON in other order", "application/json; charset=utf-8", ` { "result": ` + ok + `, "id" : %d, "jsonrpc":"2.0" } ` + "\n"},
		{"JSON with more members", "application/json", `{"jsonrpc":"2.0","id":%d,"result":` + ok + `,"x":{"id":5}}`},
		{"stream", events, "event: message\ndata: " + answer + "\n\n"},
		{"stream with CRLF", events + ";charset=utf-8", ": hello\r\nevent: message\r\ndata: " + answer + "\r\n\r\n"},
		{"stream with CR", events, "\uFEFFdata: " + answer + "\r\r"},
		{"data on several lines", events, "data: {\"jsonrpc\":\"2.0\",\ndata:\"id\":%d,\ndata: \"result\":" + ok + "}\n\n"},
		{"other events before it", events, "event: ping\ndata: x\n\n:\n\nid: 1\ndata:\n\nretry: x\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\ndata: " + answer + "\n\n"},
		{"a notification after it", events, "data: " + answer + "\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := connect(t, answering(tt.contentType, tt.body))
			if r, err := b.Call(t.Context(), "add", nil); err != nil || r.Text != "fine" {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

// case 57: nothing over 8 MiB is taken in, whatever the wrapping, and little
// more than that is ever held.
func TestAnswer_tooLarge(t *testing.T) {
	pour := func(x *exchange, text string) {
		block := []byte(strings.Repeat(text, 64<<10/len(text)))
		for x.r.Context().Err() == nil {
			if _, err := x.ResponseWriter.Write(block); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]func(*exchange){
		"endless JSON": func(x *exchange) {
			x.raw(200, "application/json", `{"x":"`)
			pour(x, "a")
		},
		"a length of 1 GB": func(x *exchange) {
			x.ResponseWriter.Header().Set("Content-Length", "1000000000")
			x.raw(200, "application/json", `{"x":"`)
			pour(x, "a")
		},
		"one endless line": func(x *exchange) { x.raw(200, "text/event-stream", "data: "); pour(x, "a") },
		"endless lines":    func(x *exchange) { x.raw(200, "text/event-stream", ""); pour(x, "data: a\n") },
		"endless comments": func(x *exchange) { x.raw(200, "text/event-stream", ""); pour(x, ": a\n\n") },
		"endless messages": func(x *exchange) {
			x.raw(200, "text/event-stream", "")
			pour(x, "data: {\"method\":\"notifications/progress\"}\n\n")
		},
		"gzip bomb": func(x *exchange) {
			x.ResponseWriter.Header().Set("Content-Encoding", "gzip")
			x.raw(200, "application/json", "")
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			z.Write([]byte(`{"x":"`))
			zeros := make([]byte, 1<<20)
			for range 20 {
				z.Write(zeros)
			}
			z.Close()
			io.Copy(x, &packed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool { answer(x); return true }}}
			b := connect(t, f)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := b.Call(t.Context(), "add", nil)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, toolbox.ErrTooLarge) || !errors.As(err, new(*toolbox.AnswerError)) {
				t.Errorf("got %v, want ErrTooLarge", err)
			}
			if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 100 {
				t.Errorf("%d MiB were allocated for it", grown)
			}
		})
	}
}

// The bound itself: an answer of exactly 8 MiB is taken.
func TestAnswer_bound(t *testing.T) {
	for more, want := range map[int]bool{0: true, 1: false} {
		f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
			head, tail := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"`, x.id), `"}]}}`
			x.raw(200, "application/json", head+strings.Repeat("a", 8<<20-len(head)-len(tail)+more)+tail)
			return true
		}}}
		if _, err := connect(t, f).Call(t.Context(), "add", nil); (err == nil) != want {
			t.Errorf("%d bytes over: %v", more, err)
		}
	}
}

// case 57: an answer that begins and then pauses, or drips for longer than the
// caller waits.
func TestAnswer_stalls(t *testing.T) {
	for _, contentType := range []string{"application/json", "text/event-stream"} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
				x.raw(200, contentType, ":")
				x.flush()
				<-x.r.Context().Done()
				return true
			}}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			mustTools(t, b)
			start := time.Now()
			_, err := b.Call(t.Context(), "add", nil)
			if !errors.Is(err, toolbox.ErrStalled) || !errors.As(err, new(*toolbox.UnknownOutcomeError)) || time.Since(start) != time.Minute {
				t.Errorf("%s: %v after %s", contentType, err, time.Since(start))
			}
			b.Close(context.Background())
		})
		synctest.Test(t, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
				x.raw(200, contentType, "")
				for x.r.Context().Err() == nil {
					io.WriteString(x, ":")
					time.Sleep(50 * time.Second)
				}
				return true
			}}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			mustTools(t, b)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			start := time.Now()
			_, err := b.Call(ctx, "add", nil)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Minute {
				t.Errorf("%s: %v after %s", contentType, err, time.Since(start))
			}
			b.Close(context.Background())
			time.Sleep(time.Minute)
		})
	}
}

// case 58: the stream ends before the answer, after 0, 1 and n events, ended in
// order or broken off. Without an event id there is nothing to take up.
func TestStream_cut(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		for _, half := range []string{"", "data: {\"jsonrpc\":\"2.0\",", "data: {\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":" + ok + "}\n"} {
			for _, drop := range []bool{false, true} {
				t.Run(fmt.Sprint(n, len(half), drop), func(t *testing.T) {
					f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
						x.raw(200, "text/event-stream", strings.Repeat("data: {\"method\":\"notifications/progress\"}\n\n", n)+strings.ReplaceAll(half, "%d", string(x.id)))
						x.flush()
						if drop {
							x.drop()
						}
						return true
					}}}
					r, err := connect(t, f).Call(t.Context(), "add", nil)
					if !errors.As(err, new(*toolbox.UnknownOutcomeError)) {
						t.Errorf("got %+v, %v; want an UnknownOutcomeError", r, err)
					}
					if n := len(f.requests("tools/call")) + len(f.requests("GET")); n != 1 {
						t.Errorf("%d requests, want 1", n)
					}
				})
			}
		}
	}
}

// case 58: with event ids the stream is taken up where it ended, after as long
// as the server says, without a second call. Not in the era that has none of it.
func TestStream_resumed(t *testing.T) {
	for _, drop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var id json.RawMessage
			f := &fake{on: map[string]func(*exchange) bool{
				"tools/call": func(x *exchange) bool {
					id = x.id
					x.raw(200, "text/event-stream", "id: e-1\nretry: 3000\ndata:\n\n")
					if drop {
						x.drop()
					}
					return true
				},
				"GET": func(x *exchange) bool {
					switch x.r.Header.Get("Last-Event-Id") {
					case "e-1":
						x.raw(200, "text/event-stream", "id: e-2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n")
					case "e-2":
						x.raw(200, "text/event-stream", "id: e-3\ndata: {\"jsonrpc\":\"2.0\",\"id\":"+string(id)+",\"result\":"+ok+"}\n\n")
					}
					return true
				},
			}}
			s := inMemory("calc", f)
			b := open(t, toolbox.Options{}, s)
			mustTools(t, b)
			start := time.Now()
			r, err := b.Call(t.Context(), "add", nil)
			if err != nil || r.Text != "fine" || time.Since(start) != 6*time.Second {
				t.Errorf("got %+v, %v after %s", r, err, time.Since(start))
			}
			if n := len(f.requests("tools/call")); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			if got := f.requests("GET")[0].r.Header.Get("Accept"); got != "text/event-stream" {
				t.Errorf("GET accepts %q", got)
			}
			b.Close(context.Background())

			s.Era = toolbox.Era2026
			b = open(t, toolbox.Options{}, s)
			mustTools(t, b)
			if _, err := b.Call(t.Context(), "add", nil); !errors.As(err, new(*toolbox.UnknownOutcomeError)) || len(f.requests("GET")) != 2 {
				t.Errorf("2026-07-28: %v after %d GETs", err, len(f.requests("GET")))
			}
			b.Close(context.Background())
		})
	}
}

func TestStream_notResumed(t *testing.T) {
	for name, get := range map[string]func(*exchange){
		"405":       func(x *exchange) { x.raw(405, "", "") },
		"404":       func(x *exchange) { x.raw(404, "", "") },
		"JSON":      func(x *exchange) { x.raw(200, "application/json", "{}") },
		"an outage": (*exchange).drop,
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{
				"tools/call": func(x *exchange) bool { x.raw(200, "text/event-stream", "id: 1\nretry: 10\ndata:\n\n"); return true },
				"GET":        func(x *exchange) bool { get(x); return true },
			}}
			_, err := connect(t, f).Call(t.Context(), "add", nil)
			if !errors.As(err, new(*toolbox.UnknownOutcomeError)) || len(f.requests("tools/call")) != 1 {
				t.Errorf("got %v after %d calls", err, len(f.requests("tools/call")))
			}
		})
	}
}

// case 64: what a server asks of the client on the way is refused, and the call
// goes on.
func TestServerRequests(t *testing.T) {
	replies := make(chan string, 10)
	f := &fake{}
	f.on = map[string]func(*exchange) bool{
		"POST": func(x *exchange) bool { replies <- string(x.body); x.WriteHeader(202); return true },
		"tools/call": func(x *exchange) bool {
			x.raw(200, "text/event-stream", "")
			for i, method := range []string{"sampling/createMessage", "elicitation/create", "roots/list", "ping"} {
				fmt.Fprintf(x, "data: {\"jsonrpc\":\"2.0\",\"id\":\"s-%d\",\"method\":%q,\"params\":{}}\n\n", i, method)
				x.flush()
				want := fmt.Sprintf(`{"jsonrpc":"2.0","id":"s-%d","error":{"code":-32601,"message":"this client takes no such requests"}}`, i)
				if method == "ping" {
					want = fmt.Sprintf(`{"jsonrpc":"2.0","id":"s-%d","result":{}}`, i)
				}
				if got := <-replies; got != want {
					t.Errorf("%s was answered %s, want %s", method, got, want)
				}
			}
			fmt.Fprintf(x, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", x.id, ok)
			return true
		},
	}
	if r, err := connect(t, f).Call(t.Context(), "add", nil); err != nil || r.Text != "fine" {
		t.Errorf("got %+v, %v", r, err)
	}
	flood := answering("text/event-stream", strings.Repeat("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\"}\n\n", 1000))
	if _, err := connect(t, flood).Call(t.Context(), "add", nil); !errors.As(err, new(*toolbox.AnswerError)) {
		t.Errorf("a flood of requests: %v", err)
	}
}

// A server that leaves the stream open after the answer costs a moment, also one
// that keeps it alive.
func TestStream_leftOpen(t *testing.T) {
	for _, drips := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
				x.raw(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":"+string(x.id)+",\"result\":"+ok+"}\n\n")
				x.flush()
				for drips && x.r.Context().Err() == nil {
					io.WriteString(x, ":\n")
					time.Sleep(30 * time.Millisecond)
				}
				<-x.r.Context().Done()
				return true
			}}}
			b := open(t, toolbox.Options{}, inMemory("calc", f))
			mustTools(t, b)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			if r, err := b.Call(ctx, "add", nil); err != nil || r.Text != "fine" || time.Since(start) != 100*time.Millisecond {
				t.Errorf("drips %t: got %+v, %v after %s", drips, r, err, time.Since(start))
			}
			b.Close(context.Background())
			time.Sleep(time.Second)
		})
	}
}

// Whatever comes: no panic, no answer to another request, and the same outcome
// however the bytes are spread over reads.
func FuzzAnswer(f *testing.F) {
	for _, stream := range []bool{false, true} {
		for _, body := range []string{
			"data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":" + ok + "}\n\n", `{"jsonrpc":"2.0","id":3,"result":` + ok + `}`,
			"id: 1\r\rdata:x\r\n\r\n", "\uFEFFdata\n\n", `{"jsonrpc":"2.0","id":3,"result":{},"id":4}`, "data: {}\ndata: {}\n\n", "", "\r\n\r", `null`,
		} {
			f.Add(stream, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, stream bool, body []byte) {
		call := func(spread bool) (toolbox.Result, error) {
			client := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				sent, _ := io.ReadAll(r.Body)
				head := http.Header{"Content-Type": {"application/json"}}
				answer := ""
				switch {
				case bytes.Contains(sent, []byte(`"initialize"`)):
					answer = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}`
				case bytes.Contains(sent, []byte(`"tools/list"`)):
					answer = `{"jsonrpc":"2.0","id":2,"result":{"tools":` + addTool + `}}`
				case bytes.Contains(sent, []byte(`"tools/call"`)):
					if stream {
						head.Set("Content-Type", "text/event-stream")
					}
					var b io.Reader = bytes.NewReader(body)
					if spread {
						b = oneByte{b}
					}
					return &http.Response{StatusCode: 200, Header: head, Body: io.NopCloser(b), ContentLength: -1}, nil
				case r.Method == http.MethodGet:
					return &http.Response{StatusCode: 405, Header: head, Body: http.NoBody}, nil
				}
				return &http.Response{StatusCode: 200, Header: head, Body: io.NopCloser(strings.NewReader(answer)), ContentLength: -1}, nil
			})}
			b := toolbox.New([]toolbox.Server{at("calc", "http://calc.test", client)}, toolbox.Options{})
			defer b.Close(context.Background())
			if _, _, err := b.Tools(context.Background()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			return b.Call(ctx, "add", nil)
		}
		got, err := call(false)
		spread, spreadErr := call(true)
		if got != spread || (err == nil) != (spreadErr == nil) {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(spreadErr, context.DeadlineExceeded) {
				t.Errorf("in one piece %+v, %v; byte by byte %+v, %v", got, err, spread, spreadErr)
			}
		}
		if err == nil && !bytes.Contains(body, []byte("3")) {
			t.Errorf("%q was taken for an answer: %+v", body, got)
		}
	})
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }
