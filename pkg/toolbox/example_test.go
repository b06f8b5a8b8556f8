package toolbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/mcpserver"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
)

// calculator serves the calculator's tools over loopback.
func calculator() *httptest.Server {
	h, err := mcpserver.New(calcserver.New("1"), mcpserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return httptest.NewServer(h)
}

// Two servers, of which one may be missing. What a call's error asks of the
// caller is in its type.
func Example() {
	srv := calculator()
	defer srv.Close()

	servers, err := toolbox.ParseServers("calculator,search?")
	if err != nil {
		log.Fatal(err)
	}
	urls := map[string]string{"calculator": srv.URL + mcpserver.Path}
	for i, s := range servers {
		servers[i].Resolve = func(context.Context) (toolbox.Endpoint, error) {
			url, ok := urls[s.Name]
			if !ok {
				return toolbox.Endpoint{}, errors.New("no address is known")
			}
			return toolbox.Endpoint{URL: url, Client: srv.Client()}, nil
		}
	}
	box := toolbox.New(servers, toolbox.Options{}) // once per process
	defer box.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tools, unavailable, err := box.Tools(ctx)
	if err != nil {
		log.Fatal(err) // the calculator cannot be used
	}
	fmt.Println(len(tools) > 0, "without", unavailable)

	result, err := box.Call(ctx, "add_numbers", json.RawMessage(`{"a": 2, "b": 2}`))
	var unknown *toolbox.UnknownOutcomeError
	switch {
	case errors.As(err, &unknown):
		log.Fatal(err) // the tool may have run: look before calling it again
	case err != nil:
		log.Fatal(err)
	case result.IsError:
		fmt.Println("the tool failed:", result.Text) // for the model to read
	default:
		fmt.Println(result.Text)
	}
	// Output:
	// true without [search]
	// 4
}

// A runtime on AgentCore is found by its ARN, wants a steady session, and, when
// it has no JWT authorizer, signatures of AWS. For one that wants bearer tokens
// the client is that of a tokensource.Source.
func ExampleEndpoint_agentCore() {
	srv := calculator()
	defer srv.Close()
	aws := localaws.New(localaws.Config{}) // AgentCore's stand-in
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	arn, err := aws.AddRuntime(localaws.Runtime{Name: "calculator", Target: srv.URL})
	if err != nil {
		log.Fatal(err)
	}
	cfg := aws.AWSConfig() // against AWS: config.LoadDefaultConfig

	resolve := func(context.Context) (toolbox.Endpoint, error) {
		url, err := agentcore.InvocationURL(arn, "", aws.URL()) // against AWS: no base
		if err != nil {
			return toolbox.Endpoint{}, err
		}
		client, err := tokensource.IAM{Credentials: cfg.Credentials, Resource: url, Region: cfg.Region}.Client()
		if err != nil {
			return toolbox.Endpoint{}, err
		}
		return toolbox.Endpoint{URL: url, Client: client, SteadySession: true}, nil
	}
	box := toolbox.New([]toolbox.Server{{Name: "calculator", Resolve: resolve}}, toolbox.Options{})
	defer box.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, _, err := box.Tools(ctx); err != nil {
		log.Fatal(err)
	}
	result, err := box.Call(ctx, "multiply_numbers", json.RawMessage(`{"a": 6, "b": 7}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Text)
	// Output: 42
}
