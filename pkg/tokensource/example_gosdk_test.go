package tokensource_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
)

// The same under the official Go SDK for MCP.
func ExampleSource_Client_goSDK() {
	srv, discoveryURL := calculator()
	defer srv.Close()

	source, err := tokensource.New(tokensource.Config{
		Credentials: tokensource.Static{ClientID: "client", ClientSecret: credstore.NewSecret("secret"), DiscoveryURL: discoveryURL},
		Resource:    srv.URL + "/mcp",
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             srv.URL + "/mcp",
		HTTPClient:           source.Client(),
		DisableStandaloneSSE: true, // a stateless server has nothing to say there
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "add_numbers", Arguments: map[string]any{"a": 2, "b": 2}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Content[0].(*mcp.TextContent).Text)
	// Output: 4
}
