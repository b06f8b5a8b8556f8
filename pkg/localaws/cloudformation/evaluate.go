package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// noValue is the value of AWS::NoValue: the member or item is left out.
type noValue struct{}

// scope gives names their meaning during evaluation.
type scope struct {
	ref        func(name string) (any, error)
	attribute  func(id, name string) (any, error)
	imported   func(name string) (string, error)
	conditions map[string]bool
}

// pseudoParameters are the names that Ref accepts besides parameters and
// resources.
var pseudoParameters = []string{
	"AWS::AccountId", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix",
}

// evaluate returns v with every function replaced by its result.
func (s *scope) evaluate(v any, path string) (any, error) {
	switch v := v.(type) {
	case *call:
		out, err := s.apply(v, path)
		if err != nil {
			var inner *evaluationError
			if !errors.As(err, &inner) {
				err = &evaluationError{path, v.fn, err}
			}
		}
		return out, err
	case []any:
		list := make([]any, 0, len(v))
		for i, item := range v {
			out, err := s.evaluate(item, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			if out != (noValue{}) {
				list = append(list, out)
			}
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out, err := s.evaluate(v[key], path+"/"+key)
			if err != nil {
				return nil, err
			}
			if out != (noValue{}) {
				m[key] = out
			}
		}
		return m, nil
	}
	return v, nil
}

// evaluationError is an error in one use of a function.
type evaluationError struct {
	path, fn string
	err      error
}

// at adds the path to an error that does not have one.
func at(path string, err error) error {
	if errors.As(err, new(*evaluationError)) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (e *evaluationError) Error() string { return e.path + ": " + e.fn + ": " + e.err.Error() }

// apply calls a function that is not a condition.
func (s *scope) apply(c *call, path string) (any, error) {
	list, _ := c.arg.([]any)
	switch c.fn {
	case fnRef:
		return s.ref(c.arg.(string))
	case fnGetAtt:
		return s.attribute(list[0].(string), list[1].(string))
	case fnSub:
		return s.substitute(c.arg, path)
	case fnIf:
		v := list[2]
		if s.conditions[list[0].(string)] {
			v = list[1]
		}
		return s.evaluate(v, path)
	case fnJoin:
		items, err := s.list(list[1], path)
		if err != nil {
			return nil, err
		}
		parts := make([]string, len(items))
		for i, item := range items {
			var ok bool
			if parts[i], ok = text(item); !ok {
				return nil, fmt.Errorf("item %d is not a text", i)
			}
		}
		return strings.Join(parts, list[0].(string)), nil
	case fnImport:
		name, err := s.text(c.arg, path)
		if err != nil {
			return nil, err
		}
		return s.imported(name)
	case fnSplit:
		whole, err := s.text(list[1], path)
		if err != nil {
			return nil, err
		}
		items := []any{}
		for part := range strings.SplitSeq(whole, list[0].(string)) {
			items = append(items, part)
		}
		return items, nil
	case fnSelect:
		index, err := s.text(list[0], path)
		if err != nil {
			return nil, err
		}
		items, err := s.list(list[1], path)
		if err != nil {
			return nil, err
		}
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(items) {
			return nil, fmt.Errorf("no item %.40q in a list of %d", index, len(items))
		}
		return items[i], nil
	}
	return nil, errors.New("a condition is not a value here")
}

func (s *scope) list(v any, path string) ([]any, error) {
	v, err := s.evaluate(v, path)
	if err != nil {
		return nil, err
	}
	items, ok := v.([]any)
	if !ok {
		return nil, errors.New("want a list")
	}
	return items, nil
}

func (s *scope) text(v any, path string) (string, error) {
	v, err := s.evaluate(v, path)
	if err != nil {
		return "", err
	}
	out, ok := text(v)
	if !ok {
		return "", errors.New("want a text")
	}
	return out, nil
}

// substitute is Fn::Sub.
func (s *scope) substitute(arg any, path string) (any, error) {
	variables := map[string]any{}
	if list, ok := arg.([]any); ok {
		arg, variables = list[0], list[1].(map[string]any)
	}
	var failed error
	out := substitution.ReplaceAllStringFunc(arg.(string), func(m string) string {
		name := m[2 : len(m)-1]
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			return "${" + literal + "}"
		}
		v, err := any(nil), error(nil)
		if variable, ok := variables[name]; ok {
			v, err = s.evaluate(variable, path)
		} else if id, attribute, ok := strings.Cut(name, "."); ok {
			v, err = s.attribute(id, attribute)
		} else {
			v, err = s.ref(name)
		}
		part, isText := text(v)
		if err == nil && !isText {
			err = errors.New("not a text")
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("${%s}: %w", name, err)
		}
		return part
	})
	return out, failed
}

// evaluateConditions evaluates the template's conditions. A condition may use
// only parameters, and not AWS::NoValue.
func (t *Template) evaluateConditions(ref func(string) (any, error)) (map[string]bool, error) {
	s := &scope{ref: ref, conditions: map[string]bool{}}
	var of func(v any) (bool, error)
	named := func(name string) (bool, error) {
		if known, ok := s.conditions[name]; ok {
			return known, nil
		}
		v, err := of(t.conditions[name])
		s.conditions[name] = v
		return v, err
	}
	of = func(v any) (bool, error) {
		c := v.(*call)
		list, _ := c.arg.([]any)
		switch c.fn {
		case fnCondition:
			return named(c.arg.(string))
		case fnNot:
			v, err := of(list[0])
			return !v, err
		case fnAnd, fnOr:
			result := c.fn == fnAnd
			for _, item := range list {
				v, err := of(item)
				if err != nil {
					return false, err
				}
				if c.fn == fnAnd {
					result = result && v
				} else {
					result = result || v
				}
			}
			return result, nil
		}
		a, err := s.text(list[0], fnEquals)
		if err != nil {
			return false, err
		}
		b, err := s.text(list[1], fnEquals)
		return a == b, err
	}
	for _, name := range slices.Sorted(maps.Keys(t.conditions)) {
		if _, err := named(name); err != nil {
			return nil, fmt.Errorf("Conditions/%s: %w", name, err)
		}
	}
	return s.conditions, nil
}

// reference is one use of a name.
type reference struct {
	name      string
	attribute string // empty: Ref
	path      string
}

// calls calls f with each outermost function in v; f visits nested ones itself.
// list is the function's argument if that is a list.
func calls(v any, path string, f func(c *call, list []any, path string)) {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			calls(item, fmt.Sprintf("%s[%d]", path, i), f)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			calls(v[key], path+"/"+key, f)
		}
	case *call:
		list, _ := v.arg.([]any)
		f(v, list, path)
	}
}

