package converse_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

// Events come as things happen: text while the model speaks, tool uses before
// the tools run, results as they end.
func TestRun_eventTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := localaws.Ask(use("t1", "slow", "{}"), use("t2", "fast", "{}"))
		ask.Content = append([]localaws.ContentBlock{{Text: "ab"}}, ask.Content...)
		ask.Interval = time.Second // before each event but the first
		box := tools(func(_ context.Context, name string, _ json.RawMessage) (converse.Result, error) {
			if name == "slow" {
				time.Sleep(20 * time.Second)
			}
			return converse.Result{Text: name}, nil
		}, "slow", "fast")
		start := time.Now()
		type happening struct {
			at   time.Duration
			what string
		}
		var got []happening
		events := func(e converse.Event) {
			got = append(got, happening{time.Since(start), string(e.Kind) + " " + e.Tool + e.Text})
		}
		r := newRig(converse.Config{}, localaws.Script(ask, localaws.Say("done")))
		if _, err := r.Run(t.Context(), converse.Request{Prompt: "go", Events: events}, box); err != nil {
			t.Fatal(err)
		}
		// a, b, block stop, two tool uses of four events each, message stop; what
		// ends the stream comes with the last of them
		const turn = 12 * time.Second
		want := []happening{
			{time.Second, "delta a"},
			{2 * time.Second, "delta b"},
			{turn, "usage "},
			{turn, "tool_use slow"},
			{turn, "tool_use fast"},
			{turn, "tool_result fastfast"},
			{turn + 20*time.Second, "tool_result slowslow"},
			{turn + 20*time.Second, "delta d"},
			{turn + 20*time.Second, "delta o"},
			{turn + 20*time.Second, "delta n"},
			{turn + 20*time.Second, "delta e"},
			{turn + 20*time.Second, "usage "},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%v, want\n%v", got, want)
		}
	})
}

// A model that cannot stream gives each turn's text as one event.
func TestRun_eventsWithoutStream(t *testing.T) {
	model := &turns{replies: []*bedrockruntime.ConverseOutput{turn(types.StopReasonEndTurn, &types.ContentBlockMemberText{Value: "all at once"})}}
	var got []string
	loop := converse.New(converse.Config{Model: model, ModelIDs: []string{"m"}})
	_, err := loop.Run(t.Context(), converse.Request{Prompt: "go", Events: func(e converse.Event) { got = append(got, string(e.Kind)+" "+e.Text) }}, tools(nil))
	if want := []string{"delta all at once"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
