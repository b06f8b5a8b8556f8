package calculator

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of an expression.
const (
	maxExpression = 4096 // characters
	maxNesting    = 100  // levels of parentheses
)

// node is one operation of an expression. It is immutable.
type node struct {
	kind byte     // one of + - * / ^, or 0 for a number, 'v' for a name, 'm' for a minus sign, 'f' for a function
	name string   // of a name or a function
	num  *big.Rat // of a number
	args []*node
}

// expression is a parsed text.
type expression struct {
	root    *node
	decimal bool // a number has a decimal point or an exponent
}

// An expression has Go's grammar except for powers, so the standard library's
// scanner and parser can read it. Go has no operator that binds tighter than
// multiplication. So each operator is given to the parser as one of the next
// lower level, which leaves the highest level for powers. Function power does
// the rest.
var (
	operators = map[token.Token]token.Token{
		token.ADD: token.EQL, token.SUB: token.NEQ, // level 3 of package go/token
		token.MUL: token.ADD, token.QUO: token.SUB, // level 4
		token.XOR: token.MUL, // level 5
	}
	kinds = map[token.Token]byte{token.EQL: '+', token.NEQ: '-', token.ADD: '*', token.SUB: '/', token.MUL: '^'}
)

// symbols maps what people and models write for an operator to what Go writes.
var symbols = strings.NewReplacer("**", "^", "×", "*", "·", "*", "⋅", "*", "÷", "/", "−", "-", "π", " pi ", "∞", " inf ")

// parse parses an expression. variables are the names that it may use besides
// the constants.
func parse(text string, variables ...string) (expression, error) {
	if !utf8.ValidString(text) {
		return expression{}, refusef("the expression must be valid UTF-8")
	}
	if utf8.RuneCountInString(text) > maxExpression {
		return expression{}, refusef("the expression is too long: at most %d characters are possible", maxExpression)
	}
	source, err := translate(symbols.Replace(text))
	if err != nil {
		return expression{}, err
	}
	tree, err := parser.ParseExpr(source)
	if err != nil {
		return expression{}, refusef("the expression is not complete, or an operator or a comma is out of place")
	}
	b := builder{variables: variables}
	root, err := b.build(tree)
	return expression{root, b.decimal}, err
}

// translate writes an expression as Go for the parser. It passes on only
// numbers, names, operators, commas and parentheses, so that nothing else of Go
// reaches the parser: no comment, no string, no keyword.
func translate(text string) (string, error) {
	var s scanner.Scanner
	src := []byte(text)
	// Errors of the scanner can be ignored: their tokens are refused below.
	s.Init(token.NewFileSet().AddFile("", -1, len(src)), src, func(token.Position, string) {}, scanner.ScanComments)
	var out strings.Builder
	depth := 0
	operand := false // whether the last token ends an operand
	last := ""
	for twice := token.ILLEGAL; ; {
		tok, lit := twice, ""
		if twice = token.ILLEGAL; tok == token.ILLEGAL {
			_, tok, lit = s.Scan()
		}
		switch tok { // two operators, as in 2--3
		case token.INC:
			tok, twice = token.ADD, token.ADD
		case token.DEC:
			tok, twice = token.SUB, token.SUB
		}
		what := lit
		if tok.IsOperator() && tok != token.SEMICOLON {
			what = tok.String()
		}
		begins := tok == token.INT || tok == token.FLOAT || tok == token.IDENT
		if begins && operand {
			return "", refusef("an operator is missing between %.40q and %.40q: write 2*x for a product", last, what)
		}
		switch {
		case tok == token.EOF:
			if out.Len() == 0 {
				return "", refusef("the expression is empty")
			}
			if depth > 0 {
				return "", refusef("a closing parenthesis is missing")
			}
			return out.String(), nil
		case tok == token.SEMICOLON && lit == "\n": // inserted by the scanner at the end of a line
			continue
		case tok == token.IDENT:
			out.WriteString(what)
		case begins:
			if err := checkNumber(what); err != nil {
				return "", err
			}
			// Without leading zeros, which would make it octal.
			out.WriteString(strings.TrimLeft(what[:len(what)-1], "0") + what[len(what)-1:])
		case tok == token.IMAG: // 2i, and 2pi
			return "", refusef("%.40q is not understood: write 2*pi for a product; imaginary numbers are not possible", what)
		case tok == token.LPAREN:
			if _, err := strconv.ParseFloat(last, 64); operand && (err == nil || last == ")") {
				return "", refusef("an operator is missing between %.40q and \"(\": write 2*(x) for a product", last)
			}
			if depth++; depth > maxNesting {
				return "", refusef("the expression is nested too deeply: at most %d levels are possible", maxNesting)
			}
			out.WriteByte('(')
		case tok == token.RPAREN:
			if depth--; depth < 0 {
				return "", refusef("a closing parenthesis has no opening one")
			}
			out.WriteByte(')')
		case tok == token.COMMA:
			if depth == 0 {
				return "", refusef("a comma may stand only between the arguments of a function: write 1000, not 1,000")
			}
			out.WriteByte(',')
		case (tok == token.ADD || tok == token.SUB) && !operand: // a sign
			out.WriteString(what)
		case operators[tok] != token.ILLEGAL:
			if !operand {
				return "", refusef("there is nothing in front of %q", what)
			}
			out.WriteString(operators[tok].String())
		case tok == token.REM:
			return "", refusef("%q is not understood: write mod(a, b) for a remainder, a/100 for a percentage", what)
		case tok == token.NOT:
			return "", refusef("%q is not understood: write factorial(n)", what)
		case tok == token.COMMENT:
			return "", refusef("%.2q is not understood: write floor(a/b) for a whole quotient", what)
		default:
			return "", refusef("%.40q is not understood: an expression has numbers, names, + - * / ^, parentheses and commas", what)
		}
		out.WriteByte(' ')
		operand = begins || tok == token.RPAREN
		last = what
	}
}

