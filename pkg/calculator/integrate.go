package calculator

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/integrate/quad"
)

const (
	// tolerance is the largest accepted error, relative to the integral of the
	// expression's absolute value. lastTolerance is the largest accepted error
	// when halving no longer helps.
	tolerance     = 1e-10
	lastTolerance = 1e-7

	// caution is the factor between the difference of the two rules and the
	// error that is assumed. If the expression is smooth, the difference is far
	// above the error. At a singularity it is not: at that of x^-0.96, about the
	// worst that the tolerances accept, the error is 16 times the difference.
	caution = 40

	// startPanels is the number of parts that an interval is divided into at the
	// start, so that the two rules do not agree because both missed the same
	// peak.
	startPanels = 32

	// maxSteps is the limit of operations for one integral, about a tenth of a
	// second, and maxPanels the limit of parts, 200 kB.
	maxSteps  = 2_500_000
	maxPanels = 4_000

	// narrowest is about how many float64 numbers a panel must contain to be
	// halved.
	narrowest = 8
)

// The orders of the two Gauss-Legendre rules. Their difference gives the error;
// the higher one gives the result.
const lowOrder, highOrder = 10, 21

var integrateSchema = json.RawMessage(`{"type":"object","properties":{` +
	`"expression":{"type":"string","description":"What to integrate, in x, for example x^2 * exp(-x)","minLength":1,"maxLength":4096},` +
	`"lower":{"type":["number","string"],"description":"The lower bound: a number, or an expression such as pi/2 or -inf"},` +
	`"upper":{"type":["number","string"],"description":"The upper bound: a number, or an expression such as pi/2 or inf"}},` +
	`"required":["expression","lower","upper"],"additionalProperties":false}`)

// integrate is the tool of that name.
func integrate(ctx context.Context, args []json.RawMessage) (string, error) {
	text, err := textArgument("expression", args[0])
	if err != nil {
		return "", err
	}
	x, err := parse(text, "x")
	if err != nil {
		return "", err
	}
	var bounds [2]float64
	for i, name := range []string{"lower", "upper"} {
		if bounds[i], err = bound(ctx, name, args[i+1]); err != nil {
			return "", err
		}
	}
	lower, upper, sign := bounds[0], bounds[1], 1.0
	if lower == upper {
		if math.IsInf(lower, 0) {
			return "", refusef("the bounds are the same infinity")
		}
		return "0", nil
	}
	if lower > upper {
		lower, upper, sign = upper, lower, -1
	}
	if !math.IsInf(lower, 0) && !math.IsInf(upper, 0) && math.IsInf(upper-lower, 0) {
		return "", refusef("the bounds are too far apart: use inf or -inf")
	}
	in, err := newIntegral(ctx, x.root)
	if err != nil {
		return "", err
	}
	result, deviation, err := in.run(ctx, lower, upper)
	if err != nil {
		return "", err
	}
	return "≈ " + formatFloat(sign*result) + " (estimated error " + strconv.FormatFloat(deviation, 'g', 2, 64) + ")", nil
}

// bound reads a bound: a number, an expression or an infinity.
func bound(ctx context.Context, name string, raw json.RawMessage) (float64, error) {
	text := string(raw)
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		var err error
		if text, err = textArgument(name, raw); err != nil {
			return 0, refusef("%s must be a number, or a string that holds an expression", name)
		}
	}
	switch strings.Join(strings.Fields(symbols.Replace(text)), "") {
	case "inf", "+inf":
		return math.Inf(1), nil
	case "-inf":
		return math.Inf(-1), nil
	}
	n, _, err := compute(ctx, text)
	if refused := (*InputError)(nil); errors.As(err, &refused) {
		return 0, refusef("%s: %s", name, refused.Reason)
	}
	if err != nil {
		return 0, err
	}
	if !inRange(n) {
		return 0, refusef("%s is out of the range of decimals, which reach from about 5e-324 to 1.8e308", name)
	}
	return n.float(), nil
}

// substitution maps the variable t of a part of the range to x: x = t, or,
// towards an infinity, x = a + direction*(1-t)/t with t from 0 to 1. Infinity is
// at t = 0, where float64 is finest.
type substitution struct{ a, direction float64 }

func (s substitution) x(t float64) float64 {
	if s.direction == 0 {
		return t
	}
	return s.a + s.direction*(1-t)/t
}

// panel is a part of the range of integration, in t.
type panel struct {
	by       *substitution
	from, to float64

	sum, size, deviation float64 // the integral of f, that of its absolute value, and the error of the first
}

