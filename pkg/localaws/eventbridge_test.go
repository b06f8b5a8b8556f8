package localaws_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/localaws"
)

func putEntry(edit func(*types.PutEventsRequestEntry)) types.PutEventsRequestEntry {
	e := types.PutEventsRequestEntry{Source: aws.String("example.shop"), DetailType: aws.String("Order"), Detail: aws.String(`{"id":1}`)}
	if edit != nil {
		edit(&e)
	}
	return e
}

func TestPutEvents(t *testing.T) {
	s := startServer(t)
	arn := s.AddEventBus("orders")
	client := eventbridge.NewFromConfig(s.AWSConfig())
	out, err := client.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{
		putEntry(nil),
		putEntry(func(e *types.PutEventsRequestEntry) { e.EventBusName, e.Resources = &arn, []string{"r"} }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.EventBusName = aws.String("orders") }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.EventBusName = aws.String("nowhere") }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.Detail = aws.String(`[1]`) }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.Detail = aws.String(`{`) }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.Detail = nil }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.Source = aws.String("aws.s3") }),
		putEntry(func(e *types.PutEventsRequestEntry) { e.DetailType = aws.String(strings.Repeat("x", 129)) }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, e := range out.Entries {
		codes = append(codes, aws.ToString(e.ErrorCode))
		if (e.EventId == nil) != (e.ErrorCode != nil) {
			t.Errorf("got id %v beside code %v", e.EventId, e.ErrorCode)
		}
	}
	want := []string{"", "", "", "InvalidArgument", "MalformedDetail", "MalformedDetail", "InvalidArgument", "NotAuthorizedForSourceException", "InvalidArgument"}
	if !slices.Equal(codes, want) || out.FailedEntryCount != 6 {
		t.Errorf("got codes %q, %d failed", codes, out.FailedEntryCount)
	}
	var buses []string
	for i, e := range s.Events() {
		buses = append(buses, e.Bus)
		if e.ID != *out.Entries[i].EventId || e.Source != "example.shop" || string(e.Detail) != `{"id":1}` || e.Account != localaws.Account || e.Time.IsZero() {
			t.Errorf("got %+v", e)
		}
	}
	if !slices.Equal(buses, []string{"default", "orders", "orders"}) {
		t.Errorf("got events on %q", buses)
	}
}

func TestPutEvents_refused(t *testing.T) {
	s := startServer(t)
	other := s.AWSConfig()
	other.Credentials = credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, "another", "")
	tests := []struct {
		name     string
		cfg      aws.Config
		in       eventbridge.PutEventsInput
		wantCode string
	}{
		{"no entry", s.AWSConfig(), eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{}}, "ValidationException"},
		{"eleven", s.AWSConfig(), eventbridge.PutEventsInput{Entries: slices.Repeat([]types.PutEventsRequestEntry{putEntry(nil)}, 11)}, "ValidationException"},
		{"too large together", s.AWSConfig(), eventbridge.PutEventsInput{Entries: slices.Repeat([]types.PutEventsRequestEntry{
			putEntry(func(e *types.PutEventsRequestEntry) {
				e.Detail = aws.String(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`)
			})}, 4)}, "ValidationException"},
		{"none complete", s.AWSConfig(), eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{Source: aws.String("a")}}}, "ValidationException"},
		{"bad bus name", s.AWSConfig(), eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{putEntry(func(e *types.PutEventsRequestEntry) { e.EventBusName = aws.String("a b") })}}, "ValidationException"},
		{"long resource", s.AWSConfig(), eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{putEntry(func(e *types.PutEventsRequestEntry) { e.Resources = []string{strings.Repeat("r", 2049)} })}}, "ValidationException"},
		{"signed with another key", other, eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{putEntry(nil)}}, "InvalidSignatureException"},
	}
	for _, tt := range tests {
		_, err := eventbridge.NewFromConfig(tt.cfg).PutEvents(t.Context(), &tt.in)
		api, ok := errors.AsType[smithy.APIError](err)
		if !ok || api.ErrorCode() != tt.wantCode {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.wantCode)
		}
	}
	if n := len(s.Events()); n > 0 {
		t.Errorf("%d events were taken in", n)
	}

	// Members and operations that it does not have are refused by name.
	for body, target := range map[string]string{
		`{"EndpointId":"a.b","Entries":[{"Source":"a","DetailType":"b","Detail":"{}"}]}`: "AWSEvents.PutEvents",
		`{}`: "AWSEvents.PutRule",
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", target)
		signRequest(t, req, []byte(body), "events")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s %s: got %d", target, body, resp.StatusCode)
		}
	}
}
