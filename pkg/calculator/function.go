package calculator

import (
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
)

// unary are the functions of one argument as float64 computes them. If the
// argument is exactly at, the value is exactly is.
var unary = map[string]struct {
	f      func(float64) float64
	at, is int64
}{
	"sin": {math.Sin, 0, 0}, "cos": {math.Cos, 0, 1}, "tan": {math.Tan, 0, 0},
	"asin": {math.Asin, 0, 0}, "acos": {math.Acos, 1, 0}, "atan": {math.Atan, 0, 0},
	"sinh": {math.Sinh, 0, 0}, "cosh": {math.Cosh, 0, 1}, "tanh": {math.Tanh, 0, 0},
	"asinh": {math.Asinh, 0, 0}, "acosh": {math.Acosh, 1, 0}, "atanh": {math.Atanh, 0, 0},
	"exp": {math.Exp, 0, 1}, "ln": {math.Log, 1, 0}, "log2": {math.Log2, 1, 0}, "log10": {math.Log10, 1, 0},
	"abs": {math.Abs, 0, 0}, "floor": {math.Floor, 0, 0}, "ceil": {math.Ceil, 0, 0}, "round": {math.Round, 0, 0},
	"factorial": {floatFactorial, 0, 1},
}

// binary are the functions of two arguments.
var binary = map[string]func(x, y float64) float64{
	"atan2": math.Atan2,
	"log":   func(x, base float64) float64 { return math.Log(x) / math.Log(base) },
	"max":   math.Max,
	"min":   math.Min,
	"mod":   floatMod,
	"root":  floatRoot,
}

// written are the functions that parse replaces by others, with their numbers of
// arguments.
var written = map[string]int{"sqrt": 1, "cbrt": 1, "pow": 2}

// arity returns the number of arguments of a function, or 0 if there is no such
// function.
func arity(name string) int {
	if _, ok := unary[name]; ok {
		return 1
	}
	if _, ok := binary[name]; ok {
		return 2
	}
	return written[name]
}

