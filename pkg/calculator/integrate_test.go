package calculator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/calculator"
)

// integration is the arguments of a call to integrate.
func integration(expression, lower, upper string) string {
	b, err := json.Marshal(map[string]string{"expression": expression, "lower": lower, "upper": upper})
	if err != nil {
		panic(err)
	}
	return string(b)
}

var integralForm = regexp.MustCompile(`^≈ (\S+) \(estimated error (\S+)\)$`)

// readIntegral parses a result of integrate.
func readIntegral(t testing.TB, result string) (value, deviation float64) {
	t.Helper()
	m := integralForm.FindStringSubmatch(result)
	if m == nil {
		t.Fatalf("got %q, want a number with its estimated error", result)
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if deviation, err = strconv.ParseFloat(m[2], 64); err != nil {
		t.Fatal(err)
	}
	if math.IsNaN(value) || math.IsInf(value, 0) || math.IsNaN(deviation) || math.IsInf(deviation, 0) || deviation < 0 {
		t.Fatalf("got %q, want finite numbers", result)
	}
	return value, deviation
}

// case 114
func TestIntegrate(t *testing.T) {
	for _, tc := range []struct {
		expression, lower, upper string
		want                     float64
	}{
		{"x^2", "0", "1", 1.0 / 3},
		{"x^2", "1", "0", -1.0 / 3},
		{"5", "-1", "1", 10},
		{"0*x", "0", "1", 0},
		{"sin(x)", "0", "pi", 2},
		{"sin(x)", "-1", "1", 0},
		{"sin(x)", "0", "4*pi", 0},
		{"exp(x)", "0", "1", math.E - 1},
		{"e^x", "0", "1", math.E - 1},
		{"1/x", "1", "e", 1},
		{"1/(1+x^2)", "0", "1", math.Pi / 4},
		{"sqrt(1-x^2)", "-1", "1", math.Pi / 2},
		{"cbrt(x)", "-1", "8", 45.0 / 4},
		{"-x^2", "0", "3", -9},
		{"x^3*ln(x)", "0", "1", -1.0 / 16},
		{"mod(x,1)", "0", "5", 2.5},
		{"max(x, 1-x)", "0", "1", 0.75},

		// Kinks and steps: the range is halved around them.
		{"abs(x)", "-1", "2", 2.5},
		{"floor(x)", "0", "10", 45},
		{"abs(sin(x))", "0", "10*pi", 20},

		// A peak that a few points alone would miss.
		{"exp(-(x-50)^2)", "0", "1000", math.Sqrt(math.Pi)},

		// Singular ends. The worst that is accepted has the error that the
		// difference of the rules understates most.
		{"1/sqrt(x)", "0", "1", 2},
		{"ln(x)", "0", "1", -1},
		{"x^-0.9", "0", "1", 10},
		{"x^-0.95", "0", "1", 20},
		{"x^-0.96", "0", "1", 25},

		// At places other than 0, float64 is not fine enough for ten digits.
		{"1/sqrt(1-x)", "0", "1", 2},
		{"1/sqrt(1-x^2)", "-1", "1", math.Pi},
		{"1/sqrt(abs(x-1/3))", "0", "1", 2*math.Sqrt(1.0/3) + 2*math.Sqrt(2.0/3)},
		{"1/sqrt(abs(x-1/64))", "0", "1", 0.25 + 2*math.Sqrt(63.0/64)},
		{"1/sqrt(abs(x-1/2))", "0", "1", 2 * math.Sqrt2},

		{"exp(-x^2)", "-inf", "inf", math.Sqrt(math.Pi)},
		{"exp(-x)*x^5", "0", "inf", 120},
		{"exp(x)", "-inf", "0", 1},
		{"1/x^2", "1", "∞", 1},
		{"x^-1.5", "1", "inf", 2},
		{"1/(1+x^2)", "inf", "-inf", -math.Pi},
		{"exp(-(x-3)^2)", "2", "inf", math.Sqrt(math.Pi) / 2 * (1 + math.Erf(1))},
	} {
		got, err := call(t, "integrate", integration(tc.expression, tc.lower, tc.upper))
		if err != nil {
			t.Errorf("%s from %s to %s: got %v, want %v", tc.expression, tc.lower, tc.upper, err, tc.want)
			continue
		}
		value, deviation := readIntegral(t, got)
		if math.Abs(value-tc.want) > deviation || deviation > 1e-7*(1+math.Abs(tc.want)) {
			t.Errorf("%s from %s to %s: got %s, want %v", tc.expression, tc.lower, tc.upper, got, tc.want)
		}
	}
}

func TestIntegrate_bounds(t *testing.T) {
	for input, want := range map[string]float64{
		`{"expression":"x","lower":0,"upper":2}`:           2,
		`{"expression":"x","lower":-0.5e0,"upper":"3/2"}`:  1,
		`{"expression":"1","lower":"pi-pi","upper":" 2 "}`: 2,
		`{"expression":"exp(x)","lower":"-∞","upper":0}`:   1,
	} {
		got, err := call(t, "integrate", input)
		if err != nil {
			t.Errorf("%s: got %v, want %v", input, err, want)
		} else if value, deviation := readIntegral(t, got); math.Abs(value-want) > deviation {
			t.Errorf("%s: got %q, want %v", input, got, want)
		}
	}
	if got, err := call(t, "integrate", `{"expression":"x","lower":1,"upper":"2/2"}`); err != nil || got != "0" {
		t.Errorf("between equal bounds: got %q, %v, want 0", got, err)
	}
}

// case 113, case 114
func TestIntegrate_refuses(t *testing.T) {
	diverges := "the integral does not converge, worst near x = "
	undefined := "the expression has no real value, or none within the range of decimals, "
	for _, tc := range []struct{ expression, lower, upper, want string }{
		{"1/x", "0", "1", diverges},
		{"1/x", "-1", "2", diverges},
		{"1/x", "-1", "1", diverges}, // though the halves would cancel out
		{"1/(x-1/3)^2", "0", "1", diverges + "0.3333"},
		{"tan(x)", "0", "pi", diverges + "1.57"},
		{"x^-0.999", "0", "1", diverges},
		{"sin(1/x)", "0", "1", diverges},
		{"1/x", "1", "inf", diverges},
		{"x", "0", "inf", diverges},
		{"x", "-inf", "inf", diverges}, // though the halves would cancel out
		{"5", "0", "inf", diverges},
		{"sin(x)/x", "0", "inf", diverges},
		{"exp(x)", "0", "inf", diverges},
		{"exp(x)", "0", "1000", diverges},
		{"sqrt(x)", "-1", "1", undefined},
		{"ln(x)^0", "-1", "1", undefined},
		{"max(1, sqrt(x))", "-1", "1", undefined},
		{"1e300*x", "0", "1e300", diverges},
		{"x", "0", "1e200", diverges},
		{"8e307", "0", "10", "the integral is too large, or does not exist: "},
		{"1/(1-x)", "0", "1", diverges},
		{"1/(1/7-x)", "0", "1", diverges},

		{"y", "0", "1", `unknown name "y": the names are x, pi, e`},
		{"x(2)", "0", "1", "x is not a function: write x*(…) for a product"},
		{"1/0", "0", "1", "division by zero"},
		{"x*9^9^9", "0", "1", "a result is too large: "},
		{"x*10^400", "0", "1", "a constant: the number is out of the range of decimals"},
		{"", "0", "1", "the expression is empty"},
		{"x", "x", "1", `lower: unknown name "x": the names are pi, e`},
		{"x", "0", "1/0", "upper: division by zero"},
		{"x", "0", "9^9^9", "upper: a result is too large: "},
		{"x", "0", "10^400", "upper is out of the range of decimals"},
		{"x", "-1.7e308", "1.7e308", "the bounds are too far apart: use inf or -inf"},
		{"x", "inf", "inf", "the bounds are the same infinity"},
		{"x", "nan", "1", `lower: unknown name "nan": the names are pi, e`},
		{"x", "", "1", "lower: the expression is empty"},
	} {
		got, err := call(t, "integrate", integration(tc.expression, tc.lower, tc.upper))
		refused := (*calculator.InputError)(nil)
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Reason, tc.want) {
			t.Errorf("%s from %s to %s: got %q, %v, want the refusal %q", tc.expression, tc.lower, tc.upper, got, err, tc.want)
		}
	}
	for input, want := range map[string]string{
		`{"expression":"x","lower":null,"upper":1}`:    "lower must be a number, or a string that holds an expression",
		`{"expression":"x","lower":0,"upper":[1]}`:     "upper must be a number, or a string that holds an expression",
		`{"expression":"x","lower":0}`:                 "argument upper is missing",
		`{"expression":1,"lower":0,"upper":1}`:         "expression must be a string",
		`{"expression":"x","lower":0,"upper":1e99999}`: `upper: the number "1e99999" is out of range: at most 5000 digits are possible`,
	} {
		if got, err := call(t, "integrate", input); err == nil || err.Error() != want {
			t.Errorf("%s: got %q, %v, want %q", input, got, err, want)
		}
	}
}

