package toolbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/toolbox"
)

func platformError(err error) *agentcore.Error {
	var e *agentcore.Error
	errors.As(err, &e)
	return e
}

var bodies = []struct{ name, contentType, text, message string }{
	{"AWS JSON", "application/json", `{"message":"Runtime initialization time exceeded"}`, "Runtime initialization time exceeded"},
	{"JSON-RPC", "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32099,"message":"not now"}}`, "not now"},
	{"HTML", "text/html", "<html><body>Bad Gateway</body></html>", ""},
	{"empty", "", "", ""},
	{"cut JSON", "application/json", `{"message":"half`, ""},
}

// case 51: status, phase and body in all combinations. No deadline fits a
// repetition, so that the first answer is also the last.
func TestRefusals(t *testing.T) {
	statuses := []int{301, 400, 401, 403, 404, 405, 406, 409, 424, 429, 500, 501, 502, 503, 504}
	phases := []string{"initialize", "notifications/initialized", "tools/list", "tools/call", "server/discover"}
	for _, status := range statuses {
		for _, phase := range phases {
			for _, body := range bodies {
				t.Run(fmt.Sprintf("%d/%s/%s", status, strings.ReplaceAll(phase, "/", " "), body.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testRefusal(t, status, phase, body.contentType, body.text, body.message) })
				})
			}
		}
	}
}

func testRefusal(t *testing.T, status int, phase, contentType, text, message string) {
	f := &fake{on: map[string]func(*exchange) bool{phase: func(x *exchange) bool {
		x.ResponseWriter.Header().Set("X-Amzn-Requestid", "req-1")
		x.ResponseWriter.Header().Set("Retry-After", "3600")
		x.raw(status, contentType, text)
		return true
	}}}
	s := inMemory("calc", f)
	if phase == "server/discover" {
		s.Era = toolbox.Era2026
	}
	b := toolbox.New([]toolbox.Server{s}, toolbox.Options{})
	defer b.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	_, _, err := b.Tools(ctx)
	if phase == "tools/call" {
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Call(ctx, "add", nil)
	}
	if server := new(toolbox.ServerError); !errors.As(err, &server) || server.Server != "calc" {
		t.Fatalf("got %v, want a ServerError", err)
	}
	e := platformError(err)
	if e == nil {
		t.Fatalf("got %v, want an agentcore.Error inside", err)
	}
	want := agentcore.Error{Status: status, Message: message, RequestID: "req-1", RetryAfter: time.Hour}
	if strings.Contains(text, "-32099") {
		want.Code = -32099
	}
	if status/100 == 3 {
		want.Code, want.Message = 0, "a redirect, which is not followed"
	}
	if *e != want {
		t.Errorf("got %+v, want %+v", *e, want)
	}
	unknown := errors.As(err, new(*toolbox.UnknownOutcomeError))
	if want := status == 500 || status == 502 || status == 504; unknown != want {
		t.Errorf("unknown outcome: %t, want %t", unknown, want)
	}
	for _, noise := range []string{"legacy", "unexpected end", "html"} {
		if strings.Contains(strings.ToLower(err.Error()), noise) {
			t.Errorf("the error speaks of %q: %v", noise, err)
		}
	}
	if strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("the error has more than one line: %q", err)
	}
}

