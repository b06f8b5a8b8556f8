package localaws_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const profile = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

// patientClient hides the WriteTo of the SDK's request bodies. The SDK closes a
// request's body once the answer begins, and a closed body's WriteTo fails with
// io.EOF (smithy-go v1.28.8, safeWriteToReadCloser). A server as near as this
// one can answer before the transport has looked for the body's end, which then
// cuts the connection amid the answer.
type patientClient struct{}

func (patientClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}

// startBedrock starts a stand-in and a client of its Bedrock that retries
// without waiting.
func startBedrock(t *testing.T) (*localaws.Server, *bedrockruntime.Client) {
	t.Helper()
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	client := bedrockruntime.NewFromConfig(srv.AWSConfig(), func(o *bedrockruntime.Options) {
		o.HTTPClient = patientClient{}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	})
	return srv, client
}

// recordsOf sends each request once it has been answered completely, since a
// client may have the answer earlier.
func recordsOf(srv *localaws.Server) <-chan localaws.Record {
	records := make(chan localaws.Record, 100)
	srv.Watch(func(rec localaws.Record) { records <- rec })
	return records
}

// changed makes the client send the request that f returns, signed.
func changed(f func(*smithyhttp.Request) *smithyhttp.Request) func(*bedrockruntime.Options) {
	return bedrockruntime.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Serialize.Add(middleware.SerializeMiddlewareFunc("changed", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
			in.Request = f(in.Request.(*smithyhttp.Request))
			return next.HandleSerialize(ctx, in)
		}), middleware.After)
	})
}

func userSays(text string) []types.Message {
	return []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: text}}}}
}

// rawBody makes the client send body in place of what it would serialize.
func rawBody(body string) func(*bedrockruntime.Options) {
	return changed(func(r *smithyhttp.Request) *smithyhttp.Request {
		r, err := r.SetStream(strings.NewReader(body))
		if err != nil {
			panic(err) // a strings.Reader can be rewound
		}
		return r
	})
}

// TestConverse_errors covers cases 79 and 144: every exception arrives as its
// type, and the SDK retries exactly those that it should.
func TestConverse_errors(t *testing.T) {
	tests := []struct {
		typ   string
		calls int
	}{
		{"AccessDeniedException", 1},
		{"InternalServerException", 3},
		{"ModelErrorException", 1},
		{"ModelNotReadyException", 1},
		{"ModelTimeoutException", 1},
		{"ResourceNotFoundException", 1},
		{"ServiceUnavailableException", 3},
		{"ThrottlingException", 3},
		{"ValidationException", 1},
	}
	srv, client := startBedrock(t)
	for _, tt := range tests {
		var asked atomic.Int32
		srv.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
			asked.Add(1)
			return localaws.ConverseReply{Error: &localaws.ConverseError{Type: tt.typ, Message: "as scripted"}}
		})
		_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != tt.typ || api.ErrorMessage() != "as scripted" {
			t.Errorf("got %v, want %s: as scripted", err, tt.typ)
		}
		if got := int(asked.Load()); got != tt.calls {
			t.Errorf("%s: got %d calls, want %d", tt.typ, got, tt.calls)
		}
		if _, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("hi")}); !errors.As(err, &api) || api.ErrorCode() != tt.typ {
			t.Errorf("stream: got %v, want %s", err, tt.typ)
		}
	}
}

func TestConverse_scriptedFaults(t *testing.T) {
	srv, client := startBedrock(t)
	tests := []struct {
		name  string
		reply localaws.ConverseReply
		want  string
	}{
		{"invented error", localaws.ConverseReply{Error: &localaws.ConverseError{Type: "OutOfMoodException"}}, `the model's script has an error that Converse does not: "OutOfMoodException"`},
		{"cut connection", localaws.ConverseReply{Error: &localaws.ConverseError{}}, "EOF"},
		{"input that is not JSON", localaws.Ask(localaws.ToolUse{Name: "add", Input: []byte(`{"a":`)}), "the scripted input of tool add is not JSON"},
	}
	for _, tt := range tests {
		srv.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply { return tt.reply })
		_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	// case 77: a stream may end amid the input of a tool.
	reply := tests[2].reply
	reply.StopReason = "max_tokens"
	srv.SetModel(localaws.Script(reply))
	out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("hi")})
	if err != nil {
		t.Fatal(err)
	}
	blocks, stop, _, _, err := collect(t, out)
	if err != nil || stop != types.StopReasonMaxTokens || len(blocks) != 1 || !strings.HasSuffix(blocks[0], ` add {"a":`) {
		t.Errorf("got %q, %s, %v, want the cut input and max_tokens", blocks, stop, err)
	}
}

