package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/localaws"
)

// A refusal is explained by its text alone, and nobody is asked anything.
func ExampleExplain() {
	x, err := doctor.Explain(context.Background(), `{"error": "invalid_scope"}`, doctor.Config{})
	if errors.Is(err, doctor.ErrUnknown) {
		log.Fatal("paste the whole answer, headers included")
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println(x.What)
	fmt.Println(x.Causes[0].Cause)
	// Output:
	// invalid_scope
	// the client may not ask for a scope that was asked for, or its resource server no longer has it
}

// The first failure is the one to mend.
func ExampleExamine() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	cfg := aws.AWSConfig() // against AWS: config.LoadDefaultConfig
	ctx := context.Background()
	name, value := "/app/mcp/calculator/machine_client_id", "TODO"
	if _, err := ssm.NewFromConfig(cfg).PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString}); err != nil {
		log.Fatal(err)
	}

	report := doctor.Examine(ctx, doctor.Config{AWS: cfg, Name: "calculator"})
	if c := report.First(); c != nil {
		fmt.Println(c.ID, "is", c.Found)
		fmt.Println("cause:", c.Cause)
		fmt.Println("next: ", c.Next)
	}
	// Output:
	// parameter.machine_client_id is a placeholder, "TODO"
	// cause: a script wrote it before there was a value
	// next:  mcpauth setup --mcp-name calculator --adopt
}
