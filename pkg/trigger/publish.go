package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// EventSource is the source of the events that results are published as. Every
// agent has the same, so that no two of them can keep triggering each other:
// events of this source are never answered.
const EventSource = "mcp.agent"

// The detail types of the events that results are published as.
const (
	detailAnswered = "Agent Answered"
	detailFailed   = "Agent Failed"
)

// Limits of one PutEvents request.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
const (
	maxEntries     = 10
	maxEntriesSize = 256 << 10 // bytes of all entries; newer accounts have more
	publishTries   = 3
)

// publishTime bounds one request with its retries: what does not answer by then
// is down, and the record's source delivers it again.
const publishTime = 5 * time.Second

// EventBridge is what a [Bus] needs of the service. *eventbridge.Client is one.
type EventBridge interface {
	PutEvents(context.Context, *eventbridge.PutEventsInput, ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error)
}

// Bus is the event bus that results are published on.
type Bus struct {
	API  EventBridge
	Name string // or ARN
}

// detail is what a published event says.
type detail struct {
	CorrelationID string  `json:"correlation_id"` // id of the message or event that was answered
	Origin        origin  `json:"origin"`
	Answer        *Answer `json:"answer,omitempty"`
	OutputCut     bool    `json:"output_cut,omitempty"` // the answer's output did not fit
	Error         *Error  `json:"error,omitempty"`
}

// origin is where the message or event came from.
type origin struct {
	Source string `json:"source"` // aws:sqs, aws:sns, or the event's own
	ARN    string `json:"arn,omitempty"`
	Group  string `json:"group,omitempty"`
}

// isOwn reports whether fields are an event of ours or the detail of one, in
// whatever way they came back: also by a topic, which wraps what it passes on to
// a queue.
// https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
func isOwn(fields object) bool {
	if kind, _ := fields.text("Type"); kind == "Notification" {
		message, _ := fields.text("Message")
		fields = decodeObject([]byte(message))
	}
	if s, _ := fields.text("source"); s == EventSource && fields.has("detail-type") {
		return true
	}
	return fields.has("correlation_id") && fields.has("origin") && (fields.has("answer") || fields.has("error"))
}

// entry is d as an entry of a request. An output that makes it too large is cut.
func (b *Bus) entry(d detail) (types.PutEventsRequestEntry, error) {
	e := types.PutEventsRequestEntry{
		EventBusName: aws.String(b.Name),
		Source:       aws.String(EventSource),
		DetailType:   aws.String(detailAnswered),
	}
	if d.Error != nil {
		e.DetailType = aws.String(detailFailed)
	}
	if d.Origin.ARN != "" {
		e.Resources = []string{d.Origin.ARN}
	}
	for {
		raw, err := json.Marshal(d)
		if err != nil {
			return e, fmt.Errorf("encoding a result: %w", err)
		}
		e.Detail = aws.String(string(raw))
		over := size(e) - maxEntriesSize
		if over < 0 {
			return e, nil
		}
		if d.Answer == nil || d.Answer.Output == "" {
			return e, fmt.Errorf("a result of %d bytes does not fit into an event", len(raw))
		}
		// As JSON the output is longer. The average length of its bytes says how
		// many to cut; where they are not average, it takes another round.
		cut := *d.Answer
		encoded, _ := json.Marshal(cut.Output) // a string always has a JSON form
		keep := max(0, len(cut.Output)-int(int64(over)*int64(len(cut.Output))/int64(len(encoded)))-64)
		for keep > 0 && !utf8.RuneStart(cut.Output[keep]) {
			keep--
		}
		cut.Output = cut.Output[:keep]
		d.Answer, d.OutputCut = &cut, true
	}
}

// size is an entry's size as EventBridge counts it.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
func size(e types.PutEventsRequestEntry) int {
	n := len(*e.Source) + len(*e.DetailType) + len(*e.Detail)
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// publish sends the details and returns an error for each, nil for those that
// are on the bus.
func (b *Bus) publish(ctx context.Context, details []detail) []error {
	errs := make([]error, len(details))
	entries := make([]types.PutEventsRequestEntry, len(details))
	var todo []int
	for i, d := range details {
		if entries[i], errs[i] = b.entry(d); errs[i] == nil {
			todo = append(todo, i)
		}
	}
	for try := 1; len(todo) > 0; try++ {
		var again []int
		for len(todo) > 0 {
			n, bytes := 0, 0
			for n < len(todo) && n < maxEntries {
				if bytes += size(entries[todo[n]]); n > 0 && bytes >= maxEntriesSize {
					break
				}
				n++
			}
			again = append(again, b.put(ctx, entries, todo[:n], errs)...)
			todo = todo[n:]
		}
		if todo = again; try == publishTries || ctx.Err() != nil {
			break
		}
		if len(todo) > 0 {
			select {
			case <-time.After(time.Duration(try) * 100 * time.Millisecond):
			case <-ctx.Done():
				return errs
			}
		}
	}
	return errs
}

// put sends the entries of these indexes in one request, sets their errors and
// returns the indexes that may be sent again. The SDK retries the whole request,
// but not single entries that failed.
func (b *Bus) put(ctx context.Context, entries []types.PutEventsRequestEntry, indexes []int, errs []error) (again []int) {
	in := &eventbridge.PutEventsInput{}
	for _, i := range indexes {
		in.Entries = append(in.Entries, entries[i])
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	out, err := b.API.PutEvents(ctx, in)
	if err == nil && len(out.Entries) != len(indexes) {
		err = errors.New("EventBridge did not say what became of each entry")
	}
	for n, i := range indexes {
		errs[i] = nil
		if err != nil {
			errs[i] = fmt.Errorf("publishing on bus %s: %w", b.Name, err)
			continue
		}
		code := aws.ToString(out.Entries[n].ErrorCode)
		if code == "" && aws.ToString(out.Entries[n].EventId) != "" {
			continue
		}
		errs[i] = fmt.Errorf("publishing on bus %s: %s: %s", b.Name, code, aws.ToString(out.Entries[n].ErrorMessage))
		if code == "ThrottlingException" || code == "InternalFailure" || code == "InternalException" {
			again = append(again, i)
		}
	}
	return again
}
