package localaws

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// BusEvent is an event on a bus, in the form that rules would see.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
type BusEvent struct {
	Bus        string          `json:"-"` // name
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       time.Time       `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// DefaultBus is the event bus that every account has.
const DefaultBus = "default"

// AddEventBus makes an event bus and returns its ARN.
func (s *Server) AddEventBus(name string) string {
	b := s.buses
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.names, name) {
		b.names = append(b.names, name)
	}
	return b.arn(name)
}

// RemoveEventBus removes an event bus. Events that were put on it stay in
// [Server.Events].
func (s *Server) RemoveEventBus(name string) {
	b := s.buses
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names = slices.DeleteFunc(b.names, func(n string) bool { return n == name && n != DefaultBus })
}

// Events returns the events that were put on a bus, in order. If there were more
// than Config.MaxRecords, it returns only the last ones.
func (s *Server) Events() []BusEvent {
	b := s.buses
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

// eventBuses stands in for EventBridge's PutEvents. It has no rules and delivers
// nothing; [Server.Events] returns the events.
type eventBuses struct {
	s   *Server
	ops map[string]operation

	mu     sync.Mutex // guards what follows
	names  []string
	events []BusEvent
}

func newEventBuses(s *Server) *eventBuses {
	b := &eventBuses{s: s, names: []string{DefaultBus}}
	b.ops = map[string]operation{"PutEvents": op(&b.mu, b.put)}
	return b
}

func (b *eventBuses) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	b.s.serveSigned(w, r, rec, "events", b.ops, b.needs)
}

// needs returns the permissions that PutEvents needs: on every bus that an entry
// names. If one is missing, no entry is accepted.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
func (b *eventBuses) needs(rec *Record) []access {
	var in struct {
		Entries []struct{ EventBusName *string }
	}
	json.Unmarshal(rec.RequestBody, &in) // the operation reports what is wrong with the body
	a := access{action: "events:" + rec.Operation}
	for _, e := range in.Entries {
		if arn := b.arn(b.name(e.EventBusName)); !slices.Contains(a.resources, arn) {
			a.resources = append(a.resources, arn)
		}
	}
	return []access{a}
}

// name returns the name of a bus that is given by name or by ARN, or the default
// bus.
func (b *eventBuses) name(given *string) string {
	if given == nil {
		return DefaultBus
	}
	return strings.TrimPrefix(*given, b.arn(""))
}

func (b *eventBuses) arn(name string) string {
	return "arn:aws:events:" + b.s.cfg.Region + ":" + Account + ":event-bus/" + name
}

// Limits of PutEvents. The size is the long-standing quota; the service now
// accepts more from some accounts.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
const (
	maxPutEntries = 10
	maxPutSize    = 256 << 10 // must be less than this
)

var (
	busNameRule     = textRule{"ValidationException", 1, 1600, regexp.MustCompile(`^(arn:aws[\w-]*:events:[a-z]{2}-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[/.\-_A-Za-z0-9]+$`)}
	traceHeaderRule = textRule{"ValidationException", 1, 500, nil}
	resourceRule    = textRule{"ValidationException", 0, 2048, nil}
	maxSource       = 256
	maxDetailType   = 128
)

type putEventsRequest struct {
	Entries []putEventsEntry
}

type putEventsEntry struct {
	Source, DetailType, Detail *string
	EventBusName, TraceHeader  *string
	Resources                  []string
	Time                       *float64
}

type putEventsResult struct {
	EventId, ErrorCode, ErrorMessage string `json:",omitempty"`
}

// size is an entry's size as the user guide counts it.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
func (e putEventsEntry) size() int {
	n := 0
	if e.Time != nil {
		n += 14
	}
	for _, s := range []*string{e.Source, e.DetailType, e.Detail} {
		if s != nil {
			n += len(*s)
		}
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

func (b *eventBuses) put(in *putEventsRequest) (any, *apiError) {
	if n := len(in.Entries); n < 1 || n > maxPutEntries {
		return nil, errorf("ValidationException", "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and %d", maxPutEntries)
	}
	size, complete := 0, 0
	for _, e := range in.Entries {
		size += e.size()
		if err := cmp.Or(busNameRule.checkOptional("entries.eventBusName", e.EventBusName), traceHeaderRule.checkOptional("entries.traceHeader", e.TraceHeader)); err != nil {
			return nil, err
		}
		for _, r := range e.Resources {
			if err := resourceRule.check("entries.resources", r); err != nil {
				return nil, err
			}
		}
		if e.Source != nil && e.DetailType != nil && e.Detail != nil {
			complete++
		}
	}
	if size >= maxPutSize {
		return nil, errorf("ValidationException", "Total size of the entries in the request is over the limit.")
	}
	// A request without any complete entry is refused as a whole (the SDK's
	// comment on PutEventsRequestEntry).
	if complete == 0 {
		return nil, errorf("ValidationException", "no entry has a Source, a DetailType and a Detail")
	}
	out := struct {
		FailedEntryCount int
		Entries          []putEventsResult
	}{}
	for _, e := range in.Entries {
		result := b.putOne(e)
		if result.ErrorCode != "" {
			out.FailedEntryCount++
		}
		out.Entries = append(out.Entries, result)
	}
	return out, nil
}

// putOne takes one entry. The error codes are those of
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
func (b *eventBuses) putOne(e putEventsEntry) putEventsResult {
	invalid := func(name, reason string) putEventsResult {
		return putEventsResult{ErrorCode: "InvalidArgument", ErrorMessage: "Parameter " + name + " is not valid. Reason: " + reason}
	}
	for _, p := range []struct {
		name  string
		value *string
		max   int
	}{{"Source", e.Source, maxSource}, {"DetailType", e.DetailType, maxDetailType}, {"Detail", e.Detail, maxPutSize}} {
		switch {
		case p.value == nil || *p.value == "":
			return invalid(p.name, p.name+" is a required argument.")
		case len(*p.value) > p.max:
			return invalid(p.name, p.name+" is too long.")
		}
	}
	if strings.HasPrefix(*e.Source, "aws.") {
		return putEventsResult{ErrorCode: "NotAuthorizedForSourceException", ErrorMessage: "Not authorized for the source."}
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(*e.Detail), &object) != nil || object == nil {
		return putEventsResult{ErrorCode: "MalformedDetail", ErrorMessage: "Detail is malformed."}
	}
	bus := b.name(e.EventBusName)
	if !slices.Contains(b.names, bus) {
		// The service accepts and drops such an event. Here the mistake must be
		// seen.
		return invalid("EventBusName", "there is no event bus "+bus+".")
	}
	at := b.s.cfg.Now().UTC().Truncate(time.Second)
	if e.Time != nil {
		at = time.UnixMilli(int64(*e.Time * 1000)).UTC()
	}
	event := BusEvent{
		Bus: bus, Version: "0", ID: uuid.NewString(), DetailType: *e.DetailType, Source: *e.Source, Account: Account,
		Time: at, Region: b.s.cfg.Region, Resources: append([]string{}, e.Resources...), Detail: json.RawMessage(*e.Detail),
	}
	b.events = appendLast(b.events, event, b.s.cfg.MaxRecords)
	return putEventsResult{EventId: event.ID}
}
