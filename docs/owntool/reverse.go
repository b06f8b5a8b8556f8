package main

import (
	"context"
	"encoding/json"
	"slices"

	"agentcore-mcp-auth/pkg/calculator"
)

var reverse = calculator.Tool{
	Name:        "reverse",
	Title:       "Reverse a text",
	Description: "Write a text backwards.",
	InputSchema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","description":"The text"}},"required":["text"],"additionalProperties":false}`),
	Params:      []string{"text"},
	Run: func(_ context.Context, args []json.RawMessage) (string, error) {
		var text string
		if err := json.Unmarshal(args[0], &text); err != nil {
			return "", &calculator.InputError{Reason: "text must be a string"}
		}
		runes := []rune(text)
		slices.Reverse(runes)
		return string(runes), nil
	},
}