// panels is a heap with the largest deviation on top.
type panels []panel

func (p panels) Len() int           { return len(p) }
func (p panels) Less(i, j int) bool { return p[i].deviation > p[j].deviation }
func (p panels) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *panels) Push(v any)        { *p = append(*p, v.(panel)) }
func (p *panels) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// rule is a quadrature rule on the interval from -1 to 1.
type rule struct{ at, weight []float64 }

func legendre(order int) rule {
	r := rule{make([]float64, order), make([]float64, order)}
	quad.Legendre{}.FixedLocations(r.at, r.weight, -1, 1)
	return r
}

// integral is one calculation of an integral.
type integral struct {
	f         func(x float64) float64
	steps     int // of one evaluation of f
	low, high rule
}

func newIntegral(ctx context.Context, n *node) (*integral, error) {
	in := &integral{low: legendre(lowOrder), high: legendre(highOrder)}
	var err error
	in.f, err = n.function(ctx, &in.steps)
	return in, err
}

// run integrates from lower to upper, which is larger; either may be infinite.
// It halves the part with the largest error until the whole is precise enough.
func (in *integral) run(ctx context.Context, lower, upper float64) (result, deviation float64, err error) {
	var pieces []panel
	switch {
	case math.IsInf(lower, 0) && math.IsInf(upper, 0):
		// Two pieces: each must converge.
		pieces = []panel{{by: &substitution{0, -1}, to: 1}, {by: &substitution{0, 1}, to: 1}}
	case math.IsInf(lower, 0):
		pieces = []panel{{by: &substitution{upper, -1}, to: 1}}
	case math.IsInf(upper, 0):
		pieces = []panel{{by: &substitution{lower, 1}, to: 1}}
	default:
		pieces = []panel{{by: &substitution{}, from: lower, to: upper}}
	}
	var queue panels
	for _, p := range pieces {
		from := p.from
		for i := range startPanels {
			to := p.to
			if i < startPanels-1 {
				to = p.from + (p.to-p.from)/startPanels*float64(i+1)
			}
			if from < to {
				queue = append(queue, panel{by: p.by, from: from, to: to})
				from = to
			}
		}
	}
	for i := range queue {
		if err := in.measure(ctx, &queue[i]); err != nil {
			return 0, 0, err
		}
	}
	heap.Init(&queue)
	var final panels // not worth halving
	budget := maxSteps / (lowOrder + highOrder) / max(1, in.steps)
	for sumAt := 0; ; {
		ending := len(queue) == 0 || len(queue)+len(final) >= maxPanels || budget < 2
		if ending || len(queue) >= sumAt { // at growing intervals, so that sums do not cost more than panels
			sumAt = len(queue) + 1 + len(queue)/64
			var size float64
			result, size, deviation = total(queue, final)
			if math.IsInf(size, 0) {
				return 0, 0, refusef("the integral is too large, or does not exist: decimals reach about 1.8e308")
			}
			if deviation <= tolerance*size || ending && deviation <= lastTolerance*size {
				return result, deviation + size*0x1p-48, nil // plus the error of rounding
			}
			if ending {
				return 0, 0, diverges(slices.MaxFunc(slices.Concat(queue, final), func(p, q panel) int { return cmp.Compare(p.deviation, q.deviation) }))
			}
		}
		p := heap.Pop(&queue).(panel)
		budget -= 2
		if p.narrow(narrowest) {
			final = append(final, p)
			continue
		}
		middle := p.from + (p.to-p.from)/2
		left, right := panel{by: p.by, from: p.from, to: middle}, panel{by: p.by, from: middle, to: p.to}
		if err := in.measure(ctx, &left); err != nil {
			return 0, 0, err
		}
		if err := in.measure(ctx, &right); err != nil {
			return 0, 0, err
		}
		heap.Push(&queue, left)
		heap.Push(&queue, right)
	}
}

// diverges returns the error of an integral that does not converge in p.
func diverges(p panel) error {
	return refusef("the integral does not converge, worst near x = %.4g: it may not exist, be beyond the range of decimals, or vary too much between the bounds; try a part of the interval", p.by.x(p.from+(p.to-p.from)/2))
}

// total adds up panels. It uses Kahan's summation for the result.
func total(parts ...panels) (sum, size, deviation float64) {
	lost := 0.0
	for _, part := range parts {
		for _, p := range part {
			y := p.sum - lost
			t := sum + y
			lost = t - sum - y
			sum = t
			size += p.size
			deviation += p.deviation
		}
	}
	return sum, size, deviation
}

