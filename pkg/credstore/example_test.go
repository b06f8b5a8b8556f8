package credstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
)

// One program writes a server's credentials, another reads and keeps them.
func Example() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	store := &credstore.Store{API: ssm.NewFromConfig(aws.AWSConfig())} // against AWS: config.LoadDefaultConfig
	ctx := context.Background()

	err := store.Write(ctx, "calculator", credstore.Credentials{}, credstore.Credentials{
		ClientID:     "client",
		ClientSecret: credstore.NewSecret("secret"),
		DiscoveryURL: "https://issuer.example.com/.well-known/openid-configuration",
		Scope:        "calculator/invoke",
	})
	var exists *types.ParameterAlreadyExists
	if errors.As(err, &exists) {
		log.Fatal("read it first, and give Write what was read: ", err)
	} else if err != nil {
		log.Fatal(err)
	}

	set := store.Set("calculator") // once per process
	c, err := set.Get(ctx)
	if errors.Is(err, credstore.ErrNotFound) {
		log.Fatal("set the server up first: ", err)
	} else if err != nil {
		log.Fatal(err)
	}
	if err := c.Machine(); err != nil {
		log.Fatal(err) // names what is missing
	}
	fmt.Println(c.ClientID, c.ClientSecret, c.ClientSecret.Reveal(), c.Scope)
	// Output: client [secret] secret calculator/invoke
}
