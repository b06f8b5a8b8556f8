package mcpserver

import (
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// flatSchema is an input schema of the commonest form: an object of strings,
// numbers and truth values. Most calls that satisfy such a schema can be told
// from their bytes, at a tenth of the cost of a full validation. Whatever it
// does not accept goes to the validator, which alone may refuse.
type flatSchema struct {
	properties []flatProperty
	closed     bool // additionalProperties is false
}

type flatProperty struct {
	name     string
	kind     string // string, integer, number or boolean
	min, max int    // characters of a string; max < 0: no limit
	required bool
}

// flatten returns the flat form of a schema, or nil if it has anything that
// the flat form cannot say.
func flatten(source []byte) *flatSchema {
	var top struct {
		Type       string                     `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
		Additional *bool                      `json:"additionalProperties"`
	}
	if !onlyKeys(source, "type", "properties", "required", "additionalProperties", "title", "description") ||
		json.Unmarshal(source, &top) != nil || top.Type != "object" {
		return nil
	}
	f := &flatSchema{closed: top.Additional != nil && !*top.Additional}
	for name, raw := range top.Properties {
		var p struct {
			Type string `json:"type"`
			Min  int    `json:"minLength"`
			Max  *int   `json:"maxLength"`
		}
		if !onlyKeys(raw, "type", "minLength", "maxLength", "title", "description") || json.Unmarshal(raw, &p) != nil ||
			!slices.Contains([]string{"string", "integer", "number", "boolean"}, p.Type) {
			return nil
		}
		q := flatProperty{name: name, kind: p.Type, min: p.Min, max: -1, required: slices.Contains(top.Required, name)}
		if p.Max != nil {
			q.max = *p.Max
		}
		f.properties = append(f.properties, q)
	}
	for _, name := range top.Required {
		if _, ok := top.Properties[name]; !ok {
			return nil
		}
	}
	if len(f.properties) > 64 {
		return nil
	}
	return f
}

// onlyKeys reports whether raw is a JSON object with no other members than keys.
func onlyKeys(raw []byte, keys ...string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return false
	}
	for name := range members {
		if !slices.Contains(keys, name) {
			return false
		}
	}
	return true
}

// accepts reports whether arguments satisfy the schema beyond doubt. raw is a
// value that the scanner has walked over before.
func (f *flatSchema) accepts(raw []byte) bool {
	if f == nil || raw[0] != '{' {
		return false
	}
	s := scanner{b: raw}
	ok := true
	var seen uint64
	err := s.object(func(name []byte) error {
		i := slices.IndexFunc(f.properties, func(p flatProperty) bool { return p.name == string(name) })
		s.space()
		from := s.i
		if err := s.value(); err != nil {
			return err
		}
		if i < 0 {
			ok = ok && !f.closed
			return nil
		}
		seen |= 1 << i
		ok = ok && f.properties[i].fits(raw[from:s.i])
		return nil
	})
	for i, p := range f.properties {
		ok = ok && (!p.required || seen&(1<<i) != 0)
	}
	return ok && err == nil
}

// fits reports whether a value is of the property's type beyond doubt.
func (p flatProperty) fits(v []byte) bool {
	isNumber := v[0] == '-' || v[0] >= '0' && v[0] <= '9'
	switch p.kind {
	case "number":
		return isNumber
	case "integer": // whole numbers with a point or an exponent are for the validator
		return isNumber && !slices.ContainsFunc(v, func(c byte) bool { return c != '-' && (c < '0' || c > '9') })
	case "boolean":
		return v[0] == 't' || v[0] == 'f'
	case "string":
		if v[0] != '"' || slices.Contains(v, '\\') {
			return false
		}
		n := utf8.RuneCount(v) - 2
		return n >= p.min && (p.max < 0 || n <= p.max)
	}
	return false
}