// measure applies both rules to p. If the expression is infinite inside p, p
// must be halved until that point is at its end, or be refused.
func (in *integral) measure(ctx context.Context, p *panel) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	low, _, err := in.apply(in.low, p)
	if err != nil {
		return err
	}
	if p.sum, p.size, err = in.apply(in.high, p); err != nil {
		return err
	}
	p.deviation = caution * math.Abs(p.sum-low)
	switch {
	case math.IsInf(low, 0) || math.IsInf(p.size, 0):
		p.sum, p.size, p.deviation = 0, 0, math.Inf(1)
	case p.narrow(narrowest):
		// The rules may agree only because they see the same few numbers. At a
		// pole those are far apart.
		low, err := in.at(p, p.from)
		if err != nil {
			return err
		}
		high, err := in.at(p, p.to)
		if err != nil {
			return err
		}
		apart := p.size
		if !math.IsInf(low, 0) && !math.IsInf(high, 0) {
			apart = math.Abs(high-low) * (p.to - p.from)
		}
		p.deviation = max(p.deviation, apart)
	}
	return nil
}

// narrow reports whether p contains hardly more than n float64 numbers.
func (p *panel) narrow(n float64) bool {
	return p.to-p.from <= n*max(0x1p-52*max(math.Abs(p.from), math.Abs(p.to)), math.SmallestNonzeroFloat64)
}

// apply applies a rule to p.
func (in *integral) apply(r rule, p *panel) (sum, size float64, err error) {
	radius := (p.to - p.from) / 2
	center := p.from + radius
	for i, at := range r.at {
		v, err := in.at(p, center+radius*at)
		if err != nil {
			return 0, 0, err
		}
		if math.IsInf(v, 0) && p.narrow(4096) {
			continue // the place was rounded to the singularity
		}
		sum += r.weight[i] * v
		size += r.weight[i] * math.Abs(v)
	}
	return sum * radius, size * radius, nil
}

// at computes the integrand of p at t. It may be infinite.
func (in *integral) at(p *panel, t float64) (float64, error) {
	x := p.by.x(t)
	v := in.f(x)
	if math.IsNaN(v) {
		return 0, refusef("the expression has no real value, or none within the range of decimals, at x = %.6g", x)
	}
	if p.by.direction != 0 && v != 0 {
		v = v / t / t // dx = dt/t²; the product may be huge
	}
	return v, nil
}

// function turns n into a function of x on float64. It adds the number of
// operations of a call to steps. It computes once what does not depend on x, as
// evaluate does. The function returns NaN if n has no real value.
func (n *node) function(ctx context.Context, steps *int) (func(x float64) float64, error) {
	if !n.has('v', "x") {
		v, err := n.value(ctx)
		if err != nil {
			return nil, err
		}
		if !inRange(v) {
			return nil, outOfDecimals("a constant")
		}
		c := v.float()
		return func(float64) float64 { return c }, nil
	}
	*steps++
	if n.kind == 'v' {
		return func(x float64) float64 { return x }, nil
	}
	f, err := n.args[0].function(ctx, steps)
	if err != nil {
		return nil, err
	}
	if n.kind == 'm' {
		return func(x float64) float64 { return -f(x) }, nil
	}
	if len(n.args) == 1 {
		op := unary[n.name].f
		return func(x float64) float64 { return op(f(x)) }, nil
	}
	g, err := n.args[1].function(ctx, steps)
	if err != nil {
		return nil, err
	}
	switch n.kind {
	case '+':
		return func(x float64) float64 { return f(x) + g(x) }, nil
	case '-':
		return func(x float64) float64 { return f(x) - g(x) }, nil
	case '*':
		return func(x float64) float64 { return f(x) * g(x) }, nil
	case '/':
		return func(x float64) float64 { return f(x) / g(x) }, nil
	}
	op := math.Pow
	switch {
	case n.kind == '^' && n.args[0].isE():
		return func(x float64) float64 { return math.Exp(g(x)) }, nil
	case n.kind == 'f':
		op = binary[n.name]
	}
	return func(x float64) float64 {
		a, b := f(x), g(x)
		if math.IsNaN(a) || math.IsNaN(b) { // not every op passes it on
			return math.NaN()
		}
		return op(a, b)
	}, nil
}

// has reports whether n contains a node of that kind and name.
func (n *node) has(kind byte, name string) bool {
	return n.kind == kind && n.name == name || slices.ContainsFunc(n.args, func(a *node) bool { return a.has(kind, name) })
}
