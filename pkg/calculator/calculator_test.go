package calculator_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/calculator"
)

// The limits of a number and an expression.
const maxDigits, maxExpression = 5000, 4096

func call(t testing.TB, tool, input string) (string, error) {
	t.Helper()
	for _, c := range calculator.Tools() {
		if c.Name == tool {
			return c.Call(context.Background(), json.RawMessage(input))
		}
	}
	t.Fatalf("no tool %s", tool)
	return "", nil
}

// case 113, case 114
func TestCall(t *testing.T) {
	for _, tc := range []struct{ tool, input, want string }{
		{"add_numbers", `{"a":5,"b":3}`, "8"},
		{"multiply_numbers", `{"a":4,"b":7}`, "28"},
		{"greet_user", `{"name":"Alice"}`, "Hello, Alice! Nice to meet you."},

		{"add_numbers", `{"a":9007199254740993,"b":1}`, "9007199254740994"},
		{"add_numbers", `{"a":9223372036854775807,"b":1}`, "9223372036854775808"},
		{"add_numbers", `{"a":-1,"b":1}`, "0"},
		{"add_numbers", `{"a":-0,"b":-0.0}`, "0"},
		{"add_numbers", `{"a":2.0,"b":2e3}`, "2002"},
		{"add_numbers", `{"a":20e-1,"b":0.5E+1}`, "7"},
		{"add_numbers", `{"a":100e-2,"b":0e999999999999}`, "1"},
		{"add_numbers", `{"a":1e400,"b":1}`, "1" + strings.Repeat("0", 399) + "1"},
		{"add_numbers", ` { "b" : 1 , "a" : 2 } `, "3"},
		{"add_numbers", `{"\u0061":1,"b":2}`, "3"},
		{"multiply_numbers", `{"a":-12345678901234567890,"b":98765432109876543210}`, "-1219326311370217952237463801111263526900"},
		{"multiply_numbers", `{"a":1e4999,"b":1e4999}`, "1" + strings.Repeat("0", 9998)},
		{"greet_user", `{"name":"Zoë 👩‍🚀"}`, "Hello, Zoë 👩‍🚀! Nice to meet you."},
		{"greet_user", `{"name":"A\"B\\"}`, `Hello, A"B\! Nice to meet you.`},
		{"greet_user", `{"name":"` + strings.Repeat("é", 200) + `"}`, "Hello, " + strings.Repeat("é", 200) + "! Nice to meet you."},
	} {
		got, err := call(t, tc.tool, tc.input)
		if err != nil || got != tc.want {
			t.Errorf("%s %.60s: got %.60q, %v, want %.60q", tc.tool, tc.input, got, err, tc.want)
		}
	}
}

// case 113
func TestCall_refuses(t *testing.T) {
	for _, tc := range []struct{ tool, input, want string }{
		{"add_numbers", `{"a":1.5,"b":1}`, "a must be a whole number, without a fraction"},
		{"add_numbers", `{"a":1,"b":15e-1}`, "b must be a whole number, without a fraction"},
		{"add_numbers", `{"a":1,"b":1e-999999999}`, "b must be a whole number, without a fraction"},
		{"add_numbers", `{"a":1,"b":1e-99999999999999999999}`, "b must be a whole number, without a fraction"},
		{"add_numbers", `{"a":1e999999999,"b":1}`, "a is too large: at most 5000 digits are possible"},
		{"add_numbers", `{"a":1e99999999999999999999,"b":1}`, "a is too large: at most 5000 digits are possible"},
		{"add_numbers", `{"a":1e5000,"b":1}`, "a is too large: at most 5000 digits are possible"},
		{"add_numbers", `{"a":` + strings.Repeat("7", 5001) + `,"b":1}`, "a is too large: at most 5000 digits are possible"},
		{"add_numbers", `{"a":"1","b":1}`, "a must be a whole number"},
		{"add_numbers", `{"a":null,"b":1}`, "a must be a whole number"},
		{"add_numbers", `{"a":true,"b":1}`, "a must be a whole number"},
		{"add_numbers", `{"a":[1],"b":1}`, "a must be a whole number"},
		{"add_numbers", `{"a":{"a":1,"x":["}",2]},"b":1}`, "a must be a whole number"},
		{"add_numbers", `{"a":1}`, "argument b is missing"},
		{"add_numbers", `{}`, "argument a is missing"},
		{"add_numbers", `{"a":1,"b":1,"c":1}`, `unknown argument "c": want a, b`},
		{"add_numbers", `{"A":1,"b":1}`, `unknown argument "A": want a, b`},
		{"add_numbers", `{"a":1,"b":1,"a":2}`, "argument a is given twice"},
		{"add_numbers", `[1,2]`, "the arguments must be a JSON object with the members a, b"},
		{"add_numbers", `null`, "the arguments must be a JSON object with the members a, b"},
		{"add_numbers", ``, "the arguments must be a JSON object with the members a, b"},
		{"add_numbers", `{"a":NaN,"b":1}`, "the arguments must be a JSON object with the members a, b"},
		{"add_numbers", `{"a":1,"b":1}}`, "the arguments must be a JSON object with the members a, b"},
		{"greet_user", `{"name":1}`, "name must be a string"},
		{"greet_user", `{"name":null}`, "name must be a string"},
		{"greet_user", `{"name":""}`, "name must not be blank"},
		{"greet_user", `{"name":" \u00a0 "}`, "name must not be blank"},
		{"greet_user", `{"name":"a\nb"}`, "name must not contain control characters"},
		{"greet_user", `{"name":"a\u0000"}`, "name must not contain control characters"},
		{"greet_user", `{"name":"a\u009b"}`, "name must not contain control characters"},
		{"greet_user", `{"name":"a\u202eb"}`, "name must not contain control characters"},
		{"greet_user", `{"name":"` + strings.Repeat("é", 201) + `"}`, "name must be at most 200 characters long"},
		{"greet_user", "{\"name\":\"a\xff\"}", "name must be valid UTF-8"},
	} {
		got, err := call(t, tc.tool, tc.input)
		refused := (*calculator.InputError)(nil)
		if !errors.As(err, &refused) {
			t.Errorf("%s %.60s: got %.60q, %v, want an InputError", tc.tool, tc.input, got, err)
			continue
		}
		if refused.Reason != tc.want {
			t.Errorf("%s %.60s: got %q, want %q", tc.tool, tc.input, refused.Reason, tc.want)
		}
	}
}

