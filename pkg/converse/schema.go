package converse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxFault  = 2000 // bytes of what the model is told of wrong input
	maxFaults = 50   // causes of it that are put into words
)

const unchecked = "The input cannot be checked against the tool's schema."

// check says what is wrong with input, for the model to read; empty: nothing. A
// tool whose schema cannot be compiled takes everything.
func (t *tool) check(input json.RawMessage) (fault string) {
	c := t.checker()
	if c == nil {
		return ""
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(input)) // keeps the digits of numbers
	if err != nil {
		return "The input is not JSON."
	}
	longest := longestNumber(v)
	if longest > maxNumber {
		return unchecked
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps, c.stride = 0, 1+longest/256 // any of them may work a number out
	defer func() {
		if recover() != nil { // it took too many steps
			fault = unchecked
		}
	}()
	var invalid *jsonschema.ValidationError
	if err := c.schema.Validate(v); errors.As(err, &invalid) {
		few(invalid, maxFaults)
		_, causes, _ := strings.Cut(invalid.Error(), "\n") // the first line names our own place for the schema
		return "The input does not fit the tool's schema:\n" + strings.ToValidUTF8(cut(causes, maxFault), "\uFFFD")
	}
	return ""
}

// few leaves at most so many of the innermost causes in e, since each may quote
// the input and the schema. It returns how many more there may be.
func few(e *jsonschema.ValidationError, most int) int {
	if len(e.Causes) == 0 {
		return most - 1
	}
	for i, cause := range e.Causes {
		if most == 0 {
			e.Causes = e.Causes[:i]
			break
		}
		most = few(cause, most)
	}
	return most
}

// noLoader refuses every reference that leaves the schema: a server's schema must
// not make us fetch anything.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// place is where a tool's schema is for the library.
const place = "tool:///input"

// compile compiles the schema of a tool's input; nil when that is not possible.
func compile(raw json.RawMessage) *checker {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	if members, ok := doc.(map[string]any); ok {
		maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil }) // some servers write null for what they have none of
	}
	c := &checker{}
	if c.schema, err = build(doc, c.pattern); err != nil {
		return nil
	}
	if _, ok := c.count(reflect.ValueOf(c.schema), map[*jsonschema.Schema]bool{}); !ok {
		return nil
	}
	return c
}

// build has the library compile a schema. One that names no dialect is of draft
// 2020-12, as MCP says.
func build(doc any, patterns jsonschema.RegexpEngine) (schema *jsonschema.Schema, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the library panicked: %v", v)
		}
	}()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	compiler.UseRegexpEngine(patterns)
	if err := compiler.AddResource(place, doc); err != nil {
		return nil, err
	}
	return compiler.Compile(place)
}
