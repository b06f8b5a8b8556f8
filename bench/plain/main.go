// Command plain is the smallest server that mcp-go allows: it serves the
// calculator over HTTP without sessions. BenchmarkAgainstPlain compares our
// server with it. It listens on the address in its argument.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
)

func main() {
	http.Handle("/mcp", server.NewStreamableHTTPServer(calcserver.New("1"), server.WithStateLess(true)))
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], nil))
	os.Exit(1)
}
