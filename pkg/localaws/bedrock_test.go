package localaws_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const profile = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

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
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	})
	return srv, client
}

func userSays(text string) []types.Message {
	return []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: text}}}}
}

// rawBody has the client send body, signed, instead of what it would serialize.
func rawBody(body string) func(*bedrockruntime.Options) {
	return bedrockruntime.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Serialize.Add(middleware.SerializeMiddlewareFunc("rawBody", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
			req, err := in.Request.(*smithyhttp.Request).SetStream(strings.NewReader(body))
			if err != nil {
				return middleware.SerializeOutput{}, middleware.Metadata{}, err
			}
			in.Request = req
			return next.HandleSerialize(ctx, in)
		}), middleware.After)
	})
}

func TestConverse_validation(t *testing.T) {
	const (
		hi     = `{"role":"user","content":[{"text":"hi"}]}`
		tool   = `{"toolSpec":{"name":"add_numbers","inputSchema":{"json":{"type":"object"}}}}`
		tools  = `"toolConfig":{"tools":[` + tool + `]}`
		use    = `{"role":"assistant","content":[{"toolUse":{"toolUseId":"t1","name":"add_numbers","input":{}}}]}`
		result = `{"toolResult":{"toolUseId":"t1","content":[{"text":"4"}]}}`
	)
	messages := func(m ...string) string { return `"messages":[` + strings.Join(m, ",") + `]` }
	user := func(blocks ...string) string {
		return `{"role":"user","content":[` + strings.Join(blocks, ",") + `]}`
	}
	spec := func(s string) string { return messages(hi) + `,"toolConfig":{"tools":[{"toolSpec":` + s + `}]}` }
	with := func(member string) string { return messages(hi) + "," + member }
	long := strings.Repeat("x", 65)

	tests := []struct{ name, body, want string }{ // an empty want: accepted
		{"plain", messages(hi), ""},
		{"no messages member", ``, "the member messages is required"},
		{"no messages", `"messages":[]`, "messages: a conversation needs at least one message"},
		{"messages of another type", `"messages":"hi"`, "messages: want a list"},
		{"null", `"messages":null`, "messages: want a list, not null"},
		{"not an object", `"messages":[1]`, "messages.0: want an object"},
		{"assistant first", messages(`{"role":"assistant","content":[{"text":"x"}]}`), "messages.0: a conversation must start with a user message"},
		{"two users", messages(hi, hi), "messages.1: a conversation must alternate"},
		{"assistant last", messages(hi, `{"role":"assistant","content":[{"text":"x"}]}`), "must end with a user message"},
		{"invented role", messages(`{"role":"tool","content":[{"text":"x"}]}`), "messages.0.role: want user or assistant"},
		{"system role", messages(`{"role":"system","content":[{"text":"x"}]}`), "localaws does not implement messages of the role system"},
		{"empty content", messages(user()), "messages.0: the content is empty"}, // case 84
		{"only a cache point", messages(user(`{"cachePoint":{"type":"default"}}`)), "messages.0: the content is empty"},
		{"blank text", messages(user(`{"text":" \n"}`)), "messages.0.content.0.text: the text is blank"}, // case 84
		{"two members in a union", messages(user(`{"text":"a","cachePoint":{"type":"default"}}`)), "messages.0.content.0: want exactly one of"},
		{"image", messages(user(`{"image":{"format":"png"}}`)), "messages.0.content.0.image: localaws does not implement this member"},
		{"unknown block", messages(user(`{"picture":{}}`)), "messages.0.content.0.picture: the API has no such member"},
		{"unknown member", with(`"max_tokens":5`), "max_tokens: the API has no such member"},
		{"wrong case of a member", `"Messages":[]`, "Messages: the API has no such member"},
		{"member twice", messages(hi) + "," + messages(hi), "messages: the member is there twice"},
		{"unimplemented member", with(`"promptVariables":{}`), "promptVariables: localaws does not implement this member"},
		{"unimplemented inner member", with(`"outputConfig":{"textFormat":{}}`), "outputConfig.textFormat: localaws does not implement"},

		{"tool", with(tools), ""},
		{"no tools", with(`"toolConfig":{"tools":[]}`), "toolConfig.tools: want at least one toolSpec"},
		{"system tool", with(`"toolConfig":{"tools":[{"systemTool":{"name":"x"}}]}`), "toolConfig.tools.0.systemTool: localaws does not implement"},
		{"tool twice", with(`"toolConfig":{"tools":[` + tool + `,` + tool + `]}`), "toolConfig.tools.1.toolSpec: the tool name add_numbers is there twice"}, // case 82
		{"dot in a tool name", spec(`{"name":"a.b","inputSchema":{"json":{"type":"object"}}}`), "toolConfig.tools.0.toolSpec.name: want 1 to 64 characters"},
		{"long tool name", spec(`{"name":"` + long + `","inputSchema":{"json":{"type":"object"}}}`), "toolSpec.name: want 1 to 64 characters"},
		{"empty tool name", spec(`{"name":"","inputSchema":{"json":{"type":"object"}}}`), "toolSpec.name: want 1 to 64 characters"},
		{"empty description", spec(`{"name":"a","description":"","inputSchema":{"json":{"type":"object"}}}`), "toolSpec.description: the text is blank"},
		{"no schema", spec(`{"name":"a"}`), "toolConfig.tools.0.toolSpec: the member inputSchema is required"},
		{"schema of bytes", spec(`{"name":"a","inputSchema":{"json":[123,125]}}`), "inputSchema.json: the format is invalid; provide a JSON object"},
		{"schema as text", spec(`{"name":"a","inputSchema":{"json":"{}"}}`), "inputSchema.json: the format is invalid"},
		{"schema without type", spec(`{"name":"a","inputSchema":{"json":{}}}`), "inputSchema.json.type: the type at the top of a schema must be object"},
		{"schema of another type", spec(`{"name":"a","inputSchema":{"json":{"type":"string"}}}`), "must be object"},
		{"null required", spec(`{"name":"a","inputSchema":{"json":{"type":"object","required":null}}}`), "required: want a list, not null"},
		{"required but unknown", spec(`{"name":"a","inputSchema":{"json":{"type":"object","required":["b"]}}}`), `the required parameter "b" is not among the properties`},
		{"parameter name", spec(`{"name":"a","inputSchema":{"json":{"type":"object","properties":{"a b":{}}}}}`), "want a parameter name matching"},
		{"oneOf at the top", spec(`{"name":"a","inputSchema":{"json":{"type":"object","oneOf":[]}}}`), "may not have oneOf at its top"},
		{"strict", spec(`{"name":"a","strict":true,"inputSchema":{"json":{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}}}`), ""},
		{"strict with a bound", spec(`{"name":"a","strict":true,"inputSchema":{"json":{"type":"object","properties":{"n":{"minimum":1}},"additionalProperties":false}}}`), "properties.n.minimum: a strict tool may not have minimum"},
		{"strict but open", spec(`{"name":"a","strict":true,"inputSchema":{"json":{"type":"object"}}}`), "needs additionalProperties false"},
		{"choice of no tool", with(`"toolConfig":{"tools":[` + tool + `],"toolChoice":{"tool":{"name":"x"}}}`), `toolConfig.toolChoice.tool: no tool is called "x"`},
		{"choice that only scripts have", with(`"toolConfig":{"tools":[` + tool + `],"toolChoice":{"any":{}}}`), "toolChoice.any: localaws implements it for scripted models only"},

		{"tool result", messages(hi, use, user(result)) + "," + tools, ""},
		{"tool result and text", messages(hi, use, user(result, `{"text":"answer now"}`)) + "," + tools, ""},
		{"text before the tool result", messages(hi, use, user(`{"text":"x"}`, result)) + "," + tools, "toolResult blocks come before the text"},
		{"no tool configuration", messages(hi, use, user(result)), "the toolConfig member must be there"}, // case 76
		{"no result", messages(hi, use, hi) + "," + tools, "messages.2.content: expected toolResult blocks for the ids t1"},
		{"result that nobody asked for", messages(user(result)) + "," + tools, "messages.0.content.0.toolResult: the previous message has no toolUse t1"},
		{"result twice", messages(hi, use, user(result, result)) + "," + tools, "messages.2.content.1.toolResult: the previous message has no toolUse t1"},
		{"result in the wrong message", messages(hi, `{"role":"assistant","content":[`+result+`]}`, hi) + "," + tools, "a toolResult block can only be in a user message"},
		{"use in the wrong message", messages(user(`{"toolUse":{"toolUseId":"t1","name":"a","input":{}}}`)) + "," + tools, "a toolUse block can only be in an assistant message"},
		{"use without a result at the end", messages(hi, use) + "," + tools, "must end with a user message"},
		{"id used again", messages(hi, use, user(result), use, user(result)) + "," + tools, "messages.3.content.0.toolUse.toolUseId: the id t1 is there twice"},
		{"empty result", messages(hi, use, user(`{"toolResult":{"toolUseId":"t1","content":[]}}`)) + "," + tools, "the content of the tool result is empty"},                                                            // case 74
		{"empty error", messages(hi, use, user(`{"toolResult":{"toolUseId":"t1","status":"error","content":[{"text":""}]}}`)) + "," + tools, "toolResult.content.0.text: the text is blank"},                            // case 74
		{"result of an array", messages(hi, use, user(`{"toolResult":{"toolUseId":"t1","content":[{"json":[1]}]}}`)) + "," + tools, "toolResult.content.0.json: the format is invalid; provide a JSON object, not [1]"}, // case 74
		{"result status", messages(hi, use, user(`{"toolResult":{"toolUseId":"t1","status":"failed","content":[{"text":"x"}]}}`)) + "," + tools, "status: want one of success, error"},
		{"result id", messages(hi, use, user(`{"toolResult":{"toolUseId":"","content":[{"text":"x"}]}}`)) + "," + tools, "toolUseId: want 1 to 64 characters"},                                                         // case 75
		{"use id", messages(hi, strings.Replace(use, "t1", long, 1), user(result)) + "," + tools, "toolUse.toolUseId: want 1 to 64 characters"},                                                                        // case 75
		{"use input", messages(hi, strings.Replace(use, `"input":{}`, `"input":"{}"`, 1), user(result)) + "," + tools, "messages.1.content.0.toolUse.input: the format is invalid; provide a JSON object, not \"{}\""}, // case 75
		{"reasoning never given", messages(hi, `{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"so"}}},{"text":"x"}]}`, hi), "this is not reasoning that the model has given"},            // case 87

		{"inference", with(`"inferenceConfig":{"maxTokens":512,"temperature":0.5,"stopSequences":["END"]}`), ""},
		{"maxTokens", with(`"inferenceConfig":{"maxTokens":0}`), "inferenceConfig.maxTokens: want a whole number of at least 1, not 0"},
		{"fraction of maxTokens", with(`"inferenceConfig":{"maxTokens":1.5}`), "want a whole number of at least 1, not 1.5"},
		{"temperature", with(`"inferenceConfig":{"temperature":1.1}`), "inferenceConfig.temperature: want a number from 0 to 1, not 1.1"},
		{"topP", with(`"inferenceConfig":{"topP":-1}`), "inferenceConfig.topP: want a number from 0 to 1, not -1"},
		{"temperature and topP", with(`"inferenceConfig":{"temperature":0,"topP":1}`), "cannot both be specified"},
		{"blank stop sequence", with(`"inferenceConfig":{"stopSequences":[""]}`), "stopSequences.0: the text is blank"},

		{"settings", with(`"system":[{"text":"be brief"},{"cachePoint":{"type":"default","ttl":"1h"}}],"serviceTier":{"type":"flex"},"performanceConfig":{"latency":"optimized"},"guardrailConfig":{"guardrailIdentifier":"abc123","guardrailVersion":"DRAFT","trace":"enabled"},"additionalModelRequestFields":{"top_k":5},"additionalModelResponseFieldPaths":["/stop_sequence"],"requestMetadata":{"team":"a"},"outputConfig":{"effort":"low"}`), ""},
		{"service tier", with(`"serviceTier":{"type":"gold"}`), "serviceTier.type: want one of reserved, priority, default, flex"},
		{"latency", with(`"performanceConfig":{"latency":"fast"}`), "performanceConfig.latency: want one of standard, optimized"},
		{"guardrail without version", with(`"guardrailConfig":{"guardrailIdentifier":"abc123"}`), "guardrailConfig: the member guardrailVersion is required"},
		{"guardrail version", with(`"guardrailConfig":{"guardrailIdentifier":"abc123","guardrailVersion":"latest"}`), "guardrailConfig.guardrailVersion: want"},
		{"guardrail stream mode outside a stream", with(`"guardrailConfig":{"guardrailIdentifier":"a","guardrailVersion":"1","streamProcessingMode":"sync"}`), "streamProcessingMode: the API has no such member"},
		{"blank system", with(`"system":[{"text":""}]`), "system.0.text: the text is blank"},
		{"additional fields", with(`"additionalModelRequestFields":[1]`), "additionalModelRequestFields: the format is invalid"},
		{"pointer", with(`"additionalModelResponseFieldPaths":["stop"]`), "additionalModelResponseFieldPaths.0: want"},
		{"metadata", with(`"requestMetadata":{"a!":"b"}`), "requestMetadata.a!: want"},
		{"effort", with(`"outputConfig":{"effort":"some"}`), "outputConfig.effort: want one of low"},
		{"cache point type", with(`"system":[{"cachePoint":{"type":"long"}}]`), "system.0.cachePoint.type: want one of default"},
		{"cache order", with(`"system":[{"cachePoint":{"type":"default"}},{"cachePoint":{"type":"default","ttl":"1h"}}]`), "system.1.cachePoint.ttl: a cache point of 1h comes after one of 5m"},
		{"cache points", with(`"system":[` + strings.Repeat(`{"cachePoint":{"type":"default"}},`, 4) + `{"cachePoint":{"type":"default"}}]`), "5 cache points, of which a request may have 4"},
	}
	_, client := startBedrock(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile)}, rawBody("{"+tt.body+"}"))
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			var invalid *types.ValidationException
			if !errors.As(err, &invalid) || !strings.Contains(invalid.ErrorMessage(), tt.want) {
				t.Errorf("got %v, want a ValidationException saying %q", err, tt.want)
			}
		})
	}
}

