// Command plain is the least that mcp-go needs to serve the calculator over
// HTTP without sessions: one of what BenchmarkAgainstPlain measures the server
// against. It listens on the address that is its argument.
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
