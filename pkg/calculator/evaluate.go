package calculator

import (
	"context"
	"encoding/json"
	"math"
	"unicode/utf8"
)

var evaluateSchema = json.RawMessage(`{"type":"object","properties":{` +
	`"expression":{"type":"string","description":"For example 1/3 + 1/6, 2^100, sqrt(2)/2 or sin(pi/6)","minLength":1,"maxLength":4096}},` +
	`"required":["expression"],"additionalProperties":false}`)

// evaluate is the tool of that name.
func evaluate(ctx context.Context, args []json.RawMessage) (string, error) {
	text, err := textArgument("expression", args[0])
	if err != nil {
		return "", err
	}
	n, decimal, err := compute(ctx, text)
	if err != nil {
		return "", err
	}
	if !n.rational() && !inRange(n) {
		return "", outOfDecimals("the result")
	}
	return n.text(decimal), nil
}

// compute evaluates an expression without variables, and reports whether it
// contains decimals.
func compute(ctx context.Context, text string) (number, bool, error) {
	x, err := parse(text)
	if err != nil {
		return number{}, false, err
	}
	n, err := x.root.value(ctx)
	return n, x.decimal, err
}

func textArgument(name string, raw json.RawMessage) (string, error) {
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", refusef("%s must be a string", name)
	}
	if !utf8.Valid(raw) {
		return "", refusef("%s must be valid UTF-8", name)
	}
	return text, nil
}

// value computes n. Every intermediate number is finite, and no exact one is
// longer than maxDigits.
func (n *node) value(ctx context.Context) (number, error) {
	if err := ctx.Err(); err != nil {
		return number{}, err
	}
	if n.num != nil {
		return exact(n.num), nil
	}
	if n.kind == 'v' {
		if n.name == "pi" {
			return number{rat: whole(1).rat, pi: true}, nil
		}
		return number{f: math.E}, nil
	}
	args := make([]number, len(n.args))
	for i, a := range n.args {
		v, err := a.value(ctx)
		if err != nil {
			return number{}, err
		}
		args[i] = v
	}
	v, err := n.apply(args)
	if err != nil {
		return number{}, err
	}
	if v.rat == nil && math.IsInf(v.f, 0) {
		return number{}, refusef("a result is too large: exact numbers have at most %d digits, decimals reach about 1.8e308", maxDigits)
	}
	if v.rat == nil && v.f == 0 && n.vanishes(args) {
		return number{}, refusef("a result is too close to zero: decimals reach about 5e-324")
	}
	if v.rat == nil && math.IsNaN(v.f) {
		return number{}, refusef("a result is not a number")
	}
	return v, nil
}

// vanishes reports whether the result is a decimal zero that stands for a number
// too small for float64.
func (n *node) vanishes(args []number) bool {
	switch n.kind {
	case '+', '-':
		return args[0].rat != nil && args[1].rat != nil && args[0].pi == args[1].pi
	case '*':
		return args[0].sign() != 0 && args[1].sign() != 0
	case '/', '^':
		return args[0].sign() != 0
	}
	switch n.name {
	case "exp":
		return true
	case "sin", "cos", "tan": // zeros at multiples of pi are exact
		return args[0].pi
	}
	return false
}

func (n *node) apply(args []number) (number, error) {
	switch n.kind {
	case '+':
		return add(args[0], args[1]), nil
	case '-':
		return add(args[0], neg(args[1])), nil
	case '*':
		return mul(args[0], args[1]), nil
	case '/':
		return div(args[0], args[1])
	case 'm':
		return neg(args[0]), nil
	case '^':
		if n.args[0].isE() && args[1].sign() != 0 { // exp is more precise than a power of the rounded e
			return number{f: math.Exp(args[1].float())}, nil
		}
		return power(args[0], args[1])
	}
	v, ok, err := exactCall(n.name, args)
	if ok || err != nil {
		return v, err
	}
	for _, a := range args {
		if !inRange(a) {
			return number{}, outOfDecimals(n.name)
		}
	}
	if u, ok := unary[n.name]; ok {
		a := args[0].float()
		if (n.name == "sin" || n.name == "cos" || n.name == "tan") && math.Abs(a) > 1<<53 {
			return number{}, refusef("the argument of %s is too large: no digit of the result would be right", n.name)
		}
		v = number{f: u.f(a)}
	} else {
		v = number{f: binary[n.name](args[0].float(), args[1].float())}
	}
	switch {
	case math.IsNaN(v.f) && n.name == "mod":
		return number{}, refusef("the first argument of mod is too large: no digit of the result would be right")
	case math.IsNaN(v.f):
		return number{}, refusef("%s has no real value at %s", n.name, formatFloat(args[0].float()))
	case math.IsInf(v.f, 0) && n.name == "atanh":
		return number{}, refusef("%s has no finite value at %s", n.name, formatFloat(args[0].float()))
	}
	return v, nil
}

func (n *node) isE() bool { return n.kind == 'v' && n.name == "e" }

func outOfDecimals(name string) error {
	return refusef("%s: the number is out of the range of decimals, which reach from about 5e-324 to 1.8e308", name)
}