func TestCall_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range calculator.Tools() {
		if got, err := c.Call(ctx, json.RawMessage(`{}`)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %q, %v, want %v", c.Name, got, err, context.Canceled)
		}
	}
}

// Every tool describes itself well enough for a model to use it.
func TestTools_described(t *testing.T) {
	for _, c := range calculator.Tools() {
		var schema struct {
			Type       string
			Properties map[string]struct {
				Type        any // a name or a list of them
				Description string
			}
			Required []string
			Closed   *bool `json:"additionalProperties"`
		}
		if err := json.Unmarshal(c.InputSchema, &schema); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if c.Title == "" || c.Description == "" || schema.Type != "object" || schema.Closed == nil || *schema.Closed {
			t.Errorf("%s: got title %q, description %q, schema %s", c.Name, c.Title, c.Description, c.InputSchema)
		}
		if got, want := len(schema.Required), len(schema.Properties); got != want {
			t.Errorf("%s: got %d required arguments, want all %d", c.Name, got, want)
		}
		for name, p := range schema.Properties {
			if p.Type == nil || p.Description == "" {
				t.Errorf("%s: argument %s has type %v and description %q", c.Name, name, p.Type, p.Description)
			}
		}
	}
}

// fuzzNumbers checks a tool on two numbers against big.Rat, an independent
// reading of the same literals.
func fuzzNumbers(f *testing.F, tool string, op func(z, x, y *big.Rat) *big.Rat) {
	for _, s := range []string{"1", "-0", "2.0", "2e3", "1e-2", "100e-2", "1e5000", "01", "1e+07", "9007199254740993"} {
		f.Add(s, "40")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		input := `{"a":` + a + `,"b":` + b + `}`
		got, err := call(t, tool, input)
		var args map[string]json.Number
		if json.Unmarshal([]byte(input), &args) != nil || len(a)+len(b) > 100 {
			return // the call must only not panic
		}
		x, okX := new(big.Rat).SetString(string(args["a"]))
		y, okY := new(big.Rat).SetString(string(args["b"]))
		if !okX || !okY { // an exponent that big.Rat does not expand
			return
		}
		if err != nil {
			tooLarge := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil))
			small := x.Num().CmpAbs(tooLarge.Num()) < 0 && y.Num().CmpAbs(tooLarge.Num()) < 0
			if x.IsInt() && y.IsInt() && small && strings.Count(input, `"`) == 4 {
				t.Fatalf("%s: got %v, want a result", input, err)
			}
			return
		}
		if want := op(new(big.Rat), x, y).RatString(); got != want {
			t.Fatalf("%s: got %.80s, want %.80s", input, got, want)
		}
	})
}

func FuzzAdd(f *testing.F)      { fuzzNumbers(f, "add_numbers", (*big.Rat).Add) }
func FuzzMultiply(f *testing.F) { fuzzNumbers(f, "multiply_numbers", (*big.Rat).Mul) }

func FuzzGreet(f *testing.F) {
	for _, s := range []string{`{"name":"Alice"}`, `{"name":"\ud800"}`, `{"name":"a\u0007"}`, `{}`, "{\"name\":\"\xff\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, input string) {
		got, err := call(t, "greet_user", input)
		if err != nil {
			return
		}
		var args map[string]string
		if err := json.Unmarshal([]byte(input), &args); err != nil || len(args) != 1 {
			t.Fatalf("%q: accepted, but encoding/json says %v, %v", input, args, err)
		}
		if want := "Hello, " + args["name"] + "! Nice to meet you."; got != want {
			t.Fatalf("%q: got %q, want %q", input, got, want)
		}
		if strings.ContainsAny(got, "\n\r\x00\x1b") {
			t.Fatalf("%q: got control characters in %q", input, got)
		}
	})
}
