package trigger

import (
	"context"
	"encoding/json"
)

// topic works on a message of an SNS topic. Lambda gets one at a time; should
// it ever be more, an error has all of them delivered again, and the ledger
// knows the answered ones.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
func (h *Handler) topic(ctx context.Context, fields object) (any, *Error) {
	var messages []struct {
		SNS struct {
			MessageID string `json:"MessageId"`
			TopicARN  string `json:"TopicArn"`
			Message   string
		} `json:"Sns"`
	}
	if err := json.Unmarshal(fields["Records"], &messages); err != nil {
		return nil, &Error{Code: UnsupportedEvent, Message: "the SNS event is malformed", Err: err}
	}
	records := make([]record, len(messages))
	for i, m := range messages {
		if m.SNS.MessageID == "" {
			return nil, refuse(UnsupportedEvent, "the SNS event has a message without MessageId")
		}
		records[i] = record{id: m.SNS.MessageID, origin: origin{Source: "aws:sns", ARN: m.SNS.TopicARN}, body: []byte(m.SNS.Message)}
	}
	results := h.work(ctx, fromSNS, records)
	for _, res := range results {
		if res.left {
			return nil, res.err
		}
	}
	return h.answerOne(results[0])
}
