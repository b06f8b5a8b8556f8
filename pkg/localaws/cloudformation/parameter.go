package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parameter is a template's parameter.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
type parameter struct {
	kind        string
	byDefault   *string
	pattern     *regexp.Regexp
	allowed     []string
	min, max    *big.Rat
	minLen      int
	maxLen      int
	noEcho      bool
	explanation string // ConstraintDescription
}

const (
	kindText       = "String"
	kindNumber     = "Number"
	kindList       = "CommaDelimitedList"
	kindNumberList = "List<Number>"
)

func (t *Template) readParameter(name string, n *yaml.Node) error {
	path := "Parameters/" + name
	members, err := members(n, path)
	if err != nil {
		return err
	}
	p := &parameter{minLen: 0, maxLen: maxParameter}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if err := p.set(key, members[key]); err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", path, key, err))
		}
	}
	switch p.kind {
	case kindText, kindNumber, kindList, kindNumberList:
	case "":
		errs = append(errs, fmt.Errorf("%s: Type is missing", path))
	default:
		errs = append(errs, fmt.Errorf("%s: the type %.80q is not implemented", path, p.kind))
	}
	if len(errs) == 0 && p.byDefault != nil {
		if err := p.check(*p.byDefault); err != nil {
			errs = append(errs, fmt.Errorf("%s/Default: %w", path, err))
		}
	}
	t.parameters[name] = p
	return errors.Join(errs...)
}

// maxParameter is the most bytes of a parameter's value.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
const maxParameter = 4096

func (p *parameter) set(key string, v any) error {
	s, isText := text(v)
	switch key {
	case "Type":
		p.kind = s
	case "Description":
	case "ConstraintDescription":
		p.explanation = s
	case "Default":
		p.byDefault = &s
	case "AllowedPattern":
		var err error
		// The whole value must match, as with Java's matches.
		if p.pattern, err = regexp.Compile(`^(?:` + s + `)$`); err != nil {
			return fmt.Errorf("%s is not a pattern that can be read here", s)
		}
	case "AllowedValues":
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return errors.New("want a list")
		}
		for _, item := range list {
			s, ok := text(item)
			if !ok {
				return errors.New("want a list of scalars")
			}
			p.allowed = append(p.allowed, s)
		}
		return nil
	case "NoEcho":
		if s != "true" && s != "false" {
			return errors.New("want true or false")
		}
		p.noEcho = s == "true"
	case "MinValue", "MaxValue":
		n, ok := number(s)
		if !ok {
			return errors.New("want a number")
		}
		*map[string]**big.Rat{"MinValue": &p.min, "MaxValue": &p.max}[key] = n
	case "MinLength", "MaxLength":
		n, ok := number(s)
		if !ok || !n.IsInt() || n.Sign() < 0 || n.Cmp(big.NewRat(maxParameter, 1)) > 0 {
			return fmt.Errorf("want a whole number of at most %d", maxParameter)
		}
		*map[string]*int{"MinLength": &p.minLen, "MaxLength": &p.maxLen}[key] = int(n.Num().Int64())
	default:
		return errors.New("not implemented")
	}
	if !isText {
		return errors.New("want a scalar")
	}
	return nil
}

// number reads a number in decimal digits.
func number(s string) (*big.Rat, bool) {
	if !plainNumber.MatchString(s) || len(s) > 40 {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// check checks a value against the parameter's rules. Its error does not contain
// the value of a NoEcho parameter.
func (p *parameter) check(value string) error {
	shown := fmt.Sprintf("%.200q", value)
	if p.noEcho {
		shown = "the value (not shown)"
	}
	if len(value) > maxParameter {
		return fmt.Errorf("%d bytes, at most %d are allowed", len(value), maxParameter)
	}
	fail := func(want string) error {
		if p.explanation != "" {
			want = p.explanation
		}
		return fmt.Errorf("%s: %s", shown, want)
	}
	items := []string{value}
	if p.kind == kindList || p.kind == kindNumberList {
		items = split(value)
	}
	for _, item := range items {
		n, isNumber := number(item)
		length := utf8.RuneCountInString(item)
		switch {
		case (p.kind == kindNumber || p.kind == kindNumberList) && !isNumber:
			return fail("want a number")
		case p.allowed != nil && !slices.Contains(p.allowed, item):
			return fail("want one of " + strings.Join(p.allowed, ", "))
		case p.min != nil && isNumber && n.Cmp(p.min) < 0, p.max != nil && isNumber && n.Cmp(p.max) > 0:
			return fail("the number is too small or too large")
		case p.kind == kindText && (length < p.minLen || length > p.maxLen):
			return fail(fmt.Sprintf("want %d to %d characters", p.minLen, p.maxLen))
		case p.pattern != nil && !p.pattern.MatchString(item):
			return fail("it does not match " + p.pattern.String())
		}
	}
	return nil
}

// split splits the value of a list as CloudFormation does.
func split(value string) []string {
	if value == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i, item := range items {
		items[i] = strings.TrimSpace(item)
	}
	return items
}

// value returns the result of Ref.
func (p *parameter) value(given string) any {
	if p.kind == kindText || p.kind == kindNumber {
		return given
	}
	list := []any{}
	for _, item := range split(given) {
		list = append(list, item)
	}
	return list
}

// values returns the value of each parameter: the given one, the previous one,
// or its default. Its error lists everything that is wrong.
func (t *Template) values(given, before map[string]string) (map[string]string, error) {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if t.parameters[name] == nil {
			errs = append(errs, fmt.Errorf("parameter %.80q is not in the template", name))
		}
	}
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t.parameters)) {
		p := t.parameters[name]
		v, ok := given[name]
		if !ok {
			v, ok = before[name]
		}
		if !ok && p.byDefault != nil {
			v, ok = *p.byDefault, true
		}
		if !ok {
			errs = append(errs, fmt.Errorf("parameter %s must have a value", name))
			continue
		}
		if err := p.check(v); err != nil {
			errs = append(errs, fmt.Errorf("parameter %s: %w", name, err))
		}
		values[name] = v
	}
	return values, errors.Join(errs...)
}
