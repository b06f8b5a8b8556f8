package toolbox_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/toolbox"
)

// dialer counts the connections that are asked for.
func dialer(n *int, dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		*n++
		return dial(ctx, network, address)
	}}}
}

// A certificate that nobody here trusts does not get better by waiting: it is
// told at once, and the server has got no byte of a request.
func TestUntrustedCertificate(t *testing.T) {
	f := &fake{}
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	dials := 0
	b := open(t, toolbox.Options{}, at("calc", srv.URL+"/mcp", dialer(&dials, new(net.Dialer).DialContext)))
	_, _, err := b.Tools(t.Context())
	if err == nil || !strings.Contains(err.Error(), "MCP server calc: ") || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("got %v, want the server and what is wrong with its certificate", err)
	}
	if dials != 1 || len(f.seen) != 0 {
		t.Errorf("%d connections and %d requests, want one and none", dials, len(f.seen))
	}
}

// A name that does not exist is told at once; a name server that does not answer
// is asked again.
func TestNameNotFound(t *testing.T) {
	for _, tt := range []struct {
		err  *net.DNSError
		once bool
	}{
		{&net.DNSError{Err: "no such host", Name: "mcp.example", IsNotFound: true}, true},
		{&net.DNSError{Err: "server misbehaving", Name: "mcp.example", IsTemporary: true}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			client := dialer(&dials, func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: tt.err}
			})
			b := open(t, toolbox.Options{}, at("calc", "https://mcp.example/mcp", client))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _, err := b.Tools(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.err.Err) || (dials == 1) != tt.once {
				t.Errorf("got %v after %d attempts, want %q, once: %t", err, dials, tt.err.Err, tt.once)
			}
		})
	}
}