func TestConverse_throttledByFault(t *testing.T) { // cases 79, 144
	srv, client := startBedrock(t)
	var calls atomic.Int32
	srv.SetFault(func(rec localaws.Record) *localaws.Fault {
		if calls.Add(1) == 3 {
			return nil
		}
		return &localaws.Fault{Status: http.StatusTooManyRequests, Type: "ThrottlingException", Message: "slow down"}
	})
	out, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")})
	if err != nil {
		t.Fatal(err)
	}
	if got := calls.Load(); got != 3 || out.StopReason != types.StopReasonEndTurn {
		t.Errorf("got %d requests and stop reason %s, want 3 and end_turn", got, out.StopReason)
	}
}

// TestConverse_scripted covers cases 72, 78 and 87: several blocks of every
// kind, an invented stop reason, usage as given, and reasoning that has to come
// back as it was.
func TestConverse_scripted(t *testing.T) {
	srv, client := startBedrock(t)
	first := localaws.ConverseReply{
		Content: []localaws.ContentBlock{
			{Reasoning: &localaws.Reasoning{Text: "They want two sums.", Signature: "c2ln"}},
			{Reasoning: &localaws.Reasoning{Redacted: "\x00hidden"}},
			{Text: "Let me add <that> up."},
			{ToolUse: &localaws.ToolUse{ID: "first.1:a", Name: "add", Input: []byte(`{"a":9007199254740993,"b":1.5,"c":null,"d":{"e":["<>&",1e400]}}`)}},
			{ToolUse: &localaws.ToolUse{Name: "add", Input: []byte(`{}`)}},
		},
		Usage: &localaws.TokenUsage{InputTokens: 10, OutputTokens: 5, CacheReadInputTokens: 7},
	}
	second := localaws.Say("Done.")
	second.StopReason = "tired_of_it"
	srv.SetModel(localaws.Script(first, second))
	records := recordsOf(srv)

	in := &bedrockruntime.ConverseInput{
		ModelId:     aws.String(profile),
		Messages:    userSays("hi"),
		ServiceTier: &types.ServiceTier{Type: types.ServiceTierTypeFlex},
		ToolConfig: &types.ToolConfiguration{Tools: []types.Tool{&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String("add"), InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(map[string]any{"type": "object"})},
		}}}},
	}
	out, err := client.Converse(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if out.StopReason != types.StopReasonToolUse || *out.Usage.InputTokens != 10 || *out.Usage.TotalTokens != 15 || *out.Usage.CacheReadInputTokens != 7 || out.ServiceTier.Type != types.ServiceTierTypeFlex {
		t.Errorf("got %+v, usage %+v", out, out.Usage)
	}
	msg := out.Output.(*types.ConverseOutputMemberMessage).Value
	use := msg.Content[3].(*types.ContentBlockMemberToolUse).Value
	// case 71: the SDK keeps every digit, sorts the members and escapes <, > and
	// &; on the wire the input is as it was scripted.
	input, err := use.Input.MarshalSmithyDocument()
	if want := `{"a":9007199254740993,"b":1.5,"c":null,"d":{"e":["\u003c\u003e\u0026",1e400]}}`; err != nil || string(input) != want {
		t.Errorf("got input %s, %v, want %s", input, err, want)
	}
	if got, want := (<-records).ResponseBody, first.Content[3].ToolUse.Input; !bytes.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
	id := *msg.Content[4].(*types.ContentBlockMemberToolUse).Value.ToolUseId
	if len(id) != len("tooluse_")+22 || !strings.HasPrefix(id, "tooluse_") {
		t.Errorf("got tool use id %q, want tooluse_ and 22 characters", id)
	}

	results := types.Message{Role: types.ConversationRoleUser}
	for _, id := range []string{id, *use.ToolUseId} {
		results.Content = append(results.Content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
			ToolUseId: &id, Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: "4"}},
		}})
	}
	in.Messages = append(in.Messages, msg, results)
	reasoning := msg.Content[0].(*types.ContentBlockMemberReasoningContent).Value.(*types.ReasoningContentBlockMemberReasoningText)
	signature := reasoning.Value.Signature
	for _, changed := range []*string{nil, aws.String("c2lnbmVk")} {
		reasoning.Value.Signature = changed
		var invalid *types.ValidationException
		if _, err := client.Converse(t.Context(), in); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "messages.1.content.0.reasoningContent: the signature is missing or") {
			t.Errorf("got %v, want the signature refused", err)
		}
	}
	reasoning.Value.Signature = signature
	if out, err = client.Converse(t.Context(), in); err != nil || out.StopReason != "tired_of_it" { // case 78
		t.Errorf("got %v, %v, want stop reason tired_of_it", out, err)
	}
	if _, err = client.Converse(t.Context(), in); err == nil || !strings.Contains(err.Error(), "the model's script has 2 replies and this is request 3") {
		t.Errorf("got %v, want the end of the script", err)
	}
}

func TestConverse_latency(t *testing.T) { // cases 80, 144
	srv, client := startBedrock(t)
	asked := make(chan struct{})
	srv.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
		close(asked)
		return localaws.ConverseReply{Latency: time.Hour}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := client.Converse(ctx, &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
