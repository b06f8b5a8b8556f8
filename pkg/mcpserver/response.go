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
	answering bool // the message is a request: an empty answer would be none
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
	switch {
	case w.status == 0 && c.outcome == "disconnected":
		return 0
	case w.answering && w.body.Len() == 0:
		// mcp-go could not encode the result, or gave the request up.
		if c.outcome == "ok" {
			c.outcome, c.detail = "failed", "no answer was written"
		}
		w.mask(c, mcp.INTERNAL_ERROR, "internal error")
	case w.answering:
		w.inspect(c)
	}
	w.Header().Set("Content-Length", strconv.Itoa(w.body.Len()))
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.ResponseWriter.WriteHeader(w.status)
	w.ResponseWriter.Write(w.body.Bytes())
	return w.status
}

// inspect looks whether mcp-go answers with an error. The texts of internal
// errors and of undecodable requests are Go's, made for developers: they go to
// the log and are replaced.
func (w *response) inspect(c *call) {
	head := w.body.Bytes()[:min(w.body.Len(), 600)] // behind jsonrpc and id
	if !bytes.Contains(head, []byte(`"error":{`)) {
		return
	}
	var answer struct {
		Error *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(w.body.Bytes(), &answer) != nil || answer.Error == nil {
		return
	}
	if c.outcome == "ok" {
		c.outcome, c.detail = "error "+strconv.Itoa(answer.Error.Code), answer.Error.Message
	}
	switch answer.Error.Code {
	case mcp.INTERNAL_ERROR:
		w.mask(c, mcp.INTERNAL_ERROR, "internal error")
	case mcp.INVALID_REQUEST:
		w.mask(c, mcp.INVALID_REQUEST, "the request does not have the form that its method asks for")
	}
}

// mask puts an error of our own words in the place of the answer.
func (w *response) mask(c *call, code int, text string) {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	w.reset()
	writeError(w, status, c.msg.id, code, text+" (request id "+c.requestID+")", nil)
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
