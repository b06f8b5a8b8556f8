package converse

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxFault bounds what the model is told of wrong input.
const maxFault = 2000

// check says what is wrong with input, for the model to read; empty: nothing. A
// tool whose schema cannot be compiled takes everything.
func (t *tool) check(input json.RawMessage) (fault string) {
	schema := t.schema()
	if schema == nil {
		return ""
	}
	defer func() {
		// The library has no value for a number whose exponent is beyond a million,
		// and compares with it all the same.
		if recover() != nil {
			fault = "The input cannot be checked against the tool's schema."
		}
	}()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(input)) // keeps the digits of numbers
	if err != nil {
		return "The input is not JSON."
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(v); errors.As(err, &invalid) {
		_, causes, _ := strings.Cut(invalid.Error(), "\n") // the first line names our own place for the schema
		return "The input does not fit the tool's schema:\n" + strings.ToValidUTF8(cut(causes, maxFault), "\uFFFD")
	}
	return ""
}

// noLoader refuses every reference out of a schema: a server's schema must not
// make us fetch anything.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// compile compiles the schema of a tool's input; nil when that is not possible.
// A schema that names no dialect is of 2020-12, as MCP says.
func compile(raw json.RawMessage) (schema *jsonschema.Schema) {
	defer func() {
		if recover() != nil {
			schema = nil
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	if members, ok := doc.(map[string]any); ok {
		maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil }) // some servers write null for what they have none of
	}
	const place = "tool:///input"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if c.AddResource(place, doc) != nil {
		return nil
	}
	if schema, err = c.Compile(place); err != nil {
		return nil
	}
	return schema
}
