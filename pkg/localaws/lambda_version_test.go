package localaws_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"agentcore-mcp-auth/pkg/localaws"
)

// settings are the variables of a function's process that begin with prefix.
func settings(t *testing.T, f *localaws.Function, prefix string) []string {
	t.Helper()
	var env []string
	if err := json.Unmarshal(mustInvoke(t, f, do("env")).Payload, &env); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(env, func(v string) bool { return !strings.HasPrefix(v, prefix) })
}

// A published version does not change, and an alias points where it was set to.
func TestFunction_versions(t *testing.T) {
	bin := buildBootstrap()
	s := startServer(t)
	cfg := localaws.FunctionConfig{Name: "agent", Binary: bin, Env: map[string]string{"SETTING": "a"}}
	startFunction(t, s, cfg)
	publish := func(want string, fresh bool) *localaws.Function {
		t.Helper()
		f, published, err := s.PublishVersion("agent")
		if err != nil {
			t.Fatal(err)
		}
		if published != fresh || f.Version() != want || f.ARN() != "arn:aws:lambda:eu-central-1:000000000000:function:agent:"+want || f.Name() != "agent" {
			t.Errorf("got version %s, %s, want %s", f.Version(), f.ARN(), want)
		}
		return f
	}
	first := publish("1", true)
	publish("1", false)

	cfg.Env = map[string]string{"SETTING": "b"}
	latest, err := s.UpdateFunction(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := settings(t, latest, "SETTING"); !slices.Equal(got, []string{"SETTING=b"}) {
		t.Errorf("$LATEST: got %v", got)
	}
	if got := settings(t, first, "SETTING"); !slices.Equal(got, []string{"SETTING=a"}) {
		t.Errorf("version 1: got %v", got)
	}
	if got := settings(t, first, "AWS_LAMBDA_FUNCTION_VERSION"); !slices.Equal(got, []string{"AWS_LAMBDA_FUNCTION_VERSION=1"}) {
		t.Errorf("version 1: got %v", got)
	}
	publish("2", true)

	client := lambda.NewFromConfig(s.AWSConfig())
	invoked := func(name, qualifier string) string {
		t.Helper()
		in := &lambda.InvokeInput{FunctionName: &name, Payload: do("echo")}
		if qualifier != "" {
			in.Qualifier = &qualifier
		}
		out, err := client.Invoke(t.Context(), in)
		if err != nil {
			return err.Error()
		}
		return aws.ToString(out.ExecutedVersion)
	}
	for _, version := range []string{"2", "1"} {
		if err := s.SetAlias("agent", "live", version); err != nil {
			t.Fatal(err)
		}
		for _, call := range [][2]string{{"agent", "live"}, {"agent:live", ""}, {"arn:aws:lambda:eu-central-1:000000000000:function:agent:live", ""}, {"agent", version}} {
			if got := invoked(call[0], call[1]); got != version {
				t.Errorf("%v: got version %s, want %s", call, got, version)
			}
		}
	}
	if got := invoked("agent", ""); got != "$LATEST" {
		t.Errorf("got version %s", got)
	}
	s.RemoveAlias("agent", "live")
	for _, qualifier := range []string{"live", "3"} {
		if got := invoked("agent", qualifier); !strings.Contains(got, "Function not found: arn:aws:lambda:eu-central-1:000000000000:function:agent:"+qualifier) {
			t.Errorf("%s: got %s", qualifier, got)
		}
	}

	s.RemoveFunction("agent")
	for _, name := range []string{"agent", "agent:1", "agent:2"} {
		if s.Function(name) != nil {
			t.Errorf("%s is still there", name)
		}
	}
	startFunction(t, s, cfg)
	publish("1", true) // it is another function
}

func TestFunction_versionsRefused(t *testing.T) {
	bin := buildBootstrap()
	s := startServer(t)
	startFunction(t, s, localaws.FunctionConfig{Name: "agent", Binary: bin})
	_, _, unpublished := s.PublishVersion("other")
	for want, err := range map[string]error{
		"has no version \"1\"":           s.SetAlias("agent", "live", "1"),
		"an alias of $LATEST":            s.SetAlias("agent", "live", "$LATEST"),
		"alias \"12\"":                   s.SetAlias("agent", "12", "1"),
		"alias \"a b\"":                  s.SetAlias("agent", "a b", "1"),
		"updating function \"other\"":    second(s.UpdateFunction(t.Context(), localaws.FunctionConfig{Name: "other", Binary: bin})),
		"run make build first":           second(s.UpdateFunction(t.Context(), localaws.FunctionConfig{Name: "agent", Binary: bin + "x"})),
		"publishing a version of functi": unpublished,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if got := string(mustInvoke(t, s.Function("agent"), do("calls")).Payload); got != "1" {
		t.Errorf("after refused updates: got %s", got)
	}
}

func second[T any](_ T, err error) error { return err }

// An update waits for the invocation under way, and the next one has the new
// configuration.
func TestUpdateFunction_underWay(t *testing.T) {
	bin := buildBootstrap()
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	old, err := s.StartFunction(ctx, localaws.FunctionConfig{Name: "agent", Binary: bin})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := old.InvokeStream(t.Context(), do("stream")) // writes as it is read
	if err != nil {
		t.Fatal(err)
	}
	updated := make(chan error)
	go func() {
		_, err := s.UpdateFunction(t.Context(), localaws.FunctionConfig{Name: "agent", Binary: bin, Env: map[string]string{"SETTING": "new"}})
		updated <- err
	}()
	body, err := io.ReadAll(stream.Body)
	if err != nil || string(body) != "part 0\npart 1\npart 2\n" {
		t.Errorf("got %q, %v", body, err)
	}
	stream.Body.Close()
	if err := <-updated; err != nil {
		t.Fatal(err)
	}
	if got := settings(t, s.Function("agent"), "SETTING"); !slices.Equal(got, []string{"SETTING=new"}) {
		t.Errorf("got %v", got)
	}
	if _, err := old.Invoke(t.Context(), do("echo")); err == nil {
		t.Error("the function of before can still be invoked")
	}
}
