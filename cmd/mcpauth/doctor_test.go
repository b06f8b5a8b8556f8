package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
	"github.com/rogpeppe/go-internal/testscript"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// TestDoctor runs doctor and explain, each script against a stand-in of its own.
// case 45: nothing that they print holds a secret or a token.
func TestDoctor(t *testing.T) {
	t.Parallel()
	testscript.RunT(&scanned{T: t}, testscript.Params{
		Dir: "testdata/doctor",
		Setup: func(e *testscript.Env) error {
			w := &patient{}
			w.aws = localaws.New(localaws.Config{Now: func() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }})
			if err := w.aws.Start(); err != nil {
				return err
			}
			e.Defer(func() { w.aws.Close() })
			if s, ok := e.T().(*scanned); ok {
				s.aws = w.aws
			}
			e.Values["aws"], e.Values["patient"] = w.aws, w
			e.Setenv("PATH", binaries+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("URL", w.aws.URL())
			e.Setenv("SILENT", silentServer(cleanup{e}, nil))
			e.Vars = append(e.Vars, w.aws.Env()...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).ready(ts, args) },
			"code":   func(ts *testscript.TestScript, _ bool, args []string) { exitsWith(ts, args) },
			"put":    func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).put(ts, args) },
			"remove": func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).remove(ts, args) },
			"fault":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).fault(ts, args) },
			"clock":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).clock(ts, args[0]) },
			"client": func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).client(ts, args[0]) },
			"issuer": func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).issuer(ts, args[0]) },
			"plain":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).plain(ts, args[0]) },
			"stack":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).stack(ts, args) },
			"disown": func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).disown(ts) },
			"token":  func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).token(ts, args[0]) },
			"as":     func(ts *testscript.TestScript, _ bool, args []string) { sick(ts).as(ts, args[0]) },
			"asked":  func(ts *testscript.TestScript, neg bool, args []string) { countRequests(ts, neg, args) },
		},
	})
}

// patient is the server calculator in a stand-in, which tests make fail in every
// way.
type patient struct {
	aws   *localaws.Server
	shift atomic.Int64 // of the stand-in's clock
	pool  string
	arn   string
}

func sick(ts *testscript.TestScript) *patient { return ts.Value("patient").(*patient) }

func (p *patient) ssm() *ssm.Client { return ssm.NewFromConfig(p.aws.AWSConfig()) }

func (p *patient) cognito() *cognitoidentityprovider.Client {
	return cognitoidentityprovider.NewFromConfig(p.aws.AWSConfig())
}

func (p *patient) set(ts *testscript.TestScript) credstore.Credentials {
	c, err := (&credstore.Store{API: p.ssm()}).Snapshot(context.Background(), "calculator")
	ts.Check(err)
	return c
}

// ready sets everything up anew. All of it works, unless the flags say otherwise
// about the runtime and its container. It sets $ARN, $CLIENT and $POOL.
func (p *patient) ready(ts *testscript.TestScript, args []string) {
	ctx := context.Background()
	p.aws.SetFault(nil)
	p.aws.SetModel(nil)
	p.aws.RemoveRuntime(p.arn)
	p.shift.Store(0)
	if p.pool == "" {
		out, err := p.cognito().CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("pool")})
		ts.Check(err)
		p.pool = *out.UserPool.Id
	}
	p.clear(ts)
	var rt localaws.Runtime
	var server, fail, key, discovery, client, audience, scope, claim string
	var iam bool
	f := flag.NewFlagSet("ready", flag.ContinueOnError)
	f.StringVar(&server, "server", "calculator", "what the container is")
	f.StringVar(&fail, "fail", "", "fault of the platform")
	f.StringVar(&key, "key", "", "key of the secret")
	f.StringVar(&client, "client", "", "client that is allowed instead")
	f.StringVar(&audience, "audience", "", "audience that is asked for")
	f.StringVar(&scope, "scope", "", "scope that is asked for instead")
	f.StringVar(&claim, "claim", "", "name=value of a custom claim")
	f.StringVar(&discovery, "discovery", "", "discovery URL of the authorizer")
	f.StringVar(&rt.Status, "status", "", "status of the runtime")
	f.StringVar(&rt.FailureReason, "reason", "", "and why")
	f.StringVar(&rt.Protocol, "protocol", "", "protocol of the runtime")
	f.BoolVar(&iam, "iam", false, "no JWT authorizer")
	ts.Check(f.Parse(args))

	_, err := provision.New(p.aws.AWSConfig()).Ensure(ctx, provision.Desired{Name: "calculator", UserPoolID: p.pool, KMSKeyID: key})
	ts.Check(err)
	c := p.set(ts)
	rt.Name = "calculator"
	rt.Authorizer = &authorizer.Config{
		DiscoveryURL:   cmp.Or(discovery, c.DiscoveryURL),
		AllowedClients: []string{cmp.Or(client, c.ClientID)},
		AllowedScopes:  strings.Fields(cmp.Or(scope, c.Scope)),
	}
	if audience != "" {
		rt.Authorizer.AllowedAudience = []string{audience}
	}
	if name, value, ok := strings.Cut(claim, "="); ok {
		rt.Authorizer.CustomClaims = []authorizer.Claim{{Name: name, Operator: authorizer.Equals, Values: []string{value}}}
	}
	if iam {
		rt.Authorizer = nil
	}
	if fail != "" {
		rt.Fail = func(*http.Request) localaws.RuntimeFault { return localaws.RuntimeFault(fail) }
	}
	rt.Target = p.container(ts, server)
	p.arn, err = p.aws.AddRuntime(rt)
	ts.Check(err)
	p.put(ts, []string{"endpoint", p.arn})
	ts.Setenv("ARN", p.arn)
	ts.Setenv("RUNTIME", p.arn[strings.LastIndex(p.arn, "/")+1:])
	ts.Setenv("CLIENT", c.ClientID)
	ts.Setenv("POOL", c.UserPoolID)
}

