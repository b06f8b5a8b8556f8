package localaws

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// placeholders are the names and values that a request's expressions may use,
// and must all use.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ExpressionAttributeNames.html
type placeholders struct {
	names  map[string]string
	values item
	used   map[string]bool
}

// Limits of expressions; the lengths of placeholders are with the # and the :.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
var (
	namePlaceholder  = regexp.MustCompile(`^#[a-zA-Z0-9_]{1,254}$`)
	valuePlaceholder = regexp.MustCompile(`^:[a-zA-Z0-9_]{1,254}$`)
)

const (
	maxExpression    = 4 << 10
	maxAttributeName = 64<<10 - 1
)

func newPlaceholders(names map[string]string, values json.RawMessage, expressions bool) (*placeholders, *apiError) {
	p := &placeholders{names: names, values: item{}, used: map[string]bool{}}
	if !expressions && (names != nil || values != nil) {
		return nil, errorf("ValidationException", "ExpressionAttributeNames and ExpressionAttributeValues can only be specified when using expressions")
	}
	if names != nil && len(names) == 0 {
		return nil, errorf("ValidationException", "ExpressionAttributeNames must not be empty")
	}
	if values != nil {
		var err *apiError
		if p.values, err = readItem(values, "expressionAttributeValues"); err != nil {
			return nil, err
		}
		if len(p.values) == 0 {
			return nil, errorf("ValidationException", "ExpressionAttributeValues must not be empty")
		}
	}
	for name, attribute := range names {
		if !namePlaceholder.MatchString(name) || attribute == "" || len(attribute) > maxAttributeName {
			return nil, errorf("ValidationException", "ExpressionAttributeNames contains invalid key: Syntax error; key: %q", name)
		}
	}
	for name := range p.values {
		if !valuePlaceholder.MatchString(name) {
			return nil, errorf("ValidationException", "ExpressionAttributeValues contains invalid key: Syntax error; key: %q", name)
		}
	}
	return p, nil
}

// unused refuses placeholders that no expression uses.
func (p *placeholders) unused() *apiError {
	for member, names := range map[string][]string{
		"ExpressionAttributeNames":  slices.Collect(maps.Keys(p.names)),
		"ExpressionAttributeValues": slices.Collect(maps.Keys(p.values)),
	} {
		names = slices.DeleteFunc(names, func(n string) bool { return p.used[n] })
		if slices.Sort(names); len(names) > 0 {
			return errorf("ValidationException", "Value provided in %s unused in expressions: keys: {%s}", member, strings.Join(names, ", "))
		}
	}
	return nil
}

// name returns the attribute that a placeholder stands for. Attributes under
// their own names are not implemented: many of them are reserved words.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
func (p *placeholders) name(token string) (string, *apiError) {
	if !strings.HasPrefix(token, "#") {
		return "", unimplemented("%.40q where an expression names an attribute; use a placeholder such as #name", token)
	}
	name, ok := p.names[token]
	if !ok {
		return "", errorf("ValidationException", "Invalid expression: An expression attribute name used in the document path is not defined; attribute name: %.40s", token)
	}
	p.used[token] = true
	return name, nil
}

func (p *placeholders) value(token string) (attributeValue, *apiError) {
	if !strings.HasPrefix(token, ":") {
		return attributeValue{}, unimplemented("%.40q where an expression has a value; use a placeholder such as :value", token)
	}
	a, ok := p.values[token]
	if !ok {
		return attributeValue{}, errorf("ValidationException", "Invalid expression: An expression attribute value used in expression is not defined; attribute value: %.40s", token)
	}
	p.used[token] = true
	return a, nil
}

// expression is a condition on an item. A nil item does not exist.
type expression func(item) bool

// parser reads the part of the grammar that is implemented:
//
//	condition = term { "OR" term }
//	term      = factor { "AND" factor }
//	factor    = "(" condition ")" | ( "attribute_exists" | "attribute_not_exists" ) "(" #name ")" | #name ( "=" | "<" ) :value
//	update    = "SET" #name "=" :value { "," #name "=" :value }
//
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
type parser struct {
	*placeholders
	tokens []string
}

// exprToken matches one token. Any other character is a token of its own, which
// the parser refuses.
var exprToken = regexp.MustCompile(`[#:]?[A-Za-z0-9_]+|[^\s]`)