// case 51: what comes with status 200 and is a refusal nevertheless, and what
// is sent again because of it. AgentCore's answers, at each of their places.
func TestRefusals_platform(t *testing.T) {
	for _, tt := range []struct {
		status, code int
		again        bool // a tools/call that is not marked harmless
	}{
		{200, agentcore.CodeThrottled, true},
		{200, agentcore.CodeConflict, true},
		{200, agentcore.CodeNotFound, true},
		{424, 0, true},
		{429, 0, true},
		{503, 0, true},
		{409, 0, true},
		{404, 0, true},
		{200, agentcore.CodeValidation, false},
		{200, agentcore.CodeRuntimeFailed, false},
		{200, -32603, false},
		{200, -32000, false},
		{500, 0, false},
		{502, 0, false},
		{504, 0, false},
		{400, 0, false},
		{401, agentcore.CodeUnauthorized, false},
		{403, agentcore.CodeForbidden, false},
		{406, agentcore.CodeNotAcceptable, false},
	} {
		t.Run(fmt.Sprint(tt.status, tt.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
					switch {
					case x.n > 0:
						return false
					case tt.status == 200:
						x.refuse(tt.code, "refused")
					default:
						x.raw(tt.status, "application/json", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"refused"}}`, x.id, tt.code))
					}
					return true
				}}}
				b := open(t, toolbox.Options{}, inMemory("calc", f))
				mustTools(t, b)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				_, err := b.Call(ctx, "add", nil)
				if n := len(f.requests("tools/call")); n == 2 != tt.again || err == nil != tt.again {
					t.Errorf("%d calls, error %v; sent again: want %t", n, err, tt.again)
				}
				if e := platformError(err); !tt.again && (e == nil || e.Code != tt.code || e.Status != tt.status) {
					t.Errorf("got %v, want code %d", err, tt.code)
				}
				b.Close(context.Background())
			})
		})
	}
}

// case 56: an error may come without an id, when the server could not read the
// request's.
func TestRefusal_noID(t *testing.T) {
	const refusal = `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}`
	for contentType, body := range map[string]string{"application/json": refusal, "text/event-stream": "data: " + refusal + "\n\n"} {
		_, err := connect(t, answering(contentType, body)).Call(t.Context(), "add", nil)
		if e := platformError(err); e == nil || e.Code != -32700 || e.Message != "what?" {
			t.Errorf("%s: got %v, want the server's error", contentType, err)
		}
	}
}

// Retry-After, in both its forms, is waited for when it fits the deadline and
// handed on when it does not.
func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		deadline     time.Duration
		wait         time.Duration // 0: no second call
	}{
		{"seconds", "7", time.Minute, 7 * time.Second},
		{"date", time.Date(2000, 1, 1, 0, 0, 20, 0, time.UTC).Format(http.TimeFormat), time.Minute, 20 * time.Second},
		{"too long", "120", time.Minute, 0},
		{"nonsense", "soon", time.Minute, 100 * time.Millisecond},
		{"negative", "-5", time.Minute, 100 * time.Millisecond},
		{"past", time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat), time.Minute, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
					if x.n > 0 {
						return false
					}
					x.ResponseWriter.Header().Set("Retry-After", tt.header)
					x.raw(429, "", "")
					return true
				}}}
				b := open(t, toolbox.Options{}, inMemory("calc", f))
				mustTools(t, b)
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				start := time.Now()
				_, err := b.Call(ctx, "add", nil)
				took := time.Since(start)
				if tt.wait == 0 {
					if e := platformError(err); e == nil || e.RetryAfter != 2*time.Minute || took != 0 {
						t.Errorf("got %v after %s, want the refusal at once", err, took)
					}
				} else if err != nil || took < tt.wait || took > tt.wait+200*time.Millisecond {
					t.Errorf("got %v after %s, want %s", err, took, tt.wait)
				}
				b.Close(context.Background())
			})
		})
	}
}

// However long it refuses, the calls stay few and end with the deadline.
func TestRetry_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool { x.refuse(agentcore.CodeThrottled, "slow down"); return true }}}
		b := open(t, toolbox.Options{}, inMemory("calc", f))
		mustTools(t, b)
		for _, deadline := range []time.Duration{time.Second, 30 * time.Second, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			start, before := time.Now(), len(f.requests("tools/call"))
			_, err := b.Call(ctx, "add", nil)
			if e := platformError(err); e == nil || e.Code != agentcore.CodeThrottled {
				t.Errorf("got %v, want the refusal", err)
			}
			if n := len(f.requests("tools/call")) - before; n < 2 || n > 11 || time.Since(start) > deadline {
				t.Errorf("%d calls in %s, want 2 to 11 within %s", n, time.Since(start), deadline)
			}
			cancel()
		}
		b.Close(context.Background())
	})
}

// tokenError is one of a layer that authenticates.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "asking the token endpoint: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// What a layer that authenticates refuses, or fails in, is not taken for a lost
// answer, nor repeated: neither before anything is sent nor after a 401. It keeps
// its type, and its time limits are not taken for the caller's.
func TestCredentialErrors(t *testing.T) {
	f := &fake{}
	url := f.serve(t)
	want := 0
	for _, cause := range []error{
		errors.New("it answered invalid_client"),
		&net.OpError{Op: "dial", Err: errors.New("connection refused")},
		io.ErrUnexpectedEOF,
		context.DeadlineExceeded,
	} {
		for _, after := range []bool{false, true} {
			client := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				if after {
					resp, err := http.DefaultTransport.RoundTrip(r)
					if err == nil {
						resp.Body.Close()
					}
				}
				return nil, &tokenError{cause}
			})}
			b := open(t, toolbox.Options{}, at("calc", url, client))
			_, _, err := b.Tools(t.Context())
			if !errors.As(err, new(*tokenError)) || errors.As(err, new(*toolbox.UnknownOutcomeError)) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, after an answer %t: got %v", cause, after, err)
			}
		}
		want++
		if n := len(f.requests("initialize")); n != want {
			t.Errorf("%v: %d requests so far, want %d", cause, n, want)
		}
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A server that is down is a typed error in moments, and used again once it is
// up: nothing was written, so a call that harms is tried again too.
func TestRestart(t *testing.T) { // case 52
	f := &fake{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	first := &http.Server{Handler: f}
	go first.Serve(l)
	refused := 0
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			if refused++; refused == 2 { // up again after two calls found it down
				l, err := net.Listen("tcp", addr)
				if err != nil {
					return nil, err
				}
				second := &http.Server{Handler: f}
				t.Cleanup(func() { second.Close() })
				go second.Serve(l)
			}
		}
		return c, err
	}}
	b := open(t, toolbox.Options{}, at("calc", "http://"+addr+"/mcp", &http.Client{Transport: transport}))
	mustTools(t, b)
	first.Close()
	transport.CloseIdleConnections()
	if _, err := b.Call(t.Context(), "add", nil); err != nil {
		t.Errorf("a call during a restart: %v", err)
	}
	if n := len(f.requests("tools/call")); n != 1 || refused != 2 {
		t.Errorf("%d calls arrived after %d refused connections, want 1 after 2", n, refused)
	}
}

// Why a server cannot be found is told as it is, with the server's name.
func TestNotFound(t *testing.T) {
	gone := errors.New("no such parameter")
	s := toolbox.Server{Name: "calc", Resolve: func(context.Context) (toolbox.Endpoint, error) { return toolbox.Endpoint{}, gone }}
	_, _, err := open(t, toolbox.Options{}, s).Tools(t.Context())
	if server := new(toolbox.ServerError); !errors.Is(err, gone) || !errors.As(err, &server) || server.Server != "calc" {
		t.Errorf("got %v, want a ServerError of %v", err, gone)
	}
}

// A server that is not there is given up in moments, with its name.
func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := open(t, toolbox.Options{}, at("calc", "http://"+l.Addr().String(), nil))
	_, _, err = b.Tools(t.Context())
	if server := new(toolbox.ServerError); !errors.As(err, &server) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want a ServerError that says connection refused", err)
	}
	for _, s := range []toolbox.Server{at("calc", "ftp://x", nil), at("calc", "https://user:pw@x", nil), at("calc", "https://", nil), at("calc", ":", nil), {Name: "calc", Era: "2024-01-01"}} {
		_, _, err = open(t, toolbox.Options{}, s).Tools(t.Context())
		if err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("got %v", err)
		}
	}
}
