package mcpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// plainServer is the least that mcp-go needs to add two numbers: no checks, no
// exact numbers, no logs.
func plainServer() http.Handler {
	s := server.NewMCPServer("plain", "1")
	s.AddTool(mcp.NewTool("add_numbers", mcp.WithNumber("a"), mcp.WithNumber("b")),
		func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(fmt.Sprint(req.GetFloat("a", 0) + req.GetFloat("b", 0))), nil
		})
	return server.NewStreamableHTTPServer(s, server.WithStateLess(true))
}

// fullServer is the calculator with everything on, its log included.
func fullServer(tb testing.TB) http.Handler {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { null.Close() })
	h, err := mcpserver.New(calcserver.New("1"), mcpserver.Config{Logger: slog.New(slog.NewJSONHandler(null, nil))})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

const addCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_numbers","arguments":{"a":2,"b":40}}}`

// hammer sends n calls over conns connections and returns how long that took.
// It writes and reads raw bytes, so that the client costs as little as it can.
func hammer(tb testing.TB, url string, conns, n int) time.Duration {
	addr := url[len("http://"):]
	request := fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nMcp-Session-Id: 00000000-0000-0000-0000-000000000001\r\nContent-Length: %d\r\n\r\n%s", addr, len(addCall), addCall)
	var wg sync.WaitGroup
	start := time.Now()
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				tb.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for range n / conns {
				if _, err := conn.Write(request); err != nil {
					tb.Error(err)
					return
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					tb.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"42"`)) {
					tb.Errorf("got %d %s", resp.StatusCode, body)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkAgainstPlain runs the endpoint with everything on and the plainest
// mcp-go server in turns. Its metric "of-plain" is the endpoint's throughput as
// a share of the plain one's, the median over all turns: absolute times depend
// on the machine and on what else it does, the share hardly does.
func BenchmarkAgainstPlain(b *testing.B) {
	for _, conns := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			plain, full := httptest.NewServer(plainServer()), httptest.NewServer(fullServer(b))
			defer plain.Close()
			defer full.Close()
			const round = 640
			hammer(b, plain.URL, conns, round)
			hammer(b, full.URL, conns, round)
			var plainTime, fullTime time.Duration
			var shares []float64
			for b.Loop() {
				p, f := hammer(b, plain.URL, conns, round), hammer(b, full.URL, conns, round)
				plainTime, fullTime = plainTime+p, fullTime+f
				shares = append(shares, p.Seconds()/f.Seconds())
			}
			slices.Sort(shares)
			n := float64(len(shares) * round)
			b.ReportMetric(shares[len(shares)/2], "of-plain")
			b.ReportMetric(n/plainTime.Seconds(), "plain-calls/s")
			b.ReportMetric(n/fullTime.Seconds(), "calls/s")
		})
	}
}
