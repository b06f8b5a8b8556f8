package converse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

// bedrock stands in for the service, with a model that knows its lines.
func bedrock(lines ...localaws.ConverseReply) *localaws.Server {
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	srv.SetModel(localaws.Script(lines...))
	return srv
}

// stock is a toolbox with one tool.
type stock map[string]int

func (stock) Tools(context.Context) ([]converse.Tool, error) {
	return []converse.Tool{{
		Name:        "in_stock",
		Description: "Tell how many pieces of an article are in stock.",
		InputSchema: json.RawMessage(`{"type":"object","properties":{"article":{"type":"string"}},"required":["article"]}`),
	}}, nil
}

func (s stock) Call(_ context.Context, _ string, input json.RawMessage) (converse.Result, error) {
	var in struct{ Article string }
	if err := json.Unmarshal(input, &in); err != nil {
		return converse.Result{}, err
	}
	n, ok := s[in.Article]
	if !ok {
		return converse.Result{Text: "there is no such article", IsError: true}, nil // for the model to read
	}
	return converse.Result{Text: fmt.Sprint(n)}, nil
}

// A conversation in which the model uses a tool of ours.
func Example() {
	srv := bedrock(
		localaws.Ask(localaws.ToolUse{Name: "in_stock", Input: json.RawMessage(`{"article": "A-100"}`)}),
		localaws.Say("We have 12 of them."),
	)
	defer srv.Close()
	cfg := srv.AWSConfig() // against AWS: config.LoadDefaultConfig

	loop := converse.New(converse.Config{ // once per process
		Model:    bedrockruntime.NewFromConfig(cfg),
		ModelIDs: []string{"eu.anthropic.claude-sonnet-4-5-20250929-v1:0"},
		System:   "You are the clerk of a warehouse.",
	})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // some of it is kept for a last answer
	defer cancel()
	answer, err := loop.Run(ctx, converse.Request{Prompt: "How many A-100 are there?"}, stock{"A-100": 12})
	var refused *converse.RequestError
	var failed *converse.ModelError
	switch {
	case errors.As(err, &refused):
		log.Fatal("the caller's to mend: ", err)
	case errors.As(err, &failed) && (failed.Kind == converse.Throttled || failed.Kind == converse.Unavailable):
		log.Fatal("worth another try: ", err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(answer.Output)
	fmt.Println(answer.StopReason, "after", answer.Turns, "turns,", answer.ToolCalls[0].Name, "called")
	// Output:
	// We have 12 of them.
	// end_turn after 2 turns, in_stock called
}

// What happens can be followed while it happens.
func ExampleRequest_events() {
	srv := bedrock(
		localaws.Ask(localaws.ToolUse{Name: "in_stock", Input: json.RawMessage(`{"article": "B-7"}`)}),
		localaws.Say("There is no B-7."),
	)
	defer srv.Close()
	loop := converse.New(converse.Config{
		Model:    bedrockruntime.NewFromConfig(srv.AWSConfig()), // has ConverseStream, so the text comes in pieces
		ModelIDs: []string{"eu.anthropic.claude-sonnet-4-5-20250929-v1:0"},
	})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := loop.Run(ctx, converse.Request{
		Prompt: "And B-7?",
		Events: func(e converse.Event) {
			switch e.Kind {
			case converse.EventDelta:
				fmt.Print(e.Text)
			case converse.EventToolUse:
				fmt.Println("calls", e.Tool, string(e.Input))
			case converse.EventToolResult:
				fmt.Println("reads", e.Text)
			}
		},
	}, stock{"A-100": 12})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// calls in_stock {"article":"B-7"}
	// reads there is no such article
	// There is no B-7.
}
