package mcpserver

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// message is what is checked of a JSON-RPC request or notification before mcp-go
// sees it. Its slices point into the body it was read from.
type message struct {
	id     json.RawMessage // as sent; nil for a notification
	method string
	tool   string // the tool that a tools/call names
	era    string // the protocol version in params._meta, if any
	task   bool   // the call is to go on when the request has been answered

	argsFrom, argsTo int      // where params.arguments is in the body; equal if it is nowhere
	wide             [][2]int // where in the body the arguments have numbers that float64 cannot hold
	huge             bool     // the arguments have numbers that are too long to be expanded

	values int // JSON values in the whole message
}

// refusal is a JSON-RPC error that answers a message which mcp-go does not get.
type refusal struct {
	id     json.RawMessage // nil: unknown
	code   int
	reason string
}

// paramNames are the members that MCP gives the params of a client's messages,
// in both eras. encoding/json would take "Name" for one of them, or "argumentſ"
// with a long s, which is how a filter in front of the server can be walked
// around (CVE-2026-27896): names that only look like one of these are refused.
var paramNames = []string{
	"_meta", "name", "arguments", "task", "inputResponses", "requestState",
	"protocolVersion", "capabilities", "clientInfo",
	"uri", "cursor", "ref", "argument", "context", "level", "taskId",
	"notifications", "requestId", "reason", "progressToken", "progress", "total", "message",
}

// parse reads a message strictly: exact member names, none twice, no batch, an
// id that is a string or a whole number. What it accepts, encoding/json reads
// the same way.
// https://modelcontextprotocol.io/specification/2025-11-25/basic
func parse(body []byte) (message, *refusal) {
	var m message
	s, err := newScanner(body)
	if err != nil {
		return m, &refusal{code: mcp.PARSE_ERROR, reason: err.Error()}
	}
	switch s.space() {
	case '{':
	case '[':
		return m, &refusal{code: mcp.INVALID_REQUEST, reason: "batches are not supported: send one message per request"}
	case 0:
		return m, &refusal{code: mcp.PARSE_ERROR, reason: "the body is empty"}
	default:
		return m, &refusal{code: mcp.INVALID_REQUEST, reason: "the body must be a JSON object"}
	}
	p := parser{scanner: s, message: &m}
	err = s.object(p.member)
	m.values = s.values
	if s.space(); err == nil && s.i < len(s.b) {
		err = s.fail("there is text after the message")
	}
	if err != nil {
		r, ok := err.(*refusal)
		if !ok {
			r = &refusal{code: mcp.PARSE_ERROR, reason: err.Error()}
		}
		r.id = m.id
		return m, r
	}
	if r := p.check(); r != nil {
		r.id = m.id
		return m, r
	}
	return m, nil
}

// decodable returns the message with a 0 in the place of each number that
// float64 cannot hold.
func (m message) decodable(body []byte) []byte {
	if m.wide == nil {
		return body
	}
	var out []byte
	from := 0
	for _, at := range m.wide {
		out = append(append(out, body[from:at[0]]...), '0')
		from = at[1]
	}
	return append(out, body[from:]...)
}

func (r *refusal) Error() string { return r.reason }

func invalid(reason string) *refusal { return &refusal{code: mcp.INVALID_REQUEST, reason: reason} }
func badParams(reason string) *refusal {
	return &refusal{code: mcp.INVALID_PARAMS, reason: reason}
}

// parser fills a message while the scanner walks over it.
type parser struct {
	*scanner
	*message
	version   bool // jsonrpc was there and right
	hasName   bool
	arguments byte // first byte of params.arguments
}

