package converse

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// use is one tool use of a turn.
type use struct {
	id, name string          // as the model gave them
	input    json.RawMessage // a JSON object, digit by digit the model's
	fault    string          // why it cannot be run, for the model to read; empty: nothing speaks against it yet
}

// takeTurn makes the message that goes back to the model from the model's own,
// and lists its tool uses. All goes back as it came, reasoning and its signatures
// included, except what Bedrock sends and does not take back: blank text, and a
// tool use with an invalid name or input. A message to which no tool result could
// be given is a [*ModelError].
func takeTurn(m types.Message) (types.Message, []use, error) {
	turn := types.Message{Role: m.Role}
	var uses []use
	ids := map[string]bool{}
	for _, b := range m.Content {
		switch t := b.(type) {
		case *types.ContentBlockMemberText:
			if strings.TrimSpace(t.Value) == "" {
				continue
			}
		case *types.ContentBlockMemberToolUse:
			if t.Value.Type == types.ToolUseTypeServerToolUse {
				break // the service runs it itself
			}
			u, block := takeUse(t.Value)
			if u.id == "" || ids[u.id] {
				return m, nil, &ModelError{Kind: Failed, Message: "it asked for a tool without an id of its own, so that no result can be given"}
			}
			ids[u.id] = true
			uses = append(uses, u)
			b = block
		}
		turn.Content = append(turn.Content, b)
	}
	return turn, uses, nil
}

// takeUse reads a tool use and makes the block that goes back.
func takeUse(b types.ToolUseBlock) (use, types.ContentBlock) {
	u := use{id: aws.ToString(b.ToolUseId), name: aws.ToString(b.Name)}
	if len(u.id) > maxName || strings.ContainsFunc(u.id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		u.fault = "The id of this tool use is not 1 to 64 plain characters."
	}
	if !validName(u.name) {
		u.fault = "There is no tool of that name."
		fit := strings.Map(func(r rune) rune {
			if nameCharacter(r) {
				return r
			}
			return '_'
		}, u.name)
		b.Name = aws.String((fit + "_")[:min(len(fit)+1, maxName)])
	}
	var ok bool
	if u.input, ok = toolInput(b.Input); !ok {
		u.fault = "The input of a tool must be a JSON object."
	}
	b.Input = rawDocument{raw: u.input} // the same bytes, encoded once for all later turns
	return u, &types.ContentBlockMemberToolUse{Value: b}
}

// toolInput is the input as the JSON bytes that the model sent. Only the
// document's own marshaller keeps them: decoding into a map would turn numbers
// into floats or strings. When it is no object, an empty one stands in for it.
func toolInput(d document.Interface) (input json.RawMessage, ok bool) {
	empty := json.RawMessage("{}")
	if d == nil {
		return empty, false
	}
	raw, err := d.MarshalSmithyDocument()
	if err != nil || len(raw) == 0 || raw[0] != '{' {
		return empty, false
	}
	return raw, true
}

// streamedInput is the document that Converse gives for the same input: the
// numbers as they are, the members in order and each once. What is not JSON
// stays as it came, for toolInput to refuse. A tool without parameters may be
// asked for with no input at all.
func streamedInput(text string) document.Interface {
	if strings.TrimSpace(text) == "" {
		return rawDocument{raw: []byte("{}")}
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return rawDocument{}
	}
	if _, err := dec.Token(); err != io.EOF {
		return rawDocument{}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return rawDocument{}
	}
	return rawDocument{raw: raw}
}

// rawDocument is JSON as it is. The SDK's own documents go through Go values,
// and lose the digits of numbers and the order of members.
type rawDocument struct {
	document.Interface // nil: it is there for the unexported method that marks a document
	raw                []byte
}

func (d rawDocument) MarshalSmithyDocument() ([]byte, error) { return d.raw, nil }

func (d rawDocument) UnmarshalSmithyDocument(v any) error {
	return json.NewDecoder(bytes.NewReader(d.raw)).Decode(v)
}

// text is what a message says.
func text(m types.Message) string {
	var s strings.Builder
	for _, b := range m.Content {
		if t, ok := b.(*types.ContentBlockMemberText); ok {
			s.WriteString(t.Value)
		}
	}
	return s.String()
}

// size is how many bytes a message adds to the context.
func size(m types.Message) int {
	n := 0
	for _, b := range m.Content {
		switch b := b.(type) {
		case *types.ContentBlockMemberText:
			n += len(b.Value)
		case *types.ContentBlockMemberToolUse:
			raw, _ := toolInput(b.Value.Input)
			n += len(raw)
		case *types.ContentBlockMemberReasoningContent:
			if r, ok := b.Value.(*types.ReasoningContentBlockMemberReasoningText); ok {
				n += len(aws.ToString(r.Value.Text)) + len(aws.ToString(r.Value.Signature))
			}
		}
	}
	return n
}
