package localaws

import (
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// question is one thing that a prompt asks for: a calculation, or a greeting of
// somebody.
type question struct {
	calc  *calculation
	greet string
}

func (q question) String() string {
	if q.calc == nil {
		return "greeting " + q.greet
	}
	return q.calc.String()
}

// calculation is a number or an operation on calculations.
type calculation struct {
	op          byte   // '+', '-', '*' or '/'; 'n' negates left; 0: number
	number      string // as JSON has it
	left, right *calculation
}

// String writes c with the parentheses it needs and no spaces.
func (c *calculation) String() string {
	switch c.op {
	case 0:
		return c.number
	case 'n':
		return "-" + c.left.operand(3)
	}
	return c.left.operand(c.rank()) + string(c.op) + c.right.operand(c.rank()+1)
}

// operand writes c as part of an operation of the given rank.
func (c *calculation) operand(rank int) string {
	if c.rank() < rank {
		return "(" + c.String() + ")"
	}
	return c.String()
}

func (c *calculation) rank() int {
	switch c.op {
	case '+', '-':
		return 1
	case '*', '/', 'n':
		return 2
	default:
		return 3
	}
}

// words cuts a prompt into numbers (with or without commas between thousands),
// words and single characters.
var words = regexp.MustCompile(`\d{1,3}(?:,\d{3})+(?:\.\d+)?\b|\d+(?:\.\d+)?|\p{L}[\p{L}\p{M}'’]*(?:-\p{L}+)*|\S`)

// The operators of each rank and how a prompt may write them.
var (
	addition       = map[string]byte{"+": '+', "plus": '+', "-": '-', "−": '-', "minus": '-'}
	multiplication = map[string]byte{"*": '*', "×": '*', "·": '*', "x": '*', "times": '*', "multiplied": '*', "/": '/', "÷": '/', "divided": '/'}
)

// promptReader finds the questions in a prompt, from left to right. It skips
// what it does not understand.
type promptReader struct {
	tokens []string
	pos    int
	depth  int          // of signs and parentheses
	last   *calculation // what "it" stands for; nil: nothing
	its    int          // how often "it" was used: each use can double the work
	dead   map[int]bool // positions without a factor; keeps the work linear
}

// mostQuestions bounds the work that a prompt can make.
const mostQuestions = 100

func readPrompt(prompt string) []question {
	p := &promptReader{tokens: words.FindAllString(prompt, -1), dead: map[int]bool{}}
	var found []question
	for p.pos < len(p.tokens) && len(found) < mostQuestions {
		start := p.pos
		var c *calculation
		switch word := p.next(); {
		case word == "greet":
			found = append(found, p.names()...)
		case (word == "hello" || word == "hi") && p.accept("to"):
			found = append(found, p.names()...)
		case word == "add", word == "sum" && p.accept("of"):
			c = p.listed('+')
		case word == "multiply", word == "product" && p.accept("of"):
			c = p.listed('*')
		default:
			p.pos = start
			if c = p.sum(); c == nil {
				p.pos = start + 1
			}
		}
		if c != nil && c != p.last && c.op != 0 && c.op != 'n' {
			p.last = c
			found = append(found, question{calc: c})
		}
	}
	return found
}

// next takes one token, in lower case.
func (p *promptReader) next() string {
	p.pos++
	return strings.ToLower(p.tokens[p.pos-1])
}

// accept takes the next tokens if they are these.
func (p *promptReader) accept(tokens ...string) bool {
	if p.pos+len(tokens) > len(p.tokens) {
		return false
	}
	for i, t := range tokens {
		if strings.ToLower(p.tokens[p.pos+i]) != t {
			return false
		}
	}
	p.pos += len(tokens)
	return true
}

// names takes the names of those to greet: a name and its further words in
// capitals, then more such names after "and" or a comma.
func (p *promptReader) names() []question {
	var found []question
	for {
		var name []string
		for p.pos < len(p.tokens) && isWord(p.tokens[p.pos]) && (len(name) == 0 && found == nil || isCapital(p.tokens[p.pos])) {
			name = append(name, p.tokens[p.pos])
			p.pos++
		}
		if name == nil {
			return found
		}
		found = append(found, question{greet: strings.Join(name, " ")})
		mark := p.pos
		if !(p.accept(",", "and") || p.accept("and") || p.accept(",")) || p.pos == len(p.tokens) || !isCapital(p.tokens[p.pos]) {
			p.pos = mark
			return found
		}
	}
}

func isWord(token string) bool {
	r, _ := utf8.DecodeRuneInString(token)
	return unicode.IsLetter(r)
}

func isCapital(token string) bool {
	r, _ := utf8.DecodeRuneInString(token)
	return unicode.IsUpper(r)
}

// listed takes the numbers after "add" and the like as one calculation. If the
// first number is missing, as in "multiply by 2", the last calculation takes its
// place.
func (p *promptReader) listed(op byte) *calculation {
	c := p.sum()
	if c == nil && p.pos < len(p.tokens) && strings.EqualFold(p.tokens[p.pos], "by") {
		c = p.last
	}
	for c != nil {
		mark := p.pos
		_ = p.accept(",", "and") || p.accept("and") || p.accept("to") || p.accept("by") || p.accept("with") || p.accept(",")
		right := p.sum()
		if right == nil {
			p.pos = mark
			break
		}
		c = &calculation{op: op, left: c, right: right}
	}
	return c
}

// sum takes products with signs between them. Like product and factor, it
// answers nil and takes nothing when there is none.
func (p *promptReader) sum() *calculation {
	return p.chain(p.product, addition)
}

func (p *promptReader) product() *calculation {
	return p.chain(p.factor, multiplication)
}

// chain takes operands with operators between them, the leftmost binding first.
func (p *promptReader) chain(operand func() *calculation, operators map[string]byte) *calculation {
	c := operand()
	for c != nil && p.pos < len(p.tokens) {
		mark := p.pos
		op, ok := operators[p.next()]
		p.accept("by")
		var right *calculation
		if ok {
			right = operand()
		}
		if right == nil {
			p.pos = mark
			break
		}
		c = &calculation{op: op, left: c, right: right}
	}
	return c
}

// factor takes a number, a negated factor, a sum in parentheses or a word for
// the last calculation.
func (p *promptReader) factor() *calculation {
	mark := p.pos
	if p.pos == len(p.tokens) || p.depth > 100 || p.dead[p.pos] {
		return nil
	}
	p.depth++
	defer func() { p.depth-- }()
	switch token := p.next(); {
	case token[0] >= '0' && token[0] <= '9':
		return &calculation{number: literal(token)}
	case token == "-", token == "−":
		if c := p.factor(); c != nil {
			if c.op == 0 {
				return &calculation{number: negated(c.number)}
			}
			return &calculation{op: 'n', left: c}
		}
	case token == "(":
		if c := p.sum(); c != nil && p.accept(")") {
			return c
		}
	case p.last != nil && p.its < 8 && (token == "it" || token == "that" || token == "the" && p.accept("result")):
		p.its++
		return p.last
	}
	p.pos = mark
	p.dead[mark] = true
	return nil
}

// literal writes a number of a prompt as JSON, whatever its size.
func literal(token string) string {
	whole, fraction, isFraction := strings.Cut(strings.ReplaceAll(token, ",", ""), ".")
	n, _ := new(big.Int).SetString(whole, 10)
	if isFraction {
		return n.String() + "." + fraction
	}
	return n.String()
}

// negated changes the sign of a number.
func negated(number string) string {
	if rest, ok := strings.CutPrefix(number, "-"); ok {
		return rest
	}
	if !slices.ContainsFunc([]byte(number), func(b byte) bool { return b >= '1' && b <= '9' }) {
		return number // zero has no sign
	}
	return "-" + number
}
