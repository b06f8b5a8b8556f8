package tokensource_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// calculator serves an MCP server that wants a bearer, and the issuer of it.
func calculator() (srv *httptest.Server, discoveryURL string) {
	i := newIssuer()
	mcpServer := server.NewStreamableHTTPServer(calcserver.New("1"), server.WithStateLess(true))
	mux := http.NewServeMux()
	mux.Handle("/", i)
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mcpServer.ServeHTTP(w, r)
	})
	srv = httptest.NewServer(mux)
	i.url, i.tokenURL = srv.URL+"/pool", srv.URL+"/oauth2/token"
	return srv, i.url + "/.well-known/openid-configuration"
}

// The client of a Source goes under any MCP client library; here it is mcp-go's.
func ExampleSource_Client() {
	srv, discoveryURL := calculator()
	defer srv.Close()

	source, err := tokensource.New(tokensource.Config{
		// In a Lambda function: (&credstore.Store{API: ssm.NewFromConfig(cfg)}).Set("my_server")
		Credentials: tokensource.Static{
			ClientID:     "client",
			ClientSecret: credstore.NewSecret("secret"),
			DiscoveryURL: discoveryURL,
		},
		Resource: srv.URL + "/mcp",
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tr, err := transport.NewStreamableHTTP(srv.URL+"/mcp", transport.WithHTTPBasicClient(source.Client()))
	if err != nil {
		log.Fatal(err)
	}
	c := client.NewClient(tr)
	defer c.Close()
	if err := c.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
		log.Fatal(err)
	}
	var call mcp.CallToolRequest
	call.Params.Name = "add_numbers"
	call.Params.Arguments = map[string]any{"a": 2, "b": 2}
	result, err := c.CallTool(ctx, call)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(mcp.GetTextFromContent(result.Content[0]))
	// Output: 4
}

// A Source is also good for requests that no library makes.
func ExampleSource_Token() {
	srv, discoveryURL := calculator()
	defer srv.Close()

	source, err := tokensource.New(tokensource.Config{
		Credentials: tokensource.Static{ClientID: "client", ClientSecret: credstore.NewSecret("secret"), DiscoveryURL: discoveryURL},
		Resource:    srv.URL + "/mcp",
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := source.Token(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.AccessToken, time.Until(token.Expiry).Round(time.Minute))
	// Output: [secret] 5m0s
}