// clear removes all parameters and what is in the pool, whoever made it.
func (p *patient) clear(ts *testscript.TestScript) {
	ctx, api := context.Background(), p.cognito()
	for name := range p.aws.Parameters() {
		_, err := p.ssm().DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
		ts.Check(err)
	}
	clients, err := api.ListUserPoolClients(ctx, &cognitoidentityprovider.ListUserPoolClientsInput{UserPoolId: &p.pool})
	ts.Check(err)
	for _, c := range clients.UserPoolClients {
		_, err := api.DeleteUserPoolClient(ctx, &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: &p.pool, ClientId: c.ClientId})
		ts.Check(err)
	}
	servers, err := api.ListResourceServers(ctx, &cognitoidentityprovider.ListResourceServersInput{UserPoolId: &p.pool, MaxResults: aws.Int32(50)})
	ts.Check(err)
	for _, s := range servers.ResourceServers {
		_, err := api.DeleteResourceServer(ctx, &cognitoidentityprovider.DeleteResourceServerInput{UserPoolId: &p.pool, Identifier: s.Identifier})
		ts.Check(err)
	}
}

// container starts an MCP server, and returns its address.
func (p *patient) container(ts *testscript.TestScript, kind string) string {
	s := calcserver.New("test")
	raw := func(name, schema string) {
		s.AddTool(mcp.NewToolWithRawSchema(name, "A tool", json.RawMessage(schema)), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("done"), nil
		})
	}
	switch kind {
	case "calculator":
	case "dotted":
		raw("tools.add", `{"type":"object"}`)
	case "string-schema":
		raw("shout", `{"type":"string"}`)
	case "alternatives":
		raw("either", `{"type":"object","anyOf":[{"required":["a"]},{"required":["b"]}]}`)
	case "empty":
		s.DeleteTools("add_numbers", "evaluate", "greet_user", "integrate", "multiply_numbers", "differentiate")
		for name := range s.ListTools() {
			s.DeleteTools(name)
		}
	case "writers": // nothing that only reads
		for name := range s.ListTools() {
			s.DeleteTools(name)
		}
		raw("delete_everything", `{"type":"object"}`)
	case "gone":
		return "http://127.0.0.1:1"
	case "broken":
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
		ts.Defer(srv.Close)
		return srv.URL
	default:
		ts.Fatalf("no server %q", kind)
	}
	srv := httptest.NewServer(mcpserver.NewStreamableHTTPServer(s, mcpserver.WithStateLess(true)))
	ts.Defer(srv.Close)
	return srv.URL
}

// plain starts an MCP server at $PLAIN, outside of AgentCore: open to anybody,
// or a redirect.
func (p *patient) plain(ts *testscript.TestScript, kind string) {
	h := http.Handler(mcpserver.NewStreamableHTTPServer(calcserver.New("test"), mcpserver.WithStateLess(true)))
	if kind == "redirect" {
		h = http.RedirectHandler("https://mcp.example.com/mcp", http.StatusPermanentRedirect)
	}
	srv := httptest.NewServer(h)
	ts.Defer(srv.Close)
	ts.Setenv("PLAIN", srv.URL+"/mcp")
}

// put writes a parameter of the server: put NAME VALUE [TYPE].
func (p *patient) put(ts *testscript.TestScript, args []string) {
	putParameter(ts, "calculator/"+args[0], strings.NewReplacer(`\n`, "\n", `\s`, " ").Replace(args[1]), args[2:]...)
}

func (p *patient) remove(ts *testscript.TestScript, names []string) {
	ts.Check((&credstore.Store{API: p.ssm()}).Delete(context.Background(), "calculator", names...))
}

// disown removes the tags, so that the set looks like a guide's.
func (p *patient) disown(ts *testscript.TestScript) {
	for name := range p.aws.Parameters() {
		_, err := p.ssm().RemoveTagsFromResource(context.Background(), &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: &name, TagKeys: []string{provision.OwnerTag}})
		ts.Check(err)
	}
}

