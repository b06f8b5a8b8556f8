package mcpserver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/mcpserver"
	"agentcore-mcp-auth/pkg/provision"
	"agentcore-mcp-auth/pkg/tokensource"
)

// stock is an MCP server with one tool. A handler need not check what the
// schema says, and tells the model of its failure in a result.
func stock() *server.MCPServer {
	s := server.NewMCPServer("stock", "1.0.0")
	s.AddTool(mcp.NewTool("in_stock",
		mcp.WithDescription("Tell how many pieces of an article are in stock."),
		mcp.WithString("article", mcp.Required(), mcp.MaxLength(20)),
		mcp.WithReadOnlyHintAnnotation(true), // so that a call whose answer is lost may be repeated
	), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if req.GetString("article", "") == "A-100" {
			return mcp.NewToolResultText("12"), nil
		}
		return mcp.NewToolResultError("there is no such article: numbers look like A-100"), nil
	})
	return s
}

// A server from its start to its stop, with a client in between.
func Example() {
	h, err := mcpserver.New(stock(), mcpserver.Config{})
	if err != nil {
		log.Fatal(err) // an input schema that does not compile
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // 0.0.0.0:8000 in a container for AgentCore
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background()) // in a main: signal.NotifyContext with SIGTERM
	stopped := make(chan error, 1)
	go func() { stopped <- h.Serve(ctx, l) }()

	c, err := client.NewStreamableHttpClient("http://" + l.Addr().String() + mcpserver.Path)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
		log.Fatal(err)
	}
	for _, article := range []any{"A-100", 100} {
		var call mcp.CallToolRequest
		call.Params.Name = "in_stock"
		call.Params.Arguments = map[string]any{"article": article}
		result, err := c.CallTool(ctx, call)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(mcp.GetTextFromContent(result.Content[0]))
	}

	stop()
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 12
	// invalid arguments: article must be a string
}

// Outside of AgentCore nobody checks bearer tokens before the server does. The
// two settings for it are Guard and, for the log, Caller.
func ExampleConfig_guard() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	ctx := context.Background()
	made, err := provision.New(aws.AWSConfig()).Ensure(ctx, provision.Desired{Name: "stock"})
	if err != nil {
		log.Fatal(err)
	}

	a, err := authorizer.New(authorizer.Config{
		DiscoveryURL:   made.DiscoveryURL,
		AllowedClients: []string{made.ClientID},
		AllowedScopes:  []string{made.Scope},
	})
	if err != nil {
		log.Fatal(err)
	}
	h, err := mcpserver.New(stock(), mcpserver.Config{
		Guard: func(next http.Handler) http.Handler { return a.Protect(mcpserver.Path, next) },
		Caller: func(ctx context.Context) string {
			claims, _ := authorizer.FromContext(ctx)
			return claims.ClientID
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()

	store := &credstore.Store{API: ssm.NewFromConfig(aws.AWSConfig())}
	source, err := tokensource.New(tokensource.Config{Credentials: store.Set("stock"), Resource: srv.URL + mcpserver.Path})
	if err != nil {
		log.Fatal(err)
	}
	for _, httpClient := range []*http.Client{http.DefaultClient, source.Client()} {
		c, err := client.NewStreamableHttpClient(srv.URL+mcpserver.Path, transport.WithHTTPBasicClient(httpClient))
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		hello, err := c.Initialize(ctx, mcp.InitializeRequest{})
		if errors.Is(err, transport.ErrAuthorizationRequired) {
			fmt.Println("refused")
			continue
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(hello.ServerInfo.Name)
	}
	// Output:
	// refused
	// stock
}
