// Bootstrap is a Lambda function that does what its event says, for the tests
// of the Lambda host.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

var calls int

type event struct {
	Do    string `json:"do"`
	Bytes int    `json:"bytes"`
	cfn.Event

	RequestContext json.RawMessage // of a Function URL, whose body then has the order
	Body           string
}

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	calls++
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	if e.RequestType != "" {
		e.Do, _ = e.ResourceProperties["Do"].(string)
	}
	if e.RequestContext != nil {
		json.Unmarshal([]byte(e.Body), &e)
	}
	switch e.Do {
	case "", "echo":
		return raw, nil
	case "calls":
		return calls, nil
	case "text":
		return "plain text", nil
	case "respond":
		return events.LambdaFunctionURLResponse{StatusCode: 201, Headers: map[string]string{"X-Kind": "a"}, Cookies: []string{"c=1"}, Body: "bWFkZQ==", IsBase64Encoded: true}, nil
	case "respond-badly":
		return map[string]any{"statusCode": "ok"}, nil
	case "respond-in-parts", "respond-in-half":
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, "one ")
			if e.Do == "respond-in-half" {
				w.CloseWithError(errors.New("told to break off"))
				return
			}
			io.WriteString(w, "two")
			w.Close()
		}()
		return &events.LambdaFunctionURLStreamingResponse{StatusCode: 202, Headers: map[string]string{"Content-Type": "text/event-stream"}, Body: r}, nil
	case "context":
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"request_id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "left_ms": time.Until(deadline).Milliseconds(),
			"trace": os.Getenv("_X_AMZN_TRACE_ID"), "name": lambdacontext.FunctionName, "memory": lambdacontext.MemoryLimitInMB,
		}, nil
	case "env":
		env := os.Environ()
		slices.Sort(env)
		return env, nil
	case "parameter":
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, err
		}
		out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/a")})
		if err != nil {
			return nil, err
		}
		return *out.Parameter.Value, nil
	case "error":
		return nil, errors.New("told to fail")
	case "typed":
		return nil, messages.InvokeResponse_Error{Type: "mcp_unavailable", Message: "try later"}
	case "panic":
		panic("told to panic")
	case "exit":
		os.Exit(3)
	case "exit0":
		os.Exit(0)
	case "hang":
		select {}
	case "sleep":
		time.Sleep(100 * time.Millisecond)
		return calls, nil
	case "large":
		return strings.NewReader(strings.Repeat("x", e.Bytes)), nil
	case "stream":
		r, w := io.Pipe()
		go func() {
			for i := range 3 {
				fmt.Fprintf(w, "part %d\n", i)
			}
			w.Close()
		}()
		return typed{r}, nil
	case "stream-fail":
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, "half")
			w.CloseWithError(messages.InvokeResponse_Error{Type: "model_failed", Message: "broke off"})
		}()
		return typed{r}, nil
	case "stream-exit":
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, "half")
			time.Sleep(100 * time.Millisecond) // lets the half arrive
			os.Exit(4)
		}()
		return typed{r}, nil
	case "silent": // a custom resource that forgets to answer
		return "done", nil
	case "answer", "answer-twice", "answer-typed":
		for range len(strings.Split(e.Do, "-")) {
			if err := answer(e); err != nil {
				return nil, err
			}
		}
		return "answered", nil
	}
	return nil, fmt.Errorf("unknown order %q", e.Do)
}

// typed is a streamed answer. It must look like {} to encoding/json, or
// aws-lambda-go takes it for a value.
type typed struct{ r io.Reader }

func (t typed) Read(p []byte) (int, error) { return t.r.Read(p) }
func (typed) ContentType() string          { return "text/event-stream" }

func answer(e event) error {
	body, err := json.Marshal(map[string]any{
		"Status": "SUCCESS", "PhysicalResourceId": "made", "StackId": e.StackID,
		"RequestId": e.RequestID, "LogicalResourceId": e.LogicalResourceID,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, e.ResponseURL, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	if e.Do == "answer-typed" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	return nil
}

func main() {
	if marker := os.Getenv("FAIL_ONCE"); marker != "" {
		if err := os.Remove(marker); err == nil {
			fmt.Fprintln(os.Stderr, "init fails this time")
			os.Exit(1)
		}
	}
	if os.Getenv("FAIL_INIT") != "" {
		fmt.Fprintln(os.Stderr, "init fails: MCP_SERVERS is missing")
		os.Exit(1)
	}
	if os.Getenv("ON_SIGTERM") != "" {
		lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM(func() {
			fmt.Fprintln(os.Stderr, "sessions closed")
		}))
		return
	}
	lambda.Start(handle)
}
