package converse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// catalogue is the tools of a conversation in the form that Bedrock takes. It
// does not change.
type catalogue struct {
	tools  []Tool
	byName map[string]*tool
	config *types.ToolConfiguration // nil without tools: an empty list is refused
}

// tool is one of them.
type tool struct {
	Tool
	spec    types.Tool
	checker func() *checker // compiled on first use; nil: it cannot be
}

func (t Tool) equal(o Tool) bool {
	return t.Name == o.Name && t.Description == o.Description && bytes.Equal(t.InputSchema, o.InputSchema)
}

// catalogue returns the catalogue of the last conversation if it offered the same
// tools; otherwise a new one, which takes over the tools that are the same.
func (l *Loop) catalogue(offered []Tool) (*catalogue, error) {
	last := l.last.Load()
	if last != nil && slices.EqualFunc(last.tools, offered, Tool.equal) {
		return last, nil
	}
	c := &catalogue{tools: slices.Clone(offered), byName: make(map[string]*tool, len(offered))}
	for _, o := range offered {
		if !validName(o.Name) {
			return nil, fmt.Errorf("tool %.100q: its name is not 1 to %d letters, digits, _ or -", o.Name, maxName)
		}
		if c.byName[o.Name] != nil {
			return nil, fmt.Errorf("tool %s is offered twice", o.Name)
		}
		if last != nil && last.byName[o.Name] != nil && last.byName[o.Name].equal(o) {
			c.byName[o.Name] = last.byName[o.Name]
		} else {
			c.byName[o.Name] = newTool(o)
		}
	}
	c.config = c.configuration(l.cfg.CachePrompt)
	l.last.Store(c)
	return c, nil
}

var cachePoint = types.CachePointBlock{Type: types.CachePointTypeDefault}

func (c *catalogue) configuration(cache bool) *types.ToolConfiguration {
	if len(c.tools) == 0 {
		return nil
	}
	config := &types.ToolConfiguration{}
	for _, t := range c.tools {
		config.Tools = append(config.Tools, c.byName[t.Name].spec)
	}
	if cache {
		config.Tools = append(config.Tools, &types.ToolMemberCachePoint{Value: cachePoint})
	}
	return config
}

func newTool(t Tool) *tool {
	description, schema := t.Description, offeredSchema(t.InputSchema)
	if !acceptable(schema) {
		description += "\nIts input, as JSON Schema: " + cut(string(schema), maxDescribed)
		schema = json.RawMessage(`{"type":"object"}`)
	}
	spec := types.ToolSpecification{
		Name:        aws.String(t.Name),
		InputSchema: &types.ToolInputSchemaMemberJson{Value: rawDocument{raw: schema}},
	}
	if strings.TrimSpace(description) != "" { // an empty one is refused
		spec.Description = aws.String(strings.ToValidUTF8(description, "\uFFFD"))
	}
	return &tool{
		Tool:    t,
		spec:    &types.ToolMemberToolSpec{Value: spec},
		checker: sync.OnceValue(func() *checker { return compile(t.InputSchema) }),
	}
}

// maxDescribed is how many bytes of a schema are put into a description.
const maxDescribed = 8 << 10

// validParameter is what Claude asks of the names of parameters.
// https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/709
var validParameter = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// maxOffered is how many digits a number of a schema may have once its exponent is
// written out: those of float64's, which is what most readers of JSON hold. Of
// longer ones a large schema takes many times as long to look at.
const maxOffered = 340

// acceptable reports whether Claude takes a schema. It takes schemas of draft
// 2020-12 only, whatever dialect they name, and refuses a required parameter that
// is not described. A schema that it refuses would fail every request, even if
// the tool is not used.
// https://github.com/strands-agents/harness-sdk/issues/565
func acceptable(schema json.RawMessage) bool {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil || longestNumber(doc) > maxOffered {
		return false
	}
	members := doc.(map[string]any) // as offeredSchema makes it
	delete(members, "$schema")
	// The library holds a schema against its dialect before it compiles it. What
	// fails after that is no fault of the schema.
	noPatterns := func(string) (jsonschema.Regexp, error) { return nil, errors.New("not compiled") }
	if _, err := build(doc, noPatterns); errors.As(err, new(*jsonschema.SchemaValidationError)) {
		return false
	}
	properties, _ := members["properties"].(map[string]any)
	for name := range properties {
		if !validParameter.MatchString(name) {
			return false
		}
	}
	required, _ := members["required"].([]any)
	return !slices.ContainsFunc(required, func(name any) bool { return properties[name.(string)] == nil })
}

// offeredSchema is a tool's schema as the model is told it: the server's own
// where Bedrock takes that. A schema that Bedrock refuses would fail every
// request, even if the tool is not used. So what it refuses at the top of a
// schema is left out: any type but object, a null, and alternatives. Input is
// still checked against the whole schema.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolInputSchema.html
func offeredSchema(raw json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return json.RawMessage(`{"type":"object"}`)
	}
	fits := string(members["type"]) == `"object"`
	for name, value := range members {
		if slices.Contains([]string{"oneOf", "anyOf", "allOf"}, name) || string(value) == "null" {
			delete(members, name)
			fits = false
		}
	}
	if !fits {
		members["type"] = json.RawMessage(`"object"`)
		raw, _ = json.Marshal(members)
	}
	var compact bytes.Buffer
	json.Compact(&compact, bytes.ToValidUTF8(raw, []byte("\uFFFD")))
	return compact.Bytes()
}

// maxName is how long a tool's name and the id of a tool use may be.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
const maxName = 64

func validName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return !nameCharacter(r) })
}

func nameCharacter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}