func functionNames() string {
	names := slices.Concat(slices.Collect(maps.Keys(unary)), slices.Collect(maps.Keys(binary)), slices.Collect(maps.Keys(written)))
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// floatMod has the sign of y, like the exact function. It has no value if the
// quotient is so large that no digit of the result would be right.
func floatMod(x, y float64) float64 {
	if math.Abs(x/y) > 1<<53 {
		return math.NaN()
	}
	m := math.Mod(x, y)
	if m != 0 && (m < 0) != (y < 0) {
		m += y
	}
	return m
}

func floatRoot(x, n float64) float64 {
	switch {
	case n == 2:
		return math.Sqrt(x)
	case n == 3:
		return math.Cbrt(x)
	case n < 1 || n != math.Trunc(n):
		return math.NaN()
	case x < 0 && math.Mod(n, 2) == 1:
		return -math.Pow(-x, 1/n)
	}
	return math.Pow(x, 1/n)
}

func floatFactorial(x float64) float64 {
	if x < 0 || x != math.Trunc(x) {
		return math.NaN()
	}
	return math.Gamma(x + 1)
}

// exactCall computes a function if its value is rational, or refuses it. ok is
// false if the value is left to float64.
func exactCall(name string, args []number) (n number, ok bool, err error) {
	x := args[0]
	if u, isUnary := unary[name]; isUnary {
		if at, isWhole := x.integer(); isWhole && at == u.at {
			return whole(u.is), true, nil
		}
	}
	switch name {
	case "sin", "cos", "tan":
		if x.pi {
			return circle(name, x.rat)
		}
	case "log2", "log10":
		base := map[string]int64{"log2": 2, "log10": 10}[name]
		return exactLog(x, whole(base))
	case "ln":
		return exactLog(x, number{f: math.E})
	case "log":
		return exactLog(x, args[1])
	case "root":
		return root(x, args[1])
	case "factorial":
		return factorial(x)
	case "mod":
		if args[1].sign() == 0 {
			return number{}, false, refusef("division by zero: mod(…, 0)")
		}
	}
	for _, a := range args {
		if !a.rational() {
			return number{}, false, nil
		}
	}
	switch name {
	case "abs":
		return exact(new(big.Rat).Abs(x.rat)), true, nil
	case "floor":
		return exact(floor(x.rat)), true, nil
	case "ceil":
		r := floor(new(big.Rat).Neg(x.rat))
		return exact(r.Neg(r)), true, nil
	case "round": // half away from zero, as math.Round
		r := floor(new(big.Rat).Add(new(big.Rat).Abs(x.rat), big.NewRat(1, 2)))
		if x.sign() < 0 {
			r.Neg(r)
		}
		return exact(r), true, nil
	case "max", "min":
		if (x.rat.Cmp(args[1].rat) > 0) == (name == "max") {
			return x, true, nil
		}
		return args[1], true, nil
	case "mod":
		r := floor(new(big.Rat).Quo(x.rat, args[1].rat))
		return settle(r.Sub(x.rat, r.Mul(r, args[1].rat)), false), true, nil
	}
	return number{}, false, nil
}

func floor(r *big.Rat) *big.Rat {
	// Div rounds down for a positive divisor, which denominators are.
	return new(big.Rat).SetInt(new(big.Int).Div(r.Num(), r.Denom()))
}

// circle computes sin, cos or tan of r*pi. It first reduces r to between 0 and
// 2, so that any number of turns costs no digit.
func circle(name string, r *big.Rat) (number, bool, error) {
	half := new(big.Rat).Quo(r, big.NewRat(2, 1))
	r = new(big.Rat).Sub(r, new(big.Rat).Mul(floor(half), big.NewRat(2, 1)))
	twelfths := new(big.Rat).Mul(r, big.NewRat(12, 1))
	if !twelfths.IsInt() {
		return number{f: fromQuarter(name, r)}, true, nil
	}
	t := twelfths.Num().Int64() // 0 to 23
	if name == "tan" {
		switch t % 12 {
		case 0:
			return whole(0), true, nil
		case 3:
			return whole(1), true, nil
		case 6:
			return number{}, false, refusef("tan has no value at pi/2 and whole numbers of half turns from it")
		case 9:
			return whole(-1), true, nil
		}
		return number{f: math.Tan(float64(t) * math.Pi / 12)}, true, nil
	}
	if name == "cos" {
		t = (t + 6) % 24
	}
	sign := int64(1)
	if t >= 12 {
		t, sign = t-12, -1
	}
	switch t {
	case 0:
		return whole(0), true, nil
	case 2, 10:
		return exact(big.NewRat(sign, 2)), true, nil
	case 6:
		return whole(sign), true, nil
	}
	return number{f: float64(sign) * math.Sin(float64(min(t, 12-t))*math.Pi/12)}, true, nil
}

// fromQuarter computes sin, cos or tan of r*pi from the distance to the nearest
// quarter turn. Next to a zero or a pole, float64 can hold r, but hardly a digit
// of its distance from there.
func fromQuarter(name string, r *big.Rat) float64 {
	quarter := floor(new(big.Rat).Add(new(big.Rat).Mul(r, big.NewRat(2, 1)), big.NewRat(1, 2)))
	rest, _ := new(big.Rat).Sub(r, new(big.Rat).Mul(quarter, big.NewRat(1, 2))).Float64()
	n, angle := quarter.Num().Int64(), rest*math.Pi
	if name == "tan" {
		if n%2 == 0 {
			return math.Tan(angle)
		}
		return -1 / math.Tan(angle)
	}
	if name == "cos" {
		n++
	}
	f := math.Sin
	if n%2 == 1 {
		f = math.Cos
	}
	if n%4 >= 2 {
		return -f(angle)
	}
	return f(angle)
}

// exactLog returns the logarithm of x. It is exact if x is a whole power of a
// rational base. For numbers beyond float64 it is a decimal that float64's own
// function cannot give.
func exactLog(x, base number) (number, bool, error) {
	if x.sign() <= 0 || base.sign() <= 0 {
		return number{}, false, refusef("a logarithm needs a number above zero")
	}
	if b, ok := base.integer(); ok && b == 1 {
		return number{}, false, refusef("a logarithm to base 1 has no value")
	}
	if !x.rational() {
		return number{}, false, nil
	}
	f := naturalLog(x)
	if base.rational() {
		f /= naturalLog(base)
		if n := math.Round(f); math.Abs(n) <= float64(maxBits) {
			p, err := wholePower(base.rat, big.NewInt(int64(n)))
			if err != nil {
				return number{}, false, err
			}
			if p.rational() && p.rat.Cmp(x.rat) == 0 {
				return whole(int64(n)), true, nil
			}
		}
	} else {
		f /= math.Log(base.float())
	}
	if inRange(x) && inRange(base) {
		return number{}, false, nil // float64's own functions are more precise by a digit
	}
	return number{f: f}, true, nil
}

func naturalLog(n number) float64 {
	if inRange(n) {
		return math.Log(n.float())
	}
	return (log2(n.rat.Num()) - log2(n.rat.Denom())) * math.Ln2
}

// inRange reports whether float64 can hold n, rounded.
func inRange(n number) bool {
	f := n.float()
	return !math.IsInf(f, 0) && (f != 0) == (n.sign() != 0)
}

// root returns the nth root of x. Odd roots of negative numbers are negative.
func root(x, n number) (number, bool, error) {
	degree, ok := n.integer()
	if !ok || degree < 1 || degree > math.MaxInt32 {
		return number{}, false, refusef("root(x, n) needs a whole n above zero")
	}
	if x.sign() < 0 {
		if degree%2 == 0 {
			return number{}, false, refusef("a negative number has no real square root, nor another even one")
		}
		r, ok, err := root(neg(x), n)
		return neg(r), ok, err
	}
	if x.rational() {
		if r, ok := exactRoot(x.rat, degree); ok {
			return exact(r), true, nil
		}
	}
	if !inRange(x) {
		return number{}, false, outOfDecimals("root")
	}
	return number{f: floatRoot(x.float(), float64(degree))}, true, nil
}

func factorial(x number) (number, bool, error) {
	n, ok := x.integer()
	if !ok || n < 0 {
		return number{}, false, refusef("factorial needs a whole number that is not negative")
	}
	// The logarithm of the gamma function gives the size of the result. Beyond a
	// million every result is too large.
	if bits, _ := math.Lgamma(float64(min(n, 1<<20)) + 1); bits/math.Ln2 > float64(maxBits) {
		return number{}, false, refusef("factorial: the result would have more than %d digits", maxDigits)
	}
	return exact(new(big.Rat).SetInt(new(big.Int).MulRange(1, n))), true, nil
}