// builder turns the parser's output into nodes, and checks names and numbers.
type builder struct {
	variables []string
	decimal   bool
}

// build returns the node of tree. It recurses as deep as the parser did.
// maxExpression bounds that where maxNesting does not: signs and chains.
func (b *builder) build(tree ast.Expr) (*node, error) {
	switch t := tree.(type) {
	case *ast.ParenExpr:
		return b.build(t.X)
	case *ast.BasicLit:
		return b.number(t.Value)
	case *ast.Ident:
		return b.identifier(t.Name)
	case *ast.UnaryExpr:
		return b.power([]ast.Expr{t})
	case *ast.CallExpr:
		return b.call(t)
	case *ast.BinaryExpr:
		kind := kinds[t.Op]
		if kind == '^' {
			chain := []ast.Expr{t.Y}
			left := t.X
			for {
				l, ok := left.(*ast.BinaryExpr)
				if !ok || kinds[l.Op] != '^' {
					break
				}
				chain = append(chain, l.Y)
				left = l.X
			}
			chain = append(chain, left)
			slices.Reverse(chain)
			return b.power(chain)
		}
		x, err := b.build(t.X)
		if err != nil {
			return nil, err
		}
		y, err := b.build(t.Y)
		if err != nil {
			return nil, err
		}
		return &node{kind: kind, args: []*node{x, y}}, nil
	}
	return nil, refusef("the expression is not understood")
}

// power returns the node of a chain such as -a ^ -b ^ c. Go reads it from the
// left, signs first; as a power it means -(a^(-(b^c))).
func (b *builder) power(chain []ast.Expr) (*node, error) {
	first, minus := chain[0], false
	for {
		sign, ok := first.(*ast.UnaryExpr)
		if !ok {
			break
		}
		if sign.Op == token.SUB {
			minus = !minus
		}
		first = sign.X
	}
	n, err := b.build(first)
	if err != nil {
		return nil, err
	}
	if len(chain) > 1 {
		exponent, err := b.power(chain[1:])
		if err != nil {
			return nil, err
		}
		n = &node{kind: '^', args: []*node{n, exponent}}
	}
	if minus {
		n = &node{kind: 'm', args: []*node{n}}
	}
	return n, nil
}

// splitNumber splits a literal into its digits and its exponent.
func splitNumber(text string) (mantissa, exponent string, scientific bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

// checkNumber refuses Go's other notations for numbers.
func checkNumber(text string) error {
	mantissa, exponent, scientific := splitNumber(text)
	if strings.Trim(mantissa, "0123456789.") != "" || strings.Trim(exponent, "+-0123456789") != "" {
		return refusef("%.40q is not understood: write numbers in decimal digits, such as 1000, 0.5 or 2e-3", text)
	}
	if scientific && strings.Trim(exponent, "+-") == "" {
		return refusef("%.40q is not understood: digits must follow the e of a number, as in 2e-3", text)
	}
	return nil
}

// number reads a checked literal. It knows the size before it expands the
// exponent.
func (b *builder) number(text string) (*node, error) {
	mantissa, exponent, scientific := splitNumber(text)
	b.decimal = b.decimal || scientific || strings.Contains(mantissa, ".")
	tooLong := refusef("the number %.40q is out of range: at most %d digits are possible", text, maxDigits)
	e := 0
	if scientific {
		var err error
		if e, err = strconv.Atoi(exponent); err != nil || e <= -maxDigits || e >= maxDigits {
			return nil, tooLong
		}
	}
	num, ok := new(big.Rat).SetString(mantissa)
	if !ok {
		return nil, refusef("the number %.40q is not understood", text)
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil))
	if e < 0 {
		scale.Inv(scale)
	}
	if num.Mul(num, scale); !fits(num) {
		return nil, tooLong
	}
	return &node{num: num}, nil
}

func (b *builder) identifier(name string) (*node, error) {
	if name == "pi" || name == "e" || slices.Contains(b.variables, name) {
		return &node{kind: 'v', name: name}, nil
	}
	if arity(name) > 0 {
		return nil, refusef("%s is a function: write %s(…)", name, name)
	}
	return nil, refusef("unknown name %.40q: the names are %s", name, strings.Join(append(b.variables, "pi", "e"), ", "))
}

func (b *builder) call(t *ast.CallExpr) (*node, error) {
	name, ok := t.Fun.(*ast.Ident)
	if !ok {
		return nil, refusef("an operator is missing in front of a parenthesis")
	}
	want := arity(name.Name)
	switch {
	case want == 0 && (name.Name == "pi" || name.Name == "e" || slices.Contains(b.variables, name.Name)):
		return nil, refusef("%s is not a function: write %s*(…) for a product", name.Name, name.Name)
	case want == 0:
		return nil, refusef("unknown function %.40q: the functions are %s", name.Name, functionNames())
	case name.Name == "log" && len(t.Args) == 1:
		return nil, refusef("log needs its base: write ln(x), log10(x), log2(x) or log(x, base)")
	case len(t.Args) != want:
		return nil, refusef("%s takes %d arguments, not %d", name.Name, want, len(t.Args))
	}
	n := &node{kind: 'f', name: name.Name}
	for _, a := range t.Args {
		arg, err := b.build(a)
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
	}
	switch n.name {
	case "pow":
		n.kind = '^'
	case "sqrt":
		n = &node{kind: 'f', name: "root", args: append(n.args, &node{num: big.NewRat(2, 1)})}
	case "cbrt":
		n = &node{kind: 'f', name: "root", args: append(n.args, &node{num: big.NewRat(3, 1)})}
	}
	return n, nil
}
