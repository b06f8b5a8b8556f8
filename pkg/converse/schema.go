package converse

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxFault = 2000   // bytes of what the model is told of wrong input
	maxSteps = 50_000 // of one check; 1,000 objects of ten members take 11,000
)

// checker is a schema with a bound on the steps of a check. References let a
// schema of a few lines apply its parts more often than anybody can wait for, and
// the library cannot be stopped from outside.
type checker struct {
	schema *jsonschema.Schema

	mu    sync.Mutex // held by a check
	steps int        // that it has taken
}

// check says what is wrong with input, for the model to read; empty: nothing. A
// tool whose schema cannot be compiled takes everything.
func (t *tool) check(input json.RawMessage) (fault string) {
	c := t.checker()
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = 0
	defer func() {
		// It took too many steps, or the library panicked on a number whose
		// exponent is beyond a million.
		if recover() != nil {
			fault = "The input cannot be checked against the tool's schema."
		}
	}()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(input)) // keeps the digits of numbers
	if err != nil {
		return "The input is not JSON."
	}
	var invalid *jsonschema.ValidationError
	if err := c.schema.Validate(v); errors.As(err, &invalid) {
		_, causes, _ := strings.Cut(invalid.Error(), "\n") // the first line names our own place for the schema
		return "The input does not fit the tool's schema:\n" + strings.ToValidUTF8(cut(causes, maxFault), "\uFFFD")
	}
	return ""
}

// noLoader refuses every reference that leaves the schema: a server's schema must
// not make us fetch anything.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// place is the library's name for a tool's schema.
const place = "tool:///input"

// compile compiles the schema of a tool's input; nil when that is not possible.
// A schema that names no dialect is of 2020-12, as MCP says.
func compile(raw json.RawMessage) (c *checker) {
	defer func() {
		if recover() != nil {
			c = nil
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	if members, ok := doc.(map[string]any); ok {
		maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil }) // some servers write null for what they have none of
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	if compiler.AddResource(place, doc) != nil {
		return nil
	}
	schema, err := compiler.Compile(place)
	if err != nil {
		return nil
	}
	c = &checker{schema: schema}
	if !c.count(reflect.ValueOf(schema), map[*jsonschema.Schema]bool{}) {
		return nil
	}
	return c
}

// count makes every part of a schema count the steps of a check. It does so in
// place of the part's format, which the library checks before it goes on to other
// parts. It reports false where a reference leads to parts that cannot be found
// from here: a dynamic one, or one to the schema of a dialect, which the library
// knows.
func (c *checker) count(v reflect.Value, seen map[*jsonschema.Schema]bool) bool {
	switch v.Kind() {
	case reflect.Interface:
		return c.count(v.Elem(), seen)
	case reflect.Slice:
		for i := range v.Len() {
			if !c.count(v.Index(i), seen) {
				return false
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if !c.count(v.MapIndex(key), seen) {
				return false
			}
		}
	case reflect.Pointer:
		s, ok := v.Interface().(*jsonschema.Schema)
		if !ok || s == nil || seen[s] {
			return true
		}
		if seen[s] = true; s.DynamicRef != nil || s.RecursiveRef != nil || !strings.HasPrefix(s.Location, place) {
			return false
		}
		s.Format = c.counting(s.Format)
		for i := range v.Elem().NumField() {
			if v.Elem().Type().Field(i).IsExported() && !c.count(v.Elem().Field(i), seen) {
				return false
			}
		}
	}
	return true
}

// counting is a format that counts a step. f may be nil.
func (c *checker) counting(f *jsonschema.Format) *jsonschema.Format {
	counting := &jsonschema.Format{Validate: func(v any) error {
		if c.steps++; c.steps > maxSteps {
			panic("too many steps")
		}
		if f == nil {
			return nil
		}
		return f.Validate(v)
	}}
	if f != nil {
		counting.Name = f.Name
	}
	return counting
}
