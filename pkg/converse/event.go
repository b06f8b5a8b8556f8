package converse

import (
	"encoding/json"
	"time"
)

// EventKind says which fields an Event has.
type EventKind string

// The kinds of events.
const (
	EventDelta      EventKind = "delta"       // Text
	EventToolUse    EventKind = "tool_use"    // ID, Tool and Input
	EventToolResult EventKind = "tool_result" // ID, Tool, Text, IsError and Duration
	EventUsage      EventKind = "usage"       // Usage
)

// Event is something that happened in a conversation. Deltas come while the
// model speaks; the text of a turn that then asks for tools, or is cut short
// and asked for again, is among them, so that Answer.Output is the text of the
// last turn only. A turn's tool uses come before its first result; results
// come as the tools end.
type Event struct {
	Kind     EventKind
	Turn     int             // model call, from 1
	Text     string          // part of the model's text, or a tool's result, of which the model may get less
	ID       string          // of the tool use; unique within the turn
	Tool     string          // name
	Input    json.RawMessage // JSON object
	IsError  bool
	Duration time.Duration
	Usage    Usage // so far
}

func (c *conversation) emit(e Event) {
	if c.request.Events != nil {
		c.request.Events(e)
	}
}
