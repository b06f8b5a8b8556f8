package converse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go/transport/http/protocol/restjson1"
)

// stream makes one model call piece by piece, emits its text as it comes, and
// puts together the message that Converse would have answered.
func (c *conversation) stream(ctx context.Context, m Streamer, in *bedrockruntime.ConverseInput) (r reply, given bool, err error) {
	out, err := m.ConverseStream(ctx, streamInput(in), once, ownProtocol)
	if err != nil {
		return reply{}, false, err
	}
	events := out.GetStream()
	defer events.Close()
	a := assembly{blocks: map[int32]*block{}}
	for {
		select {
		case <-ctx.Done():
			return reply{}, given, ctx.Err()
		case e, more := <-events.Events():
			if !more {
				if err := events.Err(); err != nil {
					return reply{}, given, err
				}
				r, err := a.reply()
				return r, given, err
			}
			delta, err := a.add(e)
			if err != nil {
				return reply{}, given, err
			}
			if delta != "" {
				given = true
				c.emit(Event{Kind: EventDelta, Turn: c.answer.Turns + 1, Text: delta})
			}
		}
	}
}

// ownProtocol gives a stream a codec of its own: all streams of a client write
// to the client's codec at once. https://github.com/aws/smithy-go/issues/714
func ownProtocol(o *bedrockruntime.Options) { o.Protocol = restjson1.New(nil) }

func streamInput(in *bedrockruntime.ConverseInput) *bedrockruntime.ConverseStreamInput {
	s := &bedrockruntime.ConverseStreamInput{
		ModelId:         in.ModelId,
		Messages:        in.Messages,
		System:          in.System,
		ToolConfig:      in.ToolConfig,
		InferenceConfig: in.InferenceConfig,
		ServiceTier:     in.ServiceTier,
	}
	if g := in.GuardrailConfig; g != nil {
		s.GuardrailConfig = &types.GuardrailStreamConfiguration{GuardrailIdentifier: g.GuardrailIdentifier, GuardrailVersion: g.GuardrailVersion}
	}
	return s
}

// assembly is a message of which not all has come.
type assembly struct {
	blocks map[int32]*block
	stop   types.StopReason
	usage  *types.TokenUsage
}

// block is one of its content blocks. The fields that are set tell its kind.
type block struct {
	use       *types.ToolUseBlockStart
	text      strings.Builder // or a tool use's input
	reasoning bool
	signature *string
	redacted  []byte
}

// add takes the next event. delta is the text in it.
func (a *assembly) add(event types.ConverseStreamOutput) (delta string, err error) {
	switch e := event.(type) {
	case *types.ConverseStreamOutputMemberMessageStart:
	case *types.ConverseStreamOutputMemberContentBlockStart:
		start, ok := e.Value.Start.(*types.ContentBlockStartMemberToolUse)
		if !ok {
			return "", unknownPart(e.Value.Start)
		}
		a.at(e.Value.ContentBlockIndex).use = &start.Value
	case *types.ConverseStreamOutputMemberContentBlockDelta:
		return a.at(e.Value.ContentBlockIndex).add(e.Value.Delta)
	case *types.ConverseStreamOutputMemberContentBlockStop:
	case *types.ConverseStreamOutputMemberMessageStop:
		a.stop = e.Value.StopReason
	case *types.ConverseStreamOutputMemberMetadata:
		a.usage = e.Value.Usage
	default: // a kind of event that this SDK does not know adds nothing to the message
	}
	return "", nil
}

func (a *assembly) at(index *int32) *block {
	i := aws.ToInt32(index)
	if a.blocks[i] == nil {
		a.blocks[i] = &block{}
	}
	return a.blocks[i]
}

func (b *block) add(delta types.ContentBlockDelta) (text string, err error) {
	switch d := delta.(type) {
	case *types.ContentBlockDeltaMemberText:
		b.text.WriteString(d.Value)
		return d.Value, nil
	case *types.ContentBlockDeltaMemberToolUse:
		b.text.WriteString(aws.ToString(d.Value.Input))
	case *types.ContentBlockDeltaMemberReasoningContent:
		b.reasoning = true
		switch r := d.Value.(type) {
		case *types.ReasoningContentBlockDeltaMemberText:
			b.text.WriteString(r.Value)
		case *types.ReasoningContentBlockDeltaMemberSignature:
			b.signature = aws.String(aws.ToString(b.signature) + r.Value)
		case *types.ReasoningContentBlockDeltaMemberRedactedContent:
			b.redacted = append(b.redacted, r.Value...)
		default:
			return "", unknownPart(r)
		}
	default:
		return "", unknownPart(d)
	}
	return "", nil
}

// unknownPart refuses a part that cannot be put together: a turn without it would
// not be the one that the model gave. The loop asks for no such part.
func unknownPart(part any) error {
	return &ModelError{Kind: Failed, Message: fmt.Sprintf("its stream has a part of a kind that is not known: %T", part)}
}

// reply is the message, once the stream has ended.
func (a *assembly) reply() (reply, error) {
	if a.stop == "" {
		return reply{}, &ModelError{Kind: Unavailable, Message: "its stream ended before its turn did", transient: true}
	}
	r := reply{message: types.Message{Role: types.ConversationRoleAssistant}, stop: a.stop, usage: a.usage}
	for _, i := range slices.Sorted(maps.Keys(a.blocks)) {
		r.message.Content = append(r.message.Content, a.blocks[i].content())
	}
	return r, nil
}

func (b *block) content() types.ContentBlock {
	switch {
	case b.use != nil:
		return &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
			ToolUseId: b.use.ToolUseId, Name: b.use.Name, Type: b.use.Type, Input: streamedInput(b.text.String()),
		}}
	case b.redacted != nil:
		return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberRedactedContent{Value: b.redacted}}
	case b.reasoning:
		return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberReasoningText{
			Value: types.ReasoningTextBlock{Text: aws.String(b.text.String()), Signature: b.signature},
		}}
	default:
		return &types.ContentBlockMemberText{Value: b.text.String()}
	}
}
