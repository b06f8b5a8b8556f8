// Command agent answers questions with a model on Amazon Bedrock that may use
// the tools of MCP servers. It authenticates to each server as a machine.
//
// It runs as a Lambda function and reads this environment:
//
//	BEDROCK_MODEL_ID      models, inference profiles or ARNs, separated by commas; the first that is neither throttled nor unavailable answers; required
//	MCP_SERVERS           names of MCP servers, separated by commas; a trailing ? marks an optional one
//	MCP_PARAMETER_PREFIX  where the servers' parameters are; default /app/mcp
//	MCP_AUTH              m2m (default), user (for development), iam or none; name=mode pairs override it for single servers
//	DIRECT_TOOLS          true: the calculator's tools run in this process; default false
//	SYSTEM_PROMPT         what the model is told first
//	MAX_TURNS             model calls that may ask for tools; default 10
//	MAX_TOOL_CALLS        tool calls of one answer; default 100
//	MAX_REPEATED_CALLS    turns in which the same call may be asked for; default 3
//	TOKEN_BUDGET          input and output tokens of one answer; default: no limit
//	MAX_OUTPUT_TOKENS     per model call; default 4096
//	TOOL_TIMEOUT          per tool call, a Go duration; default 30s
//	ANSWER_TIME           kept back from the invocation's time for the last model call, a Go duration; default 8s
//	TEMPERATURE           0 to 1; default: the model's
//	PROMPT_CACHE          true: cache points after system prompt and tools, for models that take them
//	GUARDRAIL_ID, GUARDRAIL_VERSION   a guardrail of Bedrock
//	SERVICE_TIER          reserved, priority, default or flex
//	LOG_LEVEL             debug, info (default), warn or error; JSON lines on stderr
//
// The AWS SDK's own variables hold, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>
// among them; AWS_ENDPOINT_URL_BEDROCK_AGENTCORE, or else AWS_ENDPOINT_URL,
// is also where runtimes are invoked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"agentcore-mcp-auth/pkg/trigger"
)

func main() {
	if err := run(context.Background(), os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// run serves Lambda until the process ends. Wrong settings do not end it: each
// invocation is answered with an error that names them, which an invoker can
// see and a crash at start would hide.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return errors.New("this program runs inside Lambda; to try it on this machine: mcpauth local invoke agent -e events/ask.json")
	}
	s, settingsErr := readSettings(getenv)
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("AWS configuration: %w", err)
	}
	var a trigger.Agent
	closeSessions := func(context.Context) {}
	if settingsErr != nil {
		logger.Error("refusing to work", "error", settingsErr)
		a = misconfigured{settingsErr}
	} else {
		agent := newAgent(cfg, s, logger)
		a, closeSessions = agent, agent.box.Close
	}
	lambda.StartWithOptions(&trigger.Handler{Agent: a, Logger: logger}, lambda.WithContext(ctx), lambda.WithEnableSIGTERM(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond) // Lambda kills 500 ms after SIGTERM
		defer cancel()
		closeSessions(ctx)
	}))
	return nil
}

// misconfigured answers every request with what is wrong with the settings.
type misconfigured struct{ err error }

func (m misconfigured) Ask(context.Context, trigger.Request) (trigger.Answer, error) {
	return trigger.Answer{}, &trigger.Error{Code: trigger.ConfigurationError, Message: m.err.Error()}
}
