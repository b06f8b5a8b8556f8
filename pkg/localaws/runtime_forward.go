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

// requestHeaders are the headers that InvokeAgentRuntime models and passes to
// the container; any other has to be on the runtime's allow-list.
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

// forward takes a request to the container and its answer to the caller, byte
// for byte and as it comes.
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
		panic(http.ErrAbortHandler) // the caller left
	}
	if err != nil {
		p.s.cfg.Logger.WarnContext(r.Context(), "container failed", "runtime", a.rt.Name, "error", err)
		a.fault(FaultContainer)
		return
	}
	defer resp.Body.Close()
	// A redirect is no answer of a container. An MCP server's 4xx is a message
	// of the transport (404 for a session that is gone) and reaches the client;
	// an HTTP agent's counts as a failure.
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
	// A stateful MCP server opens a session by answering a request that came
	// without one; its id is the one the client has to keep.
	if own := resp.Header.Get(mcpSessionHeader); own != "" && a.rt.Protocol == ProtocolMCP && r.Header.Get(mcpSessionHeader) == "" {
		a.w.Header().Set(mcpSessionHeader, own)
	}
	a.w.WriteHeader(resp.StatusCode)
	// One JSON document is of no use before its end; anything else goes out as
	// it comes.
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	relay(a.w, resp.Body, mt != "application/json")
}

// pass copies the headers that reach the container. One whose value is too long
// is named.
func (rt *runtime) pass(from, to http.Header) (tooLong string) {
	to.Set("User-Agent", "") // net/http's own does not go out either
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

// relay passes an answer on, at once where flush is set, and cuts the caller off
// where body breaks off.
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

// start reports whether the container has listened, waiting for its first time
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
