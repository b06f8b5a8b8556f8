package toolbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"agentcore-mcp-auth/pkg/agentcore"
)

// wire is the way to one server: HTTP requests out, answers or typed errors
// back. It is MCP's streamable HTTP without mcp-go's transport, which takes
// refusals for a server of an old protocol, accepts answers to other requests,
// and costs a quarter more than a plain POST.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
//
// The handshake may change header; after it a wire is safe for concurrent use.
type wire struct {
	url    *url.URL
	client *http.Client
	header http.Header // of every request
	now    func() time.Time
	used   *atomic.Int64 // when the server was last heard of, in Unix nanoseconds

	resumes bool   // the era allows a stream to be taken up again
	changed func() // called when the server says that its tools changed
}

func newWire(e Endpoint, now func() time.Time, used *atomic.Int64, changed func()) (*wire, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("the server's address: want an http or https URL, without a user's name in it")
	}
	client := e.Client
	if client == nil {
		client = http.DefaultClient
	}
	h := http.Header{"Content-Type": {jsonType}, "Accept": {jsonType + ", " + streamType}}
	return &wire{url: u, client: client, header: h, now: now, used: used, changed: changed}, nil
}

// restPeriod is the silence after which connections are no longer trusted. The
// Lambda function may have been frozen meanwhile and the other side gone without
// a word; a request written to such a connection is lost.
const restPeriod = 45 * time.Second

const (
	jsonType   = "application/json"
	streamType = "text/event-stream"
)

// send sends one request. Its errors: an [*agentcore.Error] for an answer that
// is no success, inside an [*UnknownOutcomeError] if the request may have been
// carried out nevertheless; an [*UnknownOutcomeError] for an answer that did
// not come; an *unsentError for a request that never left; and whatever the
// client's transport refuses by itself.
//
// It goes past http.Client.Do, and so follows no redirect: a credential and a
// tool's arguments go where the configuration says, and nowhere else.
func (w *wire) send(ctx context.Context, method string, text []byte, more http.Header) (*reply, error) {
	now := w.now().UnixNano()
	if last := w.used.Swap(now); last != 0 && time.Duration(now-last) > restPeriod {
		w.client.CloseIdleConnections()
	}
	r := &reply{left: maxAnswer, pause: maxPause}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	limit := callTimeout
	if w.client.Timeout > 0 {
		limit = min(limit, w.client.Timeout)
	}
	r.limit = time.AfterFunc(limit, r.expire)
	header := w.header.Clone()
	for name, values := range more {
		header[name] = values
	}
	req := (&http.Request{
		Method: method, URL: w.url, Host: w.url.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(r.ctx, r.progress.trace()))
	if text != nil {
		req.ContentLength = int64(len(text))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		req.Body, _ = req.GetBody()
	}
	transport := w.client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		err = r.progress.judge(r.ctx, err)
		r.stop()
		return nil, err
	}
	r.Response = resp
	r.begun.Store(true)
	if !r.limit.Reset(maxPause) { // it fired meanwhile
		r.cancel(errCallTimeout)
	}
	if resp.StatusCode/100 == 2 {
		return r, nil
	}
	defer r.close()
	e := w.readRefusal(r)
	if !e.Refused() {
		return nil, &UnknownOutcomeError{e}
	}
	return nil, e
}

// progress is how far a request came, as the transport reports it from
// goroutines of its own. Each attempt of the transport counts anew.
type progress struct {
	tried, written, answered atomic.Bool
	hooks                    httptrace.ClientTrace
}

func (p *progress) trace() *httptrace.ClientTrace {
	p.hooks = httptrace.ClientTrace{
		GetConn:              func(string) { p.tried.Store(true); p.written.Store(false); p.answered.Store(false) },
		WroteHeaders:         func() { p.written.Store(true) },
		GotFirstResponseByte: func() { p.answered.Store(true) },
	}
	return &p.hooks
}

// judge says what err means for the request. An error after the first byte of
// an answer is the refusal of a layer below, such as one that authenticates,
// unless it is the network's own.
func (p *progress) judge(ctx context.Context, err error) error {
	ended, refused := ctx.Err() != nil, !ofNetwork(err)
	if cause := context.Cause(ctx); ended && !errors.Is(cause, context.Canceled) {
		err = cause
	} else if !ended {
		err = notOurs(err)
	}
	switch {
	case !p.tried.Load():
		return err
	case !p.written.Load():
		return &unsentError{err}
	case p.answered.Load() && !ended && refused:
		return err
	}
	return &UnknownOutcomeError{err}
}

