package customresource_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/localaws"
)

// A resource is one function; its Lambda function's main is lambda.Start(handle).
// What it returns, an error included, is CloudFormation's answer.
func ExampleWrap() {
	greeting := func(ctx context.Context, e cfn.Event) (physicalID string, data map[string]any, err error) {
		name, _ := e.ResourceProperties["Name"].(string)
		switch {
		case e.RequestType == cfn.RequestDelete:
			return e.PhysicalResourceID, nil, nil // what is not there is deleted
		case name == "":
			return "", nil, errors.New("Name is missing: give the resource one")
		}
		return "greeting-" + name, map[string]any{"Text": "Hello " + name}, nil
	}
	handle := customresource.Wrap(greeting, customresource.Options{
		Region:        "eu-central-1", // the function's own
		AllowLoopback: true,           // for the stand-in
	})

	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	ctx := context.Background()
	for _, properties := range []map[string]any{{"Name": "Alice"}, {}} {
		reply := aws.NewReply() // where CloudFormation waits
		event, err := json.Marshal(cfn.Event{
			RequestType: cfn.RequestCreate, RequestID: "1", ResponseURL: reply.URL, ResourceType: "Custom::Greeting",
			LogicalResourceID: "Greeting", StackID: "arn:aws:cloudformation:eu-central-1:000000000000:stack/s/1",
			ResourceProperties: properties,
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := handle(ctx, event); err != nil {
			log.Fatal(err) // nobody could be answered
		}
		answer, err := reply.Wait(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %q %v\n", answer.Status, answer.Reason, answer.Data)
	}
	// Output:
	// SUCCESS "" map[Text:Hello Alice]
	// FAILED "Name is missing: give the resource one" map[]
}
