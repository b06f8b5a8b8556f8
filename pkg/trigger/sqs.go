package trigger

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// queue works on a batch of SQS messages. Messages of a group of a FIFO queue
// are worked on in order; a group of a standard queue is for fairness alone.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func (h *Handler) queue(ctx context.Context, fields object) (any, *Error) {
	var messages []struct {
		MessageID      string                          `json:"messageId"`
		EventSourceARN string                          `json:"eventSourceARN"`
		Body           string                          `json:"body"`
		Attributes     struct{ MessageGroupId string } `json:"attributes"`
	}
	if err := json.Unmarshal(fields["Records"], &messages); err != nil {
		return nil, &Error{Code: UnsupportedEvent, Message: "the SQS event is malformed", Err: err}
	}
	records := make([]record, len(messages))
	for i, m := range messages {
		if m.MessageID == "" {
			// It could not be reported, and Lambda takes an empty id for the whole batch.
			return nil, refuse(UnsupportedEvent, "the SQS event has a message without messageId")
		}
		records[i] = record{id: m.MessageID, origin: origin{Source: "aws:sqs", ARN: m.EventSourceARN}, body: []byte(m.Body)}
		if strings.HasSuffix(m.EventSourceARN, ".fifo") {
			group := m.Attributes.MessageGroupId
			records[i].origin.Group = group
			records[i].queue = m.EventSourceARN + " " + group
		}
	}
	// Only ids of the records are reported: Lambda takes an id that it does not
	// know for the whole batch.
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	reported := map[string]bool{}
	for i, res := range h.work(ctx, fromSQS, records) {
		if id := records[i].id; res.left && !reported[id] {
			reported[id] = true
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: id})
		}
	}
	return answer, nil
}
