// Command agent answers questions with a model on Amazon Bedrock that may use
// the tools of MCP servers. It authenticates to each server as a machine.
//
// It runs as a Lambda function, for every event that pkg/trigger knows, and where
// AWS_LAMBDA_RUNTIME_API is not set as a container of AgentCore Runtime,
// protocol HTTP. It reads this environment:
//
//	BEDROCK_MODEL_ID      models, inference profiles or ARNs, separated by commas; the first that is neither throttled nor unavailable answers; required
//	MCP_SERVERS           names of MCP servers, separated by commas; a trailing ? marks an optional one
//	MCP_PARAMETER_PREFIX  where the servers' parameters are; default /app/mcp
//	MCP_AUTH              m2m (default), user (for development), iam or none; name=mode pairs override it for single servers
//	MCP_ERA               protocol to speak, 2025-11-25 (default) or 2026-07-28; name=era pairs for single servers
//	MCP_TOOLS             server/tool for the only tools to use of a server, !server/tool for those not to use; a trailing * for any rest; a tool that its server calls destructive is used only if it is named here
//	TOOL_PREFIX           always: every tool is server__tool to the model, not only where two servers clash
//	MCP_ISSUER_HOSTS      hosts of issuers other than Cognito, and of their token endpoints, separated by commas
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
// As a Lambda function also:
//
//	INVOKE_MODE           BUFFERED (default) or RESPONSE_STREAM: as the function's URL is configured
//	FRONT_TIMEOUT         after how long an API Gateway in front gives up; default 29s
//	SCHEDULE_PROMPT       what a schedule asks whose event has no prompt
//	RECORDS_AT_ONCE       records of an SQS batch worked on at once; default 5
//	RESULT_BUS            event bus, by name or ARN, for what queues, topics and buses asked
//	LEDGER_TABLE          DynamoDB table, by name or ARN, with which a record that comes twice is answered once; default: each process remembers its own
//
// As a container also:
//
//	PORT                  default 8080
//	REQUESTS_AT_ONCE      requests answered at once, others get 503; default 16
//
// The AWS SDK's own variables hold, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>
// among them; AWS_ENDPOINT_URL_BEDROCK_AGENTCORE, or else AWS_ENDPOINT_URL,
// is also where runtimes are invoked.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"agentcore-mcp-auth/internal/startup"
	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/trigger"
)

func main() {
	if err := run(context.Background(), os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// closing bounds the closing of MCP sessions: Lambda kills a process 500 ms
// after SIGTERM.
const closing = 400 * time.Millisecond

// run serves Lambda or AgentCore until the process ends. Wrong settings do not
// end it: every invocation gets an error that names them, where a crash at start
// would hide them from the caller.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	s, settingsErr := readSettings(getenv)
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("AWS configuration: %w", err)
	}
	h := &trigger.Handler{
		Logger:         logger,
		Stream:         s.stream,
		FrontTimeout:   s.frontTimeout,
		SchedulePrompt: s.schedulePrompt,
		Parallel:       s.parallel,
		Ledger:         &trigger.Memory{},
	}
	closeSessions := func() {}
	if settingsErr != nil {
		logger.Error("refusing to work", "error", settingsErr)
		h.Agent = misconfigured{settingsErr}
	} else {
		agent := newAgent(cfg, s, logger)
		h.Agent = agent
		if s.ledgerTable != "" {
			h.Ledger = &trigger.Table{API: dynamodb.NewFromConfig(cfg), Name: s.ledgerTable}
		}
		closeSessions = func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
			defer cancel()
			agent.box.Close(ctx)
		}
	}
	if s.resultBus != "" {
		h.Results = &trigger.Bus{API: eventbridge.NewFromConfig(cfg), Name: s.resultBus}
	}
	if getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		return serveAgentCore(ctx, h, s, logger, closeSessions)
	}
	var first sync.Once
	answer := func(ctx context.Context, event json.RawMessage) (any, error) {
		defer first.Do(startup.Done) // what the first answer allocates mostly stays too
		return h.Invoke(ctx, event)
	}
	lambda.StartWithOptions(answer, lambda.WithContext(ctx), lambda.WithEnableSIGTERM(func() {
		closeSessions()
		os.Exit(0) // the runtime client would wait for the next event until it is killed
	}))
	return nil
}

// serveAgentCore serves AgentCore's HTTP contract until SIGTERM or an interrupt.
func serveAgentCore(ctx context.Context, h *trigger.Handler, s settings, logger *slog.Logger, closeSessions func()) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", net.JoinHostPort("", s.port))
	if err != nil {
		return fmt.Errorf("PORT %q: %w", s.port, err)
	}
	startup.Done()
	logger.Info("serving AgentCore's HTTP contract; in Lambda, AWS_LAMBDA_RUNTIME_API would be set", "address", l.Addr().String())
	defer closeSessions()
	server := &agentcore.Server{
		AtOnce: s.atOnce,
		Logger: logger,
		Invoke: func(ctx context.Context, in agentcore.Invocation) agentcore.Reply {
			r := h.ServeRequest(ctx, trigger.HTTPRequest{Method: "POST", Header: in.Header, Body: in.Body, SessionID: in.SessionID, Stream: true})
			return agentcore.Reply{Status: r.Status, Header: r.Header, Body: r.Body}
		},
	}
	return server.Serve(ctx, l)
}

// misconfigured answers every request with an error that names the wrong
// settings.
type misconfigured struct{ err error }

func (m misconfigured) Ask(context.Context, trigger.Request) (trigger.Answer, error) {
	return trigger.Answer{}, &trigger.Error{Code: trigger.ConfigurationError, Message: m.err.Error()}
}
