package localaws

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
)

// streamEvent is one event of ConverseStream: the name of a member of the
// response stream and its value.
type streamEvent struct {
	name  string
	value object
}

// streamReply writes the answer of ConverseStream. It sends each event before it
// makes the next.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
func streamReply(w http.ResponseWriter, r *http.Request, req ConverseRequest, reply ConverseReply, elapsed func() int64) {
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	events := replyEvents(reply)
	for i, e := range events {
		if i > 0 && !pause(r.Context(), reply.Interval) {
			panic(http.ErrAbortHandler) // the caller has disconnected
		}
		if reply.Error != nil && i == reply.Error.AfterEvents {
			break
		}
		writeEvent(w, eventstreamapi.EventMessageType, e.name, e.value)
	}
	if reply.Error != nil {
		reply.Error.stream(w)
		return
	}
	metadata := object{"usage": reply.Usage, "metrics": object{"latencyMs": elapsed()}}
	req.echo(metadata)
	writeEvent(w, eventstreamapi.EventMessageType, "metadata", metadata)
}

// replyEvents turns a reply into events, without the metadata that ends a
// stream. Only a tool use has a contentBlockStart. The API has none for text and
// reasoning: those blocks begin with their first delta.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockStart.html
func replyEvents(reply ConverseReply) []streamEvent {
	events := []streamEvent{{"messageStart", object{"role": "assistant"}}}
	for i, b := range reply.Content {
		delta := func(d object) {
			events = append(events, streamEvent{"contentBlockDelta", object{"contentBlockIndex": i, "delta": d}})
		}
		switch {
		case b.ToolUse != nil:
			start := object{"toolUse": object{"toolUseId": b.ToolUse.ID, "name": b.ToolUse.Name}}
			events = append(events, streamEvent{"contentBlockStart", object{"contentBlockIndex": i, "start": start}})
			for _, part := range fragments(string(b.ToolUse.Input)) {
				delta(object{"toolUse": object{"input": part}})
			}
		case b.Reasoning != nil && b.Reasoning.Redacted != "":
			delta(object{"reasoningContent": object{"redactedContent": []byte(b.Reasoning.Redacted)}})
		case b.Reasoning != nil:
			for _, part := range fragments(b.Reasoning.Text) {
				delta(object{"reasoningContent": object{"text": part}})
			}
			if b.Reasoning.Signature != "" {
				delta(object{"reasoningContent": object{"signature": b.Reasoning.Signature}})
			}
		default:
			for _, part := range fragments(b.Text) {
				delta(object{"text": part})
			}
		}
		events = append(events, streamEvent{"contentBlockStop", object{"contentBlockIndex": i}})
	}
	return append(events, streamEvent{"messageStop", object{"stopReason": reply.StopReason}})
}

// fragments cuts s between characters into up to four parts, at least two if s
// has two characters.
func fragments(s string) []string {
	runes := []rune(s)
	n := max(1, (len(runes)+3)/4)
	var parts []string
	for len(runes) > n {
		parts = append(parts, string(runes[:n]))
		runes = runes[n:]
	}
	return append(parts, string(runes))
}

// stream ends a stream with e as its last event.
func (e *ConverseError) stream(w http.ResponseWriter) {
	if e.Type == "" {
		panic(http.ErrAbortHandler)
	}
	typ, message := e.Type, e.Message
	if !converseErrors[typ].inStream {
		typ, message = "InternalServerException", fmt.Sprintf("the model's script has an exception that a stream cannot carry: %q", e.Type)
	}
	// The name of the exception is that of the stream's member.
	name := strings.ToLower(typ[:1]) + typ[1:]
	writeEvent(w, eventstreamapi.ExceptionMessageType, name, object{"message": message})
}

// writeEvent writes one message of the event stream and flushes it. If the
// caller has disconnected, the next pause or the server notices it.
// https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
func writeEvent(w http.ResponseWriter, messageType, name string, value object) {
	var m eventstream.Message
	nameHeader := eventstreamapi.EventTypeHeader
	if messageType == eventstreamapi.ExceptionMessageType {
		nameHeader = eventstreamapi.ExceptionTypeHeader
	}
	m.Headers.Set(nameHeader, eventstream.StringValue(name))
	m.Headers.Set(eventstreamapi.ContentTypeHeader, eventstream.StringValue("application/json"))
	m.Headers.Set(eventstreamapi.MessageTypeHeader, eventstream.StringValue(messageType))
	m.Payload = encodeJSON(value)
	if err := eventstream.NewEncoder().Encode(w, m); err != nil {
		panic(http.ErrAbortHandler)
	}
	http.NewResponseController(w).Flush()
}
