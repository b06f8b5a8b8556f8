package converse

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// Request is what one conversation is about.
type Request struct {
	Prompt   string
	Messages []Message // what was said before, oldest first, beginning with the user

	// Events, unless it is nil, is called with what happens as it happens, from
	// one goroutine at a time and never after Run has returned. The conversation
	// waits for it.
	Events func(Event)
}

// Roles of a Message.
const (
	User      = "user"
	Assistant = "assistant"
)

// Message is something said earlier.
type Message struct {
	Role string // User or Assistant
	Text string
}

// RequestError says what is wrong with a request. Nothing was asked of the
// model.
type RequestError struct {
	Field    string // prompt or messages[n]
	Problem  string
	TooLarge bool // the problem is its size
}

func (e *RequestError) Error() string { return e.Field + " " + e.Problem }

// opening is the messages that a conversation begins with, and how many bytes
// of text they hold. Bedrock wants the roles to alternate, so what one side
// said in a row is one message.
func (r Request) opening(most int) ([]types.Message, int, error) {
	var messages []types.Message
	size := 0
	add := func(field, role, text string) error {
		size += len(text)
		switch {
		case role != User && role != Assistant:
			return &RequestError{Field: field, Problem: fmt.Sprintf("has the role %.40q; it must be %s or %s", role, User, Assistant)}
		case strings.TrimSpace(text) == "":
			return &RequestError{Field: field, Problem: "is empty"}
		case !utf8.ValidString(text):
			return &RequestError{Field: field, Problem: "is not valid UTF-8"}
		case size > most:
			return &RequestError{Field: field, Problem: fmt.Sprintf("makes the request longer than %d bytes", most), TooLarge: true}
		case len(messages) == 0 && role != User:
			return &RequestError{Field: field, Problem: "is the assistant's; a conversation begins with the user"}
		}
		block := &types.ContentBlockMemberText{Value: text}
		if last := len(messages) - 1; last >= 0 && messages[last].Role == types.ConversationRole(role) {
			messages[last].Content = append(messages[last].Content, block)
			return nil
		}
		messages = append(messages, types.Message{Role: types.ConversationRole(role), Content: []types.ContentBlock{block}})
		return nil
	}
	for i, m := range r.Messages {
		if err := add(fmt.Sprintf("messages[%d]", i), m.Role, m.Text); err != nil {
			return nil, 0, err
		}
	}
	if err := add("prompt", User, r.Prompt); err != nil {
		return nil, 0, err
	}
	return messages, size, nil
}
