package trigger

import (
	"bytes"
	"context"
	"encoding/json"
)

// event works on an event of EventBridge: of a rule, of a scheduled rule, or of
// EventBridge Scheduler, whose detail is an empty object written as a string.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
func (h *Handler) event(ctx context.Context, fields object) (any, *Error) {
	if isOwn(fields) {
		h.logger().Debug("an event of ours was not answered")
		return struct {
			Ignored string `json:"ignored"`
		}{"events of the source " + EventSource + " are never answered"}, nil
	}
	id, _ := fields.text("id")
	if id == "" {
		return nil, refuse(UnsupportedEvent, "the EventBridge event has no id")
	}
	from, _ := fields.text("source")
	r := record{id: id, origin: origin{Source: from}, body: fields["detail"]}
	var resources []string
	if json.Unmarshal(fields["resources"], &resources) == nil && len(resources) > 0 {
		r.origin.ARN = resources[0]
	}
	if from == "aws.events" || from == "aws.scheduler" {
		if s, ok := decodeString(r.body); ok {
			r.body = []byte(s)
		}
		if empty := bytes.TrimSpace(r.body); string(empty) == "{}" {
			r.prompt = h.SchedulePrompt
		}
	}
	return h.answerOne(h.work(ctx, fromEventBridge, []record{r})[0])
}

// answerOne is the result of an invocation for one record. Lambda invokes again
// after an error, and then gives the event to the function's dead-letter queue
// or failure destination.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (h *Handler) answerOne(res result) (any, *Error) {
	switch {
	case res.left:
		return nil, res.err
	case res.err != nil:
		return errorDocument{res.err}, nil
	case res.again:
		return struct {
			Ignored string `json:"ignored"`
		}{"it was answered before, with more than is kept"}, nil
	}
	return res.answer, nil
}
