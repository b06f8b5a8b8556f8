package calculator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/calculator"
)

// evaluation is the arguments of a call to evaluate.
func evaluation(expression string) string {
	b, err := json.Marshal(map[string]string{"expression": expression})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// case 113, case 114
func TestEvaluate(t *testing.T) {
	for _, tc := range []struct{ expression, want string }{
		{"1/3+1/6", "1/2"},
		{"2^100", "1267650600228229401496703205376"},
		{"6/3", "2"},
		{"-7", "-7"},
		{" 1 \n + 2 ", "3"},
		{"123456789012345678901234567890*10", "1234567890123456789012345678900"},

		// Precedence and association.
		{"2+3*4", "14"},
		{"(2+3)*4", "20"},
		{"2*3^2", "18"},
		{"10-2-3", "5"},
		{"16/4/2", "2"},
		{"2^3^2", "512"},
		{"(2^3)^2", "64"},
		{"2**3", "8"},
		{"-2^2", "-4"},
		{"(-2)^2", "4"},
		{"--2^2", "4"},
		{"-2^-2^2", "-1/16"},
		{"2*-3", "-6"},
		{"2--3", "5"},
		{"2^-1*4", "2"},
		{"1-2^2*3+4", "-7"},
		{"+-+3", "-3"},
		{"pow(2,3)^2", "64"},
		{"2×3−6÷2·1", "3"},

		// Decimals are exact too.
		{"0.1+0.2", "0.3"},
		{"1.5*2.5", "3.75"},
		{".5+2.", "2.5"},
		{"1e-3", "0.001"},
		{"2.5e3", "2500"},
		{"1.0/3", "1/3"},
		{"010+009", "19"},
		{"1e4999", "1" + strings.Repeat("0", 4999)},
		{"-0.0", "0"},

		// Powers and roots.
		{"0^0", "1"},
		{"0^5", "0"},
		{"(-1)^(10^40)", "1"},
		{"(-1)^(10^40+1)", "-1"},
		{"(2/3)^-3", "27/8"},
		{"sqrt(16/9)", "4/3"},
		{"sqrt(10^4000)", "1" + strings.Repeat("0", 2000)},
		{"8^(1/3)", "2"},
		{"(4/9)^1.5", "8/27"},
		{"cbrt(-8)", "-2"},
		{"root(-243, 5)", "-3"},
		{"root(2^300+1, 300)", "≈ 2"},
		{"sqrt(2)/2", "≈ 0.7071067811865476"},
		{"sqrt(0)", "0"},
		{"2^0.5", "≈ 1.4142135623730951"},
		{"root(5, 1)", "5"},

		// A power that is too long to be exact is rounded once, at the end:
		// float64's own power gives 4926 as the last digits of 1.0001^10000.
		{"1.0001^10000", "≈ 2.718145926825225"},
		{"1.0001^-10000", "≈ 0.3678978343771237"},

		// Circles.
		{"pi", "≈ 3.141592653589793"},
		{"π/π", "1"},
		{"pi-pi", "0"},
		{"0*pi+1", "1"},
		{"sin(pi)", "0"},
		{"sin(pi/6)", "1/2"},
		{"sin(-pi/2)", "-1"},
		{"sin(7*pi/6)", "-1/2"},
		{"cos(pi/3)", "1/2"},
		{"cos(10^30*pi)", "1"},
		{"tan(3*pi/4)", "-1"},
		{"sin(pi/4)", "≈ 0.7071067811865475"},
		// Next to a zero the digits are those of the distance from it.
		{"sin(pi*(1+10^-20))", "≈ -3.141592653589793e-20"},
		{"cos(pi*(1/2+10^-9))", "≈ -3.141592653589793e-09"},
		{"tan(pi*(1/2+10^-12))", "≈ -3.183098861837907e+11"},
		{"cos(pi*(1+10^-400))", "≈ -1"},
		{"pi*10^400/pi - 10^400", "0"},
		{"sin(1)", "≈ 0.8414709848078965"},
		{"cos(0)", "1"},
		{"atan2(1,1)", "≈ 0.7853981633974483"},

		// Logarithms.
		{"log10(1000)", "3"},
		{"log10(10^4000)", "4000"},
		{"log2(1/1024)", "-10"},
		{"log(125, 5)", "3"},
		{"log(8, 1/2)", "-3"},
		{"log10(2)", "≈ 0.3010299956639812"},
		{"ln(1)", "0"},
		{"ln(10^1000)", "≈ 2302.5850929940457"},
		{"e", "≈ 2.718281828459045"},
		{"e^0", "1"},
		{"exp(1)", "≈ 2.718281828459045"},
		{"ln(exp(2))", "≈ 2"},

		{"mod(-7, 3)", "2"},
		{"mod(7.5, 2)", "1.5"},
		{"floor(-7/2)", "-4"},
		{"ceil(7/2)", "4"},
		{"round(-5/2)", "-3"},
		{"abs(-3/4)", "3/4"},
		{"max(1/2, 1/3)", "1/2"},
		{"min(pi, 3)", "≈ 3"},
		{"factorial(20)", "2432902008176640000"},
		{strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100), "1"},
		{strings.Repeat("-", 4095) + "1", "-1"},
		{strings.Repeat("1+", 2047) + "1", "2048"},
		{strings.Repeat("1^", 2047) + "1", "1"},
	} {
		got, err := call(t, "evaluate", evaluation(tc.expression))
		if err != nil || got != tc.want {
			t.Errorf("%.60s: got %.60q, %v, want %.60q", tc.expression, got, err, tc.want)
		}
	}
}

