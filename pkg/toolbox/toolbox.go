// Package toolbox keeps the sessions to one or more MCP servers and offers
// their tools as one catalogue.
//
// A [Toolbox] lives as long as the process. It connects on first use, to all
// servers at once, and keeps the sessions; a server that could not be reached
// is tried again on the next use. It takes an [http.Client] per server and
// knows nothing of how that client authenticates.
package toolbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Server is one MCP server to use.
type Server struct {
	Name     string
	Optional bool // its absence is reported, not an error

	// Resolve finds out where the server is. It is called before the first
	// connection, and again while that fails.
	Resolve func(context.Context) (Endpoint, error)
}

// Endpoint is where a server is and how to reach it.
type Endpoint struct {
	URL    string
	Client *http.Client // carries the authentication; must not follow redirects

	// SteadySession sends one Mcp-Session-Id of our own with every request, for
	// as long as the process lives. AgentCore routes by it; other servers hand
	// out their own.
	SteadySession bool
}

// Tool is one tool of the catalogue.
type Tool struct {
	Name        string // what the model calls it; fits Bedrock's rule
	Server      string // the server's name
	Tool        string // the server's own name for the tool
	Description string
	InputSchema json.RawMessage // as the server sent it
}

// Result is what a tool answered.
type Result struct {
	Text    string
	IsError bool // the tool's own failure, for the model to read
}

// ServerError says which server could not be connected to or listed.
type ServerError struct {
	Server string
	Err    error
}

func (e *ServerError) Error() string { return fmt.Sprintf("MCP server %s: %v", e.Server, e.Err) }
func (e *ServerError) Unwrap() error { return e.Err }

// ErrUnknownTool says that the catalogue has no tool of that name.
var ErrUnknownTool = errors.New("unknown tool")

// Toolbox is safe for concurrent use.
type Toolbox struct {
	sessions []*session

	mu      sync.Mutex // guards what follows
	version []int      // of each session's tools when the catalogue was made
	tools   []Tool
	byName  map[string]int // into tools
}

// New makes a Toolbox. It connects to nothing yet.
func New(servers []Server) *Toolbox {
	b := &Toolbox{}
	for _, s := range servers {
		b.sessions = append(b.sessions, newSession(s))
	}
	return b
}

// Tools returns the catalogue, connecting and listing what is not connected
// yet. The names of optional servers that cannot be used are in unavailable; a
// required one is a [*ServerError].
func (b *Toolbox) Tools(ctx context.Context) (tools []Tool, unavailable []string, err error) {
	errs := make([]error, len(b.sessions))
	var wg sync.WaitGroup
	for i, s := range b.sessions {
		if s.ready() {
			continue
		}
		wg.Go(func() { errs[i] = s.connect(ctx) })
	}
	wg.Wait()
	for i, s := range b.sessions {
		switch {
		case errs[i] == nil:
		case s.server.Optional:
			unavailable = append(unavailable, s.server.Name)
		default:
			return nil, nil, errs[i]
		}
	}
	return b.catalogue(), unavailable, nil
}

// catalogue returns the tools of all connected servers, made anew when one of
// them changed.
func (b *Toolbox) catalogue() []Tool {
	b.mu.Lock()
	defer b.mu.Unlock()
	version := make([]int, len(b.sessions))
	lists := make([][]Tool, len(b.sessions))
	for i, s := range b.sessions {
		lists[i], version[i] = s.tools()
	}
	if b.version == nil || !slices.Equal(version, b.version) {
		b.version, b.tools = version, slices.Concat(lists...)
		b.byName = assignNames(b.tools)
	}
	return b.tools
}

// Call runs a tool of the catalogue by the name in [Tool.Name]. input is a JSON
// object and reaches the server digit by digit. A failing tool is a Result with
// IsError; an error means that there was no answer: [ErrUnknownTool], or a
// [*ServerError] around what went wrong on the way.
func (b *Toolbox) Call(ctx context.Context, name string, input json.RawMessage) (Result, error) {
	b.mu.Lock()
	i, ok := b.byName[name]
	var tool Tool
	if ok {
		tool = b.tools[i]
	}
	b.mu.Unlock()
	if !ok {
		return Result{}, fmt.Errorf("%w %q", ErrUnknownTool, name)
	}
	for _, s := range b.sessions {
		if s.server.Name == tool.Server {
			return s.call(ctx, tool.Tool, input)
		}
	}
	return Result{}, fmt.Errorf("%w %q", ErrUnknownTool, name)
}

// Lookup returns the catalogue's tool of that name.
func (b *Toolbox) Lookup(name string) (Tool, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.byName[name]
	if !ok {
		return Tool{}, false
	}
	return b.tools[i], true
}

// Close ends the sessions, as far as ctx allows. A server that does not answer
// is no error.
func (b *Toolbox) Close(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range b.sessions {
		wg.Go(func() { s.close(ctx) })
	}
	wg.Wait()
}

// ParseServers reads a list such as "calculator,search?": names separated by
// commas, a trailing question mark marks an optional server.
func ParseServers(list string) ([]Server, error) {
	var servers []Server
	for name := range splitList(list) {
		s := Server{Name: name}
		if last := len(name) - 1; name[last] == '?' {
			s.Name, s.Optional = name[:last], true
		}
		if s.Name == "" {
			return nil, fmt.Errorf("server list %q: a name is missing", list)
		}
		if slices.ContainsFunc(servers, func(o Server) bool { return o.Name == s.Name }) {
			return nil, fmt.Errorf("server list %q: %s is named twice", list, s.Name)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// compareTools orders a server's tools by name, so that the catalogue, and with
// it the model's cached prompt, does not change with the order of a listing.
func compareTools(a, b Tool) int { return cmp.Compare(a.Tool, b.Tool) }
