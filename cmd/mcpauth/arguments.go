package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// parseArguments turns name=value pairs into the input of a tool. A value is
// text if the schema says so. Otherwise it is JSON if it parses as JSON, and
// text if not.
func parseArguments(schema json.RawMessage, pairs []string) (json.RawMessage, error) {
	var s struct {
		Properties map[string]struct {
			Type json.RawMessage // a name or a list of names
		}
	}
	json.Unmarshal(schema, &s) // an unreadable schema gives no types
	input := map[string]json.RawMessage{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("%.80q: want ARGUMENT=VALUE", pair)
		}
		if input[name] != nil {
			return nil, usagef("argument %.80q is given twice", name)
		}
		property, known := s.Properties[name]
		if !known && len(s.Properties) > 0 {
			return nil, usagef("no argument %.80q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", "))
		}
		raw := json.RawMessage(value)
		if string(property.Type) == `"string"` || !json.Valid(raw) {
			raw, _ = json.Marshal(value) // a string encodes
		}
		input[name] = raw
	}
	return json.Marshal(input)
}

// checkArguments says what is wrong with a tool's input, and with which
// argument; empty: nothing. A schema that cannot be compiled, or that is not
// done with when ctx ends, takes everything: the server will say what it makes
// of the input.
func checkArguments(ctx context.Context, schema, input json.RawMessage) (fault string) {
	found := make(chan string, 1)
	go func() { found <- faultOf(schema, input) }() // nothing stops the library
	select {
	case fault = <-found:
	case <-ctx.Done():
	}
	return fault
}

func faultOf(schema, input json.RawMessage) (fault string) {
	defer func() {
		// The library panics when it compares a number whose exponent is beyond
		// a million.
		if recover() != nil {
			fault = "the input cannot be checked against the tool's schema"
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return ""
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020) // MCP's default for a schema without $schema
	c.UseLoader(noLoader{})
	const place = "tool:///input"
	if c.AddResource(place, doc) != nil {
		return ""
	}
	compiled, err := c.Compile(place)
	if err != nil {
		return ""
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(input)) // keeps the digits of numbers
	if err != nil {
		return "the input is not JSON"
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(compiled.Validate(v), &invalid) {
		return ""
	}
	_, causes, _ := strings.Cut(invalid.Error(), "\n") // the first line names only the placeholder URL
	causes = faultTop.ReplaceAllString(causes, "")
	return faultPlace.ReplaceAllString(causes, "$1: ")
}

// How the library writes the place of a fault in the input.
var (
	faultTop   = regexp.MustCompile(`(?m)^\s*- at '': `)
	faultPlace = regexp.MustCompile(`(?m)^\s*- at '/?([^']*)': `)
)

// noLoader refuses to load other documents: a server's schema must not make us
// fetch anything.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}
