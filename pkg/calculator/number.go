package calculator

import (
	"math"
	"math/big"
	"strconv"
)

// The numerator and the denominator of an exact number are below limit, so they
// have at most maxBits bits.
var (
	limit   = new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil)
	maxBits = limit.BitLen()
)

// fits reports whether r may be an exact number.
func fits(r *big.Rat) bool {
	return r.Num().CmpAbs(limit) < 0 && r.Denom().Cmp(limit) < 0
}

// number is the result of an evaluation: exact, as a rational or a rational
// multiple of pi, or a decimal with the precision of float64. It is immutable.
type number struct {
	rat *big.Rat // nil: the number is not known exactly
	pi  bool     // the number is rat*pi
	f   float64  // the number, if rat is nil
}

func exact(r *big.Rat) number { return number{rat: r} }

func whole(n int64) number { return exact(big.NewRat(n, 1)) }

// rational reports whether n is known exactly and is not a multiple of pi.
func (n number) rational() bool { return n.rat != nil && !n.pi }

// integer returns n if it is known to be a whole number that fits an int64.
func (n number) integer() (int64, bool) {
	if !n.rational() || !n.rat.IsInt() || !n.rat.Num().IsInt64() {
		return 0, false
	}
	return n.rat.Num().Int64(), true
}

// float returns the float64 nearest to n. It is infinite or zero if n is out of
// range.
func (n number) float() float64 {
	if n.rat == nil {
		return n.f
	}
	f, _ := n.rat.Float64()
	if n.pi {
		f *= math.Pi
	}
	return f
}

func (n number) sign() int {
	switch {
	case n.rat != nil:
		return n.rat.Sign()
	case n.f < 0:
		return -1
	case n.f > 0:
		return 1
	}
	return 0
}

// text writes n for the caller. An exact number is written in digits, or as a
// fraction, or, if the caller wrote decimals, as a decimal that ends. A rounded
// number starts with a sign that says so.
func (n number) text(decimal bool) string {
	if !n.rational() {
		return "≈ " + formatFloat(n.float())
	}
	if places, ends := n.rat.FloatPrec(); decimal && ends && places <= 30 {
		return n.rat.FloatString(places)
	}
	return n.rat.RatString()
}

