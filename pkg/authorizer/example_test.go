package authorizer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
	"agentcore-mcp-auth/pkg/tokensource"
)

// machine sets up credentials in a stand-in for Cognito: what a server has to
// know of them, and a token source of the client's.
func machine(aws *localaws.Server, resource string) (provision.Result, *tokensource.Source) {
	cfg := aws.AWSConfig()
	made, err := provision.New(cfg).Ensure(context.Background(), provision.Desired{Name: "calculator"})
	if err != nil {
		log.Fatal(err)
	}
	store := &credstore.Store{API: ssm.NewFromConfig(cfg)}
	source, err := tokensource.New(tokensource.Config{Credentials: store.Set("calculator"), Resource: resource})
	if err != nil {
		log.Fatal(err)
	}
	return made, source
}

// A server of one's own admits one client with one scope. Everybody may read
// whose tokens it wants.
func ExampleAuthorizer_Protect() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	made, source := machine(aws, srv.URL+"/mcp")

	a, err := authorizer.New(authorizer.Config{
		DiscoveryURL:   made.DiscoveryURL,
		AllowedClients: []string{made.ClientID},
		AllowedScopes:  []string{made.Scope},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/", a.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := authorizer.FromContext(r.Context())
		fmt.Fprintln(w, claims.Scopes)
	})))

	for _, client := range []*http.Client{http.DefaultClient, source.Client()} {
		resp, err := client.Get(srv.URL + "/mcp")
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(resp.Status, " ", string(body))
	}
	// Output:
	// 401 Unauthorized {"error":"unauthorized"}
	// 200 OK [calculator/invoke]
}

// Where no HTTP handler fits, a token is checked by itself.
func ExampleAuthorizer_Check() {
	aws := localaws.New(localaws.Config{})
	if err := aws.Start(); err != nil {
		log.Fatal(err)
	}
	defer aws.Close()
	made, source := machine(aws, "http://127.0.0.1:8000/mcp")
	ctx := context.Background()
	token, err := source.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}

	a, err := authorizer.New(authorizer.Config{DiscoveryURL: made.DiscoveryURL, AllowedScopes: []string{"calculator/admin"}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = a.Check(ctx, token.AccessToken.Reveal())
	var refusal *authorizer.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Status, refusal.Check) // the reason is for the log: refusal.Reason
	}
	// Output: 403 scope
}