func TestConverse_modelID(t *testing.T) {
	arn := "arn:aws:bedrock:eu-central-1:"
	tests := []struct{ id, want string }{
		{profile, ""},
		{"amazon.nova-lite-v1:0", ""},
		{"global.amazon.nova-2-lite-v1:0", ""},
		{"anthropic.claude-3-haiku-20240307-v1:0", ""},
		{arn + "000000000000:inference-profile/" + profile, ""},
		{arn + ":foundation-model/amazon.nova-lite-v1:0", ""},
		{"anthropic.claude-sonnet-4-5-20250929-v1:0", "ValidationException: modelId: invocation of anthropic.claude-sonnet-4-5-20250929-v1:0 with on-demand throughput"},
		{"de.anthropic.claude-3-haiku-20240307-v1:0", "ValidationException: modelId: the provided model identifier is invalid"},
		{"claude", "ValidationException: modelId: the provided model identifier is invalid"},
		{"Amazon.Nova", "ValidationException: modelId: the provided model identifier is invalid"},
		{"eu.amazon.does-not-exist-v1:0", "ValidationException: modelId: the provided model identifier is invalid"},
		{arn + "000000000000:inference-profile/eu.amazon.does-not-exist-v1:0", "ResourceNotFoundException: the specified resource ARN was not found"},
		{"arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0", "ValidationException: modelId: the provided model identifier is invalid: the ARN is of region us-east-1"},
		{arn + ":inference-profile/" + profile, "ValidationException: modelId: the provided model identifier is invalid: the ARN of a inference-profile has an account"},
		{arn + "000000000000:prompt/ABCDEFGHIJ", "ValidationException: modelId: localaws does not implement a prompt"},
		{arn + "000000000000:agent/ABCDEFGHIJ", "ValidationException: modelId: the provided model identifier is invalid: a agent"},
	}
	_, client := startBedrock(t)
	for _, tt := range tests {
		_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(tt.id), Messages: userSays("hi")})
		var api smithy.APIError
		switch {
		case tt.want == "":
			if err != nil {
				t.Errorf("%s: got %v, want no error", tt.id, err)
			}
		case !errors.As(err, &api) || !strings.HasPrefix(api.ErrorCode()+": "+api.ErrorMessage(), tt.want):
			t.Errorf("%s: got %v, want %s", tt.id, err, tt.want)
		}
	}
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
		before := len(srv.Records())
		srv.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
			return localaws.ConverseReply{Error: &localaws.ConverseError{Type: tt.typ, Message: "as scripted"}}
		})
		_, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != tt.typ || api.ErrorMessage() != "as scripted" {
			t.Errorf("got %v, want %s: as scripted", err, tt.typ)
		}
		if got := len(srv.Records()) - before; got != tt.calls {
			t.Errorf("%s: got %d calls, want %d", tt.typ, got, tt.calls)
		}
		if _, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("hi")}); !errors.As(err, &api) || api.ErrorCode() != tt.typ {
			t.Errorf("stream: got %v, want %s", err, tt.typ)
		}
	}
}

