package agentcore_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	"agentcore-mcp-auth/pkg/agentcore"
)

func ExampleInvocationURL() {
	url, err := agentcore.InvocationURL("arn:aws:bedrock-agentcore:eu-central-1:111122223333:runtime/calculator-abcdefghij", "", "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(url)
	// Output: https://bedrock-agentcore.eu-central-1.amazonaws.com/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aeu-central-1%3A111122223333%3Aruntime%2Fcalculator-abcdefghij/invocations?qualifier=DEFAULT
}

// A container for a runtime of protocol HTTP, from its start to its stop.
func ExampleServer() {
	srv := &agentcore.Server{Invoke: func(ctx context.Context, in agentcore.Invocation) agentcore.Reply {
		if len(in.Body) == 0 {
			return agentcore.Reply{Status: http.StatusBadRequest, Body: io.NopCloser(strings.NewReader(`{"error": "nothing was asked"}`))}
		}
		return agentcore.Reply{
			Status: http.StatusOK,
			Header: map[string]string{"Content-Type": "text/plain"},
			Body:   io.NopCloser(strings.NewReader("you said " + string(in.Body))),
		}
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0") // 0.0.0.0:8080 in a container
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background()) // in a main: signal.NotifyContext with SIGTERM
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(ctx, l) }()

	resp, err := http.Post("http://"+l.Addr().String()+"/invocations", "text/plain", strings.NewReader("hello"))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.StatusCode, string(answer))

	stop()
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
	// Output: 200 you said hello
}
