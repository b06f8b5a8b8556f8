package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
	"github.com/rogpeppe/go-internal/testscript"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
)

// TestVerbs runs the commands that ask servers and agents, each script against
// a stand-in of its own. case 45: nothing that a script's commands print holds
// a secret or a token.
func TestVerbs(t *testing.T) { runVerbs(t, "testdata/verbs", true) }

// TestToken runs the one command that prints tokens.
func TestToken(t *testing.T) { runVerbs(t, "testdata/token", false) }

// TestAWSCommandLine runs the aws command line, unmodified, against the
// stand-in. case 140
func TestAWSCommandLine(t *testing.T) {
	if out, err := exec.Command("aws", "--version").CombinedOutput(); err != nil {
		t.Skipf("no aws command line: %v %s", err, out)
	}
	if testing.Short() {
		t.Skip("each of its calls takes most of a second")
	}
	runVerbs(t, "testdata/aws", false)
}

// scanned is a test that searches its script's whole log for secrets and for
// invalid advice.
type scanned struct {
	*testing.T
	aws *localaws.Server
}

func (s *scanned) Verbose() bool { return true } // so that the log is whole
func (s *scanned) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(&scanned{T: t}) })
}

// scriptLine is a line of the script itself in its log.
var scriptLine = regexp.MustCompile(`(?m)^> .*$`)

func (s *scanned) Log(args ...any) {
	s.T.Helper()
	log := fmt.Sprint(args...)
	printed := scriptLine.ReplaceAllString(log, "")
	checkAdvice(s.T, printed)
	if s.aws != nil {
		for _, r := range s.aws.Records() {
			for _, secret := range secretsOf(r) {
				if strings.Contains(printed, secret) {
					s.T.Errorf("%s %s: a secret of %d characters was printed", r.Service, r.Operation, len(secret))
				}
			}
		}
	}
	if testing.Verbose() || s.T.Failed() {
		s.T.Log(log)
	}
}

func (s *scanned) Fatal(args ...any) { s.T.Helper(); s.T.Fatal(args...) }

func runVerbs(t *testing.T, dir string, scan bool) {
	t.Parallel()
	p := testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			srv := localaws.New(localaws.Config{})
			if err := srv.Start(); err != nil {
				return err
			}
			e.Defer(func() { srv.Close() })
			if s, ok := e.T().(*scanned); ok {
				s.aws = srv
			}
			e.Values["aws"] = srv
			e.Setenv("PATH", binaries+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("SILENT", silentServer(cleanup{e}, nil))
			e.Setenv("AWS_PAGER", "")
			e.Setenv("CLOSED", "127.0.0.1:1") // nothing listens there
			e.Vars = append(e.Vars, srv.Env()...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": func(ts *testscript.TestScript, neg bool, args []string) { exitsWith(ts, args) },
			"table": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := standIn(ts).AddTable(localaws.Table{Name: args[0], HashKey: "id"})
				ts.Check(err)
			},
			"serve": func(ts *testscript.TestScript, neg bool, args []string) { serveMCP(ts, args) },
			"agent": func(ts *testscript.TestScript, neg bool, args []string) { startAgent(ts, args) },
			"fault": func(ts *testscript.TestScript, neg bool, args []string) { setFault(ts, args) },
			"put": func(ts *testscript.TestScript, neg bool, args []string) {
				putParameter(ts, args[0], args[1], args[2:]...)
			},
			"asked": func(ts *testscript.TestScript, neg bool, args []string) { countRequests(ts, neg, args) },
			"stack": func(ts *testscript.TestScript, neg bool, args []string) {
				_, err := standIn(ts).AddStack(localaws.Stack{Name: args[0]})
				ts.Check(err)
			},
			"keep": func(ts *testscript.TestScript, neg bool, args []string) {
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
			},
		},
	}
	if scan {
		testscript.RunT(&scanned{T: t}, p)
		return
	}
	testscript.Run(t, p)
}

// cleanup ends with a script.
type cleanup struct{ *testscript.Env }

func (c cleanup) Cleanup(f func()) { c.Defer(f) }

func standIn(ts *testscript.TestScript) *localaws.Server { return ts.Value("aws").(*localaws.Server) }

