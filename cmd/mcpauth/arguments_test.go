package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// References let a schema of a few lines take forever. The check is given up when
// its time is over, and the server has the word.
func TestCheckArguments_slow(t *testing.T) {
	const levels = 16 // of 65,536 steps together
	var defs strings.Builder
	for i := range levels {
		fmt.Fprintf(&defs, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%[2]d"}]},`, i, i+1)
	}
	schema := json.RawMessage(fmt.Sprintf(`{"$ref":"#/$defs/d0","required":["a"],"$defs":{%s"d%d":{"type":"object"}}}`, &defs, levels))
	input := json.RawMessage(`{}`)
	if fault := checkArguments(t.Context(), schema, input); !strings.Contains(fault, "'a'") {
		t.Errorf("got %q, want a fault in a", fault)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if fault := checkArguments(over, schema, input); fault != "" {
		t.Errorf("with no time left: got %q, want none", fault)
	}
}