// imports calls f with the argument of each Fn::ImportValue in v. Of Fn::If it
// visits only the chosen branch.
func imports(v any, path string, conditions map[string]bool, f func(arg any, path string)) {
	calls(v, path, func(c *call, list []any, path string) {
		switch {
		case c.fn == fnImport:
			f(c.arg, path)
		case c.fn == fnIf && conditions[list[0].(string)]:
			imports(list[1], path, conditions, f)
		case c.fn == fnIf:
			imports(list[2], path, conditions, f)
		default:
			imports(c.arg, path, conditions, f)
		}
	})
}

// references calls f with each use of a name in v. With conditions, it visits
// only the chosen branch of Fn::If.
func references(v any, path string, conditions map[string]bool, f func(reference)) {
	calls(v, path, func(c *call, list []any, path string) {
		switch c.fn {
		case fnRef:
			f(reference{name: c.arg.(string), path: path})
		case fnGetAtt:
			f(reference{list[0].(string), list[1].(string), path})
		case fnSub:
			text, variables := c.arg, map[string]any{}
			if list != nil {
				text, variables = list[0], list[1].(map[string]any)
			}
			names, _ := substitutions(text.(string)) // read without an error before
			for _, name := range names {
				if _, ok := variables[name]; !ok {
					id, attribute, _ := strings.Cut(name, ".")
					f(reference{id, attribute, path})
				}
			}
			references(variables, path, conditions, f)
		case fnIf:
			if conditions == nil || conditions[list[0].(string)] {
				references(list[1], path, conditions, f)
			}
			if conditions == nil || !conditions[list[0].(string)] {
				references(list[2], path, conditions, f)
			}
		default:
			references(c.arg, path, conditions, f)
		}
	})
}
