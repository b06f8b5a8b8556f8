package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	maxAsked  = 100                    // requests of a server on one stream
	reconnect = time.Second            // before a stream is taken up again, unless the server says
	linger    = 100 * time.Millisecond // for what follows an answer on its stream
)

// readStream reads messages off an event stream up to the one that answers
// request id. A stream that ends before is taken up again, if the server gave
// the events ids and the era allows it.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
func (w *wire) readStream(ctx context.Context, r *reply, id int64) (*message, error) {
	var at position
	defer func() { r.close() }()
	for {
		m, err := w.readEvents(ctx, r, id, &at)
		if m != nil || at.id == "" || !w.resumes || !errors.As(err, new(*UnknownOutcomeError)) || r.ctx.Err() != nil {
			return m, err
		}
		if !sleep(ctx, at.retry) {
			return nil, err
		}
		more := http.Header{"Accept": {streamType}, "Last-Event-Id": {at.id}}
		next, resumeErr := w.send(ctx, http.MethodGet, nil, more)
		if resumeErr != nil {
			return nil, &UnknownOutcomeError{fmt.Errorf("taking up the event stream again: %w", resumeErr)}
		}
		r.close()
		r = next
		if t := mediaType(next.Header); t != streamType {
			return nil, &UnknownOutcomeError{fmt.Errorf("taking up the event stream again: content type %.100q", t)}
		}
	}
}

// readEvents reads one connection's part of a stream. The error of a stream
// that ends too soon is an [*UnknownOutcomeError].
func (w *wire) readEvents(ctx context.Context, r *reply, id int64, at *position) (*message, error) {
	events := newEvents(r, at)
	asked := 0
	for {
		text, err := events.next()
		if err != nil {
			if err == io.EOF {
				err = errors.New("the event stream ended before the answer")
			}
			return nil, r.lost(err)
		}
		m, err := parse(text, id)
		if err != nil {
			return nil, err
		}
		switch {
		case m.Method == "":
			if err := m.answers(id); err != nil {
				return nil, err
			}
			events.data = nil // m.Result is a part of it, so the next event must not overwrite it
			return m, noMore(r, events, id)
		case m.hasID():
			if asked++; asked > maxAsked {
				return nil, unusable("more than %d requests instead of an answer", maxAsked)
			}
			w.refuse(ctx, m)
		case m.Method == "notifications/tools/list_changed":
			w.changed()
		}
	}
}

// noMore reads the stream to its end, which keeps the connection for the next
// request. A second answer is an error. A server that does not end the stream
// costs a moment and its connection.
func noMore(r *reply, events *events, id int64) error {
	r.pause = 0 // one moment for all of it
	r.limit.Reset(linger)
	for range maxAsked {
		text, err := events.next()
		if err != nil {
			return nil
		}
		if m, err := parse(text, id); err != nil || m.Method == "" {
			return unusable("more than one answer to one request")
		}
	}
	return nil
}

// refuse refuses a request of the server, for sampling, elicitation or roots,
// none of which this client declares. It answers a ping. Whether the answer
// arrives is the server's concern.
func (w *wire) refuse(ctx context.Context, m *message) {
	answer := `"error":{"code":-32601,"message":"this client takes no such requests"}`
	if m.Method == "ping" {
		answer = `"result":{}`
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w.notify(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,%s}`, m.ID, answer), nil)
}

// position is where a stream can be taken up again.
type position struct {
	id    string // of the last event; empty: nowhere
	retry time.Duration
}

// events reads the events of a stream, as browsers do.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
type events struct {
	lines *bufio.Scanner
	at    *position
	first bool
	data  []byte
}

func newEvents(r io.Reader, at *position) *events {
	if at.retry == 0 {
		at.retry = reconnect
	}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 1<<10), 2*maxAnswer)
	s.Split(lineSplitter())
	return &events{lines: s, at: at, first: true}
}

// next returns the data of the next event that is a message, good until the
// next call, or io.EOF. Events of other types, and those without data, are
// passed over; an event that the stream's end cuts off does not count.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	hasData, kind, id := false, "", e.at.id
	for e.lines.Scan() {
		line := e.lines.Bytes()
		if e.first {
			line, e.first = bytes.TrimPrefix(line, []byte("\uFEFF")), false
		}
		if len(line) == 0 {
			e.at.id = id
			if hasData && (kind == "" || kind == "message") && len(e.data) > 0 {
				return e.data, nil
			}
			e.data, hasData, kind = e.data[:0], false, ""
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if hasData {
				e.data = append(e.data, '\n')
			}
			e.data, hasData = append(e.data, value...), true
		case "event":
			kind = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 && headerValue(string(value)) {
				id = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				e.at.retry = max(time.Duration(ms)*time.Millisecond, 10*time.Millisecond)
			}
		}
	}
	switch err := e.lines.Err(); {
	case err == nil:
		return nil, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return nil, ErrTooLarge
	default:
		return nil, err
	}
}

// lineSplitter splits at LF, CR and CRLF. It returns a line at its CR without
// waiting for what follows, and looks at no byte of a long line twice.
func lineSplitter() bufio.SplitFunc {
	afterCR, looked := false, 0
	return func(data []byte, atEOF bool) (int, []byte, error) {
		from := 0
		if afterCR && len(data) > 0 && data[0] == '\n' {
			from = 1
		}
		looked = max(looked, from)
		if i := bytes.IndexAny(data[looked:], "\r\n"); i >= 0 {
			i += looked
			afterCR, looked = data[i] == '\r', 0
			return i + 1, data[from:i], nil
		}
		if atEOF && len(data) > from {
			looked = 0
			return len(data), data[from:], nil
		}
		looked = len(data)
		return 0, nil, nil
	}
}

// headerValue reports whether s can be sent in a header: visible ASCII and
// spaces.
func headerValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
