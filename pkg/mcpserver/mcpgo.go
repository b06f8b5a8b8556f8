package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/mark3labs/mcp-go/server"
)

// requestContext is the context of one call. Besides the call it holds the
// request's headers where mcp-go looks for them.
type requestContext struct {
	context.Context
	call      *call
	headerKey any
	header    http.Header
}

func (c *requestContext) Value(key any) any {
	switch key {
	case callKey{}:
		return c.call
	case c.headerKey:
		return c.header
	}
	return c.Context.Value(key)
}

// headerKey finds the key under which mcp-go looks for the headers of a request
// in its context. Without them, handlers would miss them and traces would break
// off. The key is not exported: mcp-go expects requests through its own HTTP
// transport only. That transport decodes each message several times and makes a
// dozen channels for a session that a stateless server does not have, which costs
// more than everything this package does. The key is found with a server of its
// own, so that no hooks run.
func headerKey() (any, error) {
	seen := &keyRecorder{Context: context.Background(), of: reflect.TypeFor[server.MCPServer]().PkgPath()}
	server.NewMCPServer("none", "0").HandleMessage(seen, json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if len(seen.keys) != 1 {
		return nil, fmt.Errorf("this version of mcp-go is not supported: found %d context keys that may be the one for headers, want 1", len(seen.keys))
	}
	return seen.keys[0], nil
}

// keyRecorder is a context that records the integer keys of one package's types
// that it is asked for.
type keyRecorder struct {
	context.Context
	of   string
	keys []any
}

func (c *keyRecorder) Value(key any) any {
	if t := reflect.TypeOf(key); t.Kind() == reflect.Int && t.PkgPath() == c.of {
		c.keys = append(c.keys, key)
	}
	return c.Context.Value(key)
}
