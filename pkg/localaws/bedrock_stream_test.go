package localaws_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
)

// collect reassembles a stream and returns what ended it.
func collect(t *testing.T, out *bedrockruntime.ConverseStreamOutput) (blocks []string, stop types.StopReason, usage *types.TokenUsage, events []string, err error) {
	t.Helper()
	stream := out.GetStream()
	defer stream.Close()
	at := func(i *int32) *string {
		for int(*i) >= len(blocks) {
			blocks = append(blocks, "")
		}
		return &blocks[*i]
	}
	for event := range stream.Events() {
		name := strings.TrimPrefix(reflect.TypeOf(event).Elem().Name(), "ConverseStreamOutputMember")
		events = append(events, name)
		switch e := event.(type) {
		case *types.ConverseStreamOutputMemberContentBlockStart:
			use := e.Value.Start.(*types.ContentBlockStartMemberToolUse).Value
			*at(e.Value.ContentBlockIndex) = fmt.Sprintf("%s %s ", *use.ToolUseId, *use.Name)
		case *types.ConverseStreamOutputMemberContentBlockDelta:
			b := at(e.Value.ContentBlockIndex)
			switch d := e.Value.Delta.(type) {
			case *types.ContentBlockDeltaMemberText:
				*b += d.Value
			case *types.ContentBlockDeltaMemberToolUse:
				*b += *d.Value.Input
			case *types.ContentBlockDeltaMemberReasoningContent:
				switch d := d.Value.(type) {
				case *types.ReasoningContentBlockDeltaMemberText:
					*b += d.Value
				case *types.ReasoningContentBlockDeltaMemberSignature:
					*b += " signed " + d.Value
				}
			}
		case *types.ConverseStreamOutputMemberMessageStop:
			stop = e.Value.StopReason
		case *types.ConverseStreamOutputMemberMetadata:
			usage = e.Value.Usage
		}
	}
	return blocks, stop, usage, events, stream.Err()
}

// flatten writes blocks of Converse in the same form as collect.
func flatten(t *testing.T, out *bedrockruntime.ConverseOutput) (blocks []string) {
	t.Helper()
	for _, b := range out.Output.(*types.ConverseOutputMemberMessage).Value.Content {
		switch b := b.(type) {
		case *types.ContentBlockMemberText:
			blocks = append(blocks, b.Value)
		case *types.ContentBlockMemberToolUse:
			input, err := b.Value.Input.MarshalSmithyDocument()
			if err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, fmt.Sprintf("%s %s %s", *b.Value.ToolUseId, *b.Value.Name, input))
		case *types.ContentBlockMemberReasoningContent:
			r := b.Value.(*types.ReasoningContentBlockMemberReasoningText).Value
			blocks = append(blocks, *r.Text+" signed "+*r.Signature)
		}
	}
	return blocks
}

func TestConverseStream_equalsConverse(t *testing.T) {
	mixed := localaws.ConverseReply{Content: []localaws.ContentBlock{
		{Reasoning: &localaws.Reasoning{Text: "Aha — so.", Signature: "c2ln"}},
		{Text: "Grüße, 世界"},
		{ToolUse: &localaws.ToolUse{Name: "add", Input: []byte(`{"a":"ü","b":12345678901234567890}`)}},
		{ToolUse: &localaws.ToolUse{Name: "add"}},
	}}
	tests := []struct {
		name, prompt string
		model        localaws.Model
		maxTokens    int32
	}{
		{name: "text", prompt: "hi"},
		{name: "tools", prompt: "What is 2+2 and what is 3*5?"},
		{name: "cut text", prompt: "hi", maxTokens: 3},
		{name: "cut tool use", prompt: "What is 2+2?", maxTokens: 1}, // case 77
		{name: "mixed", prompt: "hi", model: func(localaws.ConverseRequest) localaws.ConverseReply { return mixed }},
	}
	srv, client := startBedrock(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv.SetModel(tt.model)
			var inference *types.InferenceConfiguration
			if tt.maxTokens > 0 {
				inference = &types.InferenceConfiguration{MaxTokens: &tt.maxTokens}
			}
			one, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays(tt.prompt), ToolConfig: mathTools(""), InferenceConfig: inference})
			if err != nil {
				t.Fatal(err)
			}
			out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays(tt.prompt), ToolConfig: mathTools(""), InferenceConfig: inference})
			if err != nil {
				t.Fatal(err)
			}
			blocks, stop, usage, events, err := collect(t, out)
			if err != nil {
				t.Fatal(err)
			}
			if want := flatten(t, one); !reflect.DeepEqual(blocks, want) {
				t.Errorf("got %q, want %q as in Converse", blocks, want)
			}
			if stop != one.StopReason || *usage.InputTokens != *one.Usage.InputTokens || *usage.OutputTokens != *one.Usage.OutputTokens {
				t.Errorf("got stop reason %s, usage %+v, want %s, %+v", stop, usage, one.StopReason, one.Usage)
			}
			if tt.maxTokens > 0 && (stop != types.StopReasonMaxTokens || *usage.OutputTokens != tt.maxTokens) {
				t.Errorf("got stop reason %s after %d tokens, want max_tokens after %d", stop, *usage.OutputTokens, tt.maxTokens)
			}
			if *usage.TotalTokens != *usage.InputTokens+*usage.OutputTokens {
				t.Errorf("got usage %d+%d=%d", *usage.InputTokens, *usage.OutputTokens, *usage.TotalTokens)
			}
			deltas := strings.Count(strings.Join(events, " "), "ContentBlockDelta")
			if deltas < 2*len(blocks) || events[0] != "MessageStart" || !reflect.DeepEqual(events[len(events)-2:], []string{"MessageStop", "Metadata"}) {
				t.Errorf("got events %v, want at least two deltas per block, amid messageStart and messageStop, metadata", events)
			}
		})
	}
}

