package localaws_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

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
		{"tuple of draft-07", spec(`{"name":"a","inputSchema":{"json":{"type":"object","properties":{"p":{"type":"array","items":[{"type":"number"}]}}}}}`), "inputSchema.json: JSON schema is invalid. It must match JSON Schema draft 2020-12"},
		{"bound of draft-04", spec(`{"name":"a","inputSchema":{"json":{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","properties":{"n":{"minimum":1,"exclusiveMinimum":true}}}}}`), "must match JSON Schema draft 2020-12"},
		{"required on the parameter", spec(`{"name":"a","inputSchema":{"json":{"type":"object","properties":{"n":{"type":"string","required":true}}}}}`), "must match JSON Schema draft 2020-12"},
		{"type that there is not", spec(`{"name":"a","inputSchema":{"json":{"type":"object","properties":{"n":{"type":"float"}}}}}`), "must match JSON Schema draft 2020-12"},
		{"schema of draft-07 that says nothing else", spec(`{"name":"a","inputSchema":{"json":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"n":{"type":["string","null"],"definitions":{}}}}}}`), ""},
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
		{"stop sequences", with(`"inferenceConfig":{"stopSequences":["a"` + strings.Repeat(`,"a"`, 2500) + `]}`), "inferenceConfig.stopSequences: 2501 stop sequences, of which a request may have 2500"},
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

// TestConverse_request sends what no SDK sends but other clients do.
func TestConverse_request(t *testing.T) {
	tests := []struct {
		name   string
		change func(*smithyhttp.Request)
		want   string
	}{
		{"method", func(r *smithyhttp.Request) { r.Method = http.MethodPut }, "UnknownOperationException: Converse is a POST, not a PUT"},
		{"content type", func(r *smithyhttp.Request) { r.Header.Set("Content-Type", "text/plain") }, `ValidationException: Content-Type: want application/json, not "text/plain"`},
		{"slash in the model id", func(r *smithyhttp.Request) { r.URL.Path, r.URL.RawPath = "/model/a/b/converse", "" }, "UnknownOperationException: the model id is one path segment, with / as %2F: /model/a/b/converse"},
		{"percent in the model id", func(r *smithyhttp.Request) { r.URL.Path, r.URL.RawPath = "/model/a%b/converse", "" }, "ValidationException: modelId: the provided model identifier is invalid"},
	}
	_, client := startBedrock(t)
	in := &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("hi")}
	check := func(name, want string, option func(*bedrockruntime.Options)) {
		_, err := client.Converse(t.Context(), in, option)
		var api smithy.APIError
		if !errors.As(err, &api) || !strings.HasPrefix(api.ErrorCode()+": "+api.ErrorMessage(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	for _, tt := range tests {
		check(tt.name, tt.want, changed(func(r *smithyhttp.Request) *smithyhttp.Request { tt.change(r); return r }))
	}
	for _, body := range []string{"", "{", `{"messages":[{"role":"user","content":[{"text":"` + "\xff" + `"}]}]}`} { // case 84
		check(body, "SerializationException: the request body is not JSON in UTF-8", rawBody(body))
	}
	check("list", "ValidationException: : want an object", rawBody("[]"))
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
		{arn + ":inference-profile/" + profile, "ValidationException: modelId: the provided model identifier is invalid: the ARN of kind inference-profile needs an account"},
		{arn + "000000000000:prompt/ABCDEFGHIJ", "ValidationException: modelId: localaws does not implement models of kind prompt"},
		{arn + "000000000000:agent/ABCDEFGHIJ", "ValidationException: modelId: the provided model identifier is invalid: nothing of kind agent"},
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