// case 113, case 114
func TestEvaluate_refuses(t *testing.T) {
	const (
		large  = "a result is too large: exact numbers have at most 5000 digits, decimals reach about 1.8e308"
		small  = "a result is too close to zero: decimals reach about 5e-324"
		misfit = "the expression is not complete, or an operator or a comma is out of place"
		known  = " is not understood: an expression has numbers, names, + - * / ^, parentheses and commas"
	)
	for _, tc := range []struct{ expression, want string }{
		{"10^400*pi", "the result: the number is out of the range of decimals, which reach from about 5e-324 to 1.8e308"},
		{"-pi/10^400", "the result: the number is out of the range of decimals, which reach from about 5e-324 to 1.8e308"},
		{"sin(pi*(1-10^-400))", small},
		{"tan(pi*(1/2-10^-400))", large},
		{"1/0", "division by zero"},
		{"1/(1/3-2/6)", "division by zero"},
		{"0^-1", "division by zero: 0 to a negative power"},
		{"mod(1,0)", "division by zero: mod(…, 0)"},
		{"1/(sqrt(2)-sqrt(2))", "division by zero"},

		// Power bombs cost nothing.
		{"9^9^9", large},
		{"9^9^9^9", "a result is too large: exact numbers have at most 5000 digits, decimals reach about 1.8e308"},
		{"9^(10^4999)", large},
		{"2^100000", large},
		{"(10^4000)^2", large},
		{"10^4000*10^4000", large},
		{"10^5000", large},
		{"(9^9^4)^9^9", large},
		{"0.5^100000", small},
		{"2^-(10^4999)", small},
		{"1e-4000*1e-4000", small},
		{"exp(-1000)", small},
		{"exp(1000)", large},
		{"e^1000", large},
		{"cosh(1000)", large},
		{"factorial(5000)", "factorial: the result would have more than 5000 digits"},
		{"factorial(9999999999999999)", "factorial: the result would have more than 5000 digits"},
		{"factorial(-1)", "factorial needs a whole number that is not negative"},
		{"1e5000", `the number "1e5000" is out of range: at most 5000 digits are possible`},
		{"1e-5000", `the number "1e-5000" is out of range: at most 5000 digits are possible`},
		{"1e999999999999999999999", `the number "1e999999999999999999999" is out of range: at most 5000 digits are possible`},

		{"sqrt(-1)", "a negative number has no real square root, nor another even one"},
		{"(-8)^(1/3)", "a negative number to a power that is not whole is no real number; root(x, n) takes odd roots of negative numbers"},
		{"root(2, 0)", "root(x, n) needs a whole n above zero"},
		{"ln(0)", "a logarithm needs a number above zero"},
		{"ln(-sqrt(2))", "a logarithm needs a number above zero"},
		{"log(2, 1)", "a logarithm to base 1 has no value"},
		{"log(100)", "log needs its base: write ln(x), log10(x), log2(x) or log(x, base)"},
		{"asin(2)", "asin has no real value at 2"},
		{"acosh(1/2)", "acosh has no real value at 0.5"},
		{"atanh(1)", "atanh has no finite value at 1"},
		{"tan(pi/2)", "tan has no value at pi/2 and whole numbers of half turns from it"},
		{"sin(10^30)", "the argument of sin is too large: no digit of the result would be right"},

		{"", "the expression is empty"},
		{" \n", "the expression is empty"},
		{"x", `unknown name "x": the names are pi, e`},
		{"os", `unknown name "os": the names are pi, e`},
		{"nan", `unknown name "nan": the names are pi, e`},
		{"sin", "sin is a function: write sin(…)"},
		{"pi(2)", "pi is not a function: write pi*(…) for a product"},
		{"max(1)", "max takes 2 arguments, not 1"},
		{"sin()", "sin takes 1 arguments, not 0"},
		{"1+", misfit},
		{"()", misfit},
		{"max(,1)", misfit},
		{"(1,2)", misfit},
		{"*2", `there is nothing in front of "*"`},
		{"2***3", `there is nothing in front of "*"`},
		{"(1", "a closing parenthesis is missing"},
		{"1)", "a closing parenthesis has no opening one"},
		{"2x", `an operator is missing between "2" and "x": write 2*x for a product`},
		{"2(3)", `an operator is missing between "2" and "(": write 2*(x) for a product`},
		{"1,000", "a comma may stand only between the arguments of a function: write 1000, not 1,000"},
		{"50%", `"%" is not understood: write mod(a, b) for a remainder, a/100 for a percentage`},
		{"5!", `"!" is not understood: write factorial(n)`},

		// Go's syntax that expressions do not have.
		{"7//2", `"//" is not understood: write floor(a/b) for a whole quotient`},
		{"7/*1*/+2", `"/*" is not understood: write floor(a/b) for a whole quotient`},
		{"0x10", `"0x10" is not understood: write numbers in decimal digits, such as 1000, 0.5 or 2e-3`},
		{"1_000", `"1_000" is not understood: write numbers in decimal digits, such as 1000, 0.5 or 2e-3`},
		{"1e", `"1e" is not understood: digits must follow the e of a number, as in 2e-3`},
		{"2i", `"2i" is not understood: write 2*pi for a product; imaginary numbers are not possible`},
		{"'a'", `"'a'"` + known},
		{"`a", "\"`a\"" + known},
		{`"a"`, `"\"a\""` + known},
		{"1;2", `";"` + known},
		{"func(){}", `"func"` + known},
		{"[]int{1}", `"["` + known},
		{"<-1", `"<-"` + known},
		{"1<2", `"<"` + known},
		{"a.b", `"."` + known},
		{"1&^2", `"&^"` + known},
		{"\x00", `"\x00"` + known},

		{strings.Repeat("(", 101) + "1" + strings.Repeat(")", 101), "the expression is nested too deeply: at most 100 levels are possible"},
		{strings.Repeat("1", 4097), "the expression is too long: at most 4096 characters are possible"},
	} {
		start := time.Now()
		got, err := call(t, "evaluate", evaluation(tc.expression))
		refused := (*calculator.InputError)(nil)
		if !errors.As(err, &refused) || refused.Reason != tc.want {
			t.Errorf("%.60q: got %.60q, %v, want the refusal %q", tc.expression, got, err, tc.want)
		}
		if took := time.Since(start); took > 2*time.Second { // it is microseconds
			t.Errorf("%.60q: took %v", tc.expression, took)
		}
	}
	for input, want := range map[string]string{
		`{"expression":1}`:            "expression must be a string",
		`{"expression":null}`:         "expression must be a string",
		"{\"expression\":\"\xff\"}":   "expression must be valid UTF-8",
		`{}`:                          "argument expression is missing",
		`{"expression":"1","x":"pi"}`: `unknown argument "x": want expression`,
	} {
		if got, err := call(t, "evaluate", input); err == nil || err.Error() != want {
			t.Errorf("%s: got %q, %v, want %q", input, got, err, want)
		}
	}
}

