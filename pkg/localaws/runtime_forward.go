package localaws

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"time"
)

// requestHeaders are the headers in the API model of InvokeAgentRuntime, which
// always reach the container. Any other header must be on the runtime's
// allow-list.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
var requestHeaders = []string{
	"Content-Type", "Accept", mcpSessionHeader, "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name",
	sessionHeader, userHeader,
	"X-Amzn-Trace-Id", "Traceparent", "Tracestate", "Baggage",
}

// responseHeaders are the container's headers that reach the caller.
var responseHeaders = []string{"Content-Type", "Mcp-Protocol-Version", "X-Amzn-Trace-Id", "Traceparent", "Tracestate", "Baggage"}

// maxHeaderValue bounds the value of an allow-listed header.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
const maxHeaderValue = 4 << 10

// forward passes a request to the container, and the answer to the caller as it
// comes, byte for byte.
func (p *runtimes) forward(a *answer, r *http.Request, session string) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, a.rt.target.String(), bytes.NewReader(a.body))
	if err != nil {
		a.fault(FaultInternal)
		return
	}
	if tooLong := a.rt.pass(r.Header, req.Header); tooLong != "" {
		a.refuse(FaultValidation, "the value of header "+tooLong+" is longer than 4 KB")
		return
	}
	req.Header.Set(map[string]string{ProtocolMCP: mcpSessionHeader, ProtocolHTTP: sessionHeader}[a.rt.Protocol], session)

	if !a.rt.start(r.Context()) {
		a.fault(FaultStart)
		return
	}
	resp, err := p.client.Do(req)
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the caller has disconnected
	}
	if err != nil {
		p.s.cfg.Logger.WarnContext(r.Context(), "container failed", "runtime", a.rt.Name, "error", err)
		a.fault(FaultContainer)
		return
	}
	defer resp.Body.Close()
	// A redirect counts as a failure of the container. An MCP server's 4xx is
	// part of the transport (404 for a lost session) and reaches the client. An
	// HTTP agent's 4xx counts as a failure.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
	if s := resp.StatusCode; s < 200 || s >= 500 || s >= 300 && (s < 400 || a.rt.Protocol != ProtocolMCP) {
		p.s.cfg.Logger.WarnContext(r.Context(), "container failed", "runtime", a.rt.Name, "status", s)
		a.fault(FaultContainer)
		return
	}
	for _, name := range responseHeaders {
		if v, ok := resp.Header[name]; ok {
			a.w.Header()[name] = v
		}
	}
	// A stateful MCP server opens a session when it answers a request without a
	// session id. The client must keep that id.
	if own := resp.Header.Get(mcpSessionHeader); own != "" && a.rt.Protocol == ProtocolMCP && r.Header.Get(mcpSessionHeader) == "" {
		a.w.Header().Set(mcpSessionHeader, own)
	}
	a.w.WriteHeader(resp.StatusCode)
	// A JSON document is useless before its end, so it is not flushed.
	// Everything else is sent as it comes.
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	relay(a.w, resp.Body, mt != "application/json")
}

// pass copies the headers that reach the container. It returns the name of one
// whose value is too long.
func (rt *runtime) pass(from, to http.Header) (tooLong string) {
	to.Set("User-Agent", "") // keeps net/http from sending its own
	for _, name := range requestHeaders {
		if v, ok := from[name]; ok {
			to[name] = v
		}
	}
	for _, name := range rt.HeaderAllowlist {
		name = http.CanonicalHeaderKey(name)
		if slices.ContainsFunc(from[name], func(v string) bool { return len(v) > maxHeaderValue }) {
			return name
		}
		if v, ok := from[name]; ok {
			to[name] = v
		}
	}
	return ""
}

// relay passes an answer on, at once if flush is set. If body breaks off, it
// cuts the caller's connection.
func relay(w http.ResponseWriter, body io.Reader, flush bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		w.Write(buf[:n])
		if flush && n > 0 {
			http.NewResponseController(w).Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// start reports whether the container listens. The first time it waits for that
// until StartTimeout.
func (rt *runtime) start(ctx context.Context) bool {
	if rt.started.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, rt.StartTimeout)
	defer cancel()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "tcp", rt.target.Host); err == nil {
			conn.Close()
			rt.started.Store(true)
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}