func (p *placeholders) parser(text string) (*parser, *apiError) {
	if len(text) > maxExpression {
		return nil, errorf("ValidationException", "Invalid expression: Expression size has exceeded the maximum allowed size; expression size: %d", len(text))
	}
	return &parser{p, exprToken.FindAllString(text, -1)}, nil
}

// next takes the next token, or returns "" at the end.
func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	token := p.tokens[0]
	p.tokens = p.tokens[1:]
	return token
}

// accept takes the next token if it is want. Keywords must be in capitals.
func (p *parser) accept(want string) bool {
	if len(p.tokens) == 0 || p.tokens[0] != want {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func unexpected(token string) *apiError {
	if token == "" {
		token = "<EOF>"
	}
	return errorf("ValidationException", "Invalid expression: Syntax error, or what localaws does not implement; token: %.40q", token)
}

func (p *placeholders) condition(text *string) (expression, *apiError) {
	if text == nil {
		return nil, nil
	}
	q, err := p.parser(*text)
	if err != nil {
		return nil, err
	}
	e, err := q.condition()
	if err == nil && len(q.tokens) > 0 {
		err = unexpected(q.next())
	}
	return e, err
}

func (p *parser) condition() (expression, *apiError) {
	left, err := p.term()
	for err == nil && p.accept("OR") {
		var right expression
		right, err = p.term()
		first := left
		left = func(it item) bool { return first(it) || right(it) }
	}
	return left, err
}

func (p *parser) term() (expression, *apiError) {
	left, err := p.factor()
	for err == nil && p.accept("AND") {
		var right expression
		right, err = p.factor()
		first := left
		left = func(it item) bool { return first(it) && right(it) }
	}
	return left, err
}

func (p *parser) factor() (expression, *apiError) {
	switch token := p.next(); token {
	case "(":
		if len(p.tokens) > 0 && p.tokens[0] == "(" {
			return nil, unimplemented("two opening parentheses in a row, which DynamoDB takes for redundant")
		}
		e, err := p.condition()
		if err == nil && !p.accept(")") {
			err = unexpected(p.next())
		}
		return e, err
	case "attribute_exists", "attribute_not_exists":
		if !p.accept("(") {
			return nil, unexpected(p.next())
		}
		name, err := p.name(p.next())
		if err == nil && !p.accept(")") {
			err = unexpected(p.next())
		}
		want := token == "attribute_exists"
		return func(it item) bool { _, ok := it[name]; return ok == want }, err
	default:
		return p.comparison(token)
	}
}

// comparison is false for an attribute that is missing or of another type.
func (p *parser) comparison(token string) (expression, *apiError) {
	name, err := p.name(token)
	if err != nil {
		return nil, err
	}
	operator := p.next()
	if operator != "=" && operator != "<" {
		return nil, unexpected(operator)
	}
	value, err := p.value(p.next())
	if err != nil {
		return nil, err
	}
	if operator == "<" && value.BOOL != nil {
		return nil, errorf("ValidationException", "Invalid ConditionExpression: Incorrect operand type for operator or function; operator: <, operand type: BOOL")
	}
	return func(it item) bool {
		a, ok := it[name]
		if !ok {
			return false
		}
		order, ok := a.compare(value)
		return ok && (operator == "=" && order == 0 || operator == "<" && order < 0)
	}, nil
}

// update reads the attributes to set. The key must not be one.
func (p *placeholders) update(text, key string) (item, *apiError) {
	q, err := p.parser(text)
	if err != nil {
		return nil, err
	}
	if !q.accept("SET") {
		return nil, unexpected(q.next())
	}
	set := item{}
	for {
		name, err := q.name(q.next())
		if err != nil {
			return nil, err
		}
		if !q.accept("=") {
			return nil, unexpected(q.next())
		}
		value, err := q.value(q.next())
		if err != nil {
			return nil, err
		}
		if name == key {
			return nil, errorf("ValidationException", "One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", name)
		}
		if _, twice := set[name]; twice {
			return nil, errorf("ValidationException", "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [%s], path two: [%s]", name, name)
		}
		set[name] = value
		switch token := q.next(); token {
		case "":
			return set, nil
		case ",":
		default:
			return nil, unexpected(token)
		}
	}
}
