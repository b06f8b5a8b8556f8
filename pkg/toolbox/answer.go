package toolbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	maxAnswer = 8 << 20          // bytes of one answer, stream or not, after decompression
	maxPause  = 60 * time.Second // between two reads of an answer that has begun
)

// reply is a request under way, and then the answer to it: a Reader of the body,
// bounded in size and in how long it may pause. It must be closed.
type reply struct {
	*http.Response
	progress progress
	ctx      context.Context
	cancel   context.CancelCauseFunc
	limit    *time.Timer   // on the wait for the answer, then on each pause in it
	begun    atomic.Bool   // the answer has
	pause    time.Duration // that limit allows after each read; 0: it goes on
	left     int           // bytes that may still come
}

func (r *reply) expire() {
	if r.begun.Load() {
		r.cancel(ErrStalled)
	} else {
		r.cancel(errCallTimeout)
	}
}

func (r *reply) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, ErrTooLarge
	}
	// One byte more than the bound tells an answer that is too large from one
	// that just fits.
	n, err := r.Body.Read(p[:min(len(p), r.left+1)])
	if r.left -= n; r.left < 0 {
		return n, ErrTooLarge
	}
	if n > 0 && err == nil && r.pause > 0 {
		r.limit.Reset(r.pause)
	}
	return n, err
}

// stop ends what the request holds.
func (r *reply) stop() {
	r.limit.Stop()
	r.cancel(nil)
}

// close gives up what has not been read. The context ends first, because
// closing an HTTP/2 body may otherwise wait for the other side.
func (r *reply) close() {
	r.stop()
	r.Body.Close()
}

// lost turns an error of reading the answer, if there is one, into one that
// tells what is known of the request.
func (r *reply) lost(err error) error {
	switch cause := context.Cause(r.ctx); {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooLarge):
		return &AnswerError{err}
	case cause != nil:
		return &UnknownOutcomeError{cause}
	}
	return &UnknownOutcomeError{notOurs(err)}
}

// message is a JSON-RPC message from a server.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`

	usual bool // a result of the request it was parsed for
}

// parse reads a message that came after request id. The form in which most
// servers write their results is taken apart without encoding/json, which would
// read all of a result once more.
func parse(text []byte, id int64) (*message, error) {
	var room [48]byte
	usual := append(strconv.AppendInt(append(room[:0], `{"jsonrpc":"2.0","id":`...), id, 10), `,"result":`...)
	if text = bytes.TrimRight(text, "\n"); bytes.HasPrefix(text, usual) && text[len(text)-1] == '}' {
		result := bytes.Trim(text[len(usual):len(text)-1], " \t\r\n")
		if json.Valid(result) && string(result) != "null" {
			return &message{Result: result, usual: true}, nil
		}
	}
	m := &message{}
	if json.Unmarshal(text, m) != nil {
		return nil, unusable("not a JSON-RPC message")
	}
	return m, nil
}

// hasID reports whether the message has an id that is not null.
func (m *message) hasID() bool { return len(m.ID) > 0 && string(m.ID) != "null" }

// hasResult reports the same of its result.
func (m *message) hasResult() bool { return len(m.Result) > 0 && string(m.Result) != "null" }

// answers checks that m answers request id. An error may come without an id,
// when the server could not read the request's.
// https://www.jsonrpc.org/specification#response_object
func (m *message) answers(id int64) error {
	switch {
	case m.usual:
		return nil
	case m.Method != "":
		return unusable("a message instead of an answer")
	case m.Error == nil && !m.hasResult():
		return unusable("neither a result nor an error")
	case m.Error != nil && m.hasResult():
		return unusable("both a result and an error")
	case m.Error != nil && !m.hasID():
		return nil
	case string(m.ID) != strconv.FormatInt(id, 10):
		return unusable("it answers another request than the one sent")
	}
	return nil
}

// readJSON reads the one message that is the whole answer.
func readJSON(r *reply, id int64) (*message, error) {
	var text []byte
	var err error
	if n := r.ContentLength; n >= 0 && n <= 1<<20 {
		text = make([]byte, n)
		_, err = io.ReadFull(r, text)
	} else {
		text, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, r.lost(err)
	}
	m, err := parse(text, id)
	if err != nil {
		return nil, err
	}
	return m, m.answers(id)
}
