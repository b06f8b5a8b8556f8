package mcpserver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// response holds an answer back until it is complete, so that a failure on the
// way can still become a proper answer and internal error texts stay inside. A
// stream of server-sent events passes through as it comes.
type response struct {
	http.ResponseWriter
	status    int // 0: nothing has been written
	body      bytes.Buffer
	streaming bool
}

func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		w.streaming = true
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.streaming {
		return w.ResponseWriter.Write(p)
	}
	return w.body.Write(p)
}

// Flush sends on what has been written of a stream.
func (w *response) Flush() {
	if w.streaming {
		w.ResponseWriter.(http.Flusher).Flush()
	}
}

// Unwrap lets http.ResponseController set deadlines.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// reset forgets an answer that has not been sent.
func (w *response) reset() {
	w.status = 0
	w.body.Reset()
}

// finish sends the answer and returns its status, or 0 when there was nobody
// left to send it to.
func (w *response) finish(c *call) int {
	if w.streaming {
		return w.status
	}
	if w.status == 0 {
		return 0
	}
	if w.body.Len() > 1<<10 { // of less, net/http takes the length itself
		w.Header().Set("Content-Length", strconv.Itoa(w.body.Len()))
	}
	w.ResponseWriter.WriteHeader(w.status)
	if _, err := w.ResponseWriter.Write(w.body.Bytes()); err != nil && c.outcome == "ok" {
		c.outcome, c.detail = "disconnected", "writing the answer: "+err.Error()
	}
	return w.status
}

// writeError answers with a JSON-RPC error. A nil id is null.
func writeError(w *response, status int, id json.RawMessage, code int, text string, data any) {
	w.reset()
	if id == nil {
		id = json.RawMessage("null")
	}
	type details struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   details         `json:"error"`
	}{mcp.JSONRPC_VERSION, id, details{code, text, data}})
}
