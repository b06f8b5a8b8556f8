package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/agentcore"
)

// protocolVersion is the version that this project's agents speak.
const protocolVersion = "2025-11-25"

// conversation is a session with the MCP server in plain requests. It repeats
// none, so that a refusal is seen as it is. The toolbox would hide refusals by
// handling them.
type conversation struct {
	http    *http.Client
	to      endpoint
	bearer  string // empty: none
	session string
	version string // once it is negotiated
	nextID  int
}

// answer is the answer to one request.
type answer struct {
	status  int
	header  http.Header
	result  json.RawMessage // nil: none
	code    int             // of a JSON-RPC error, 0: none
	message string          // of the error, or the body if it is not JSON-RPC
}

// open begins a conversation. An empty bearer sends no token.
func (e *exam) open(bearer string) *conversation {
	c := &conversation{http: &http.Client{Timeout: e.cfg.Timeout, CheckRedirect: e.http.CheckRedirect}, to: e.endpoint, bearer: bearer}
	if e.endpoint.arn != "" {
		c.session = uuid.NewString() // AgentCore routes by it; other servers give out their own
	}
	return c
}

// ask sends one request, and reads its answer from JSON or from a stream.
func (c *conversation) ask(ctx context.Context, method string, params any) (answer, error) {
	c.nextID++
	return c.post(ctx, map[string]any{"jsonrpc": "2.0", "id": c.nextID, "method": method, "params": params})
}

func (c *conversation) post(ctx context.Context, message map[string]any) (answer, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.to.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range map[string]string{agentcore.HeaderMCPSession: c.session, "Mcp-Protocol-Version": c.version} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err := a.read(resp, message["id"]); err != nil {
		return answer{}, err
	}
	if c.to.arn == "" && a.status == http.StatusOK && resp.Header.Get(agentcore.HeaderMCPSession) != "" {
		c.session = resp.Header.Get(agentcore.HeaderMCPSession)
	}
	return a, nil
}

// read reads the answer to request id in either form that the protocol allows.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
func (a *answer) read(resp *http.Response, id any) error {
	body := bufio.NewReader(io.LimitReader(resp.Body, maxDocument))
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/event-stream" {
		return a.readStream(body, id)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if !a.take(text, nil) {
		a.message = string(text)
	}
	return nil
}

func (a *answer) readStream(body *bufio.Reader, id any) error {
	var data []byte
	for {
		line, err := body.ReadBytes('\n')
		line = bytes.TrimRight(line, "\r\n")
		if more, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, bytes.TrimPrefix(more, []byte(" "))...)
		}
		if len(line) == 0 || err != nil {
			if len(data) > 0 && a.take(data, id) {
				return nil
			}
			data = nil
		}
		if errors.Is(err, io.EOF) {
			a.message = "a stream that ended without an answer"
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take reads one JSON-RPC message. In a stream it must have the request's id,
// because other messages come before it.
func (a *answer) take(text []byte, id any) bool {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &m) != nil || m.Result == nil && m.Error == nil || id != nil && string(m.ID) != fmt.Sprint(id) {
		return false
	}
	a.result = m.Result
	if m.Error != nil {
		a.result, a.code, a.message = nil, m.Error.Code, m.Error.Message
	}
	return true
}

// refusal returns the answer in a form that can be explained.
func (a answer) refusal() refusal {
	kind, _, _ := strings.Cut(a.header.Get("X-Amzn-Errortype"), ":")
	r := refusal{status: a.status, code: a.code, kind: kind, challenges: a.header.Values("WWW-Authenticate")}
	if a.code != 0 {
		r.message = a.message
	} else {
		r.readBody(strings.TrimSpace(a.message))
	}
	return r
}