// timeout is a time limit of a layer below, such as a dialer's. It has the types
// of the error it stands for, and none of its values.
type timeout struct{ err error }

func (e *timeout) Error() string      { return e.err.Error() }
func (e *timeout) Timeout() bool      { return true }
func (e *timeout) Temporary() bool    { return true }
func (e *timeout) As(target any) bool { return errors.As(e.err, target) }

// notOurs keeps time limits of layers below apart from the caller's deadline.
// In the standard library both are a context.DeadlineExceeded.
func notOurs(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &timeout{err}
	}
	return err
}

// ofNetwork reports whether err is a transport's own, and not one that is
// wrapped in what another layer says.
func ofNetwork(err error) bool {
	_, network := err.(net.Error)
	return network || err == io.EOF || err == io.ErrUnexpectedEOF ||
		strings.HasPrefix(err.Error(), "net/http: ") || strings.HasPrefix(err.Error(), "http2: ")
}

// request sends a JSON-RPC request and returns its result as it came, with the
// head of the answer that began it. A JSON-RPC error is an [*agentcore.Error]
// too, whatever the HTTP status.
func (w *wire) request(ctx context.Context, id int64, text []byte, more http.Header) (json.RawMessage, http.Header, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errAnswerTimeout)
	defer cancel()
	r, err := w.send(ctx, http.MethodPost, text, more)
	if err != nil {
		return nil, nil, err
	}
	defer r.close()
	var m *message
	switch mediaType(r.Header) {
	case jsonType:
		m, err = readJSON(r, id)
	case streamType:
		m, err = w.readStream(ctx, r, id)
	default:
		err = unusable("%s with content type %.100q instead of JSON or an event stream", r.Status, r.Header.Get("Content-Type"))
	}
	if err != nil {
		return nil, nil, err
	}
	w.used.Store(w.now().UnixNano())
	if m.Error == nil {
		return m.Result, r.Header, nil
	}
	e := &agentcore.Error{
		Status: r.StatusCode, Code: m.Error.Code, Message: oneLine(m.Error.Message),
		RequestID: r.Header.Get(agentcore.HeaderRequestID), RetryAfter: retryAfter(r.Header, w.now()),
	}
	if e.Code == agentcore.CodeRuntimeFailed {
		return nil, nil, &UnknownOutcomeError{e}
	}
	return nil, nil, e
}

// notify sends a message that nothing answers.
func (w *wire) notify(ctx context.Context, text []byte, more http.Header) error {
	r, err := w.send(ctx, http.MethodPost, text, more)
	if err != nil {
		return err
	}
	defer r.close()
	_, err = io.Copy(io.Discard, io.LimitReader(r, 64<<10)) // so that the connection is kept
	return r.lost(err)
}

// readRefusal finds the code and the message in a JSON-RPC error or in the JSON
// of an AWS error. Anything else, such as a proxy's HTML, has nothing to say.
func (w *wire) readRefusal(r *reply) *agentcore.Error {
	e := &agentcore.Error{
		Status:     r.StatusCode,
		RequestID:  r.Header.Get(agentcore.HeaderRequestID),
		RetryAfter: retryAfter(r.Header, w.now()),
	}
	if e.Status/100 == 3 {
		e.Message = "a redirect, which is not followed"
		if to, err := r.Location(); err == nil {
			e.Message = "a redirect to " + oneLine(to.Host) + ", which is not followed"
		}
		return e
	}
	var answer struct {
		Message string `json:"message"`
		Error   struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(r, 64<<10))
	if json.Unmarshal(text, &answer) == nil {
		e.Code, e.Message = answer.Error.Code, answer.Message
		if answer.Error.Message != "" {
			e.Message = answer.Error.Message
		}
		e.Message = oneLine(e.Message)
	}
	return e
}

// retryAfter reads the header's seconds or date.
// https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	d := time.Duration(0)
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return max(0, min(d, time.Hour))
}

func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	if v == jsonType || v == streamType {
		return v
	}
	t, _, _ := mime.ParseMediaType(v)
	return t
}

// oneLine makes foreign text fit for an error: printable, on one line, short.
func oneLine(s string) string {
	const most = 300
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "�"), func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}
