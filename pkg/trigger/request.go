package trigger

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	maxPrompt    = 256 << 10 // bytes
	maxHistory   = 1 << 20   // bytes of messages
	maxSessionID = 256       // characters
)

// object is a JSON object, split into its members. Their names are matched
// exactly, which encoding/json does not do for structs.
type object map[string]json.RawMessage

// decodeObject is nil for anything but an object.
func decodeObject(raw []byte) object {
	var o object
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

// has reports whether the member is there, null included.
func (o object) has(name string) bool { _, ok := o[name]; return ok }

// text is a member that is a string; ok is false for anything else.
func (o object) text(name string) (s string, ok bool) { return decodeString(o[name]) }

// decodeBody reads a request that came as text in something else.
func decodeBody(body []byte) (Request, *Error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return Request{}, refuse(InvalidRequest, `nothing was sent; send {"prompt": "…"}`)
	}
	fields := decodeObject(body)
	if fields == nil {
		return Request{}, refuse(InvalidRequest, `what was sent is not a JSON object; send {"prompt": "…"}`)
	}
	return decodeRequest(fields)
}

// decodeRequest reads and checks a request.
func decodeRequest(fields object) (Request, *Error) {
	prompt, refusal := decodePrompt(fields)
	if refusal != nil {
		return Request{}, refusal
	}
	req := Request{Prompt: prompt, SessionID: uuid.NewString()}
	if fields.has("session_id") {
		id, ok := fields.text("session_id")
		if !ok || !validSessionID(id) {
			return Request{}, refuse(InvalidRequest, "session_id must be a string of 1 to %d characters", maxSessionID)
		}
		req.SessionID = id
	}
	if req.Messages, refusal = decodeMessages(fields["messages"]); refusal != nil {
		return Request{}, refusal
	}
	if req.Tools, refusal = decodeTools(fields["tools"]); refusal != nil {
		return Request{}, refusal
	}
	return req, nil
}

func validSessionID(id string) bool {
	return id != "" && utf8.ValidString(id) && utf8.RuneCountInString(id) <= maxSessionID
}

func decodePrompt(fields object) (string, *Error) {
	var prompt string
	given := false
	for _, name := range []string{"prompt", "input"} {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		if !utf8.Valid(raw) {
			return "", refuse(InvalidRequest, "%s is not valid UTF-8", name)
		}
		s, ok := decodeString(raw)
		if !ok {
			return "", refuse(InvalidRequest, "%s must be a string", name)
		}
		if given && s != prompt {
			return "", refuse(InvalidRequest, "prompt and input differ; send one of them")
		}
		prompt, given = s, true
	}
	switch {
	case !given:
		return "", refuse(InvalidRequest, `no prompt; send {"prompt": "…"}`)
	case strings.TrimSpace(prompt) == "":
		return "", refuse(InvalidRequest, "the prompt is empty")
	case len(prompt) > maxPrompt:
		return "", refuse(RequestTooLarge, "the prompt is over %d bytes", maxPrompt)
	}
	return prompt, nil
}

// decodeMessages reads earlier messages. Which roles may follow each other is
// for the agent to say.
func decodeMessages(raw json.RawMessage) ([]Message, *Error) {
	if raw == nil {
		return nil, nil
	}
	if len(raw) > maxHistory {
		return nil, refuse(RequestTooLarge, "messages are over %d bytes", maxHistory)
	}
	var list []object
	if !utf8.Valid(raw) || json.Unmarshal(raw, &list) != nil || list == nil {
		return nil, refuse(InvalidRequest, `messages must be a list of {"role": "…", "text": "…"}`)
	}
	var messages []Message
	for i, fields := range list {
		role, ok1 := fields.text("role")
		text, ok2 := fields.text("text")
		if !ok1 || !ok2 || len(fields) != 2 || role != "user" && role != "assistant" {
			return nil, refuse(InvalidRequest, `messages[%d] must be {"role": "user" or "assistant", "text": "…"}`, i)
		}
		messages = append(messages, Message{Role: role, Text: text})
	}
	return messages, nil
}

// decodeTools reads the names of the tools that are allowed. An empty list
// allows none; without a list all are allowed.
func decodeTools(raw json.RawMessage) ([]string, *Error) {
	if raw == nil {
		return nil, nil
	}
	var list []json.RawMessage
	bad := json.Unmarshal(raw, &list) != nil || list == nil
	tools := []string{}
	for _, item := range list {
		name, ok := decodeString(item)
		bad = bad || !ok || name == ""
		tools = append(tools, name)
	}
	if bad {
		return nil, refuse(InvalidRequest, "tools must be a list of names")
	}
	return tools, nil
}

// decodeString decodes a JSON string, and nothing else: encoding/json would let
// null pass as an empty one.
func decodeString(raw json.RawMessage) (string, bool) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}