func TestConverse_throttledByFault(t *testing.T) { // cases 79, 144
	srv, client := startBedrock(t)
	left := 2
	srv.SetFault(func(rec localaws.Record) *localaws.Fault {
		if rec.Operation != "Converse" || left == 0 {
			return nil
		}
		left--
		return &localaws.Fault{Status: http.StatusTooManyRequests, Type: "ThrottlingException", Message: "slow down"}
	})
	out, err := client.Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(srv.Records()), 3; got != want || out.StopReason != types.StopReasonEndTurn {
		t.Errorf("got %d requests and stop reason %s, want %d and end_turn", got, out.StopReason, want)
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
	if want := first.Content[3].ToolUse.Input; !bytes.Contains(srv.Records()[0].ResponseBody, want) {
		t.Errorf("got %s, want %s in it", srv.Records()[0].ResponseBody, want)
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

// collect puts a stream together again, and tells what ended it.
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

// flatten writes blocks of Converse as collect writes those of a stream.
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
	out, err := client.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String(profile), Messages: userSays("What is 2+2?"), ToolConfig: mathTools("")})
	if err != nil {
		t.Fatal(err)
	}
	collect(t, out)
	rec := srv.Records()[0]
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
			before := len(srv.Records())
			reply := localaws.Say("partial")
			reply.Error = &tt.fail
			srv.SetModel(localaws.Script(reply))
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
			if got := len(srv.Records()) - before; got > 1 {
				t.Errorf("got %d requests, want 1: a stream that has begun is not retried", got)
			}
		})
	}
}
