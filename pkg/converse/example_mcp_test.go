package converse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/mcpserver"
	"agentcore-mcp-auth/pkg/toolbox"
)

// mcpTools offers the model the tools of MCP servers.
type mcpTools struct{ *toolbox.Toolbox }

func (m mcpTools) Tools(ctx context.Context) ([]converse.Tool, error) {
	catalogue, _, err := m.Toolbox.Tools(ctx)
	var tools []converse.Tool
	for _, t := range catalogue {
		tools = append(tools, converse.Tool{Name: t.Name, Description: t.Description, InputSchema: t.InputSchema})
	}
	return tools, err
}

// Call tells the model of failures too, except those of the whole conversation.
func (m mcpTools) Call(ctx context.Context, name string, input json.RawMessage) (converse.Result, error) {
	result, err := m.Toolbox.Call(ctx, name, input)
	switch {
	case err == nil:
		return converse.Result(result), nil
	case ctx.Err() != nil:
		return converse.Result{}, err
	}
	return converse.Result{Text: err.Error(), IsError: true}, nil
}

// The tools may be those of MCP servers, by package toolbox.
func ExampleToolbox() {
	calculator, err := mcpserver.New(calcserver.New("1"), mcpserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(calculator)
	defer server.Close()
	box := toolbox.New([]toolbox.Server{{Name: "calculator", Resolve: func(context.Context) (toolbox.Endpoint, error) {
		return toolbox.Endpoint{URL: server.URL + mcpserver.Path, Client: server.Client()}, nil
	}}}, toolbox.Options{})
	defer box.Close(context.Background())

	aws := localaws.New(localaws.Config{}) // has a model that can only ask for tools
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	loop := converse.New(converse.Config{
		Model:    bedrockruntime.NewFromConfig(aws.AWSConfig()),
		ModelIDs: []string{"eu.anthropic.claude-sonnet-4-5-20250929-v1:0"},
	})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := loop.Run(ctx, converse.Request{Prompt: "What is 2+2?"}, mcpTools{box})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Output)
	// Output: The sum of 2 + 2 = 4.
}