// exitsWith runs a program that must end with a given exit code:
// code N program args...
func exitsWith(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// serveMCP puts an MCP server where the command line finds it:
//
//	serve NAME        behind a runtime with the JWT authorizer of the set NAME
//	serve -iam NAME   behind a runtime for signed requests
//	serve -plain      at $MCP_URL, with no authentication
func serveMCP(ts *testscript.TestScript, args []string) {
	calculator := calcserver.New("test")
	addOddTools(calculator)
	srv := httptest.NewServer(mcpserver.NewStreamableHTTPServer(calculator, mcpserver.WithStateLess(true)))
	ts.Defer(srv.Close)
	if args[0] == "-plain" {
		ts.Setenv("MCP_URL", srv.URL+"/mcp")
		return
	}
	name := args[len(args)-1]
	runtime := localaws.Runtime{Name: name, Target: srv.URL}
	if args[0] != "-iam" {
		c, err := (&credstore.Store{API: ssm.NewFromConfig(standIn(ts).AWSConfig())}).Read(context.Background(), name)
		ts.Check(err)
		runtime.Authorizer = &authorizer.Config{DiscoveryURL: c.DiscoveryURL, AllowedClients: []string{c.ClientID}, AllowedScopes: strings.Fields(c.Scope)}
	}
	arn, err := standIn(ts).AddRuntime(runtime)
	ts.Check(err)
	ts.Setenv("RUNTIME_ARN", arn)
	putParameter(ts, name+"/"+credstore.Endpoint, arn)
}

// addOddTools adds tools as other people's servers may have them.
func addOddTools(s *mcpserver.MCPServer) {
	s.AddTool(mcp.NewTool("odd", mcp.WithDescription("Paints \x1b[31mred\x1b[0m\nand more")),
		func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("\x1b]0;owned\x07done"), nil
		})
	s.AddTool(mcp.NewTool("$(touch owned)"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("called"), nil
	})
	s.AddTool(mcp.NewTool("fail", mcp.WithDescription("Fails")),
		func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultError("the disk is full\n\x1b[2Jreally"), nil
		})
	s.AddTool(mcp.NewTool("list", mcp.WithDescription("Answers JSON"), mcp.WithString("name", mcp.Required()), mcp.WithNumber("n")),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(fmt.Sprintf(`{"name":%q,"n":%v}`, r.GetString("name", ""), r.GetFloat("n", 0))), nil
		})
}

// putParameter writes one parameter below the default prefix by hand.
func putParameter(ts *testscript.TestScript, name, value string, kind ...string) {
	typ := types.ParameterTypeString
	if len(kind) > 0 {
		typ = types.ParameterType(kind[0])
	}
	_, err := ssm.NewFromConfig(standIn(ts).AWSConfig()).PutParameter(context.Background(), &ssm.PutParameterInput{
		Name: aws.String(credstore.DefaultPrefix + "/" + name), Value: aws.String(value), Type: typ, Overwrite: aws.Bool(true),
	})
	ts.Check(err)
}

// localModel is a model id of the right form. The stand-in's model answers to
// any.
const localModel = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

// startAgent starts the compiled agent as the function NAME with a URL in
// $AGENT_URL, in a stack of the same name. What follows are its variables:
// agent NAME MODE [VARIABLE=value...]
func startAgent(ts *testscript.TestScript, args []string) {
	env := map[string]string{"BEDROCK_MODEL_ID": localModel, "INVOKE_MODE": args[1]}
	for _, kv := range args[2:] {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	f, err := standIn(ts).StartFunction(context.Background(), localaws.FunctionConfig{
		Name: args[0], Binary: filepath.Join(binaries, agentFunction, "bootstrap"), Timeout: 20 * time.Second, Env: env,
	})
	ts.Check(err)
	url, err := f.AddURL(localaws.FunctionURL{AuthType: "AWS_IAM", InvokeMode: args[1]})
	ts.Check(err)
	ts.Setenv("AGENT_URL", url)
	_, err = standIn(ts).AddStack(localaws.Stack{Name: args[0], Parameters: map[string]string{"McpName": "calculator"}, Outputs: []localaws.StackOutput{
		{Key: "AgentFunction", Value: args[0]}, {Key: "AgentUrl", Value: url},
	}})
	ts.Check(err)
}

// setFault makes requests of a service or an operation fail from now on: fault
// NAME STATUS [TYPE], or fault none.
func setFault(ts *testscript.TestScript, args []string) {
	if args[0] == "none" {
		standIn(ts).SetFault(nil)
		return
	}
	fault := localaws.Fault{Message: "as the script wants it"}
	var err error
	fault.Status, err = strconv.Atoi(args[1])
	ts.Check(err)
	if len(args) > 2 {
		fault.Type = args[2]
	}
	standIn(ts).SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == args[0] || r.Operation == args[0] {
			return &fault
		}
		return nil
	})
}

// countRequests fails unless a service or an operation was asked: asked NAME.
func countRequests(ts *testscript.TestScript, neg bool, args []string) {
	found := slices.ContainsFunc(standIn(ts).Records(), func(r localaws.Record) bool { return r.Service == args[0] || r.Operation == args[0] })
	if found == neg {
		ts.Fatalf("%s was asked: %t", args[0], found)
	}
}

// silentServer accepts connections and never answers. It calls asked, which may
// be nil, at the first request.
func silentServer(t interface{ Cleanup(func()) }, asked func()) string {
	done := make(chan struct{})
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked != nil {
			once.Do(asked)
		}
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}))
	t.Cleanup(func() { close(done); srv.Close() })
	return srv.URL
}