// Roots of the longest numbers are exact where they are whole, and as many of
// them as an expression can hold take no time to speak of.
func TestEvaluate_longRoots(t *testing.T) {
	for base := int64(2); base < 1e18; base = base*7 + 1 {
		for n := int64(2); n <= 16_000; n = n*3/2 + 1 {
			power := new(big.Int).Exp(big.NewInt(base), big.NewInt(n), nil)
			if power.BitLen() > 16_000 {
				break
			}
			if got, err := call(t, "evaluate", evaluation(fmt.Sprintf("root(%d^%d, %d)", base, n, n))); err != nil || got != fmt.Sprint(base) {
				t.Errorf("root(%d^%d, %d): got %.60s, %v", base, n, n, got, err)
			}
			for _, beside := range []string{"+1", "-1"} {
				if got, err := call(t, "evaluate", evaluation(fmt.Sprintf("root(%d^%d%s, %d)", base, n, beside, n))); err == nil && !strings.HasPrefix(got, "≈") {
					t.Errorf("root(%d^%d%s, %d): got %.60s", base, n, beside, n, got)
				}
			}
		}
	}
	start := time.Now()
	got, err := call(t, "evaluate", evaluation(strings.Repeat("root(2049^1500,1500)+", 194)+"0"))
	if want := fmt.Sprint(194 * 2049); got != want || err != nil {
		t.Errorf("got %.60s, %v, want %s", got, err, want)
	}
	if took := time.Since(start); took > time.Second { // it is ten milliseconds
		t.Errorf("it took %v", took)
	}
}

