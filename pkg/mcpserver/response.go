package mcpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/mark3labs/mcp-go/mcp"
)

// response holds an answer back until it is complete, so that a failure on the
// way can still become a proper answer and internal error texts stay inside. A
// stream of server-sent events passes through as it comes.
type response struct {
	http.ResponseWriter
	status    int // 0: nothing has been written
	body      []byte
	streaming bool
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

// Unwrap lets http.ResponseController set deadlines.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answer makes text, which is JSON, the answer to a message, in place of any
// that is held back; of a stream it is the last event.
func (w *response) answer(status int, text []byte) error {
	if w.streaming {
		return w.event(text)
	}
	w.Header().Set("Content-Type", "application/json")
	w.status, w.body = status, text
	return nil
}

var errNoFlush = errors.New("the connection cannot stream")

// event sends text, which is JSON, as a server-sent event, and before the first
// one the headers of the stream.
func (w *response) event(text []byte) error {
	flusher, ok := w.ResponseWriter.(http.Flusher)
	if !ok {
		return errNoFlush
	}
	if !w.streaming {
		w.streaming, w.status = true, http.StatusOK
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Accel-Buffering", "no") // proxies are to pass events on as they come
		w.ResponseWriter.WriteHeader(w.status)
	}
	if _, err := fmt.Fprintf(w.ResponseWriter, "event: message\ndata: %s\n\n", text); err != nil {
		return err
	}
	flusher.Flush()
	return nil
}

// finish sends the answer and returns its status, or 0 when there was nobody
// left to send it to.
func (w *response) finish(c *call) int {
	if w.streaming || w.status == 0 {
		return w.status
	}
	if len(w.body) > 1<<10 { // net/http itself sets the length of a shorter one
		w.Header().Set("Content-Length", strconv.Itoa(len(w.body)))
	}
	w.ResponseWriter.WriteHeader(w.status)
	if _, err := w.ResponseWriter.Write(w.body); err != nil {
		c.unanswered(err)
	}
	return w.status
}

// writeError answers with a JSON-RPC error. A nil id is null.
func writeError(w *response, status int, id json.RawMessage, code int, text string, data any) {
	if id == nil {
		id = json.RawMessage("null")
	}
	type details struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	answer, _ := json.Marshal(struct { // all of it can be encoded
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   details         `json:"error"`
	}{mcp.JSONRPC_VERSION, id, details{code, text, data}})
	w.answer(status, answer)
}
