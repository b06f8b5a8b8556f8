package doctor_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/provision"
)

// world is a server that is well, and its stand-in for AWS.
type world struct {
	*localaws.Server
	set credstore.Credentials
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Server: localaws.New(localaws.Config{})}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := provision.New(w.AWSConfig()).Ensure(t.Context(), provision.Desired{Name: "calculator"}); err != nil {
		t.Fatal(err)
	}
	store := &credstore.Store{API: ssm.NewFromConfig(w.AWSConfig())}
	set, err := store.Read(t.Context(), "calculator")
	if err != nil {
		t.Fatal(err)
	}
	container := httptest.NewServer(server.NewStreamableHTTPServer(calcserver.New("test"), server.WithStateLess(true)))
	t.Cleanup(container.Close)
	w.set = set
	w.set.Endpoint, err = w.AddRuntime(localaws.Runtime{Name: "calculator", Target: container.URL, Authorizer: &authorizer.Config{
		DiscoveryURL: set.DiscoveryURL, AllowedClients: []string{set.ClientID}, AllowedScopes: strings.Fields(set.Scope),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), "calculator", set, w.set); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() doctor.Config {
	return doctor.Config{AWS: w.AWSConfig(), Name: "calculator", RuntimeBase: w.URL()}
}

// What is told as it goes is what the report has, in the same order, and each
// check has an id of its own. case 45: no secret or token is in it.
func TestExamine(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Flags = []string{"--profile", "dev"}
	var told []string
	cfg.Each = func(c doctor.Check) { told = append(told, c.ID) }
	r := doctor.Examine(t.Context(), cfg)
	if r.First() != nil || r.Count(doctor.Pass) != len(r.Checks)-1 || r.Name != "calculator" || r.Prefix != credstore.DefaultPrefix {
		t.Errorf("got %+v", r)
	}
	seen := map[string]bool{}
	for i, c := range r.Checks {
		if seen[c.ID] || told[i] != c.ID {
			t.Errorf("check %d: %s is there twice, or was told as %s", i, c.ID, told[i])
		}
		seen[c.ID] = true
	}
	if model := r.Checks[len(r.Checks)-1]; model.Cause != "it costs a request: mcpauth doctor --mcp-name calculator --model MODEL --profile dev" {
		t.Errorf("got %+v", model)
	}
	printed, tokens := fmt.Sprintf("%+v", r), 0
	for _, rec := range w.Records() {
		if auth := rec.RequestHeader.Get("Authorization"); strings.HasPrefix(auth, "Bearer ") {
			tokens++
			if strings.Contains(printed, strings.TrimPrefix(auth, "Bearer ")) {
				t.Error("the token is in the report")
			}
		}
	}
	if tokens == 0 || strings.Contains(printed, w.set.ClientSecret.Reveal()) {
		t.Errorf("%d tokens were sent, or the secret is in the report", tokens)
	}
}

// A caller who leaves is told of no failure that is theirs. case 141
func TestExamine_interrupted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := w.config()
	cfg.Each = func(c doctor.Check) {
		if c.ID == "discovery.document" {
			cancel()
		}
	}
	r := doctor.Examine(ctx, cfg)
	if first := r.First(); first != nil {
		t.Errorf("got failure %+v", first)
	}
	after := false
	for _, c := range r.Checks {
		if after && (c.Status != doctor.Skip || !strings.Contains(c.Cause, context.Canceled.Error()) && !strings.HasSuffix(c.Cause, " failed")) {
			t.Errorf("afterwards: got %+v", c)
		}
		after = after || c.ID == "discovery.document"
	}
}

// A stack's parameters may be under another prefix, and then the commands that
// are suggested are about those. One that is new may have none yet.
func TestExamine_stack(t *testing.T) {
	w := newWorld(t)
	if _, err := w.AddStack(localaws.Stack{Name: "mine", Parameters: map[string]string{"McpName": "search", "ParameterPrefix": "/app/mcp-dev"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddStack(localaws.Stack{Name: "new", Status: "REVIEW_IN_PROGRESS"}); err != nil {
		t.Fatal(err)
	}
	cfg := w.config()
	cfg.Name, cfg.Stack = "", "new"
	if first := doctor.Examine(t.Context(), cfg).First(); first == nil || first.Found != "REVIEW_IN_PROGRESS" || !strings.Contains(first.Cause, "change set") {
		t.Errorf("got %+v", first)
	}
	cfg.Stack = "mine"
	r := doctor.Examine(t.Context(), cfg)
	if first := r.First(); r.Prefix != "/app/mcp-dev" || first == nil || first.Next != "mcpauth setup --mcp-name search --parameter-prefix /app/mcp-dev" {
		t.Errorf("got %s, %+v", r.Prefix, first)
	}
}

// case 18: a request that AWS throttles is sent twice at most, and soon: whoever
// waits is better told.
func TestExamine_throttled(t *testing.T) {
	w := newWorld(t)
	n := 0
	w.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation != "DescribeUserPoolClient" {
			return nil
		}
		n++
		return &localaws.Fault{Status: 400, Type: "TooManyRequestsException", Message: "Rate exceeded"}
	})
	r := doctor.Examine(t.Context(), w.config())
	for _, c := range r.Checks {
		if c.ID == "client.exists" && (c.Status != doctor.Warn || !strings.Contains(c.Cause, "too many requests") || c.Next != "mcpauth doctor --mcp-name calculator") {
			t.Errorf("got %+v", c)
		}
	}
	if n != 2 || r.First() != nil {
		t.Errorf("sent %d times, first failure %+v", n, r.First())
	}
}

// What strangers wrote into parameters can do nothing to whoever runs the
// commands that are suggested.
func TestExamine_hostile(t *testing.T) {
	w := newWorld(t)
	params := ssm.NewFromConfig(w.AWSConfig())
	for name, value := range map[string]string{
		credstore.DiscoveryURL: "http://127.0.0.1:1/$(touch${IFS}owned)'/.well-known/openid-configuration",
		credstore.Endpoint:     "http://127.0.0.1:1/`id`';rm",
		credstore.UserPoolID:   "eu-central-1_x;id",
	} {
		if _, err := params.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/app/mcp/calculator/" + name), Value: &value, Overwrite: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	quoted := 0
	for _, c := range doctor.Examine(t.Context(), w.config()).Checks {
		if strings.Contains(c.Next, "owned") || strings.Contains(c.Next, "`id`") {
			quoted++
		}
		if unquoted(c.Next) {
			t.Errorf("%s: %s", c.ID, c.Next)
		}
	}
	if quoted < 2 {
		t.Errorf("%d commands hold what was written, want those about both addresses", quoted)
	}
}

// unquoted reports whether a command has a character outside of single quotes
// that a shell would obey. Commands of our own have none.
func unquoted(command string) bool {
	quoted := false
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case c == '\'':
			quoted = !quoted
		case c == '\\' && !quoted:
			i++
		case !quoted && strings.IndexByte("`;$(", c) >= 0:
			return true
		}
	}
	return quoted
}

func BenchmarkExamine(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		if r := doctor.Examine(b.Context(), w.config()); r.First() != nil {
			b.Fatalf("%+v", r.First())
		}
	}
}
