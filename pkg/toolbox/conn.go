package toolbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"agentcore-mcp-auth/pkg/agentcore"
)

// The protocol eras that a [Server] may be spoken to in.
const (
	// Era2025 opens a session with a handshake; servers of earlier revisions
	// with the same handshake are spoken to in theirs.
	Era2025 = mcp.ProtocolVersion20251125

	// Era2026 has no handshake and no sessions. The server must say itself that
	// it speaks it.
	Era2026 = mcp.ProtocolVersion20260728
)

// clientInfo is how this client introduces itself. It declares no capability,
// so no server may ask it for sampling, elicitation or roots.
const clientInfo = `{"name":"agentcore-mcp-auth","version":"1"}`

// conn is a connection after its handshake. It does not change any more and is
// safe for concurrent use.
type conn struct {
	wire    *wire
	modern  bool   // speaks Era2026
	greeted bool   // the server has answered the first request
	session string // id that the server gave out; empty: none, or the process's own
	nextID  atomic.Int64
}

// connect makes a connection in the era asked for, and no other. Nothing is
// probed for: a probe costs a cold container twice, and what a server answers
// to one is easily misread.
func connect(ctx context.Context, w *wire, era, steadyID string) (*conn, error) {
	if steadyID != "" {
		w.header.Set(agentcore.HeaderMCPSession, steadyID)
	}
	c := &conn{wire: w}
	if era == Era2026 {
		return c, c.discover(ctx)
	}
	return c, c.initialize(ctx, steadyID != "")
}

// initialize is the handshake of the eras up to 2025-11-25.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle
func (c *conn) initialize(ctx context.Context, steady bool) error {
	params := `{"protocolVersion":"` + Era2025 + `","capabilities":{},"clientInfo":` + clientInfo + `}`
	raw, head, err := c.request(ctx, "initialize", []byte(params), nil)
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	c.greeted = true
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	json.Unmarshal(raw, &result)
	if v := result.ProtocolVersion; !mcp.IsValidProtocolVersion(v) || mcp.IsModernProtocol(v) {
		return fmt.Errorf("initialize: %w", unusable("the server chose protocol version %.40q, which this client does not speak", v))
	}
	c.wire.header.Set(mcp.HeaderProtocolVersion, result.ProtocolVersion)
	c.wire.resumes = true
	if id := head.Get(agentcore.HeaderMCPSession); id != "" && !steady {
		if !headerValue(id) {
			return fmt.Errorf("initialize: %w", unusable("a session id that no header can carry"))
		}
		c.session = id
		c.wire.header.Set(agentcore.HeaderMCPSession, id)
	}
	if err := c.wire.notify(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), nil); err != nil {
		return fmt.Errorf("notifications/initialized: %w", err)
	}
	return nil
}

// discover checks that the server speaks 2026-07-28. An answer that does not
// say so is a refusal: {} is what many servers answer to what they do not know.
// https://modelcontextprotocol.io/specification/2026-07-28/basic/lifecycle
func (c *conn) discover(ctx context.Context) error {
	c.modern = true
	c.wire.header.Set(mcp.HeaderProtocolVersion, Era2026)
	raw, _, err := c.request(ctx, "server/discover", []byte("{}"), nil)
	var e *agentcore.Error
	if errors.As(err, &e) && e.Code == mcp.UNSUPPORTED_PROTOCOL_VERSION {
		// A server may refuse the version once to name those it speaks.
		raw, _, err = c.request(ctx, "server/discover", []byte("{}"), nil)
	}
	if err != nil {
		return fmt.Errorf("server/discover: %w", err)
	}
	c.greeted = true
	var result struct {
		SupportedVersions []string `json:"supportedVersions"`
	}
	json.Unmarshal(raw, &result)
	if !slices.Contains(result.SupportedVersions, Era2026) {
		return fmt.Errorf("server/discover: %w", unusable("the server does not say that it speaks protocol version %s, as configured; it names %.100q", Era2026, result.SupportedVersions))
	}
	return nil
}

// request sends one JSON-RPC request; params is a JSON object.
func (c *conn) request(ctx context.Context, method string, params []byte, more http.Header) (json.RawMessage, http.Header, error) {
	id := c.nextID.Add(1)
	text := make([]byte, 0, len(method)+len(params)+300)
	text = append(text, `{"jsonrpc":"2.0","id":`...)
	text = strconv.AppendInt(text, id, 10)
	text = append(append(append(text, `,"method":"`...), method...), `","params":`...)
	if c.modern {
		// https://modelcontextprotocol.io/specification/2026-07-28/basic/index#meta
		text = append(text, `{"_meta":{"`+mcp.MetaKeyProtocolVersion+`":"`+Era2026+`","`+
			mcp.MetaKeyClientCapabilities+`":{},"`+mcp.MetaKeyClientInfo+`":`+clientInfo+`}`...)
		if params = bytes.TrimLeft(params[1:], " \t\r\n"); params[0] != '}' {
			text = append(text, ',')
		}
	}
	text = append(append(text, params...), '}')
	if c.modern {
		if more == nil {
			more = http.Header{}
		}
		more[mcp.HeaderMethod] = []string{method}
	}
	raw, head, err := c.wire.request(ctx, id, text, more)
	if c.session != "" && ctx.Err() != nil && errors.As(err, new(*UnknownOutcomeError)) {
		go c.cancel(context.WithoutCancel(ctx), id)
	}
	return raw, head, err
}

// cancel tells the server that nobody waits for the answer to a request any
// more. In the eras with sessions hanging up does not say so; in those of others
// it would have to be matched by its id alone, which other callers use too.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation
func (c *conn) cancel(ctx context.Context, id int64) {
	ctx, stop := context.WithTimeout(ctx, farewell)
	defer stop()
	text := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id)
	c.wire.notify(ctx, text, nil) // whether it arrives changes nothing for anybody
}

// farewell is how long a server may take for what it is told at an end.
const farewell = 2 * time.Second

// callTool runs a tool and returns its result as it came.
func (c *conn) callTool(ctx context.Context, t *Tool, input json.RawMessage) (json.RawMessage, error) {
	params := make([]byte, 0, len(t.quoted)+len(input)+32)
	params = append(append(params, `{"name":`...), t.quoted...)
	params = append(append(append(params, `,"arguments":`...), input...), '}')
	var more http.Header
	if c.modern {
		// Gateways route by what these headers repeat from the body.
		more = http.Header{}
		for name, value := range mcp.StandardHeaders(Era2026, mcp.MethodToolsCall, params) {
			more[name] = []string{value}
		}
		if t.mirrored {
			for name, value := range mcp.GenerateParamHeaders(&mcp.Tool{RawInputSchema: t.InputSchema}, params) {
				more[http.CanonicalHeaderKey(name)] = []string{value}
			}
		}
	}
	raw, _, err := c.request(ctx, "tools/call", params, more)
	return raw, err
}

// close ends the session if the server has one. Whether that works changes
// nothing for anybody. A session under the process's own id is not the
// server's to end: AgentCore's goes by itself.
func (c *conn) close(ctx context.Context) {
	if c.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	if r, err := c.wire.send(ctx, http.MethodDelete, nil, nil); err == nil {
		r.close()
	}
}
