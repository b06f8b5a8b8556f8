package toolbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A server that calls its tools something else at each listing does not fill the
// memory with what they were called before. case 61
func TestNames_bounded(t *testing.T) {
	var n names
	schema := json.RawMessage(`{"type":"object","description":"` + strings.Repeat("a", 60<<10) + `"}`)
	for listing := range 20 {
		var tools []Tool
		for i := range 100 {
			tools = append(tools, Tool{Server: "s", Tool: fmt.Sprintf("t%d_%d", listing, i), InputSchema: schema})
		}
		n.assign(tools, false)
		n.assign(tools, false) // what is known already is not counted twice
		size := 0
		for _, tool := range n.tools {
			size += tool.size()
		}
		if size != n.size || size > maxRemembered+maxListing {
			t.Fatalf("listing %d: %d bytes counted, %d remembered, at most %d wanted", listing, n.size, size, maxRemembered+maxListing)
		}
		if got := n.tools[tools[99].Name]; got == nil || got.Tool != tools[99].Tool {
			t.Errorf("listing %d: %s stands for %v", listing, tools[99].Name, got)
		}
	}
}

// A name that stood for one tool of a server never stands for another of it.
// case 61
func TestNames_kept(t *testing.T) {
	var n names
	first := []Tool{{Server: "s", Tool: "größe"}}
	n.assign(first, false)
	second := []Tool{{Server: "s", Tool: first[0].Name}}
	if n.assign(second, false); second[0].Name == first[0].Name {
		t.Errorf("%s stands for %s, and did for %s", first[0].Name, second[0].Tool, first[0].Tool)
	}
	if n.assign(first, false); n.tools[first[0].Name].Tool != "größe" {
		t.Errorf("%s stands for %s", first[0].Name, n.tools[first[0].Name].Tool)
	}
}
