package cloudformation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A value of a template is a string, a bool, a json.Number, a []any, a
// map[string]any or a *call.

// call is a use of an intrinsic function, in its short or long form.
type call struct {
	fn  string // as in the long form: Ref, Fn::GetAtt, …, Condition
	arg any    // of Fn::GetAtt always a list of two
}

// The intrinsic functions, in their long forms.
const (
	fnRef       = "Ref"
	fnCondition = "Condition"
	fnGetAtt    = "Fn::GetAtt"
	fnSub       = "Fn::Sub"
	fnJoin      = "Fn::Join"
	fnSelect    = "Fn::Select"
	fnSplit     = "Fn::Split"
	fnIf        = "Fn::If"
	fnEquals    = "Fn::Equals"
	fnNot       = "Fn::Not"
	fnAnd       = "Fn::And"
	fnOr        = "Fn::Or"
	fnImport    = "Fn::ImportValue"
)

var functions = []string{fnRef, fnCondition, fnGetAtt, fnSub, fnJoin, fnSelect, fnSplit, fnIf, fnEquals, fnNot, fnAnd, fnOr, fnImport}

// maxDepth bounds how deep a template may be nested.
const maxDepth = 100

// reader turns YAML nodes into values. conditions is set where {Condition: X} is
// a function. In a policy it is a key.
type reader struct{ conditions bool }

func (r reader) value(n *yaml.Node, path string, depth int) (any, error) {
	switch {
	case depth > maxDepth:
		return nil, fmt.Errorf("%s: nested deeper than %d", path, maxDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, fmt.Errorf("%s (line %d): anchors and aliases are not implemented; write the value out", path, n.Line)
	}
	if fn, short := strings.CutPrefix(n.Tag, "!"); short && !strings.HasPrefix(fn, "!") {
		if fn != fnRef && fn != fnCondition {
			fn = "Fn::" + fn
		}
		bare := *n
		bare.Tag = ""
		if n.Kind == yaml.ScalarNode {
			bare.Tag = "!!str"
		}
		return r.call(fn, &bare, path, depth)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return scalar(n, path)
	case yaml.SequenceNode:
		if n.Tag != "" && n.Tag != "!!seq" {
			return nil, fmt.Errorf("%s (line %d): tag %s is not implemented", path, n.Line, n.Tag)
		}
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			v, err := r.value(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return r.mapping(n, path, depth)
	}
	return nil, fmt.Errorf("%s (line %d): not a value", path, n.Line)
}

func (r reader) mapping(n *yaml.Node, path string, depth int) (any, error) {
	members, err := mapping(n, path)
	if err != nil {
		return nil, err
	}
	for key, value := range members {
		if key != fnRef && !strings.HasPrefix(key, "Fn::") && !(key == fnCondition && r.conditions) {
			continue
		}
		if len(members) > 1 {
			return nil, fmt.Errorf("%s (line %d): %s must be the only key", path, n.Line, key)
		}
		return r.call(key, value, path, depth)
	}
	m := make(map[string]any, len(members))
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if m[key], err = r.value(members[key], path+"/"+key, depth+1); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// mapping splits a mapping node into its members.
func mapping(n *yaml.Node, path string) (map[string]*yaml.Node, error) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, fmt.Errorf("%s (line %d): anchors and aliases are not implemented; write the value out", path, n.Line)
	case n.Kind != yaml.MappingNode || n.Tag != "" && n.Tag != "!!map":
		return nil, fmt.Errorf("%s (line %d): want a mapping", path, n.Line)
	}
	members := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Tag == "!!merge":
			return nil, fmt.Errorf("%s (line %d): merge keys are not implemented; write the values out", path, key.Line)
		case key.Kind != yaml.ScalarNode || key.Anchor != "" || !strings.HasPrefix(key.Tag, "!!"):
			return nil, fmt.Errorf("%s (line %d): a key must be a plain text", path, key.Line)
		case members[key.Value] != nil:
			return nil, fmt.Errorf("%s (line %d): key %q occurs twice", path, key.Line, key.Value)
		}
		members[key.Value] = n.Content[i+1]
	}
	return members, nil
}

