// Package calculator holds the tools of the sample MCP server: exact sums and
// products of whole numbers of any size, and a greeting. Two more do what a
// model cannot do by itself: evaluate an expression, exactly where possible, and
// integrate one.
//
// A [Tool] is a name, a schema and a function from JSON arguments to text. It
// knows no protocol and no HTTP. The MCP server offers the tools to others
// (package calcserver); an agent may call them in its own process. Arguments
// stay JSON until a tool reads them, so that no digit is lost on the way.
package calculator

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest name that greet_user takes, in characters.
const maxName = 200

// Tool is one tool. It is safe for concurrent use once its fields are set.
type Tool struct {
	Name        string
	Title       string
	Description string
	InputSchema json.RawMessage // JSON Schema 2020-12 of the arguments, an object

	Params []string // the names of the arguments, all of them required

	// Run gets the arguments in the order of Params, each of them valid JSON. If
	// it refuses them, its error is an [*InputError].
	Run func(ctx context.Context, args []json.RawMessage) (string, error)
}

// InputError says what is wrong with the arguments of a call. Its text is meant
// for the caller, including a model.
type InputError struct{ Reason string }

func (e *InputError) Error() string { return e.Reason }

func refusef(format string, args ...any) error {
	return &InputError{Reason: fmt.Sprintf(format, args...)}
}

// Tools lists the tools in a fixed order. They have no side effects: calling one
// twice is the same as calling it once.
func Tools() []Tool {
	return []Tool{
		{
			Name:        "add_numbers",
			Title:       "Add two numbers",
			Description: "Add two whole numbers. The sum is exact whatever their size.",
			InputSchema: numbersSchema,
			Params:      []string{"a", "b"},
			Run:         onNumbers((*big.Int).Add),
		},
		{
			Name:        "multiply_numbers",
			Title:       "Multiply two numbers",
			Description: "Multiply two whole numbers. The product is exact whatever their size.",
			InputSchema: numbersSchema,
			Params:      []string{"a", "b"},
			Run:         onNumbers((*big.Int).Mul),
		},
		{
			Name:        "greet_user",
			Title:       "Greet a user",
			Description: "Greet a user by name.",
			InputSchema: greetSchema,
			Params:      []string{"name"},
			Run:         greet,
		},
		{
			Name:  "evaluate",
			Title: "Evaluate an expression",
			Description: "Evaluate an arithmetic expression. Operators: + - * / ^ (power, also **), parentheses. Constants: pi, e. " +
				"Functions: " + functionNames() + ". Angles are in radians; log(x, base) takes its base, ln is the natural logarithm. " +
				"The result is exact where it can be: a whole number, a fraction such as 1/2, or a decimal if the expression has decimals. " +
				"A result that starts with ≈ is rounded (double precision).",
			InputSchema: evaluateSchema,
			Params:      []string{"expression"},
			Run:         evaluate,
		},
		{
			Name:  "integrate",
			Title: "Integrate an expression",
			Description: "Compute the definite integral of an expression in x between two bounds, numerically, with an estimate of the error. " +
				"The expression is written as for evaluate. A bound is a number, an expression such as pi/2, inf or -inf. " +
				"An integral that does not exist, or not to 9 digits or so, is refused. " +
				"A peak far narrower than a thousandth of the interval may be missed: integrate in parts there.",
			InputSchema: integrateSchema,
			Params:      []string{"expression", "lower", "upper"},
			Run:         integrate,
		},
	}
}

// The digit limit is stated in words only: JSON Schema cannot count digits.
var (
	numbersSchema = json.RawMessage(`{"type":"object","properties":{` +
		`"a":{"type":"integer","description":"The first whole number, of at most 5000 digits"},` +
		`"b":{"type":"integer","description":"The second whole number, of at most 5000 digits"}},` +
		`"required":["a","b"],"additionalProperties":false}`)
	greetSchema = json.RawMessage(`{"type":"object","properties":{` +
		`"name":{"type":"string","description":"The name to greet","minLength":1,"maxLength":200}},` +
		`"required":["name"],"additionalProperties":false}`)
)

// Call runs the tool on input, a JSON object. If the tool refuses the input, the
// error is an [*InputError]. If ctx ends the work, it is ctx's error.
func (t Tool) Call(ctx context.Context, input json.RawMessage) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	args, err := readArguments(input, t.Params)
	if err != nil {
		return "", err
	}
	return t.Run(ctx, args)
}

// onNumbers turns an operation on two whole numbers, a and b, into a tool.
func onNumbers(op func(z, x, y *big.Int) *big.Int) func(context.Context, []json.RawMessage) (string, error) {
	return func(_ context.Context, args []json.RawMessage) (string, error) {
		a, err := wholeNumber("a", args[0])
		if err != nil {
			return "", err
		}
		b, err := wholeNumber("b", args[1])
		if err != nil {
			return "", err
		}
		return op(new(big.Int), a, b).String(), nil
	}
}

func greet(_ context.Context, args []json.RawMessage) (string, error) {
	name, err := textArgument("name", args[0])
	if err != nil {
		return "", err
	}
	if utf8.RuneCountInString(name) > maxName {
		return "", refusef("name must be at most %d characters long", maxName)
	}
	if strings.TrimSpace(name) == "" {
		return "", refusef("name must not be blank")
	}
	if strings.ContainsFunc(name, unprintable) {
		return "", refusef("name must not contain control characters")
	}
	return "Hello, " + name + "! Nice to meet you.", nil
}

// unprintable reports whether r could make a name break out of its line: control
// characters, line and paragraph separators, and the bidirectional overrides and
// isolates of Unicode annex 9.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}
