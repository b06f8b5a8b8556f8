package mcpserver

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// codeBusy is the JSON-RPC code of a server that cannot serve now, from the
// range that JSON-RPC 2.0 leaves to implementations.
const codeBusy = -32000

// call is one request on its way through the endpoint. It belongs to the
// request's goroutine and, while that waits, to the middleware.
type call struct {
	requestID string
	sessionID string // the sender's word; for the log only
	body      []byte
	held      int64 // what body and its decoded form take of Handler.memory
	msg       message
	modern    bool   // it is of 2026-07-28 or later
	missing   string // the capability that a handler needs of the client and has not been offered
	outcome   string // for the log: ok, or what went wrong
	detail    string // for the log only
}

type callKey struct{}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID returns the id under which the log and error texts know the request
// that ctx belongs to, or "" when it did not come through a [Handler].
func RequestID(ctx context.Context) string {
	if c := callFrom(ctx); c != nil {
		return c.requestID
	}
	return ""
}

// arguments returns the arguments as they were sent; a tools/call without any
// has an empty object.
func (c *call) arguments() json.RawMessage {
	raw := c.body[c.msg.argsFrom:c.msg.argsTo]
	if len(raw) == 0 || raw[0] == 'n' {
		return json.RawMessage("{}")
	}
	return raw
}

// fail notes what went wrong and returns what the caller may know of it. ctx is
// that of the request.
func (c *call) fail(ctx context.Context, err error) string {
	c.detail = err.Error()
	text := "the handler failed"
	panicked, missing := (*panicError)(nil), mcp.MissingRequiredClientCapabilityError{}
	switch {
	case errors.Is(err, errTimeout):
		c.outcome, text = "timeout", "no answer in time"
	case errors.Is(err, errStopping):
		c.outcome, text = "stopping", "the server is stopping; try again"
	case errors.Is(err, errStuck):
		c.outcome, text = "stuck", "not available now: earlier calls hang"
	case ctx.Err() != nil: // a handler may well be cancelled while its caller waits
		c.outcome = "disconnected"
	case errors.As(err, &panicked):
		c.outcome = "panic"
	case errors.As(err, &missing) && missing.Capability != "":
		c.outcome, c.missing = "missing_capability", missing.Capability
		return "this needs the capability " + missing.Capability + ", which the client does not declare"
	default:
		c.outcome = "failed"
	}
	return text + " (request id " + c.requestID + ")"
}

// unanswered notes that the answer could not be written.
func (c *call) unanswered(err error) {
	if c.outcome == "ok" {
		c.outcome, c.detail = "disconnected", "writing the answer: "+err.Error()
	}
}

// newRequestID makes an id that is unlike any other. It is no secret.
func newRequestID() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64()))
}

// requestIDHeader has the request's id in every answer.
const requestIDHeader = "X-Request-Id"

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(requestIDHeader, newRequestID())
	if r.URL.Path == HealthPath {
		h.serve(w, r)
	} else {
		h.front.ServeHTTP(w, r)
	}
}

// serve serves a request that has passed the guard and logs it.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{requestID: w.Header().Get(requestIDHeader), sessionID: r.Header.Get(mcp.HeaderSessionID), outcome: "ok"}
	rw := &response{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			c.outcome, c.detail = "panic", fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
			h.refuse(rw, c, http.StatusInternalServerError, mcp.INTERNAL_ERROR, "internal error")
		}
		if h.stopped.Err() != nil && !rw.streaming {
			w.Header().Set("Connection", "close")
		}
		status := rw.finish(c)
		h.log(r, c, status, time.Since(start))
	}()
	switch r.URL.Path {
	case Path, Path + "/":
		h.endpoint(rw, r, c)
	case HealthPath:
		h.health(rw, r, c)
	default:
		h.refuse(rw, c, http.StatusNotFound, mcp.INVALID_REQUEST, "nothing is served here; the MCP endpoint is "+Path)
	}
}

