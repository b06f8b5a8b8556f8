package toolbox

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	maxPages       = 100     // of one listing
	maxTools       = 1000    // of one server, after its allow and deny lists
	maxListing     = 8 << 20 // bytes of those that are offered
	maxDescription = 8 << 10 // bytes; what is over is cut
	maxToolName    = 512     // bytes of a server's own name for a tool

	// How long a listing holds, and between what bounds a server may say so.
	listingLife = 10 * time.Minute
	minLife     = 30 * time.Second
	maxLife     = time.Hour
)

// listing is what a server said of its tools.
type listing struct {
	tools   []Tool // ordered by name, so that the order of an answer changes nothing
	dropped []Dropped
	life    time.Duration
}

// Dropped is a tool that a server lists and the catalogue does not offer.
type Dropped struct {
	Server, Tool, Reason string
}

// list follows tools/list to its end. A server that lists without end, or more
// than anybody can use, has no catalogue; a tool that cannot be offered is
// dropped and the others stay.
func (c *conn) list(ctx context.Context, s Server) (*listing, error) {
	l := &listing{life: listingLife}
	cursors, names, size := map[string]bool{}, map[string]bool{}, 0
	params := []byte("{}")
	for range maxPages {
		raw, _, err := c.request(ctx, "tools/list", params, nil)
		if err != nil {
			return nil, fmt.Errorf("tools/list: %w", err)
		}
		var page struct {
			Tools []struct {
				Name        string          `json:"name"`
				Description string          `json:"description"`
				InputSchema json.RawMessage `json:"inputSchema"`
				Annotations struct {
					ReadOnly    bool `json:"readOnlyHint"`
					Destructive bool `json:"destructiveHint"`
					Idempotent  bool `json:"idempotentHint"`
				} `json:"annotations"`
			} `json:"tools"`
			NextCursor string `json:"nextCursor"`
			TTL        *int64 `json:"ttlMs"`
		}
		if json.Unmarshal(raw, &page) != nil {
			return nil, fmt.Errorf("tools/list: %w", unusable("not a list of tools"))
		}
		if page.TTL != nil {
			l.life = time.Duration(min(max(minLife.Milliseconds(), *page.TTL), maxLife.Milliseconds())) * time.Millisecond
		}
		for _, p := range page.Tools {
			if !s.permits(p.Name) {
				continue
			}
			t := Tool{
				Server: s.Name, Tool: p.Name, Description: cut(p.Description, maxDescription, "…"), InputSchema: p.InputSchema,
				ReadOnly: p.Annotations.ReadOnly, Idempotent: p.Annotations.Idempotent,
			}
			t.quoted, _ = json.Marshal(t.Tool)
			reason := c.objection(&t)
			if p.Annotations.Destructive && !t.ReadOnly && len(s.Allow) == 0 {
				reason = "the server calls it destructive; to offer it, name it or * in the list of allowed tools"
			}
			if names[t.Tool] {
				reason = "the server lists it more than once"
			}
			names[t.Tool] = true
			if reason != "" {
				l.dropped = append(l.dropped, Dropped{s.Name, oneLine(t.Tool), reason})
			} else {
				l.tools = append(l.tools, t)
				size += t.size()
			}
			if size > maxListing {
				return nil, fmt.Errorf("tools/list: %w", unusable("over %d MiB of tools", maxListing>>20))
			}
			if len(names) > maxTools || len(l.dropped) > maxTools {
				return nil, fmt.Errorf("tools/list: %w", unusable("more than %d tools", maxTools))
			}
		}
		if page.NextCursor == "" {
			slices.SortFunc(l.tools, func(a, b Tool) int { return cmp.Compare(a.Tool, b.Tool) })
			return l, nil
		}
		if cursors[page.NextCursor] {
			return nil, fmt.Errorf("tools/list: %w", unusable("the pages of the server's list of tools repeat"))
		}
		cursors[page.NextCursor] = true
		cursor, _ := json.Marshal(page.NextCursor)
		params = append(append([]byte(`{"cursor":`), cursor...), '}')
	}
	return nil, fmt.Errorf("tools/list: %w", unusable("more than %d pages", maxPages))
}

// objection says why the tool cannot be offered; empty: it can. It notes
// whether arguments have to be repeated in headers, which a tool may ask for in
// the newer era only.
func (c *conn) objection(t *Tool) string {
	switch {
	case t.Tool == "":
		return "it has no name"
	case len(t.Tool) > maxToolName:
		return fmt.Sprintf("its name is over %d bytes", maxToolName)
	}
	if reason := checkSchema(t.InputSchema); reason != "" {
		return "its input schema " + reason
	}
	if c.modern {
		tool := &mcp.Tool{RawInputSchema: t.InputSchema}
		if err := mcp.ValidateParamHeaderAnnotations(tool); err != nil {
			return "its input schema: " + oneLine(err.Error())
		}
		t.mirrored = len(mcp.ExtractParamHeaderBindings(tool)) > 0
	}
	return ""
}

// permits reports whether the server's allow and deny lists let a tool be used.
func (s *Server) permits(tool string) bool {
	return (len(s.Allow) == 0 || matches(s.Allow, tool)) && !matches(s.Deny, tool)
}

// matches reports whether a name is on a list. A trailing * stands for any rest.
func matches(list []string, name string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		if prefix, open := strings.CutSuffix(pattern, "*"); open {
			return strings.HasPrefix(name, prefix)
		}
		return name == pattern
	})
}

// cut shortens s to at most n bytes of whole characters and puts notice where
// it was cut.
func cut(s string, n int, notice string) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + notice
}
