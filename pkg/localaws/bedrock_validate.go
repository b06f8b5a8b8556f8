package localaws

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// toolConfig reads the tools and the tool choice.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html
func (d *converseReader) toolConfig(v value, req *ConverseRequest) {
	m := d.object(v, toolConfigShape)
	seen := map[string]bool{}
	for _, v := range d.list(m["tools"]) {
		switch name, v := d.union(v, toolUnion); name {
		case "cachePoint":
			d.cachePoint(v)
		case "toolSpec":
			t := d.toolSpec(v)
			if seen[t.Name] {
				d.failf(v, "the tool name %s is there twice; tool names must be unique", t.Name)
			}
			seen[t.Name] = true
			req.Tools = append(req.Tools, t)
		}
	}
	if v.json != nil && len(req.Tools) == 0 {
		d.failf(value{path: "toolConfig.tools"}, "want at least one toolSpec; leave toolConfig out when there are no tools")
	}
	// Limits of strict tools on Bedrock.
	// https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
	if d.strictTools > 20 {
		d.failf(m["tools"], "%d strict tools, of which a request may have 20", d.strictTools)
	}
	if d.optional > 24 {
		d.failf(m["tools"], "the strict tools have %d optional parameters, of which a request may have 24", d.optional)
	}
	if m["toolChoice"].json == nil {
		return
	}
	var choice value
	req.ToolChoice, choice = d.union(m["toolChoice"], toolChoiceUnion)
	if req.ToolChoice != "tool" {
		d.object(choice, emptyShape)
		return
	}
	if name := d.text(d.object(choice, namedShape)["name"]); !seen[name] {
		d.failf(choice, "no tool is called %.80q", name)
	}
}

func (d *converseReader) toolSpec(v value) ToolSpec {
	m := d.object(v, toolSpecShape)
	t := ToolSpec{Name: d.matching(m["name"], 64, validToolName), Description: d.written(m["description"])}
	strict := d.boolean(m["strict"])
	if m["inputSchema"].json == nil {
		return t
	}
	_, schema := d.union(m["inputSchema"], schemaUnion)
	t.InputSchema = d.document(schema)
	d.inputSchema(schema, strict)
	return t
}

// Claude accepts only such parameter names.
var validParameter = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// draft2020 is the metaschema that Claude checks a tool's schema against,
// whatever dialect the schema names. One tool that does not conform fails the
// whole request.
// https://github.com/acomagu/vscode-as-mcp-server/issues/6 and
// https://github.com/strands-agents/harness-sdk/issues/565 quote the message.
var draft2020 = sync.OnceValue(func() *jsonschema.Schema {
	return jsonschema.NewCompiler().MustCompile("https://json-schema.org/draft/2020-12/schema") // embedded in the library
})

