package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/cfn"

	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// Setting a server up, and again to no effect, and taking it away.
func Example() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	p := provision.New(aws.AWSConfig()) // against AWS: config.LoadDefaultConfig
	calculator := provision.Desired{Name: "calculator", Scopes: []string{"invoke"}}
	ctx := context.Background()

	made, err := p.Ensure(ctx, calculator)
	var owned *provision.OwnedError
	switch {
	case errors.As(err, &owned):
		log.Fatal("another name, or Adopt: ", err)
	case err != nil:
		log.Fatal(err) // what was made stays, and the next Ensure goes on from there
	}
	fmt.Println(made.Scope, "in", made.ParameterPath)

	plan, err := p.Plan(ctx, calculator)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(plan.Changes), "changes to make")

	if _, err := p.Rotate(ctx, "calculator"); err != nil { // the secret before serves for a while
		log.Fatal(err)
	}
	if _, err := p.Remove(ctx, calculator); err != nil {
		log.Fatal(err)
	}
	fmt.Println(aws.Leftovers())
	// Output:
	// calculator/invoke in /app/mcp/calculator/
	// 0 changes to make
	// []
}

// The same as a custom resource. Its function's main is one line,
// lambda.Start(handle).
func ExampleHandler() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	resource := &provision.Handler{Provisioner: provision.New(aws.AWSConfig())}
	handle := customresource.Wrap(resource.Handle, customresource.Options{
		Region:        "eu-central-1",
		AllowLoopback: true, // for the stand-in
	})

	reply := aws.NewReply() // where CloudFormation waits for the answer
	event, err := json.Marshal(cfn.Event{
		RequestType: cfn.RequestCreate, RequestID: "1", ResponseURL: reply.URL, ResourceType: provision.ResourceType,
		LogicalResourceID: "Client", StackID: "arn:aws:cloudformation:eu-central-1:000000000000:stack/mcp/1",
		ResourceProperties: map[string]any{"McpName": "calculator", "Scopes": []string{"invoke"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := handle(ctx, event); err != nil {
		log.Fatal(err)
	}
	answer, err := reply.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status, answer.Data["Scope"])
	// Output: SUCCESS calculator/invoke
}
