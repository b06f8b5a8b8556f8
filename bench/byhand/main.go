// Command byhand is a Lambda function that does by hand what the agent does for
// one answer: it sends the requests in the file that REQUESTS names, with
// net/http over kept-alive connections, one after the other. Benchmarks compare
// the agent with it in the same stand-in.
//
// The first invocation sends all requests, later ones only the file's warm part.
// For an event of several records it sends the requests once per record, five
// records at once, as the agent does.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"golang.org/x/sync/errgroup"
)

// Plan is the content of the file that REQUESTS names.
type Plan struct {
	Cold, Warm []Request
}

// Request is one recorded request.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        []byte
}

func main() {
	var plan Plan
	text, err := os.ReadFile(os.Getenv("REQUESTS"))
	if err == nil {
		err = json.Unmarshal(text, &plan)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "byhand:", err)
		os.Exit(1)
	}
	next := plan.Cold
	lambda.Start(func(ctx context.Context, event struct{ Records []json.RawMessage }) (string, error) {
		requests := next
		next = plan.Warm
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(5)
		for range max(1, len(event.Records)) {
			g.Go(func() error { return sendAll(ctx, requests) })
		}
		return "done", g.Wait()
	})
}

// client keeps one connection for each concurrent record.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 5}}

func sendAll(ctx context.Context, requests []Request) error {
	for _, r := range requests {
		if err := send(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func send(ctx context.Context, r Request) error {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return err
	}
	req.Header = r.Header
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", r.Method, r.URL, resp.Status, body)
	}
	return err
}
