package toolbox

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

const (
	// maxName is how long a tool's name may be for Bedrock.
	// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
	maxName = 64

	// maxRemembered bounds the bytes that names no longer in use may take.
	maxRemembered = 4 * maxListing
)

// names maps the names that models use to tools, one to one.
type names struct {
	tools map[string]*Tool
	size  int // of tools
}

// assign gives each tool a name that fits Bedrock's rule, [a-zA-Z0-9_-]{1,64}:
// its own where that will do, server__tool where two servers offer the same one
// or always is set, and one that ends in a hash of both where characters or
// length do not fit. The names depend only on the servers' and tools' names,
// their order, and the names given before: a name given to one tool is never
// given to another.
func (n *names) assign(tools []Tool, always bool) {
	if n.tools == nil || n.size > maxRemembered {
		n.tools, n.size = map[string]*Tool{}, 0
	}
	count := map[string]int{}
	for _, t := range tools {
		count[fit(t.Tool)]++
	}
	for i := range tools {
		t := &tools[i]
		t.Name = fit(t.Tool)
		long := t.Server + "__" + t.Tool
		if always || count[t.Name] > 1 || n.taken(t) {
			t.Name = fit(long)
		}
		for k := 0; n.taken(t); k++ {
			t.Name = hashed(long + " " + strconv.Itoa(k))
		}
		if old := n.tools[t.Name]; old != nil {
			n.size -= old.size()
		}
		kept := *t
		n.tools[t.Name] = &kept
		n.size += kept.size()
	}
}

// taken reports whether t's name stands for another tool.
func (n *names) taken(t *Tool) bool {
	other, ok := n.tools[t.Name]
	return ok && (other.Server != t.Server || other.Tool != t.Tool)
}

// fit returns name if it fits Bedrock's rule, and otherwise what fits of it
// with a hash of the whole.
func fit(name string) string {
	if name != "" && len(name) <= maxName && strings.IndexFunc(name, unfit) < 0 {
		return name
	}
	return hashed(name)
}

func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	kept := strings.Map(func(r rune) rune {
		if unfit(r) {
			return '_'
		}
		return r
	}, name)
	return kept[:min(len(kept), maxName-len(suffix))] + suffix
}

func unfit(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
}
