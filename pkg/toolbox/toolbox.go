// Package toolbox keeps the sessions to one or more MCP servers and offers
// their tools as one catalogue.
//
// A [Toolbox] lives as long as the process: [New] in main, [Toolbox.Tools] before
// each conversation, [Toolbox.Call] for each tool use. It is safe for concurrent
// use. It connects on first use, to all servers at once, and keeps the sessions.
// One that is gone is made anew, once for all who use it. An answer that says to
// come back later is obeyed within the caller's deadline. A tool call that may
// have been carried out is never sent again unless the tool says that this does
// no harm.
//
// What a tool itself reports, a failure included, is a [Result]. An error means
// that there was no answer; what went wrong with a server is in a [*ServerError].
//
// It takes an [http.Client] per server and knows nothing of how that client
// authenticates; package tokensource makes such clients.
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
package toolbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Server is one MCP server to use.
type Server struct {
	Name     string // unique among the servers of a toolbox
	Optional bool   // its absence is reported, not an error

	// Resolve finds out where the server is; required. It is called before each
	// attempt to connect, one at a time.
	Resolve func(context.Context) (Endpoint, error)

	// Allow and Deny name tools that may and may not be used, by the server's
	// own names; a trailing * stands for any rest. An empty Allow admits all but
	// those that the server itself calls destructive. Deny wins. A tool that they
	// forbid is neither listed nor called.
	Allow, Deny []string

	// Era is the protocol era to speak, [Era2025] (the default) or [Era2026]. A
	// server that does not speak it is refused.
	Era string
}

// Endpoint is where a server is and how to reach it.
type Endpoint struct {
	URL    string
	Client *http.Client // carries the authentication; default http.DefaultClient. Redirects are not followed whatever it says

	// SteadySession sends one Mcp-Session-Id of our own with every request, for
	// as long as the process lives. AgentCore routes by it; other servers hand
	// out their own.
	SteadySession bool
}

// Options are settings of a Toolbox that can be left out.
type Options struct {
	AlwaysPrefix bool             // name every tool server__tool, not only where two servers clash
	Logger       *slog.Logger     // for tools left out and failures in the background; nil: none
	Now          func() time.Time // nil: time.Now
}

// Tool is one tool of the catalogue.
type Tool struct {
	Name        string // what the model calls it; fits Bedrock's rule
	Server      string // the server's name
	Tool        string // the server's own name for the tool
	Description string
	InputSchema json.RawMessage // as the server sent it

	// The server's claims: that the tool changes nothing, or nothing more when it
	// is called twice. Such a call is repeated when its answer is lost.
	ReadOnly, Idempotent bool

	quoted   []byte // Tool as JSON
	mirrored bool   // some arguments are repeated in headers
}

// size is about what the tool takes in memory.
func (t *Tool) size() int {
	return 512 + len(t.Name) + 2*len(t.Tool) + len(t.Description) + len(t.InputSchema)
}

// optionalPatience is how long a request waits for an optional server that is
// being connected to. The attempt goes on without it.
const optionalPatience = 10 * time.Second

var errSlow = fmt.Errorf("not connected within %s, still trying", optionalPatience)

// Toolbox keeps the sessions and the catalogue. It is safe for concurrent use.
type Toolbox struct {
	sessions []*session
	options  Options
	end      context.CancelFunc

	mu       sync.RWMutex // guards what follows
	versions []int        // of each session's tools when the catalogue was made
	tools    []Tool
	names    names
}

// New makes a Toolbox. It connects to nothing yet.
func New(servers []Server, o Options) *Toolbox {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	life, end := context.WithCancel(context.Background())
	b := &Toolbox{options: o, end: end}
	for _, s := range servers {
		b.sessions = append(b.sessions, newSession(life, s, o))
	}
	return b
}