// isSchema reports whether raw is a schema of draft 2020-12. It remembers its
// answers, because every request of a conversation has the same tools.
func (b *bedrockRuntime) isSchema(raw json.RawMessage) bool {
	sum := sha256.Sum256(raw)
	b.mu.Lock()
	is, known := b.schemas.get(sum)
	b.mu.Unlock()
	if known {
		return is
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	is = err == nil && draft2020().Validate(doc) == nil
	b.mu.Lock()
	defer b.mu.Unlock()
	b.schemas.put(sum, is)
	return is
}

// inputSchema checks what Bedrock and Claude require of the schema of a tool's
// input. It does not resolve references.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolInputSchema.html
func (d *converseReader) inputSchema(v value, strict bool) {
	_, schema := d.members(v)
	if v.json == nil || d.fault != nil {
		return
	}
	if d.text(schema["type"]) != "object" {
		d.failf(value{path: v.path + ".type"}, "the type at the top of a schema must be object")
	}
	for _, word := range []string{"oneOf", "anyOf", "allOf"} {
		if _, ok := schema[word]; ok {
			d.failf(schema[word], "a schema may not have %s at its top", word)
		}
	}
	names, properties := d.members(schema["properties"])
	for _, name := range names {
		if !validParameter.MatchString(name) {
			d.failf(properties[name], "want a parameter name matching %s", validParameter)
		}
	}
	required := map[string]bool{}
	for _, v := range d.list(schema["required"]) {
		name := d.text(v)
		if _, ok := properties[name]; !ok {
			d.failf(v, "the required parameter %.80q is not among the properties", name)
		}
		required[name] = true
	}
	if !d.bedrock.isSchema(v.json) {
		d.failf(v, "JSON schema is invalid. It must match JSON Schema draft 2020-12")
	}
	if strict {
		d.strictTools++
		d.optional += len(names) - len(required)
		d.strictSchema(v)
	}
}

// strictSchema checks that v and every schema in it use only the part of JSON
// Schema that strict tools allow.
// https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
func (d *converseReader) strictSchema(v value) {
	if v.json == nil || v.json[0] != '{' {
		return
	}
	_, schema := d.members(v)
	for _, word := range []string{"oneOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"} {
		if _, ok := schema[word]; ok {
			d.failf(schema[word], "a strict tool may not have %s", word)
		}
	}
	if string(schema["type"].json) == `"object"` && string(schema["additionalProperties"].json) != "false" {
		d.failf(v, "an object of a strict tool needs additionalProperties false")
	}
	for _, word := range []string{"properties", "$defs", "definitions"} {
		_, inner := d.members(schema[word])
		for _, name := range slices.Sorted(maps.Keys(inner)) {
			d.strictSchema(inner[name])
		}
	}
	d.strictSchema(schema["items"])
	for _, word := range []string{"anyOf", "allOf"} {
		for _, v := range d.list(schema[word]) {
			d.strictSchema(v)
		}
	}
}

// checkConversation checks how the messages must follow on each other.
// https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html
func checkConversation(req ConverseRequest) *apiError {
	if len(req.Messages) == 0 {
		return invalidf("messages", "a conversation needs at least one message")
	}
	var open []string // ids that the last message asked for
	used := map[string]bool{}
	for i, m := range req.Messages {
		at := fmt.Sprintf("messages.%d", i)
		if want := []string{"user", "assistant"}[i%2]; m.Role != want {
			if i == 0 {
				return invalidf(at, "a conversation must start with a user message")
			}
			return invalidf(at, "a conversation must alternate between user and assistant; want %s, not %s", want, m.Role)
		}
		if bad := checkPlaces(at, m); bad != nil {
			return bad
		}
		var bad *apiError
		if open, bad = checkPairing(at, m, open, used); bad != nil {
			return bad
		}
		if len(used) > 0 && req.Tools == nil {
			return invalidf(at, "the toolConfig member must be there when the messages have toolUse or toolResult blocks")
		}
	}
	// Newer Claude models accept no beginning of their own answer (prefill).
	// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
	if last := len(req.Messages) - 1; req.Messages[last].Role != "user" {
		return invalidf(fmt.Sprintf("messages.%d", last), "the conversation must end with a user message")
	}
	return nil
}

// checkPlaces checks that a message has only blocks that its role may send, and
// that tool results come before everything else.
func checkPlaces(at string, m ConverseMessage) *apiError {
	text := false
	for j, b := range m.Content {
		at := fmt.Sprintf("%s.content.%d", at, j)
		switch {
		case m.Role == "user" && b.ToolUse != nil:
			return invalidf(at, "a toolUse block can only be in an assistant message")
		case m.Role == "user" && b.Reasoning != nil:
			return invalidf(at, "a reasoningContent block can only be in an assistant message")
		case m.Role == "assistant" && b.ToolResult != nil:
			return invalidf(at, "a toolResult block can only be in a user message")
		case b.ToolResult != nil && text:
			return invalidf(at, "toolResult blocks come before the text of a message")
		}
		text = text || b.ToolUse == nil && b.ToolResult == nil && b.Reasoning == nil
	}
	return nil
}

// checkPairing checks that a message answers exactly the open tool uses, and
// returns the tool uses that it opens. It adds their ids to used, because no two
// tool uses of a conversation may share an id.
func checkPairing(at string, m ConverseMessage, open []string, used map[string]bool) ([]string, *apiError) {
	var asks []string
	for j, b := range m.Content {
		switch {
		case b.ToolUse != nil:
			if used[b.ToolUse.ID] {
				return nil, invalidf(fmt.Sprintf("%s.content.%d.toolUse.toolUseId", at, j), "the id %s is there twice; the ids of tool uses must be unique", b.ToolUse.ID)
			}
			used[b.ToolUse.ID] = true
			asks = append(asks, b.ToolUse.ID)
		case b.ToolResult != nil:
			i := slices.Index(open, b.ToolResult.ID)
			if i < 0 {
				return nil, invalidf(fmt.Sprintf("%s.content.%d.toolResult", at, j), "the previous message has no toolUse %s that is still without a result", b.ToolResult.ID)
			}
			open = slices.Delete(open, i, i+1)
		}
	}
	if len(open) > 0 {
		return nil, invalidf(at+".content", "expected toolResult blocks for the ids %s", strings.Join(open, ", "))
	}
	return asks, nil
}

// parameters lists the names of a tool's parameters: the required ones first,
// then the others in the order of the schema.
func (t ToolSpec) parameters() []string {
	var schema struct {
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
	}
	json.Unmarshal(t.InputSchema, &schema)
	names, _ := new(shapeReader).members(value{json: schema.Properties})
	for _, name := range names {
		if !slices.Contains(schema.Required, name) {
			schema.Required = append(schema.Required, name)
		}
	}
	return schema.Required
}