// health says whether the endpoint takes requests. It holds nothing to protect,
// so that a probe needs no matching Host.
func (h *Handler) health(w *response, r *http.Request, c *call) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, c, http.StatusMethodNotAllowed, mcp.INVALID_REQUEST, "the health path takes GET and HEAD")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if h.stopped.Err() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"status":"stopping"}`)
		return
	}
	io.WriteString(w, `{"status":"ok"}`)
}

// endpoint serves a request to the MCP endpoint. The cheap checks come first,
// and nothing is read or remembered of a request that fails one.
func (h *Handler) endpoint(w *response, r *http.Request, c *call) {
	if wrong := h.hosts.check(r); wrong != "" {
		h.refuse(w, c, http.StatusForbidden, mcp.INVALID_REQUEST, wrong)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.refuse(w, c, http.StatusMethodNotAllowed, mcp.INVALID_REQUEST, "the MCP endpoint takes POST only: it has no streams and no sessions")
		return
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		h.refuse(w, c, http.StatusUnsupportedMediaType, mcp.INVALID_REQUEST, "Content-Type must be application/json")
		return
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		h.refuse(w, c, http.StatusUnsupportedMediaType, mcp.INVALID_REQUEST, "Content-Encoding is not supported")
		return
	}
	for _, name := range [...]string{mcp.HeaderProtocolVersion, mcp.HeaderMethod, mcp.HeaderName} {
		if len(r.Header.Values(name)) > 1 {
			h.refuse(w, c, http.StatusBadRequest, mcp.HEADER_MISMATCH, name+" is given twice")
			return
		}
	}
	if r.ContentLength > h.cfg.MaxBody {
		h.refuseBody(w, c)
		return
	}
	if !h.enter() {
		h.refuse(w, c, http.StatusServiceUnavailable, codeBusy, "the server is stopping; try again")
		return
	}
	defer h.leave()
	defer func() { h.memory.Add(c.held) }()
	if !h.read(w, r, c) {
		return
	}
	msg, refused := parse(c.body)
	c.msg = msg
	if refused != nil {
		c.msg.id = refused.id
		h.refuse(w, c, http.StatusBadRequest, refused.code, refused.reason)
		return
	}
	if c.held > 0 && !h.hold(c, int64(msg.values)*valueCost) {
		h.busy(w, c)
		return
	}
	h.dispatch(w, r, c)
}

func isJSON(contentType string) bool {
	const want = "application/json"
	if contentType == want { // nearly always
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == want
}

// dispatch has a message handled.
func (h *Handler) dispatch(w *response, r *http.Request, c *call) {
	c.modern = mcp.IsModernProtocol(c.msg.era) || mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
	if e := checkVersion(r.Header, c.msg); e != nil {
		c.outcome, c.detail = "refused", e.Message
		writeError(w, http.StatusBadRequest, c.msg.id, e.Code, e.Message, e.Data)
		return
	}
	if c.msg.task || strings.HasPrefix(c.msg.method, "tasks/") {
		// mcp-go keeps tasks by session, of which there is one for everybody.
		status := http.StatusOK
		if c.modern {
			status = modernStatus(mcp.METHOD_NOT_FOUND)
		}
		h.refuse(w, c, status, mcp.METHOD_NOT_FOUND, "tasks are not supported: this server keeps nothing between requests")
		return
	}
	if c.msg.method == "notifications/cancelled" {
		// mcp-go would look the request up by session id and request id, both
		// of the sender's choosing: in a stateless server, anybody's.
		w.WriteHeader(http.StatusAccepted)
		return
	}
	r.Header.Del(mcp.HeaderSessionID)
	switch c.msg.method {
	case string(mcp.MethodPing), "notifications/initialized":
		// No place is taken: a busy server is still alive.
		h.handle(r.Context(), w, r, c, &session{w: w}, c.body)
		return
	case string(mcp.MethodSubscriptionsListen):
		h.listen(w, r, c)
		return
	}
	if !take(h.slots) {
		h.busy(w, c)
		return
	}
	defer func() { <-h.slots }()
	if len(h.slots) >= h.crowd {
		// Calls that keep a processor busy would otherwise be served one after
		// the other while the rest waits unread, in any number and for any time.
		// Standing back lets the rest in, up to the last place or to its refusal.
		runtime.Gosched()
	}
	// mcp-go decodes arguments into float64 before anyone can ask for the bytes,
	// and fails on numbers beyond that. The middleware puts them back.
	h.handle(r.Context(), w, r, c, &session{w: w}, c.msg.decodable(c.body))
}

// busy answers a request that comes while all places are taken.
func (h *Handler) busy(w *response, c *call) {
	w.Header().Set("Retry-After", "1")
	h.write(w, c, http.StatusServiceUnavailable, codeBusy, "the server is busy; try again")
	c.outcome = "overloaded"
}

// refuse answers a request that goes no further.
func (h *Handler) refuse(w *response, c *call, status, code int, reason string) {
	if c.outcome == "ok" {
		c.outcome, c.detail = "refused", reason
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	h.write(w, c, status, code, reason)
}

func (h *Handler) write(w *response, c *call, status, code int, reason string) {
	writeError(w, status, c.msg.id, code, reason+" (request id "+c.requestID+")", nil)
}

// log writes the request's one line. Arguments and results are not in it.
func (h *Handler) log(r *http.Request, c *call, status int, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case c.outcome == "panic" || c.outcome == "failed" || c.outcome == "timeout" || c.outcome == "stuck":
		level = slog.LevelError
	case r.URL.Path == HealthPath || c.outcome == "ok" && c.msg.method == string(mcp.MethodPing):
		level = slog.LevelDebug // the platform sends these all the time
	}
	logger := h.cfg.Logger
	if !logger.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("request_id", c.requestID))
	if id := c.sessionID; id != "" {
		attrs = append(attrs, slog.String("session_id", id[:min(len(id), 128)]))
	}
	if h.cfg.Caller != nil && r.URL.Path != HealthPath {
		attrs = append(attrs, slog.String("caller", h.cfg.Caller(r.Context())))
	}
	if c.msg.method != "" {
		attrs = append(attrs, slog.String("method", c.msg.method))
	} else {
		attrs = append(attrs, slog.String("http_method", fmt.Sprintf("%.16s", r.Method)), slog.String("path", fmt.Sprintf("%.128s", r.URL.Path)))
	}
	if c.msg.tool != "" {
		attrs = append(attrs, slog.String("tool", c.msg.tool))
	}
	attrs = append(attrs,
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("outcome", c.outcome),
		slog.Int("status", status))
	if c.detail != "" {
		attrs = append(attrs, slog.String("detail", c.detail))
	}
	line := slog.NewRecord(time.Now(), level, "request", 0)
	line.AddAttrs(attrs...)
	logger.Handler().Handle(r.Context(), line)
}
