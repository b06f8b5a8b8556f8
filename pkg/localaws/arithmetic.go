package localaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// canDo is the answer of [Arithmetic] to everything else.
const canDo = `Hello! I can add and multiply numbers and greet people. Try "What is 2+2?" or "greet Alice".`

// Arithmetic is the model that answers unless [Server.SetModel] sets another. It
// reads sums, products and greetings from the last prompt and asks for the
// offered tools that do them, several at once if it can. It answers with the
// tools' results: it calculates nothing itself. The same conversation always
// gets the same reply.
//
// A user message that has text beside tool results asks for the answer at once:
// Arithmetic asks for no more tools and says what it could not finish.
func Arithmetic(req ConverseRequest) ConverseReply {
	if req.ToolChoice == "any" || req.ToolChoice == "tool" {
		return ConverseReply{Error: &ConverseError{Type: "ValidationException",
			Message: "toolConfig.toolChoice." + req.ToolChoice + ": localaws implements it for scripted models only"}}
	}
	a := newArithmetic(req)
	questions := readPrompt(a.prompt)
	if len(questions) == 0 {
		return Say(canDo).cut(req)
	}
	var answers []string
	for _, q := range questions {
		if answer := a.answer(q); !slices.Contains(answers, answer) {
			answers = append(answers, answer)
		}
	}
	if len(a.asks) > 0 {
		return Ask(a.asks...).cut(req)
	}
	return Say(strings.Join(answers, " ")).cut(req)
}

// arithmetic is the state of one call of [Arithmetic].
type arithmetic struct {
	tools   []ToolSpec
	prompt  string // the last user text that is not beside tool results
	now     bool   // the answer is wanted without further tools
	place   string // stands for the prompt and its turn in the ids of tool uses
	results map[string]*ToolResult
	asks    []ToolUse // what has to be asked for
	trouble string    // why the question at hand cannot be answered
}

func newArithmetic(req ConverseRequest) *arithmetic {
	a := &arithmetic{tools: req.Tools, results: map[string]*ToolResult{}}
	turn := 0
	for i, m := range req.Messages {
		var texts []string
		results := false
		for _, b := range m.Content {
			switch {
			case b.ToolResult != nil:
				a.results[b.ToolResult.ID] = b.ToolResult
				results = true
			case b.ToolUse == nil && b.Reasoning == nil:
				texts = append(texts, b.Text)
			}
		}
		if m.Role != "user" || len(texts) == 0 {
			continue
		}
		if a.now = results && i == len(req.Messages)-1; !results {
			turn, a.prompt = i, strings.Join(texts, "\n")
		}
	}
	a.place = toolUseID(turn, a.prompt)
	return a
}

// answer answers q, or adds the tool uses that q needs to a.asks.
func (a *arithmetic) answer(q question) string {
	a.trouble = ""
	asked := len(a.asks)
	var answer string
	if q.calc == nil {
		answer, _ = a.call(greeting, q.greet)
	} else if value, ok := a.value(q.calc); ok {
		answer = q.calc.sentence(value)
	}
	if a.now && len(a.asks) > asked {
		a.fail("I could not finish %s.", q)
	}
	if a.trouble != "" {
		a.asks = a.asks[:asked]
		return a.trouble
	}
	return answer
}

// fail records why a question cannot be answered. The first reason counts.
func (a *arithmetic) fail(format string, args ...any) {
	if a.trouble == "" {
		a.trouble = fmt.Sprintf(format, args...)
	}
}

// sentence returns the answer to c.
func (c *calculation) sentence(value string) string {
	if c.op == '+' || c.op == '*' {
		if c.left.op == 0 && c.right.op == 0 {
			noun := map[byte]string{'+': "sum", '*': "product"}[c.op]
			return fmt.Sprintf("The %s of %s %c %s = %s.", noun, c.left.number, c.op, c.right.number, value)
		}
	}
	return fmt.Sprintf("%s = %s.", c, value)
}

// skill is something that only a tool can do.
type skill struct {
	tool, verb string // the usual tool's name, and a word that other names contain
	does       string
	parameters []string
}

