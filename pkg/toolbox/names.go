package toolbox

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"strings"
)

// maxName is how long a tool's name may be for Bedrock.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
const maxName = 64

// assignNames gives each tool a name that is unique and fits Bedrock's rule,
// [a-zA-Z0-9_-]{1,64}: its own where that will do, server__tool where two
// servers offer the same one, and a name that ends in a hash of both where
// characters or length do not fit. It returns the tools' places by name. The
// names depend on nothing but the servers' and tools' names.
func assignNames(tools []Tool) map[string]int {
	count := map[string]int{}
	for _, t := range tools {
		count[safe(t.Tool)]++
	}
	byName := make(map[string]int, len(tools))
	for i := range tools {
		t := &tools[i]
		t.Name = safe(t.Tool)
		if count[t.Name] > 1 {
			t.Name = safe(t.Server + "__" + t.Tool)
		}
		if _, taken := byName[t.Name]; taken || t.Name == "" {
			t.Name = hashed(t.Server + "__" + t.Tool)
		}
		byName[t.Name] = i
	}
	return byName
}

// safe returns name if it fits Bedrock's rule, and otherwise what fits of it
// with a hash of the whole.
func safe(name string) string {
	if len(name) <= maxName && strings.IndexFunc(name, unfit) < 0 {
		return name
	}
	return hashed(name)
}

func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	fit := strings.Map(func(r rune) rune {
		if unfit(r) {
			return '_'
		}
		return r
	}, name)
	return fit[:min(len(fit), maxName-len(suffix))] + suffix
}

func unfit(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
}

// splitList yields the non-empty elements of a comma-separated list.
func splitList(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for s := range strings.SplitSeq(list, ",") {
			if s = strings.TrimSpace(s); s != "" && !yield(s) {
				return
			}
		}
	}
}
