package converse

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxSteps   = 120_000 // of one check; 1,000 objects of ten members take 53,000
	maxNumber  = 10_000  // digits of a number once its exponent is written out
	maxProgram = 100_000 // instructions of a schema's regular expressions
)

// checker is a schema with a bound on the steps of a check. References let a
// schema of a few lines apply its parts more often than anybody can wait for, a
// regular expression can take minutes, and the library cannot be stopped from
// outside.
type checker struct {
	schema  *jsonschema.Schema
	program int // instructions of its regular expressions

	mu     sync.Mutex // held by a check
	steps  int        // that it has taken
	stride int        // what each of them counts
}

// step counts n steps of a check, and ends one that takes too many.
func (c *checker) step(n int) {
	if c.steps += n * c.stride; c.steps > maxSteps {
		panic("too many steps")
	}
}

// longestNumber is how many digits the longest number in v has once its exponent
// is written out, which is how it is compared.
func longestNumber(v any) (n int) {
	switch v := v.(type) {
	case json.Number:
		n = len(v)
		if i := strings.IndexAny(string(v), "eE"); i >= 0 {
			exponent, err := strconv.Atoi(string(v[i+1:]))
			if err != nil {
				return math.MaxInt
			}
			n += max(exponent, -exponent)
		}
	case []any:
		for _, e := range v {
			n = max(n, longestNumber(e))
		}
	case map[string]any:
		for _, e := range v {
			n = max(n, longestNumber(e))
		}
	}
	return n
}

// pattern is a regular expression of a schema. Its search takes time with its
// own length and that of the text.
type pattern struct {
	*regexp.Regexp
	size    int // instructions
	checker *checker
}

func (p *pattern) MatchString(text string) bool {
	p.checker.step(p.size * len(text) / 300)
	return p.Regexp.MatchString(text)
}

// pattern compiles a regular expression, as long as those of the schema are not
// too large together.
func (c *checker) pattern(text string) (jsonschema.Regexp, error) {
	tooLarge := errors.New("its regular expressions are too large")
	if c.program > maxProgram {
		return nil, tooLarge
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if c.program += len(program.Inst); c.program > maxProgram {
		return nil, tooLarge
	}
	compiled, err := regexp.Compile(text)
	return &pattern{compiled, len(program.Inst), c}, err
}

// ofOne are the fields of a schema whose parts apply to one member of the value
// each. Other parts apply to the value itself or to all of its members.
var ofOne = []string{"Properties", "PrefixItems"}

// count has every part of a schema count the steps of a check, in the place of
// its format, which the library looks at before it goes on to other parts. What
// those take before they get to their own format is counted here too, and is
// returned for the parts that v leads to. ok is false where a reference leads to
// parts that cannot be found from here: a dynamic one, or one to the schema of a
// dialect, which the library knows.
func (c *checker) count(v reflect.Value, seen map[*jsonschema.Schema]bool) (steps int, ok bool) {
	sum := func(next reflect.Value) bool {
		n, ok := c.count(next, seen)
		steps += n
		return ok
	}
	switch v.Kind() {
	case reflect.Interface:
		return c.count(v.Elem(), seen)
	case reflect.Slice:
		for i := range v.Len() {
			if !sum(v.Index(i)) {
				return 0, false
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if !sum(v.MapIndex(key)) {
				return 0, false
			}
		}
	case reflect.Pointer:
		s, isSchema := v.Interface().(*jsonschema.Schema)
		if !isSchema || s == nil {
			return 0, true
		}
		steps = 1
		if s.Enum != nil {
			steps += comparing(s.Enum.Values)
		}
		if s.Const != nil {
			steps += comparing([]any{*s.Const})
		}
		if seen[s] {
			return steps, true
		}
		if seen[s] = true; s.DynamicRef != nil || s.RecursiveRef != nil || !strings.HasPrefix(s.Location, place) {
			return 0, false
		}
		each, one := 1, 0 // for each value within reach, and for all of them together
		for i := range v.Elem().NumField() {
			field := v.Elem().Type().Field(i)
			if !field.IsExported() {
				continue
			}
			n, ok := c.count(v.Elem().Field(i), seen)
			switch {
			case !ok:
				return 0, false
			case slices.Contains(ofOne, field.Name):
				one += n
			default:
				each += n
			}
		}
		s.Format = c.counting(s.Format, each, one, s.UniqueItems)
	}
	return steps, true
}

// counting is a format that counts the steps of a part. f may be nil.
func (c *checker) counting(f *jsonschema.Format, each, one int, unique bool) *jsonschema.Format {
	counting := &jsonschema.Format{Validate: func(v any) error {
		c.step(each*reach(v) + one)
		if unique {
			c.step(20 * nodes(v)) // up to twenty items are compared with each other
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

// reach is how many values a part may look at: the value, its members and
// theirs. Text counts by its length.
func reach(v any) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 64
	case []any:
		for _, e := range v {
			n += 1 + members(e)
		}
	case map[string]any:
		for _, e := range v {
			n += 1 + members(e)
		}
	}
	return n
}

func members(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	}
	return 0
}

// comparing is how many steps it takes to hold a value against all of these. Text
// is compared quickly; numbers have to be worked out.
func comparing(values []any) (n int) {
	for _, v := range values {
		if _, number := v.(json.Number); number {
			n += 8
		} else {
			n += nodes(v)
		}
	}
	return n / 8
}

// nodes is how many values there are in v.
func nodes(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += nodes(e)
		}
	case map[string]any:
		for _, e := range v {
			n += nodes(e)
		}
	}
	return n
}