var (
	adding      = skill{"add_numbers", "add", "add numbers", []string{"a", "b"}}
	multiplying = skill{"multiply_numbers", "multiply", "multiply numbers", []string{"a", "b"}}
	dividing    = skill{"divide_numbers", "divide", "divide numbers", []string{"a", "b"}}
	greeting    = skill{"greet_user", "greet", "greet people", []string{"name"}}
)

// lastNumber finds the number that a tool's text ends with.
var lastNumber = regexp.MustCompile(`-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?`)

// value returns the tools' result for c, or false if it is not there yet.
func (a *arithmetic) value(c *calculation) (string, bool) {
	if c.op == 0 {
		return c.number, true
	}
	left, ok := a.value(c.left)
	if c.op == 'n' {
		return negated(left), ok
	}
	right, ok2 := a.value(c.right)
	if !ok || !ok2 {
		return "", false
	}
	s := adding
	switch c.op {
	case '-':
		right = negated(right)
	case '*':
		s = multiplying
	case '/':
		s = dividing
	}
	text, ok := a.call(s, left, right)
	if !ok {
		return "", false
	}
	numbers := lastNumber.FindAllString(text, -1)
	if numbers == nil {
		a.fail("The tool to %s gave no number: %s", s.does, text)
		return "", false
	}
	return numbers[len(numbers)-1], true
}

// call returns the tool's result for args. If there is none yet, it adds the
// tool use to a.asks.
func (a *arithmetic) call(s skill, args ...string) (text string, ok bool) {
	tool, ok := a.find(s)
	if !ok {
		a.fail("I have no tool to %s.", s.does)
		return "", false
	}
	id := toolUseID(a.place, s.verb, args)
	if res := a.results[id]; res != nil {
		if res.IsError {
			a.fail("The tool %s failed: %s", tool.Name, res.Text)
		}
		return res.Text, !res.IsError
	}
	if !slices.ContainsFunc(a.asks, func(u ToolUse) bool { return u.ID == id }) {
		a.asks = append(a.asks, ToolUse{ID: id, Name: tool.Name, Input: s.input(tool, args)})
	}
	return "", false
}

// find picks the offered tool for s: one whose name contains the usual name, as
// after a server's prefix or before a hash, or else one whose name contains the
// verb.
func (a *arithmetic) find(s skill) (ToolSpec, bool) {
	i := slices.IndexFunc(a.tools, func(t ToolSpec) bool { return strings.Contains(t.Name, s.tool) })
	if i < 0 {
		i = slices.IndexFunc(a.tools, func(t ToolSpec) bool {
			return slices.Contains(strings.FieldsFunc(strings.ToLower(t.Name), func(r rune) bool { return !unicode.IsLetter(r) }), s.verb)
		})
	}
	if i < 0 {
		return ToolSpec{}, false
	}
	return a.tools[i], true
}

// input returns the input of a tool: numbers as JSON numbers with all digits,
// under the names in the tool's schema.
func (s skill) input(tool ToolSpec, args []string) json.RawMessage {
	names := tool.parameters()
	if len(names) < len(args) || !slices.ContainsFunc(s.parameters, func(p string) bool { return !slices.Contains(names, p) }) {
		names = s.parameters
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeJSON(names[i]))
		b.WriteByte(':')
		if s.verb == greeting.verb {
			b.Write(encodeJSON(arg))
		} else {
			b.WriteString(arg)
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

// cut ends a reply at a stop sequence or at the token limit. A tool use that
// the limit cuts is left with no input; what comes after it is dropped.
func (r ConverseReply) cut(req ConverseRequest) ConverseReply {
	left := req.MaxTokens
	content := r.Content
	r.Content = nil
	for _, b := range content {
		if b.ToolUse == nil {
			for _, stop := range req.StopSequences {
				if before, _, found := strings.Cut(b.Text, stop); found {
					b.Text, r.StopReason = before, "stop_sequence"
				}
			}
		}
		n := b.tokens()
		if req.MaxTokens > 0 && n > left {
			r.StopReason = "max_tokens"
			if b.ToolUse != nil {
				b.ToolUse.Input = json.RawMessage("{}")
			} else {
				b.Text = strings.Join(strings.Fields(b.Text)[:left], " ")
			}
		}
		if b.ToolUse != nil || b.Text != "" {
			r.Content = append(r.Content, b)
		}
		if r.StopReason == "max_tokens" {
			break
		}
		left -= n
	}
	return r
}