func formatFloat(f float64) string {
	if f == 0 {
		return "0" // no sign
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// settle returns r as an exact number, or as a decimal if it is too long for
// one.
func settle(r *big.Rat, pi bool) number {
	n := number{rat: r, pi: pi && r.Sign() != 0}
	if fits(r) {
		return n
	}
	return number{f: n.float()}
}

func add(x, y number) number {
	switch {
	case x.rat == nil || y.rat == nil:
	case x.rat.Sign() == 0:
		return y
	case y.rat.Sign() == 0:
		return x
	case x.pi == y.pi:
		return settle(new(big.Rat).Add(x.rat, y.rat), x.pi)
	}
	return number{f: x.float() + y.float()}
}

func neg(x number) number {
	if x.rat == nil {
		return number{f: -x.f}
	}
	return number{rat: new(big.Rat).Neg(x.rat), pi: x.pi}
}

func mul(x, y number) number {
	if x.rat == nil || y.rat == nil || x.pi && y.pi {
		return number{f: x.float() * y.float()}
	}
	return settle(new(big.Rat).Mul(x.rat, y.rat), x.pi || y.pi)
}

func div(x, y number) (number, error) {
	if y.sign() == 0 {
		return number{}, refusef("division by zero")
	}
	if x.rat == nil || y.rat == nil || y.pi && !x.pi && x.rat.Sign() != 0 {
		return number{f: x.float() / y.float()}, nil
	}
	return settle(new(big.Rat).Quo(x.rat, y.rat), x.pi && !y.pi), nil
}

// power computes x^y. It knows the size before it computes anything exactly.
func power(x, y number) (number, error) {
	if x.sign() == 0 && y.sign() < 0 {
		return number{}, refusef("division by zero: 0 to a negative power")
	}
	if y.sign() == 0 {
		return whole(1), nil
	}
	if x.rational() && y.rational() {
		if y.rat.IsInt() {
			return wholePower(x.rat, y.rat.Num())
		}
		if x.sign() >= 0 && y.rat.Denom().IsInt64() {
			if r, ok := exactRoot(x.rat, y.rat.Denom().Int64()); ok {
				return wholePower(r, y.rat.Num())
			}
		}
	}
	f := math.Pow(x.float(), y.float())
	if x.sign() < 0 && math.IsNaN(f) {
		return number{}, refusef("a negative number to a power that is not whole is no real number; root(x, n) takes odd roots of negative numbers")
	}
	return number{f: f}, nil
}

// wholePower computes x^n exactly if the result is short enough for an exact
// number, and else as a decimal.
func wholePower(x *big.Rat, n *big.Int) (number, error) {
	if x.IsInt() && x.Num().BitLen() <= 1 { // 0, 1, -1
		if x.Sign() < 0 && n.Bit(0) == 0 {
			return whole(1), nil
		}
		return exact(x), nil
	}
	times := new(big.Int).Abs(n)
	if bits := max(log2(x.Num()), log2(x.Denom())); times.IsInt64() && float64(times.Int64())*bits <= float64(maxBits) {
		num := new(big.Int).Exp(x.Num(), times, nil)
		den := new(big.Int).Exp(x.Denom(), times, nil)
		if n.Sign() < 0 {
			num, den = den, num
		}
		return settle(new(big.Rat).SetFrac(num, den), false), nil
	}
	// By squaring, with so many bits that rounding does not reach the result:
	// float64's own power of 1.0001 to the 10000 is wrong from its 13th digit
	// on. An overflow is infinite and stays so.
	const precision = 256
	base := new(big.Float).SetPrec(precision).SetRat(x)
	result := new(big.Float).SetPrec(precision).SetInt64(1)
	for i := range times.BitLen() {
		if times.Bit(i) == 1 {
			result.Mul(result, base)
		}
		base.Mul(base, base)
	}
	if n.Sign() < 0 {
		if result.Sign() == 0 {
			return number{f: math.Inf(1)}, nil
		}
		result.Quo(big.NewFloat(1), result)
	}
	f, _ := result.Float64()
	return number{f: f}, nil
}

// log2 returns the binary logarithm of the absolute value of a whole number, or
// 0 for zero.
func log2(n *big.Int) float64 {
	m := new(big.Float).SetInt(n)
	if m.Sign() == 0 {
		return 0
	}
	exp := m.MantExp(m)
	f, _ := m.Float64()
	return math.Log2(math.Abs(f)) + float64(exp)
}

// exactRoot returns the nth root of x, which is not negative, if the root is
// rational.
func exactRoot(x *big.Rat, n int64) (*big.Rat, bool) {
	num, ok := wholeRoot(x.Num(), n)
	if !ok {
		return nil, false
	}
	den, ok := wholeRoot(x.Denom(), n)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetFrac(num, den), true
}

// wholeRoot returns the nth root of x, which is not negative, where that is
// whole. It is Newton's method from just above, where float64 puts the root; it
// falls until it has the whole part of the root.
func wholeRoot(x *big.Int, n int64) (*big.Int, bool) {
	if x.BitLen() <= 1 {
		return x, true
	}
	if n >= int64(x.BitLen()) { // 2^n is larger already
		return nil, false
	}
	places, part := math.Modf(log2(x) / float64(n))
	root := big.NewInt(int64(math.Exp2(part+0x1p-30) * (1 << 52))) // the logarithm is right to 2^-38
	root.Rsh(root.Lsh(root, uint(places)), 52).Add(root, big.NewInt(1))
	less, next := big.NewInt(n-1), new(big.Int)
	for {
		next.Exp(root, less, nil)
		next.Quo(x, next)
		next.Add(next, new(big.Int).Mul(root, less))
		next.Quo(next, big.NewInt(n))
		if next.Cmp(root) >= 0 {
			break
		}
		root.Set(next)
	}
	return root, next.Exp(root, big.NewInt(n), nil).Cmp(x) == 0
}