// member reads one member of the message itself.
func (p *parser) member(name []byte) error {
	switch string(name) {
	case "jsonrpc":
		v, err := p.text("jsonrpc")
		if err != nil || v != "2.0" {
			return invalid(`jsonrpc must be "2.0"`)
		}
		p.version = true
		return nil
	case "id":
		return p.readID()
	case "method":
		v, err := p.text("method")
		if err == nil && (v == "" || len(v) > maxName) {
			err = invalid("method must have 1 to 128 characters")
		}
		p.method = v
		return err
	case "params":
		switch p.space() {
		case '{':
			return p.object(p.param)
		case 'n': // a health check of AgentCore sends a ping with null params
			return p.value()
		}
		return invalid("params must be an object")
	case "result", "error":
		return invalid("this server sends no requests, so it takes no responses")
	}
	return invalid("a message has the members jsonrpc, id, method and params, and no others")
}

// text reads a string.
func (p *parser) text(name string) (string, error) {
	if p.space() != '"' {
		return "", invalid(name + " must be a string")
	}
	raw, err := p.str()
	if err != nil {
		return "", err
	}
	return string(unquote(raw)), nil
}

// readID takes an id that can be sent back unchanged: a string, or a whole
// number that survives a float64, which is what most JSON parsers, this
// server's included, make of it.
func (p *parser) readID() error {
	const wrong = "id must be a string of at most 256 bytes or a whole number of at most 15 digits"
	var err error
	c := p.space()
	from := p.i
	switch {
	case c == '"':
		_, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		err = p.number()
	default:
		return invalid(wrong)
	}
	if err != nil {
		return err
	}
	raw := p.b[from:p.i]
	if c == '"' && len(raw) > 256 || c != '"' && (len(raw) > 16 || len(bytes.Trim(raw, "-0123456789")) > 0 || c != '-' && len(raw) > 15) {
		return invalid(wrong)
	}
	p.id = raw
	return nil
}

// param reads one member of params.
func (p *parser) param(name []byte) error {
	switch string(name) {
	case "name":
		if p.space() != '"' {
			return badParams("params.name must be a string")
		}
		v, err := p.text("params.name")
		if err == nil && len(v) > maxName {
			err = badParams("params.name must have at most 128 characters")
		}
		p.hasName, p.tool = true, v
		return err
	case "arguments":
		outside := p.overflow
		p.overflow, p.oversize = nil, false
		p.arguments = p.space()
		p.argsFrom = p.i
		err := p.value()
		p.argsTo = p.i
		p.wide, p.huge = p.overflow, p.oversize
		p.overflow = outside
		return err
	case "task":
		p.task = p.space() != 'n'
		return p.value()
	case "_meta":
		switch p.space() {
		case '{':
			return p.object(p.meta)
		case 'n':
			return p.value()
		}
		return badParams("params._meta must be an object")
	}
	if !known(string(name)) {
		return badParams("a member of params differs from a name that MCP defines only in the case of its letters")
	}
	return p.value()
}

// meta reads one member of params._meta.
func (p *parser) meta(name []byte) error {
	if string(name) == mcp.MetaKeyProtocolVersion && p.space() == '"' {
		v, err := p.text("protocolVersion")
		p.era = v
		return err
	}
	return p.value()
}

// known reports whether name is one of paramNames, or nothing like any of them.
func known(name string) bool {
	like := false
	for _, n := range paramNames {
		if n == name {
			return true
		}
		like = like || strings.EqualFold(n, name)
	}
	return !like
}

// check judges the message as a whole.
func (p *parser) check() *refusal {
	switch {
	case !p.version:
		return invalid(`jsonrpc must be "2.0"`)
	case p.method == "":
		return invalid("method is missing")
	case p.method != string(mcp.MethodToolsCall):
		p.tool = ""
		if p.overflow != nil || p.wide != nil {
			return badParams("a number is out of range")
		}
		return nil
	case p.overflow != nil:
		return badParams("a number outside of the arguments is out of range")
	case !p.hasName:
		return badParams("params.name must name the tool to call")
	case p.arguments != 0 && p.arguments != '{' && p.arguments != 'n':
		return badParams("params.arguments must be an object")
	}
	return nil
}