// TestConverseStream_wire reads the frames without the SDK: it ignores headers
// that a reader of another language needs.
func TestConverseStream_wire(t *testing.T) {
	srv, client := startBedrock(t)
	records := recordsOf(srv)
	out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("What is 2+2?"), ToolConfig: mathTools("")})
	if err != nil {
		t.Fatal(err)
	}
	collect(t, out)
	rec := <-records
	if got, want := rec.ResponseHeader.Get("Content-Type"), "application/vnd.amazon.eventstream"; got != want {
		t.Errorf("got content type %q, want %q", got, want)
	}
	var got []string
	for body := strings.NewReader(string(rec.ResponseBody)); ; {
		m, err := eventstream.NewDecoder().Decode(body, nil)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Headers.Get(":message-type").String() != "event" || m.Headers.Get(":content-type").String() != "application/json" {
			t.Errorf("got headers %v", m.Headers)
		}
		payload, _, _ := strings.Cut(string(m.Payload), `"metrics"`)
		got = append(got, m.Headers.Get(":event-type").String()+" "+payload)
	}
	want := []string{
		`messageStart {"role":"assistant"}`,
		`contentBlockStart {"contentBlockIndex":0,"start":{"toolUse":{"name":"add_numbers","toolUseId":"` + "ID" + `"}}}`,
		`contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\""}}}`,
		`contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":":2,\""}}}`,
		`contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"b\":2"}}}`,
		`contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"}"}}}`,
		`contentBlockStop {"contentBlockIndex":0}`,
		`messageStop {"stopReason":"tool_use"}`,
		`metadata {`,
	}
	for i := range got {
		if i >= len(want) {
			t.Fatalf("got %d events more than wanted: %q", len(got)-len(want), got)
		}
		if before, rest, ok := strings.Cut(got[i], "tooluse_"); ok {
			got[i] = before + "ID" + rest[22:]
		}
		if got[i] != want[i] {
			t.Errorf("event %d: got  %s\nwant %s", i, got[i], want[i])
		}
	}
	if len(got) < len(want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
}

// TestConverseStream_flush reads an event before the next one is made.
func TestConverseStream_flush(t *testing.T) {
	srv, client := startBedrock(t)
	reply := localaws.Say("never seen")
	reply.Interval = time.Hour
	srv.SetModel(localaws.Script(reply))
	out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{
		ModelId: aws.String(profile), Messages: userSays("hi"),
		GuardrailConfig: &types.GuardrailStreamConfiguration{GuardrailIdentifier: aws.String("abc"), GuardrailVersion: aws.String("1"), StreamProcessingMode: types.GuardrailStreamProcessingModeAsync},
	})
	if err != nil {
		t.Fatal(err)
	}
	stream := out.GetStream()
	if e, ok := (<-stream.Events()).(*types.ConverseStreamOutputMemberMessageStart); !ok || e.Value.Role != types.ConversationRoleAssistant {
		t.Errorf("got %v, want messageStart of the assistant", e)
	}
	stream.Close()
}

func TestConverseStream_error(t *testing.T) { // case 79
	tests := []struct {
		name   string
		fail   localaws.ConverseError
		blocks []string
		stop   types.StopReason
		want   string
	}{
		{"in the text", localaws.ConverseError{Type: "ModelStreamErrorException", Message: "lost", AfterEvents: 3}, []string{"part"}, "", "ModelStreamErrorException: lost"},
		{"throttled inside", localaws.ConverseError{Type: "ThrottlingException", Message: "slow down", AfterEvents: 1}, nil, "", "ThrottlingException: slow down"},
		{"before metadata", localaws.ConverseError{Type: "InternalServerException", Message: "oops", AfterEvents: 99}, []string{"partial"}, "end_turn", "InternalServerException: oops"},
		{"that no stream has", localaws.ConverseError{Type: "AccessDeniedException", AfterEvents: 1}, nil, "", `InternalServerException: the model's script has an exception that a stream cannot carry: "AccessDeniedException"`},
		// The SDK takes a cut connection for the end of the stream: only a stream
		// that had its messageStop was whole.
		{"cut", localaws.ConverseError{AfterEvents: 3}, []string{"part"}, "", ""},
	}
	srv, client := startBedrock(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			srv.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
				asked.Add(1)
				reply := localaws.Say("partial")
				reply.Error = &tt.fail
				return reply
			})
			out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("hi")})
			if err != nil {
				t.Fatal(err)
			}
			blocks, stop, _, _, err := collect(t, out)
			if !reflect.DeepEqual(blocks, tt.blocks) || stop != tt.stop {
				t.Errorf("got %q, stop reason %q, want %q, %q", blocks, stop, tt.blocks, tt.stop)
			}
			var api smithy.APIError
			switch {
			case tt.want == "":
				if errors.As(err, &api) {
					t.Errorf("got %v, want no exception", err)
				}
			case !errors.As(err, &api) || api.ErrorCode()+": "+api.ErrorMessage() != tt.want:
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if got := asked.Load(); got != 1 {
				t.Errorf("got %d requests, want 1: a stream that has begun is not retried", got)
			}
		})
	}
}
