package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// callTool calls one tool that says it only reads, if there is one whose
// arguments can be made up from its schema.
func (e *exam) callTool(ctx context.Context, tools []tool) Check {
	reason := "no tool says that it only reads (readOnlyHint), and no other may be tried"
	for _, t := range tools {
		if !t.Annotations.ReadOnly {
			continue
		}
		input, ok := sample(t.InputSchema, 0)
		if !ok {
			reason = "no arguments can be made up for the tools that only read"
			continue
		}
		return e.call(ctx, t, input)
	}
	return skip(reason)
}

func (e *exam) call(ctx context.Context, t tool, input any) Check {
	c := Check{Status: Fail, Expected: "a result of tool " + clean(t.Name), Next: e.logs()}
	a, err := e.server.ask(ctx, "tools/call", map[string]any{"name": t.Name, "arguments": input})
	if err != nil {
		c.Found, c.Cause = e.network(err)
		return c
	}
	if a.result == nil {
		return e.refused(c, a)
	}
	var result struct {
		IsError bool `json:"isError"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	json.Unmarshal(a.result, &result)
	text := ""
	if len(result.Content) > 0 {
		text = e.clean(result.Content[0].Text)
	}
	sent, _ := json.Marshal(input)
	if result.IsError { // the arguments were made up, so a refusal is an answer too
		return pass(clean(fmt.Sprintf("%s(%s) was run and refused its arguments: %s", t.Name, sent, text)))
	}
	return pass(clean(fmt.Sprintf("%s(%s) = %s", t.Name, sent, text)))
}

// sample makes up a value for a schema in simple cases: a value that the schema
// offers, or the smallest that its type allows. It does not attempt patterns and
// formats.
func sample(schema json.RawMessage, depth int) (any, bool) {
	var s struct {
		Type       any                        `json:"type"`
		Default    *json.RawMessage           `json:"default"`
		Const      *json.RawMessage           `json:"const"`
		Enum       []json.RawMessage          `json:"enum"`
		Examples   []json.RawMessage          `json:"examples"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
		Minimum    *float64                   `json:"minimum"`
		Above      json.RawMessage            `json:"exclusiveMinimum"`
		Multiple   json.RawMessage            `json:"multipleOf"`
		MinLength  int                        `json:"minLength"`
		MinItems   int                        `json:"minItems"`
		Pattern    string                     `json:"pattern"`
		Format     string                     `json:"format"`
	}
	if json.Unmarshal(schema, &s) != nil || depth > 8 {
		return nil, false
	}
	for _, v := range []*json.RawMessage{s.Const, s.Default} {
		if v != nil {
			return *v, true
		}
	}
	if offered := slices.Concat(s.Examples, s.Enum); len(offered) > 0 {
		return offered[0], true
	}
	switch s.Type {
	case "object":
		object := map[string]any{}
		for _, name := range s.Required {
			if _, done := object[name]; done {
				continue // a name repeated on each level would take forever
			}
			v, ok := sample(s.Properties[name], depth+1)
			if !ok {
				return nil, false
			}
			object[name] = v
		}
		return object, true
	case "integer", "number":
		n := 1.0
		if s.Minimum != nil {
			n = max(n, *s.Minimum)
		}
		return n, s.Above == nil && s.Multiple == nil && n == float64(int64(n))
	case "string":
		const most = 100
		return strings.Repeat("a", min(max(1, s.MinLength), most)), s.Pattern == "" && s.Format == "" && s.MinLength <= most
	case "boolean":
		return false, true
	case "array":
		return []any{}, s.MinItems == 0
	}
	return nil, false
}

// examineModel asks the model for one token if cfg.Model is set, since that
// costs.
func (e *exam) examineModel(ctx context.Context) {
	if e.cfg.Model == "" {
		e.step("model", func() Check {
			id := "MODEL"
			if e.stack != nil && e.stack.Parameters["BedrockModelId"] != "" {
				id = e.stack.Parameters["BedrockModelId"]
			}
			return skip("it costs a request: " + e.advice.mcpauth("doctor", "--model", id))
		}, "aws.identity")
		return
	}
	e.step("model", func() Check { return e.askModel(ctx) }, "aws.identity")
}

func (e *exam) askModel(ctx context.Context) Check {
	id := e.cfg.Model
	c := Check{Status: Fail, Expected: "an answer of " + clean(id) + " in " + e.cfg.AWS.Region}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	_, err := bedrockruntime.NewFromConfig(e.cfg.AWS).Converse(ctx, &bedrockruntime.ConverseInput{
		ModelId:         &id,
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(1)},
		Messages: []types.Message{{
			Role:    types.ConversationRoleUser,
			Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "Hello."}},
		}},
	})
	if err == nil {
		return pass(clean(id) + " answers you; whether the agent's own role may ask it cannot be tried from here")
	}
	c.Found = e.refusal(err)
	code, message := apiError(err)
	switch {
	case isDenied(code) && strings.Contains(message, "bedrock:"):
		c.Cause, c.Next = denial(message, "bedrock:InvokeModel is missing"), e.allow("bedrock:InvokeModel", "*")
	case isDenied(code):
		c.Cause = "no access to the model in this account: its provider's form has not been sent, or the first caller had no rights on AWS Marketplace"
		c.Next = e.advice.aws("", "bedrock", "get-foundation-model-availability", "--model-id", foundation(id))
	case isThrottle(code), errors.As(err, new(*types.ModelNotReadyException)):
		c.Status = Warn
		c.Cause, c.Next = "the model may be asked, and is overloaded or out of quota at the moment", e.advice.mcpauth("doctor", "--model", id)
	case strings.Contains(message, "on-demand throughput"):
		c.Cause = "the model can be used through an inference profile only"
		c.Next = e.advice.aws("", "bedrock", "list-inference-profiles", "--query", "inferenceProfileSummaries[?contains(inferenceProfileId,'"+foundation(id)+"')].inferenceProfileId")
	case code == "ValidationException", code == "ResourceNotFoundException":
		c.Cause = "no model or inference profile of that id is in the region"
		c.Next = e.advice.profiles()
	case code == "":
		c.Found, c.Cause = e.network(err)
		c.Next = e.advice.mcpauth("doctor", "--model", id)
	default:
		c.Cause, c.Next = "Bedrock failed", e.advice.mcpauth("doctor", "--model", id)
	}
	return c
}

// foundation returns the model that a profile routes to: the same id without the
// geography.
func foundation(id string) string {
	if before, after, ok := strings.Cut(id, "."); ok && slices.Contains([]string{"us", "eu", "apac", "jp", "au", "ca", "global", "us-gov"}, before) {
		return after
	}
	return id
}
