package toolbox

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxText bounds a result in bytes; a model's context is not endless.
const maxText = 128 << 10

// Result is what a tool answered.
type Result struct {
	Text    string
	IsError bool // the tool's own failure, for the model to read
}

// readResult renders a tool's result as text: its text, or else its structured
// content as it came. Pictures, sound and links are named and never fetched.
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
func readResult(raw json.RawMessage) (Result, error) {
	var r struct {
		Content    []content       `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
		Type       string          `json:"resultType"` // of 2026-07-28
	}
	if json.Unmarshal(raw, &r) != nil {
		return Result{}, unusable("not a tool result")
	}
	if r.Type != "" && r.Type != "complete" {
		return Result{}, unusable("the tool wants more input (%.40q), which this client does not give", r.Type)
	}
	var text string
	switch len(r.Content) {
	case 0:
	case 1:
		text = r.Content[0].String()
	default:
		parts := make([]string, len(r.Content))
		for i, c := range r.Content {
			parts[i] = c.String()
		}
		text = strings.Join(parts, "\n")
	}
	if text == "" && len(r.Structured) > 0 && string(r.Structured) != "null" {
		text = string(r.Structured)
	}
	if text == "" {
		text = "(the tool answered nothing)"
	}
	if len(text) > maxText {
		text = cut(text, maxText, fmt.Sprintf("\n[cut: the result has %d bytes]", len(text)))
	}
	return Result{Text: text, IsError: r.IsError}, nil
}

// content is one block of a result.
type content struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Data     string `json:"data"` // base64
	MimeType string `json:"mimeType"`
	URI      string `json:"uri"`
	Name     string `json:"name"`
	Resource struct {
		URI      string `json:"uri"`
		MimeType string `json:"mimeType"`
		Text     string `json:"text"`
		Blob     string `json:"blob"` // base64
	} `json:"resource"`
}

func (c content) String() string {
	switch c.Type {
	case "text":
		return c.Text
	case "image", "audio":
		return fmt.Sprintf("[%s, %s, about %d bytes, not shown]", c.Type, oneLine(c.MimeType), len(c.Data)/4*3)
	case "resource_link":
		return fmt.Sprintf("[link to %s %s, not fetched]", oneLine(c.Name), oneLine(c.URI))
	case "resource":
		r := c.Resource
		if r.Text != "" || r.Blob == "" {
			return fmt.Sprintf("[resource %s]\n%s", oneLine(r.URI), r.Text)
		}
		return fmt.Sprintf("[resource %s, %s, about %d bytes, not shown]", oneLine(r.URI), oneLine(r.MimeType), len(r.Blob)/4*3)
	}
	return fmt.Sprintf("[content of type %q, not shown]", oneLine(c.Type))
}
