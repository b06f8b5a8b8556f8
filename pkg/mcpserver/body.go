package mcpserver

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	// smallBody is how large a body may be to be let in without being counted
	// against Handler.memory.
	smallBody = 4 << 10

	// valueCost is how many bytes one JSON value takes at most once it has been
	// decoded, by mcp-go and again for the schema.
	valueCost = 128
)

// read reads the body and reports whether it is there.
func (h *Handler) read(w *response, r *http.Request, c *call) bool {
	var err error
	if n := r.ContentLength; n >= 0 && n <= smallBody {
		c.body = make([]byte, n)
		_, err = io.ReadFull(r.Body, c.body)
	} else {
		err = h.readLarge(w, r, c)
	}
	if errors.Is(err, errNoMemory) {
		w.Header().Set("Connection", "close")
		h.busy(w, c)
		return false
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		h.refuseBody(w, c)
		return false
	}
	if err != nil {
		c.outcome, c.detail = "disconnected", "reading the body: "+err.Error()
		w.Header().Set("Connection", "close")
		h.write(w, c, http.StatusRequestTimeout, mcp.PARSE_ERROR, "the body did not arrive")
		return false
	}
	// The read deadline was for the body. Left alone, it would end the wait for
	// the caller to hang up, and with it the request's context.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return true
}

// errNoMemory is a body for which no memory is left.
var errNoMemory = errors.New("the memory for large bodies is used up")

// readLarge reads a body that is large or of unknown length. The memory for it
// grows with what arrives, not with what is announced.
func (h *Handler) readLarge(w *response, r *http.Request, c *call) error {
	src := http.MaxBytesReader(w.ResponseWriter, r.Body, h.cfg.MaxBody)
	for {
		if size := cap(c.body); len(c.body) == size {
			more := max(smallBody, size)
			if !h.hold(c, int64(more)) {
				return errNoMemory
			}
			c.body = append(make([]byte, 0, size+more), c.body...)
		}
		n, err := src.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *Handler) refuseBody(w *response, c *call) {
	w.Header().Set("Connection", "close")
	h.refuse(w, c, http.StatusRequestEntityTooLarge, mcp.INVALID_REQUEST, fmt.Sprintf("the body has more than %d bytes", h.cfg.MaxBody))
}

// hold takes so many bytes more of h.memory for a call, or returns false.
func (h *Handler) hold(c *call, n int64) bool {
	if h.memory.Add(-n) < 0 {
		h.memory.Add(n)
		return false
	}
	c.held += n
	return true
}