// The dearest expressions that fit the limits end, or end with their context.
func TestEvaluate_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	tool := calculator.Tool{Params: []string{"a"}, Run: func(ctx context.Context, args []json.RawMessage) (string, error) {
		calls++
		cancel()
		for _, c := range calculator.Tools() {
			if c.Name == "evaluate" {
				return c.Run(ctx, args)
			}
		}
		return "", nil
	}}
	if got, err := tool.Call(ctx, json.RawMessage(`{"a":"1+1"}`)); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("got %q, %v after %d calls, want %v", got, err, calls, context.Canceled)
	}
}

// tree writes a random expression and its value, or nil if it contains a
// division by zero.
func tree(r *rand.Rand, depth int) (string, *big.Rat) {
	if depth == 0 || r.IntN(8) == 0 {
		n := r.IntN(20)
		return strconv.Itoa(n), big.NewRat(int64(n), 1)
	}
	x, a := tree(r, depth-1)
	switch r.IntN(6) {
	case 0:
		if a == nil {
			return "-(" + x + ")", nil
		}
		return "-(" + x + ")", new(big.Rat).Neg(a)
	case 1:
		n := r.IntN(7) - 3
		power := "(" + x + ")^" + strconv.Itoa(n)
		if a == nil || a.Sign() == 0 && n < 0 {
			return power, nil
		}
		value := big.NewRat(1, 1)
		for range max(n, -n) {
			value.Mul(value, a)
		}
		if n < 0 {
			value.Inv(value)
		}
		return power, value
	}
	y, b := tree(r, depth-1)
	op := []string{"+", "-", "*", "/"}[r.IntN(4)]
	text := "(" + x + ")" + op + "(" + y + ")"
	if a == nil || b == nil || op == "/" && b.Sign() == 0 {
		return text, nil
	}
	z := new(big.Rat)
	return text, map[string]func(x, y *big.Rat) *big.Rat{"+": z.Add, "-": z.Sub, "*": z.Mul, "/": z.Quo}[op](a, b)
}

// case 114
func TestEvaluate_agreesWithRat(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	exact, refused := 0, 0
	for range 1500 {
		text, want := tree(r, 5)
		if len(text) > maxExpression || want != nil && len(want.RatString()) > maxDigits {
			continue
		}
		got, err := call(t, "evaluate", evaluation(text))
		switch {
		case want == nil && err == nil:
			t.Fatalf("%s: got %s, want a division by zero refused", text, got)
		case want == nil:
			refused++
		case err != nil || got != want.RatString():
			t.Fatalf("%s: got %s, %v, want %s", text, got, err, want.RatString())
		default:
			exact++
		}
	}
	if exact < 500 || refused < 25 {
		t.Errorf("got %d exact results and %d refusals, want more", exact, refused)
	}
}

