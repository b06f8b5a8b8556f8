package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Event is something that happens while the agent works: a [Delta], a
// [ToolUse], a [ToolResult] or a [Usage]. Callers who stream get each as a
// server-sent event of its name, with its JSON as the data.
type Event interface{ name() string }

// Delta is a piece of the model's text.
type Delta struct {
	Text string `json:"text"`
}

// ToolUse is a tool that the model asked for, before it runs.
type ToolUse struct {
	ID     string          `json:"id"` // that the result will have
	Server string          `json:"server"`
	Tool   string          `json:"tool"`
	Input  json.RawMessage `json:"input,omitempty"`
}

// ToolResult says that a tool has run.
type ToolResult struct {
	ID         string `json:"id"`
	Server     string `json:"server"`
	Tool       string `json:"tool"`
	DurationMS int64  `json:"duration_ms"`
	Error      bool   `json:"error"`
}

func (Delta) name() string      { return "delta" }
func (ToolUse) name() string    { return "tool_use" }
func (ToolResult) name() string { return "tool_result" }
func (Usage) name() string      { return "usage" }

// heartbeat is how long a stream may be silent. Fronts and proxies close a
// stream that is silent for longer, and only writing shows that a caller left.
const heartbeat = 10 * time.Second

// writeEvent writes one server-sent event. JSON has no line breaks outside its
// strings, nor inside them, so one data line always holds it.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
func writeEvent(w io.Writer, name string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding event %s: %w", name, err)
	}
	_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, raw)
	return err
}

// stream answers with events as they happen. It returns with the first of them.
// A failure before it is an answer with a status of its own. cancel ends ctx; the
// stream calls it at its end.
func (h *Handler) stream(ctx context.Context, cancel context.CancelFunc, from source, req Request) HTTPResponse {
	r, w := io.Pipe()
	s := &eventStream{w: w, cancel: cancel, begun: make(chan struct{}), refused: make(chan *Error, 1), ended: make(chan struct{})}
	req.Events = func(e Event) { s.send(e.name(), e) }
	go s.beat()
	go func() {
		defer cancel()
		answer, failure := h.ask(ctx, req)
		if failure != nil {
			h.logFailure(ctx, from, failure)
			failure = failure.public()
		}
		s.end(answer, failure)
	}()
	select {
	case <-s.begun:
		resp := response(http.StatusOK, sseType, nil)
		resp.Header["X-Accel-Buffering"] = "no" // proxies that know it pass events on at once
		resp.Body = streamBody{r, cancel}
		return resp
	case failure := <-s.refused:
		return failed(failure.Code.Status(), failure)
	}
}

// streamBody is the reading end of a stream. A reader who leaves ends the work.
type streamBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b streamBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// eventStream is the writing end of a stream.
type eventStream struct {
	cancel  context.CancelFunc
	begun   chan struct{} // closed by the first event
	refused chan *Error   // gets the failure of a stream that did not begin
	ended   chan struct{} // closed by end

	mu      sync.Mutex // held while writing; guards what follows
	w       *io.PipeWriter
	started bool
	closed  bool
}

func (s *eventStream) send(name string, data any) {
	var frame bytes.Buffer
	if err := writeEvent(&frame, name, data); err != nil {
		return // it has no JSON form; nobody can be sent it
	}
	s.write(frame.Bytes())
}

// write passes one frame on, all of it in one piece, so that one read gets it.
func (s *eventStream) write(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.start()
	if _, err := s.w.Write(frame); err != nil {
		s.cancel()
	}
}

// start is called with mu held.
func (s *eventStream) start() {
	if !s.started {
		s.started = true
		close(s.begun)
	}
}

// beat sends comments while nothing else is sent, until the stream ends.
func (s *eventStream) beat() {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.write([]byte(": working\n\n"))
		case <-s.ended:
			return
		}
	}
}

// end sends the last event and closes the stream. A failure before the first
// event is no event.
func (s *eventStream) end(answer Answer, failure *Error) {
	close(s.ended)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if failure != nil && !s.started {
		s.refused <- failure
		return
	}
	s.start()
	if failure != nil {
		writeEvent(s.w, "error", errorDocument{failure})
	} else {
		writeEvent(s.w, "done", answer)
	}
	s.w.Close()
}