// countdown is a context that ends after a number of calls of Err.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// The slowest integrals end soon, and sooner with their context.
func TestIntegrate_bounded(t *testing.T) {
	for _, expression := range []string{
		"sin(1/x)",
		strings.Repeat("sin(1/x)+", 400) + "x",
		strings.Repeat("mod(1e15*x,0.7)+", 200) + "x",
	} {
		input := integration(expression, "0", "1")
		start := time.Now()
		if got, err := call(t, "integrate", input); err == nil {
			t.Errorf("%.40s: got %s, want it refused", expression, got)
		}
		if took := time.Since(start); took > time.Minute { // it is about a second, more under -race
			t.Errorf("%.40s: took %v", expression, took)
		}
		for _, c := range calculator.Tools() {
			if c.Name != "integrate" {
				continue
			}
			ctx := &countdown{context.Background(), 50}
			if got, err := c.Call(ctx, json.RawMessage(input)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%.40s: got %q, %v, want %v", expression, got, err, context.DeadlineExceeded)
			}
			if ctx.left < -1 {
				t.Errorf("%.40s: looked at its context %d times after it had ended", expression, -1-ctx.left)
			}
		}
	}
}

// case 114
func TestIntegrate_agreesWithAntiderivatives(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 150 {
		k := float64(r.IntN(9)+1) / 2
		a := float64(r.IntN(9)) / 4
		b := a + float64(r.IntN(20)+1)/4
		for _, tc := range []struct {
			expression string
			primitive  func(x float64) float64
		}{
			{fmt.Sprintf("x^%v", k), func(x float64) float64 { return math.Pow(x, k+1) / (k + 1) }},
			{fmt.Sprintf("sin(%v*x)", k), func(x float64) float64 { return -math.Cos(k*x) / k }},
			{fmt.Sprintf("exp(-%v*x)", k), func(x float64) float64 { return -math.Exp(-k*x) / k }},
			{fmt.Sprintf("1/(x+%v)", k), func(x float64) float64 { return math.Log(x + k) }},
			{fmt.Sprintf("1/(%v^2+x^2)", k), func(x float64) float64 { return math.Atan(x/k) / k }},
			{fmt.Sprintf("abs(x-%v)", k), func(x float64) float64 { return (x - k) * math.Abs(x-k) / 2 }},
			{fmt.Sprintf("x*exp(%v-x)", k), func(x float64) float64 { return -(x + 1) * math.Exp(k-x) }},
		} {
			got, err := call(t, "integrate", integration(tc.expression, fmt.Sprint(a), fmt.Sprint(b)))
			if err != nil {
				t.Fatalf("%s from %v to %v: %v", tc.expression, a, b, err)
			}
			value, deviation := readIntegral(t, got)
			from, to := tc.primitive(a), tc.primitive(b)
			rounding := 0x1p-51 * (math.Abs(from) + math.Abs(to)) // of the antiderivative
			if math.Abs(value-(to-from)) > deviation+rounding {
				t.Errorf("%s from %v to %v: got %s, want %v", tc.expression, a, b, got, to-from)
			}
		}
	}
}

func FuzzIntegrate(f *testing.F) {
	for _, s := range [][3]string{{"x^2", "0", "1"}, {"1/x", "-1", "1"}, {"exp(-x^2)", "-inf", "inf"}, {"sin(1/x)", "0", "pi"}, {"mod(x,1)", "1e308", "-1"}, {"factorial(x)", "0", "2"}, {"5", "2", "2"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, expression, lower, upper string) {
		got, err := call(t, "integrate", integration(expression, lower, upper))
		if refused := (*calculator.InputError)(nil); err != nil && !errors.As(err, &refused) {
			t.Fatalf("%q from %q to %q: got %v, want an InputError", expression, lower, upper, err)
		}
		if err == nil && got != "0" {
			readIntegral(t, got)
		}
	})
}
