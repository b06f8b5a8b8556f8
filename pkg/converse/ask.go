package converse

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// How often each model is asked for one turn, and how long to wait between two
// rounds over all models.
const (
	maxRounds = 5
	firstWait = 500 * time.Millisecond
	maxWait   = 8 * time.Second
)

// reply is one turn of the model.
type reply struct {
	message types.Message
	stop    types.StopReason
	usage   *types.TokenUsage // nil: unknown
}

// ask makes one model call, and repeats it after a failure that may pass: with
// the next model, if there are several. It begins nothing that leaves no time for
// an answer.
func (c *conversation) ask(ctx context.Context) (reply, error) {
	var failed *ModelError
	models := len(c.cfg.ModelIDs)
	spent := 0 // models in a row whose quota is used up
	for n := 0; ; n++ {
		if n > 0 && n%models == 0 {
			if n == maxRounds*models || !c.pause(ctx, n/models) {
				break
			}
		}
		if ctx.Err() != nil {
			return reply{}, interrupted(ctx, "the model")
		}
		if !c.time.forAnswer(0) {
			break
		}
		r, given, err := c.attempt(ctx)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return reply{}, interrupted(ctx, "the model")
		}
		failed = modelError(err)
		failed.ModelID = c.cfg.ModelIDs[c.model]
		if given {
			break // text that was sent cannot be taken back
		}
		if failed.transient {
			spent = 0
		} else if spent++; failed.Kind != Throttled || spent == models {
			break // another model helps only against a used-up quota, which is each model's own
		}
		c.model = (c.model + 1) % models
	}
	if failed == nil {
		return reply{}, &DeadlineError{Doing: "a model call"}
	}
	return reply{}, failed
}

// pause waits before the next round, for a random time so that callers who were
// turned away together do not come back together. It reports whether there is
// time for that round.
func (c *conversation) pause(ctx context.Context, round int) bool {
	d := min(firstWait<<(round-1), maxWait)
	d = d/2 + rand.N(d/2)
	if !c.time.forAnswer(d) {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// once leaves retrying to the loop: on top of the SDK's own retries its waits
// would multiply.
func once(o *bedrockruntime.Options) { o.RetryMaxAttempts = 1 }

// attempt makes one model call, as a stream when the request wants events.
// given reports that some of its text has gone out.
func (c *conversation) attempt(ctx context.Context) (r reply, given bool, err error) {
	in := c.input()
	streamer, streams := c.cfg.Model.(Streamer)
	if streams = streams && c.request.Events != nil; streams {
		r, given, err = c.stream(ctx, streamer, in)
	} else {
		r, err = converse(ctx, c.cfg.Model, in)
	}
	if err != nil {
		return reply{}, given, err
	}
	c.messages, c.author = in.Messages, c.model
	if t := text(r.message); !streams && t != "" {
		c.emit(Event{Kind: EventDelta, Turn: c.answer.Turns + 1, Text: t})
	}
	return r, given, nil
}

func converse(ctx context.Context, m Model, in *bedrockruntime.ConverseInput) (reply, error) {
	out, err := m.Converse(ctx, in, once)
	if err != nil {
		return reply{}, err
	}
	message, ok := out.Output.(*types.ConverseOutputMemberMessage)
	if !ok {
		return reply{}, &ModelError{Kind: Failed, Message: "it answered without a message"}
	}
	return reply{message.Value, out.StopReason, out.Usage}, nil
}

// input is the request of the next model call.
func (c *conversation) input() *bedrockruntime.ConverseInput {
	cfg := c.cfg
	in := &bedrockruntime.ConverseInput{
		ModelId:         aws.String(cfg.ModelIDs[c.model]),
		Messages:        c.messages,
		ToolConfig:      c.tools.config,
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(int32(c.maxTokens)), Temperature: cfg.Temperature},
	}
	if c.author >= 0 && c.author != c.model {
		in.Messages = withoutReasoning(c.messages)
	}
	if cfg.System != "" {
		in.System = []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: cfg.System}}
		if cfg.CachePrompt {
			in.System = append(in.System, &types.SystemContentBlockMemberCachePoint{Value: cachePoint})
		}
	}
	if cfg.GuardrailID != "" {
		in.GuardrailConfig = &types.GuardrailConfiguration{GuardrailIdentifier: aws.String(cfg.GuardrailID), GuardrailVersion: aws.String(cfg.GuardrailVersion)}
	}
	if cfg.ServiceTier != "" {
		in.ServiceTier = &types.ServiceTier{Type: types.ServiceTierType(cfg.ServiceTier)}
	}
	return in
}

// withoutReasoning copies messages for another model than the one that gave
// them: a model takes only its own signatures of reasoning.
func withoutReasoning(messages []types.Message) []types.Message {
	kept := make([]types.Message, len(messages))
	for i, m := range messages {
		kept[i].Role = m.Role
		for _, b := range m.Content {
			if _, reasoning := b.(*types.ContentBlockMemberReasoningContent); !reasoning {
				kept[i].Content = append(kept[i].Content, b)
			}
		}
	}
	return kept
}
