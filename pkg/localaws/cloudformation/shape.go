package cloudformation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// The properties of a resource type are a struct with a field for each property
// that is implemented, under its name. A field is
//
//	string, bool, int, float64   a scalar, also written as a text
//	a struct, a slice, a map     nested ones
//	any                          a document, such as a policy
//	a pointer                    one of these; nil when it is not there
//
// and its tag cfn has these words:
//
//	required   it must be there
//	replace    a change of it replaces the resource; for top-level fields
const (
	wordRequired = "required"
	wordReplace  = "replace"
)

// word reports whether a field's tag contains a word.
func word(f reflect.StructField, w string) bool {
	return slices.Contains(strings.Split(f.Tag.Get("cfn"), ","), w)
}

// decode reads properties into the struct that into points to. Before
// evaluation, a function may take the place of any value. The error lists
// everything that is wrong.
func decode(properties map[string]any, into any, path string) error {
	d := &decoder{}
	d.value(properties, reflect.ValueOf(into).Elem(), path)
	return errors.Join(d.errs...)
}

type decoder struct{ errs []error }

func (d *decoder) refuse(path, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
}

func (d *decoder) value(v any, into reflect.Value, path string) {
	if c, ok := v.(*call); ok {
		if list, _ := c.arg.([]any); c.fn == fnIf {
			for _, branch := range list[1:] {
				d.value(branch, reflect.New(into.Type()).Elem(), path)
			}
		}
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(v, into.Elem(), path)
	case reflect.Interface:
		into.Set(reflect.ValueOf(v))
	case reflect.Struct:
		d.structure(v, into, path)
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			d.refuse(path, "want a list")
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, item := range list {
			d.value(item, into.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			d.refuse(path, "want a mapping")
			return
		}
		into.Set(reflect.MakeMap(into.Type()))
		for _, key := range slices.Sorted(maps.Keys(m)) {
			item := reflect.New(into.Type().Elem()).Elem()
			d.value(m[key], item, path+"/"+key)
			into.SetMapIndex(reflect.ValueOf(key), item)
		}
	default:
		d.scalar(v, into, path)
	}
}

func (d *decoder) structure(v any, into reflect.Value, path string) {
	m, ok := v.(map[string]any)
	if !ok {
		d.refuse(path, "want a mapping")
		return
	}
	fields := map[string]bool{}
	for i, f := range reflect.VisibleFields(into.Type()) {
		fields[f.Name] = true
		item, there := m[f.Name]
		switch {
		case there:
			d.value(item, into.Field(i), path+"/"+f.Name)
		case word(f, wordRequired):
			d.refuse(path, "%s is missing", f.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !fields[key] {
			d.refuse(path, "%s is not implemented", key)
		}
	}
}

func (d *decoder) scalar(v any, into reflect.Value, path string) {
	s, ok := text(v)
	if !ok {
		d.refuse(path, "want a scalar")
		return
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(s)
	case reflect.Bool:
		if s != "true" && s != "false" {
			d.refuse(path, "%.40q: want true or false", s)
		}
		into.SetBool(s == "true")
	case reflect.Int:
		n, ok := number(s)
		if !ok || !n.IsInt() || !n.Num().IsInt64() {
			d.refuse(path, "%.40q: want a whole number", s)
			return
		}
		into.SetInt(n.Num().Int64())
	case reflect.Float64:
		n, ok := number(s)
		if !ok {
			d.refuse(path, "%.40q: want a number", s)
			return
		}
		f, _ := n.Float64()
		into.SetFloat(f)
	default:
		panic("cloudformation: no property can be a " + into.Type().String())
	}
}

// replaces returns the property whose change requires a replacement, or "".
func replaces(shape reflect.Type, old, now map[string]any) string {
	for _, f := range reflect.VisibleFields(shape) {
		if word(f, wordReplace) && !same(old[f.Name], now[f.Name]) {
			return f.Name
		}
	}
	return ""
}

// same reports whether CloudFormation treats two evaluated values as equal. It
// compares scalars as texts.
func same(a, b any) bool { return reflect.DeepEqual(stringify(a), stringify(b)) }

// stringify returns an evaluated value with every scalar as a text, as custom
// resources get their properties.
func stringify(v any) any {
	switch v := v.(type) {
	case bool, json.Number:
		s, _ := text(v)
		return s
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = stringify(item)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = stringify(item)
		}
		return m
	}
	return v
}
