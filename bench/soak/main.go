// Command soak keeps the whole stack on this machine under load while things go
// wrong, and accounts for every question:
//
//	go run ./bench/soak [-for 10m] [-rate 40] [-seed 1] [-o bench/soak.json]
//
// It deploys bin/template.yaml (make build) into the stand-in, with an agent on
// AgentCore and several Lambda environments of it. It asks them sums at fixed
// times, without waiting for earlier answers. Meanwhile machine tokens work for
// 6 or 20 seconds, signing keys and client secrets are replaced, the MCP server
// is stopped and crashes, function processes are killed, and Parameter Store,
// the token endpoint, Bedrock and DynamoDB throttle. It listens and connects on
// the loopback interface only.
//
// It fails when an answer is wrong, when a question is lost or is answered twice
// without a killed process, when an error has no code, or when a log contains a
// secret or a token.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// drain is how long soak waits for answers after the load has ended. It is
// longer than a record takes whose process was killed at the end of the load.
const drain = time.Minute

func main() {
	total := flag.Duration("for", 10*time.Minute, "how long all of it takes")
	rate := flag.Float64("rate", 40, "questions per second")
	seed := flag.Uint64("seed", 1, "of the questions")
	out := flag.String("o", "bench/soak.json", "file to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr, "bin", *total, *rate, *seed, *out); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// run tests the programs in bin.
func run(ctx context.Context, stdout, progress io.Writer, bin string, total time.Duration, rate float64, seed uint64, out string) error {
	load := total - drain
	if load < drain {
		return fmt.Errorf("-for %s is too short: the last %s are without load; want at least %s", total, drain, 2*drain)
	}
	s, err := deploy(ctx, bin)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(progress, "soak: %s of load at %.4g questions per second, then at most %s for what is left\n", load, rate, total-load)

	end := time.Now().Add(total)
	loading, done := context.WithTimeout(ctx, load)
	defer done()
	ledger := newLedger()
	s.aws.Watch(ledger.published)
	started := time.Now()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	processes := watchProcesses(watching, s.logs)
	go s.trouble(loading, load/8, progress)
	environments, err := s.environments()
	if err != nil {
		return err
	}
	a := &askers{stack: s, ledger: ledger, rand: rand.New(rand.NewPCG(seed, seed)), environments: environments, end: end}
	a.run(loading, rate)
	fmt.Fprintf(progress, "soak: asked %d questions; waiting for the answers that are left\n", ledger.asked())
	s.calm()
	a.wait(ctx)
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	report := ledger.report(s, processes(), time.Since(started), rate, seed)
	report.print(stdout)
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return report.verdict()
}

// stack is template.yaml in the stand-in.
type stack struct {
	aws      *localaws.Server
	deployed *cloudformation.Stack
	template *cloudformation.Template
	logs     *logs
	dir      string
	faults   faults
}

// goroutineTrace makes the Go runtime print its goroutines, so that they can be
// counted in unmodified programs.
// https://pkg.go.dev/runtime#hdr-Environment_Variables
const goroutineTrace = "schedtrace=10000,scheddetail=1"

func deploy(ctx context.Context, bin string) (*stack, error) {
	text, err := os.ReadFile(filepath.Join(bin, "template.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w; run: make build", err)
	}
	// Only the agent's container prints its goroutines, because the stack has
	// one log for all containers. It serves the sessions of all callers, so it
	// may answer 100 requests at once; on AgentCore each session has a container
	// of its own.
	const region = "        AWS_REGION: !Ref AWS::Region\n"
	if strings.Count(string(text), region) != 1 {
		return nil, errors.New("template.yaml has no AWS_REGION in AgentRuntime any more: the soak has to find its environment in another way")
	}
	traced := strings.Replace(string(text), region, region+"        GODEBUG: "+goroutineTrace+"\n        REQUESTS_AT_ONCE: 100\n", 1)
	s := &stack{aws: localaws.New(localaws.Config{MaxRecords: 1000}), logs: newLogs()}
	if s.template, err = cloudformation.Parse(strings.NewReader(traced)); err != nil {
		return nil, err
	}
	if s.dir, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	if err := s.aws.Start(); err != nil {
		return nil, err
	}
	s.aws.SetFault(s.faults.of)
	s.aws.SetModel(s.faults.model)
	if s.deployed, err = cloudformation.New(s.aws, cloudformation.Options{Name: "soak", Programs: bin, Log: s.logs.of(onAgentCore)}); err != nil {
		s.aws.Close()
		return nil, err
	}
	if err := s.update(ctx, map[string]string{"AgentHost": "both"}); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// update deploys the template with these parameters; the others keep their
// values.
func (s *stack) update(ctx context.Context, parameters map[string]string) error {
	if err := s.deployed.Deploy(ctx, s.template, parameters); err != nil {
		return fmt.Errorf("deploying the template: %w", err)
	}
	for name, p := range s.aws.Parameters() {
		if strings.HasSuffix(name, "/cognito_secret") {
			s.logs.secret(p.Value)
		}
	}
	return nil
}

// resource returns the physical id of a resource, or one of its attributes.
func (s *stack) resource(logicalID, attribute string) string {
	for _, r := range s.deployed.Resources() {
		if r.LogicalID == logicalID {
			if attribute == "" {
				return r.PhysicalID
			}
			v, _ := r.Attributes[attribute].(string)
			return v
		}
	}
	return ""
}

// environments starts the execution environments that questions to Lambda go to.
// They are functions like the template's with a shorter timeout, so that the
// record of a killed process is free again within the run.
func (s *stack) environments() (chan *localaws.Function, error) {
	const n = 4
	free := make(chan *localaws.Function, n)
	for i := range n {
		name := fmt.Sprintf("agent-%d", i+1)
		f, err := s.aws.StartFunction(context.Background(), localaws.FunctionConfig{
			Name: name, Binary: filepath.Join(s.dir, "agent", "bootstrap"), Role: s.resource("AgentRole", "Arn"), Timeout: functionTime, MemoryMB: 256,
			Stderr: s.logs.of(name),
			Env: map[string]string{
				"MCP_SERVERS": "mcp_simple_calculator", "BEDROCK_MODEL_ID": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "INVOKE_MODE": "RESPONSE_STREAM",
				"RESULT_BUS": s.resource("AskBus", ""), "LEDGER_TABLE": s.resource("Ledger", ""), "GODEBUG": goroutineTrace,
			},
		})
		if err != nil {
			return nil, err
		}
		free <- f
	}
	return free, nil
}

func (s *stack) close() {
	s.deployed.Close()
	s.aws.Close()
}
