package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"agentcore-mcp-auth/pkg/trigger"
)

// clerk is an agent that knows one answer.
type clerk struct{}

func (clerk) Ask(_ context.Context, r trigger.Request) (trigger.Answer, error) {
	if r.Prompt != "How many A-100 are there?" {
		return trigger.Answer{}, &trigger.Error{Code: trigger.InvalidRequest, Message: "ask for A-100"}
	}
	return trigger.Answer{Output: "12", SessionID: r.SessionID, StopReason: "end_turn", Turns: 1}, nil
}

// The same handler serves every event source, each in its own form; its
// function's main is lambda.Start(handler.Invoke).
func Example() {
	handler := &trigger.Handler{Agent: clerk{}}
	for _, event := range []string{
		`{"prompt": "How many A-100 are there?", "session_id": "s-1"}`,
		`{"prompt": "Hello?"}`,
		`{"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:questions",
			"messageId": "m-1", "body": "{\"prompt\": \"How many A-100 are there?\"}"}]}`,
	} {
		answer, err := handler.Invoke(context.Background(), json.RawMessage(event))
		if refusal, ok := errors.AsType[messages.InvokeResponse_Error](err); ok {
			fmt.Println(refusal.Type+":", refusal.Message) // Lambda's errorType and errorMessage
			continue
		} else if err != nil {
			log.Fatal(err)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(text))
	}
	// Output:
	// {"output":"12","session_id":"s-1","stop_reason":"end_turn","turns":1,"tool_calls":[],"usage":{"input_tokens":0,"output_tokens":0}}
	// invalid_request: ask for A-100
	// {"batchItemFailures":[]}
}
