package converse

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// presentable makes a tool's text one that Bedrock takes: at most limit bytes
// and a notice, in UTF-8, and not blank.
func presentable(text string, limit int) string {
	text = strings.ToValidUTF8(shortened(text, limit), "\uFFFD")
	if strings.TrimSpace(text) == "" {
		return "The tool answered with nothing."
	}
	return text
}

// shorten cuts the results of one turn to room bytes together, notices not
// counted. Small ones stay whole; large ones get the same share each.
func shorten(results []Result, room int) {
	sizes := make([]int, len(results))
	for i, r := range results {
		sizes[i] = len(r.Text)
	}
	slices.Sort(sizes)
	for i, size := range sizes {
		share := max(room, 0) / (len(sizes) - i)
		if size > share {
			for j := range results {
				results[j].Text = shortened(results[j].Text, share)
			}
			return
		}
		room -= size
	}
}

// shortened cuts text to limit bytes and says so. What it returns does not keep
// the whole text in memory.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	kept := cut(text, limit)
	return fmt.Sprintf("%s\n[Cut: the tool gave %d bytes, of which the first %d are here.]", kept, len(text), len(kept))
}

// cut is the longest beginning of text within limit bytes that ends between two
// characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for i := limit; i > limit-utf8.UTFMax && i >= 0; i-- {
		if utf8.RuneStart(text[i]) {
			return text[:i]
		}
	}
	return text[:max(limit, 0)] // not UTF-8 anyway
}