// Tools returns the catalogue. It first connects to and lists the servers that
// are not connected yet; when all are, it sends nothing. The names of optional
// servers that cannot be used, or not within ten seconds, are in unavailable; for
// a required one Tools returns a [*ServerError].
func (b *Toolbox) Tools(ctx context.Context) (tools []Tool, unavailable []string, err error) {
	errs := make([]error, len(b.sessions))
	var wg sync.WaitGroup
	for i, s := range b.sessions {
		if !s.ready() {
			wg.Go(func() { errs[i] = s.join(ctx) })
		}
	}
	wg.Wait()
	for i, s := range b.sessions {
		switch {
		case errs[i] == nil:
		case s.server.Optional && !errors.Is(errs[i], ErrClosed):
			unavailable = append(unavailable, s.server.Name)
		default:
			return nil, nil, errs[i]
		}
	}
	return b.catalogue(), unavailable, nil
}

// join connects, with limited patience for an optional server.
func (s *session) join(ctx context.Context) error {
	if !s.server.Optional {
		_, err := s.connect(ctx)
		return err
	}
	s.mu.Lock()
	s.leave()
	slow := s.slow
	s.mu.Unlock()
	if slow {
		return s.fail(errSlow)
	}
	patient, cancel := context.WithTimeoutCause(ctx, optionalPatience, errSlow)
	defer cancel()
	_, err := s.connect(patient)
	if errors.Is(err, errSlow) {
		s.mu.Lock()
		s.slow = s.conn == nil
		s.mu.Unlock()
	}
	return err
}

// catalogue returns the tools of all connected servers, made anew when one of
// them changed.
func (b *Toolbox) catalogue() []Tool {
	b.mu.Lock()
	defer b.mu.Unlock()
	versions := make([]int, len(b.sessions))
	lists := make([][]Tool, len(b.sessions))
	for i, s := range b.sessions {
		l, version := s.tools()
		lists[i], versions[i] = l.tools, version
	}
	if b.versions == nil || !slices.Equal(versions, b.versions) {
		b.versions, b.tools = versions, slices.Concat(lists...)
		b.names.assign(b.tools, b.options.AlwaysPrefix)
	}
	return slices.Clone(b.tools)
}

// Dropped returns the tools that connected servers list and the catalogue does
// not offer, with the reason.
func (b *Toolbox) Dropped() []Dropped {
	var dropped []Dropped
	for _, s := range b.sessions {
		l, _ := s.tools()
		dropped = append(dropped, l.dropped...)
	}
	return dropped
}

// Call runs a tool of the catalogue by the name in [Tool.Name]; a tool that no
// call of Tools has listed yet is unknown. input is a JSON object, empty for none,
// and reaches the server digit by digit. A failing tool is a Result with IsError.
// An error means that there was no answer: [ErrUnknownTool], an input that is no
// object, or a [*ServerError] around what went wrong on the way, such as an
// [*agentcore.Error] or an [*UnknownOutcomeError].
func (b *Toolbox) Call(ctx context.Context, name string, input json.RawMessage) (Result, error) {
	t := b.lookup(name)
	if t == nil {
		return Result{}, fmt.Errorf("%w %.80q", ErrUnknownTool, name)
	}
	if len(input) == 0 {
		input = json.RawMessage("{}")
	}
	if !json.Valid(input) || bytes.TrimLeft(input, " \t\r\n")[0] != '{' {
		return Result{}, fmt.Errorf("input of tool %s: want a JSON object", t.Name)
	}
	i := slices.IndexFunc(b.sessions, func(s *session) bool { return s.server.Name == t.Server })
	return b.sessions[i].call(ctx, t, input)
}

// Lookup returns the tool of that name. A name that was in the catalogue once
// stands for the same tool for as long as the process lives, so that a
// conversation begun before a change is not misled.
func (b *Toolbox) Lookup(name string) (Tool, bool) {
	if t := b.lookup(name); t != nil {
		return *t, true
	}
	return Tool{}, false
}

func (b *Toolbox) lookup(name string) *Tool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.names.tools[name]
}

// Close ends the sessions, as far as ctx allows, and gives up what is under way
// in the background. A server that does not answer is no error. A closed
// toolbox refuses further use.
func (b *Toolbox) Close(ctx context.Context) {
	b.end()
	var wg sync.WaitGroup
	for _, s := range b.sessions {
		wg.Go(func() { s.close(ctx) })
	}
	wg.Wait()
}
