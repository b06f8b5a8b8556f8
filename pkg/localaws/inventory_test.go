package localaws_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"agentcore-mcp-auth/pkg/localaws"
)

// A kept thing exists once, and is a leftover until it is forgotten.
func TestKeep(t *testing.T) {
	s := localaws.New(localaws.Config{})
	if err := s.Keep("AWS::SQS::Queue", "work"); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep("AWS::SQS::Queue", "work"); err == nil || err.Error() != "AWS::SQS::Queue work already exists" {
		t.Errorf("got %v", err)
	}
	if err := s.Keep("AWS::SNS::Topic", "work"); err != nil {
		t.Error(err)
	}
	if got := s.Leftovers(); !slices.Equal(got, []string{"AWS::SNS::Topic work", "AWS::SQS::Queue work"}) {
		t.Errorf("got %q", got)
	}
	s.Forget("AWS::SQS::Queue", "work")
	s.Forget("AWS::SQS::Queue", "work")
	if s.Kept("AWS::SQS::Queue", "work") || !s.Kept("AWS::SNS::Topic", "work") {
		t.Errorf("got %q", s.Leftovers())
	}
}

// An event bus that was removed takes no events; the default bus stays.
func TestRemoveEventBus(t *testing.T) {
	s := startServer(t)
	s.AddEventBus("bus")
	put := func(bus string) int32 {
		t.Helper()
		source, kind, detail := "test", "Asked", "{}"
		out, err := eventbridge.NewFromConfig(s.AWSConfig()).PutEvents(t.Context(), &eventbridge.PutEventsInput{
			Entries: []types.PutEventsRequestEntry{{EventBusName: &bus, Source: &source, DetailType: &kind, Detail: &detail}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.FailedEntryCount
	}
	if put("bus") != 0 {
		t.Error("the bus took no event")
	}
	s.RemoveEventBus("bus")
	s.RemoveEventBus(localaws.DefaultBus)
	if put("bus") != 1 || put(localaws.DefaultBus) != 0 {
		t.Error("the wrong bus is gone")
	}
	if n := len(s.Events()); n != 2 {
		t.Errorf("got %d events", n)
	}
}