// case 114
func TestEvaluate_precedence(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		// A flat expression: the test itself adds up the terms that bind
		// tighter.
		var text strings.Builder
		sum, product := big.NewRat(0, 1), big.NewRat(1, 1)
		sign := 1
		for i := range 8 {
			base, n, minus := int64(r.IntN(9)+1), r.IntN(3), r.IntN(3) == 0
			op := "+-*/"[r.IntN(4)]
			factor := new(big.Rat).SetInt64(1)
			for range n {
				factor.Mul(factor, big.NewRat(base, 1))
			}
			if minus {
				factor.Neg(factor)
			}
			switch {
			case i == 0:
				product.Set(factor)
			case op == '*':
				text.WriteByte('*')
				product.Mul(product, factor)
			case op == '/':
				text.WriteByte('/')
				product.Quo(product, factor)
			default:
				text.WriteByte(op)
				if sign < 0 {
					product.Neg(product)
				}
				sum.Add(sum, product)
				product.Set(factor)
				if sign = 1; op == '-' {
					sign = -1
				}
			}
			if minus {
				text.WriteByte('-')
			}
			text.WriteString(strconv.FormatInt(base, 10) + "^" + strconv.Itoa(n))
		}
		if sign < 0 {
			product.Neg(product)
		}
		want := sum.Add(sum, product).RatString()
		if got, err := call(t, "evaluate", evaluation(text.String())); err != nil || got != want {
			t.Fatalf("%s: got %s, %v, want %s", text.String(), got, err, want)
		}
	}
}

// Functions of decimals agree with package math.
func TestEvaluate_agreesWithMath(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, f := range map[string]func(float64) float64{
		"sin": math.Sin, "cos": math.Cos, "tan": math.Tan, "asin": math.Asin, "acos": math.Acos, "atan": math.Atan,
		"sinh": math.Sinh, "cosh": math.Cosh, "tanh": math.Tanh, "asinh": math.Asinh, "atanh": math.Atanh,
		"exp": math.Exp, "ln": math.Log, "log2": math.Log2, "log10": math.Log10, "sqrt": math.Sqrt, "cbrt": math.Cbrt,
	} {
		for range 50 {
			x := r.Float64()
			got, err := call(t, "evaluate", evaluation(name+"("+strconv.FormatFloat(x, 'g', -1, 64)+")"))
			if want := "≈ " + strconv.FormatFloat(f(x), 'g', -1, 64); err != nil || got != want {
				t.Errorf("%s(%v): got %s, %v, want %s", name, x, got, err, want)
			}
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{"1/3+1/6", "2^100", "-2^-2^2", "sin(pi/6)", "log(8,2)", "9^9^9", "1e4999*0.1", "root(-8,3)", "mod(-7,3)", "7//2", "2--3", "((1))", "(", "func(){}", "\x00", "factorial(9)^9", "π×2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		got, err := call(t, "evaluate", evaluation(expression))
		if refused := (*calculator.InputError)(nil); err != nil && !errors.As(err, &refused) {
			t.Fatalf("%q: got %v, want an InputError", expression, err)
		}
		if err != nil {
			return
		}
		number, rounded := strings.CutPrefix(got, "≈ ")
		r, ok := new(big.Rat).SetString(number)
		if !ok {
			t.Fatalf("%q: got %q, want a number", expression, got)
		}
		if len(got) > 2*maxDigits+2 {
			t.Fatalf("%q: got %d characters", expression, len(got))
		}
		if rounded {
			return
		}
		// An exact result is an expression with itself as its result.
		if strings.Contains(got, ".") || len(got) > maxDigits/2 || len(got) > maxExpression {
			return
		}
		if again, err := call(t, "evaluate", evaluation(got)); err != nil || again != r.RatString() {
			t.Fatalf("%q: got %s, whose value is %s, %v", expression, got, again, err)
		}
	})
}