// fault makes an operation answer with an error: fault OPERATION STATUS TYPE
// MESSAGE... For DecryptedGetParametersByPath it is only requests for decrypted
// values.
func (p *patient) fault(ts *testscript.TestScript, args []string) {
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	operation, decrypted := strings.CutPrefix(args[0], "Decrypted")
	p.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation != operation || decrypted && !strings.Contains(string(r.RequestBody), `"WithDecryption":true`) {
			return nil
		}
		return &localaws.Fault{Status: status, Type: args[2], Message: strings.Join(args[3:], " ")}
	})
}

// as runs the following commands with a role that has the policy in a file, or
// with the account's own credentials again: as FILE, or as account.
func (p *patient) as(ts *testscript.TestScript, file string) {
	env := p.aws.Env()
	if file != "account" {
		p.aws.RemoveRole("me")
		arn, err := p.aws.AddRole(localaws.Role{
			Name:     "me",
			Policies: []json.RawMessage{json.RawMessage(ts.ReadFile(file))},
			Trust:    json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
		})
		ts.Check(err)
		env, err = p.aws.RoleEnv(arn, "here")
		ts.Check(err)
	}
	ts.Setenv("AWS_SESSION_TOKEN", "")
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		ts.Setenv(name, value)
	}
}

// clock sets the stand-in's clock.
func (p *patient) clock(ts *testscript.TestScript, by string) {
	d, err := time.ParseDuration(by)
	ts.Check(err)
	p.shift.Store(int64(d))
}

// client changes by hand what the app client needs: delete it, take its grant,
// take its scope from the resource server, take the pool's domain, or record the
// secret of another client, $OTHER.
func (p *patient) client(ts *testscript.TestScript, change string) {
	ctx, c := context.Background(), p.set(ts)
	api := p.cognito()
	switch change {
	case "delete":
		_, err := api.DeleteUserPoolClient(ctx, &cognitoidentityprovider.DeleteUserPoolClientInput{UserPoolId: &c.UserPoolID, ClientId: &c.ClientID})
		ts.Check(err)
	case "domain":
		is, err := api.DescribeUserPool(ctx, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: &c.UserPoolID})
		ts.Check(err)
		_, err = api.DeleteUserPoolDomain(ctx, &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: &c.UserPoolID, Domain: is.UserPool.Domain})
		ts.Check(err)
	case "grant": // what an update does that leaves it out
		_, err := api.UpdateUserPoolClient(ctx, &cognitoidentityprovider.UpdateUserPoolClientInput{UserPoolId: &c.UserPoolID, ClientId: &c.ClientID})
		ts.Check(err)
	case "scope":
		is, err := api.DescribeResourceServer(ctx, &cognitoidentityprovider.DescribeResourceServerInput{UserPoolId: &c.UserPoolID, Identifier: aws.String("calculator")})
		ts.Check(err)
		_, err = api.UpdateResourceServer(ctx, &cognitoidentityprovider.UpdateResourceServerInput{UserPoolId: &c.UserPoolID, Identifier: aws.String("calculator"), Name: is.ResourceServer.Name})
		ts.Check(err)
	case "other":
		_, err := provision.New(p.aws.AWSConfig()).Ensure(ctx, provision.Desired{Name: "search", UserPoolID: p.pool})
		ts.Check(err)
		other, err := (&credstore.Store{API: p.ssm()}).Snapshot(ctx, "search")
		ts.Check(err)
		p.put(ts, []string{credstore.ClientSecret, other.ClientSecret.Reveal(), "SecureString"})
		ts.Setenv("OTHER", other.ClientID)
	default:
		ts.Fatalf("no change %q", change)
	}
}

// stack has a stack mcp describe what is recorded: stack [STATUS] [OUTPUT=VALUE...]
func (p *patient) stack(ts *testscript.TestScript, args []string) {
	c := p.set(ts)
	st := localaws.Stack{Name: "mcp", Parameters: map[string]string{"McpName": "calculator", "ParameterPrefix": "/app/mcp", "BedrockModelId": localModel}}
	outputs := map[string]string{"ClientId": c.ClientID, "DiscoveryUrl": c.DiscoveryURL, "McpServerArn": p.arn}
	for _, arg := range args {
		if k, v, ok := strings.Cut(arg, "="); ok {
			outputs[k] = v
		} else {
			st.Status = arg
		}
	}
	for _, k := range []string{"ClientId", "DiscoveryUrl", "McpServerArn"} {
		st.Outputs = append(st.Outputs, localaws.StackOutput{Key: k, Value: outputs[k]})
	}
	id, err := p.aws.AddStack(st)
	ts.Check(err)
	names := slices.Collect(func(yield func(string) bool) {
		for name := range p.aws.Parameters() {
			if strings.HasPrefix(name, "/app/mcp/calculator/") && !yield(name) {
				return
			}
		}
	})
	for _, name := range names { // the set is the stack's
		_, err := p.ssm().AddTagsToResource(context.Background(), &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: &name,
			Tags: tagged(provision.OwnerTag, id)})
		ts.Check(err)
	}
}

func tagged(key, value string) []types.Tag { return []types.Tag{{Key: &key, Value: &value}} }
