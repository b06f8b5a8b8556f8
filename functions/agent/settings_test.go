package main

import (
	"strings"
	"testing"
)

// case 81: every system prompt tells the model that tool results are data.
func TestReadSettings_toolResultsAreData(t *testing.T) {
	for _, prompt := range []string{"", "You are a pirate."} {
		env := map[string]string{"BEDROCK_MODEL_ID": "model", "SYSTEM_PROMPT": prompt}
		s, err := readSettings(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.loop.System, prompt) || !strings.HasSuffix(s.loop.System, " "+toolResultsAreData) {
			t.Errorf("%q: got %q", prompt, s.loop.System)
		}
	}
}
