package mcpserver

import (
	"net/http"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// checkVersion refuses a version of the protocol that nobody speaks, except in
// an initialize, which negotiates. It checks a request of 2026-07-28 or later by
// the rules of its transport: the version is in both the header and the body,
// the two agree, it is one that is served, and nothing resumes a stream. mcp-go
// checks the other headers.
// https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
func checkVersion(header http.Header, msg message) *mcp.JSONRPCErrorDetails {
	inHeader := header.Get(mcp.HeaderProtocolVersion)
	if !mcp.IsModernProtocol(msg.era) {
		if inHeader != "" && !mcp.IsValidProtocolVersion(inHeader) && msg.method != string(mcp.MethodInitialize) {
			return unsupported(inHeader)
		}
		if !mcp.IsModernProtocol(inHeader) {
			return nil
		}
	}
	mismatch := func(text string) *mcp.JSONRPCErrorDetails {
		return &mcp.JSONRPCErrorDetails{Code: mcp.HEADER_MISMATCH, Message: text}
	}
	switch {
	case header.Get(mcp.HeaderLastEventID) != "":
		return mismatch("Last-Event-ID is not supported: streams cannot be resumed")
	case inHeader == "":
		return mismatch("the header " + mcp.HeaderProtocolVersion + " is missing")
	case msg.era == "":
		return &mcp.JSONRPCErrorDetails{Code: mcp.INVALID_PARAMS, Message: "the _meta member " + mcp.MetaKeyProtocolVersion + " is missing"}
	case inHeader != msg.era:
		return mismatch("the header " + mcp.HeaderProtocolVersion + " differs from the _meta member " + mcp.MetaKeyProtocolVersion)
	case !mcp.IsValidProtocolVersion(msg.era):
		return unsupported(msg.era)
	}
	return nil
}

// unsupported refuses a version of the protocol and names the supported ones.
func unsupported(version string) *mcp.JSONRPCErrorDetails {
	requested := strings.ToValidUTF8(version[:min(len(version), 40)], "")
	e := mcp.UnsupportedProtocolVersionError{Version: requested, Supported: mcp.ValidProtocolVersions}.JSONRPCError().Error
	e.Message = "unsupported protocol version"
	return &e
}

// modernStatus is the HTTP status that 2026-07-28 gives a JSON-RPC error.
func modernStatus(code int) int {
	switch code {
	case mcp.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcp.HEADER_MISMATCH, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, mcp.UNSUPPORTED_PROTOCOL_VERSION,
		mcp.INVALID_REQUEST, mcp.INVALID_PARAMS, mcp.PARSE_ERROR:
		return http.StatusBadRequest
	}
	return http.StatusOK
}