// Plain scalars that YAML 1.1, which CloudFormation reads, and YAML 1.2 read
// differently are refused.
var (
	plainNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	ambiguous   = regexp.MustCompile(`^(?i:yes|no|on|off)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)
)

func scalar(n *yaml.Node, path string) (any, error) {
	if strings.Contains(n.Value, "{{resolve:") {
		return nil, fmt.Errorf("%s (line %d): dynamic references are not implemented", path, n.Line)
	}
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch n.Tag {
	case "!!str":
		if plain && ambiguous.MatchString(n.Value) {
			return nil, fmt.Errorf("%s (line %d): %s is not a text in every YAML; write it in quotes", path, n.Line, n.Value)
		}
		return n.Value, nil
	case "!!timestamp":
		return n.Value, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int", "!!float":
		if !plainNumber.MatchString(n.Value) {
			return nil, fmt.Errorf("%s (line %d): %.80s is not the same number in every YAML; write it in quotes or in decimal digits", path, n.Line, n.Value)
		}
		return json.Number(n.Value), nil
	case "!!null":
		return nil, fmt.Errorf("%s (line %d): null values are not allowed in templates", path, n.Line)
	}
	return nil, fmt.Errorf("%s (line %d): tag %s is not implemented", path, n.Line, n.Tag)
}

// call reads the argument of an intrinsic function.
func (r reader) call(fn string, n *yaml.Node, path string, depth int) (any, error) {
	if !slices.Contains(functions, fn) {
		return nil, fmt.Errorf("%s (line %d): the function %s is not implemented", path, n.Line, fn)
	}
	arg, err := r.value(n, path+"/"+fn, depth+1)
	if err != nil {
		return nil, err
	}
	c := &call{fn, arg}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s (line %d): %s: %w", path, n.Line, fn, err)
	}
	return c, nil
}

// check checks the argument of a function as far as possible before parameters
// and attributes are known.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
func (c *call) check() error {
	list, _ := c.arg.([]any)
	isText := func(v any) bool { _, ok := v.(string); return ok }
	listOrCall := func(v any) bool {
		switch v.(type) {
		case []any, *call:
			return true
		}
		return false
	}
	switch c.fn {
	case fnRef, fnCondition:
		if !isText(c.arg) {
			return errors.New("want a name")
		}
	case fnGetAtt:
		if text, ok := c.arg.(string); ok { // Resource.Attribute; the attribute may contain dots
			id, attribute, _ := strings.Cut(text, ".")
			list = []any{id, attribute}
		}
		if len(list) != 2 || !isText(list[0]) || !isText(list[1]) || list[0] == "" || list[1] == "" {
			return errors.New("want the logical id of a resource and the name of an attribute")
		}
		c.arg = list
	case fnSub:
		text, variables := c.arg, map[string]any{}
		if list != nil {
			ok := false
			if len(list) == 2 {
				variables, ok = list[1].(map[string]any)
			}
			if !ok {
				return errors.New("want a text, or a list of a text and a mapping of variables")
			}
			text = list[0]
		}
		if !isText(text) {
			return errors.New("want a text")
		}
		names, err := substitutions(text.(string))
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			if !slices.Contains(names, name) {
				return fmt.Errorf("the variable %s is not used", name)
			}
		}
	case fnJoin:
		if len(list) != 2 || !isText(list[0]) || !listOrCall(list[1]) {
			return errors.New("want a delimiter and a list")
		}
	case fnSplit:
		if len(list) != 2 || !isText(list[0]) || list[0] == "" || !isText(list[1]) && !isCall(list[1]) {
			return errors.New("want a delimiter and a text")
		}
	case fnSelect:
		if len(list) != 2 || !listOrCall(list[1]) {
			return errors.New("want an index and a list")
		}
	case fnIf:
		if len(list) != 3 || !isText(list[0]) {
			return errors.New("want the name of a condition and two values")
		}
	case fnImport:
		if !isText(c.arg) && !isCall(c.arg) {
			return errors.New("want the name of an export")
		}
	case fnEquals:
		if len(list) != 2 {
			return errors.New("want two values")
		}
	case fnNot:
		if len(list) != 1 {
			return errors.New("want a list of one condition")
		}
	case fnAnd, fnOr:
		if len(list) < 2 || len(list) > 10 {
			return errors.New("want 2 to 10 conditions")
		}
	}
	return nil
}

func isCall(v any) bool { _, ok := v.(*call); return ok }

// substitution is one ${…} of Fn::Sub.
var substitution = regexp.MustCompile(`\$\{([^{}]*)\}`)

// substitutionName matches the valid text of a substitution.
var substitutionName = regexp.MustCompile(`^[a-zA-Z0-9_:.]+$`)

// substitutions returns the names in a text of Fn::Sub, in order. ${!…} is a
// literal and has no name.
func substitutions(text string) ([]string, error) {
	var names []string
	for _, m := range substitution.FindAllStringSubmatch(text, -1) {
		switch {
		case strings.HasPrefix(m[1], "!"):
		case !substitutionName.MatchString(m[1]):
			return nil, fmt.Errorf("${%s} names neither a parameter, a resource nor an attribute; a literal is ${!…}", m[1])
		default:
			names = append(names, m[1])
		}
	}
	return names, nil
}
