package mcpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// Arguments are checked before a handler sees them. case 113, case 114
func TestArguments(t *testing.T) {
	s := calcserver.New("1")
	var mu sync.Mutex
	var seen []string
	note := func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %v", req.Params.RawArguments, req.GetArguments()))
		return mcp.NewToolResultText("seen"), nil
	}
	s.AddTool(mcp.NewTool("strict", mcp.WithNumber("n", mcp.Required(), mcp.Min(0), mcp.Max(1e300)), mcp.WithString("s", mcp.Enum("x", "y"), mcp.MaxLength(3), mcp.Pattern("^[xyz]*$")),
		mcp.WithArray("l", mcp.MinItems(1), mcp.MaxItems(2)), mcp.WithSchemaAdditionalProperties(false)), note)
	s.AddTool(mcp.NewTool("open", mcp.WithNumber("n")), note)
	url, _ := serve(t, s, mcpserver.Config{})
	for _, tc := range []struct {
		tool, args string
		want       string
		failed     bool
	}{
		{"add_numbers", `{"a":9007199254740993,"b":1}`, "9007199254740994", false},
		{"add_numbers", `{"a":2.0,"b":2e3}`, "2002", false},
		{"add_numbers", `{"a":-0,"b":0}`, "0", false},
		{"add_numbers", `{"a":1e400,"b":1}`, "1" + strings.Repeat("0", 399) + "1", false},
		{"add_numbers", `{"a":` + strings.Repeat("9", 5000) + `,"b":1}`, "1" + strings.Repeat("0", 5000), false},
		{"add_numbers", `{"a":1e999999999,"b":1}`, "invalid arguments: a number is too long: at most 10000 digits are possible once it is written out", true},
		{"add_numbers", `{"a":1e-999999999,"b":1}`, "invalid arguments: a number is too long: at most 10000 digits are possible once it is written out", true},
		{"add_numbers", `{"a":1e6000,"b":1}`, "a is too large: at most 5000 digits are possible", true},
		{"add_numbers", `{"a":1.5,"b":1}`, "invalid arguments: a must be a whole number", true},
		{"add_numbers", `{"a":"1","b":1}`, "invalid arguments: a must be a whole number", true},
		{"add_numbers", `{"a":1}`, "invalid arguments: the arguments must have b", true},
		{"add_numbers", `{}`, "invalid arguments: the arguments must have a, b", true},
		{"add_numbers", `null`, "invalid arguments: the arguments must have a, b", true},
		{"add_numbers", `{"a":1,"b":1,"c":1}`, "invalid arguments: the arguments must not have c", true},
		{"greet_user", `{"name":""}`, "invalid arguments: name must have at least 1 characters", true},
		{"greet_user", `{"name":"` + strings.Repeat("n", 201) + `"}`, "invalid arguments: name must have at most 200 characters", true},
		{"greet_user", `{"name":"a\u0007"}`, "name must not contain control characters", true},
		{"strict", `{"n":1e400}`, "invalid arguments: n must be at most 1000000", true},
		{"strict", `{"n":-1}`, "invalid arguments: n must be at least 0", true},
		{"strict", `{"n":1,"s":"z"}`, "invalid arguments: s must be one of [x y]", true},
		{"strict", `{"n":1,"l":[]}`, "invalid arguments: l must have at least 1 items", true},
		{"strict", `{"n":1,"l":[1,2,3]}`, "invalid arguments: l must have at most 2 items", true},
		{"strict", `{"n":1,"l":[1],"s":"x"}`, "seen", false},
		{"open", `{"n":123456789012345678901234567890,"deep":[1e400,{"x":1}]}`, "seen", false},
		{"open", `{"n":"` + strings.Repeat("x", 2000) + `"}`, "invalid arguments: n must be a number", true},
	} {
		_, body := post(t, url+"/mcp", toolCall(tc.tool, tc.args))
		got, failed := text(t, body)
		if failed != tc.failed || tc.want != got && !(tc.failed && strings.HasPrefix(got, tc.want)) {
			t.Errorf("%s %.60s: got %.90q, error %v, want %.90q, %v", tc.tool, tc.args, got, failed, tc.want, tc.failed)
		}
	}
	want := []string{
		`{"n":1,"l":[1],"s":"x"} map[l:[1] n:1 s:x]`,
		`{"n":123456789012345678901234567890,"deep":[1e400,{"x":1}]} map[deep:[1e400 map[x:1]] n:1.2345678901234568e+29]`,
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("handlers saw %v, want %v", seen, want)
	}
}

// What is wrong with arguments is said in plain words, cut where it is long, and
// never with the value: that may be a secret.
func TestArguments_words(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewToolWithRawSchema("t", "", json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{
		"code":{"type":"string","pattern":"^[A-Z]+$"},"n":{"type":"integer","multipleOf":5},"at":{"type":["string","null"]}}}`)),
		func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("ran"), nil
		})
	url, _ := serve(t, s, mcpserver.Config{})
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf(`"größe%d":1`, i))
	}
	for arguments, want := range map[string]string{
		`{"code":"canary"}`:                 "invalid arguments: code must match ^[A-Z]+$",
		`{"n":7}`:                           "invalid arguments: n breaks the schema's multipleOf",
		`{"at":7}`:                          "invalid arguments: at must be null or a string",
		"{" + strings.Join(many, ",") + "}": "invalid arguments: the arguments must not have größe",
		`{"code":"A","n":10,"at":null}`:     "ran",
	} {
		_, body := post(t, url+"/mcp", toolCall("t", arguments))
		got, _ := text(t, body)
		if !strings.HasPrefix(got, want) || strings.Contains(got, "canary") || len(got) > 610 || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%.40s: got %d bytes, %q, want %q", arguments, len(got), got, want)
		}
	}
}

// Number bombs cost nothing, however many there are.
func TestArguments_bombs(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	s.AddTool(mcp.NewToolWithRawSchema("list", "", json.RawMessage(`{"type":"object","properties":{"l":{"type":"array","items":{"type":"integer","multipleOf":3}}}}`)),
		func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("seen"), nil
		})
	url, _ := serve(t, s, mcpserver.Config{})
	start := time.Now()
	for _, bomb := range []string{"1e999999", "1e-999999", "1e99999999999", strings.Repeat("9", 20000), "1e9990", "3e-9990"} {
		list := strings.Repeat(bomb+",", 500000/len(bomb)) + "3"
		_, body := post(t, url+"/mcp", toolCall("list", `{"l":[`+list+`]}`))
		if got, failed := text(t, body); !failed || !strings.Contains(got, "too long") {
			t.Errorf("%.20s: got %.80q, error %v", bomb, got, failed)
		}
	}
	// As many as are taken, and numbers of the kind that float64 has.
	for _, list := range []string{strings.Repeat("3e9900,", 100), strings.Repeat("3e300,", 1000)} {
		_, body := post(t, url+"/mcp", toolCall("list", `{"l":[`+list+`3]}`))
		if got, failed := text(t, body); failed || got != "seen" {
			t.Errorf("%.20s: got %.80q, error %v", list, got, failed)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// A tool whose schema is replaced is held to the new one.
func TestArguments_replacedTool(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	ok := func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("ok"), nil
	}
	s.AddTool(mcp.NewTool("t", mcp.WithString("v")), ok)
	url, _ := serve(t, s, mcpserver.Config{})
	_, body := post(t, url+"/mcp", toolCall("t", `{"v":"x"}`))
	if got, _ := text(t, body); got != "ok" {
		t.Errorf("got %q, want ok", got)
	}
	s.AddTool(mcp.NewTool("t", mcp.WithNumber("v")), ok)
	_, body = post(t, url+"/mcp", toolCall("t", `{"v":"x"}`))
	if got, failed := text(t, body); !failed || !strings.Contains(got, "v must be a number") {
		t.Errorf("got %q, want a refusal by the new schema", got)
	}
	s.AddTool(mcp.NewToolWithRawSchema("t", "", json.RawMessage(`{"type":5}`)), ok)
	_, body = post(t, url+"/mcp", toolCall("t", `{"v":"x"}`))
	if got, failed := text(t, body); !failed || !strings.Contains(got, "request id") {
		t.Errorf("got %q, want a refusal with a request id", got)
	}
}

const canary = "/srv/secret/canary-4711"

// faulty is a server whose handlers fail in every way there is.
func faulty(release chan struct{}) *server.MCPServer {
	s := server.NewMCPServer("x", "1", server.WithResourceCapabilities(false, false), server.WithPromptCapabilities(false))
	for name, f := range map[string]func(ctx context.Context) (*mcp.CallToolResult, error){
		"fine":   func(context.Context) (*mcp.CallToolResult, error) { return mcp.NewToolResultText("fine"), nil },
		"refuse": func(context.Context) (*mcp.CallToolResult, error) { return mcp.NewToolResultError("no cake left"), nil },
		"error":  func(context.Context) (*mcp.CallToolResult, error) { return nil, errors.New("open " + canary) },
		"panic":  func(context.Context) (*mcp.CallToolResult, error) { panic(canary) },
		"nil":    func(context.Context) (*mcp.CallToolResult, error) { return nil, nil },
		"exit":   func(context.Context) (*mcp.CallToolResult, error) { runtime.Goexit(); return nil, nil },
		"hang":   func(context.Context) (*mcp.CallToolResult, error) { <-release; return nil, errors.New(canary) },
		"undone": func(context.Context) (*mcp.CallToolResult, error) {
			return nil, fmt.Errorf("backend: %w", context.Canceled)
		},
		"late": func(context.Context) (*mcp.CallToolResult, error) { return nil, context.DeadlineExceeded },
		"slow": func(ctx context.Context) (*mcp.CallToolResult, error) { <-ctx.Done(); return nil, ctx.Err() },
		"nan": func(context.Context) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultStructured(map[string]any{"v": math.NaN()}, canary), nil
		},
	} {
		s.AddTool(mcp.NewTool(name), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) { return f(ctx) })
	}
	s.AddPrompt(mcp.NewPrompt("panic"), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) { panic(canary) })
	s.AddResource(mcp.NewResource("x://error", "error"), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return nil, errors.New(canary)
	})
	s.AddResource(mcp.NewResource("x://hang", "hang"), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		<-release
		return nil, errors.New(canary)
	})
	return s
}

// case 114, case 115, case 125
func TestFaultyHandlers(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url, log := serve(t, faulty(release), mcpserver.Config{CallTimeout: 50 * time.Millisecond})
	message := func(method, params string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"f","method":%q,"params":%s}`, method, params)
	}
	for _, tc := range []struct {
		body, want, outcome string
		code                int // 0: a tool error
	}{
		{toolCall("refuse", `{}`), "no cake left", "tool_error", 0},
		{toolCall("error", `{}`), "the handler failed (request id ", "failed", 0},
		{toolCall("panic", `{}`), "the handler failed (request id ", "panic", 0},
		{toolCall("exit", `{}`), "the handler failed (request id ", "failed", 0},
		{toolCall("hang", `{}`), "no answer in time (request id ", "timeout", 0},
		{toolCall("slow", `{}`), "no answer in time (request id ", "timeout", 0},
		{toolCall("undone", `{}`), "the handler failed (request id ", "failed", 0}, // the caller is still there
		{toolCall("late", `{}`), "the handler failed (request id ", "failed", 0},
		{toolCall("nil", `{}`), "internal error (request id ", "error -32603", -32603},
		{toolCall("nan", `{}`), "the handler failed (request id ", "failed", -32603},
		{message("prompts/get", `{"name":"panic"}`), "internal error (request id ", "panic", -32603},
		{message("resources/read", `{"uri":"x://error"}`), "internal error (request id ", "failed", -32603},
		{message("resources/read", `{"uri":"x://hang"}`), "internal error (request id ", "timeout", -32603},
		{message("resources/read", `{"uri":"x://none"}`), "not found", "error -32002", -32002},
	} {
		resp, body := post(t, url+"/mcp", tc.body)
		var got string
		if tc.code == 0 {
			var failed bool
			if got, failed = text(t, body); !failed {
				t.Errorf("%s: got a success %q", tc.body, got)
			}
		} else {
			a := decode(t, body)
			if a.Error == nil || a.Error.Code != tc.code {
				t.Errorf("%s: got %s, want code %d", tc.body, body, tc.code)
				continue
			}
			got = a.Error.Message
		}
		id := resp.Header.Get("X-Request-Id")
		if !strings.Contains(got, tc.want) || strings.Contains(tc.want, "request id") && !strings.Contains(got, id) {
			t.Errorf("%s: got %q, want %q and %s", tc.body, got, tc.want, id)
		}
		if strings.Contains(body, "canary") || strings.Contains(body, ".go:") {
			t.Errorf("%s: details in the answer: %s", tc.body, body)
		}
		line := logLine(log.String(), id)
		if !strings.Contains(line, `"outcome":"`+tc.outcome+`"`) {
			t.Errorf("%s: logged %s, want outcome %s", tc.body, line, tc.outcome)
		}
		if tc.outcome == "panic" && (!strings.Contains(line, canary) || !strings.Contains(line, "contain_test.go")) {
			t.Errorf("%s: logged %s, want the panic and its stack", tc.body, line)
		}
	}
	_, body := post(t, url+"/mcp", toolCall("fine", `{}`))
	if got, failed := text(t, body); got != "fine" || failed {
		t.Errorf("got %q, error %v afterwards, want fine", got, failed)
	}
}

func logLine(log, requestID string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, requestID) {
			return line
		}
	}
	return ""
}

// What a handler needs of the client and has not been offered is said in the
// protocol's own way where there is one.
// https://modelcontextprotocol.io/specification/2026-07-28/schema#missingrequiredclientcapabilityerror
func TestMissingCapability(t *testing.T) {
	s := server.NewMCPServer("x", "1", server.WithPromptCapabilities(false))
	missing := fmt.Errorf("asking: %w", mcp.MissingRequiredClientCapabilityError{Capability: "sampling"})
	s.AddTool(mcp.NewTool("asks"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, missing })
	s.AddPrompt(mcp.NewPrompt("asks"), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) { return nil, missing })
	url, log := serve(t, s, mcpserver.Config{})
	for _, method := range []string{"tools/call", "prompts/get"} {
		body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"asks"%s}}`
		resp, got := post(t, url+"/mcp", fmt.Sprintf(body, `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`),
			"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method, "Mcp-Name", "asks")
		if a := decode(t, got); resp.StatusCode != 400 || a.Error == nil || a.Error.Code != -32021 || string(a.ID) != "1" || string(a.Error.Data) != `{"requiredCapabilities":{"sampling":{}}}` {
			t.Errorf("%s: got %d %s, want 400 and -32021 with the capability", method, resp.StatusCode, got)
		}
		log.await(t, `"outcome":"missing_capability"`)
		if resp, got = post(t, url+"/mcp", fmt.Sprintf(body, "")); resp.StatusCode != 200 || !strings.Contains(got, "sampling") {
			t.Errorf("%s before 2026-07-28: got %d %s, want the capability named", method, resp.StatusCode, got)
		}
	}
}

// completions fail in every way there is.
type completions struct{ release chan struct{} }

func (c completions) CompletePromptArgument(_ context.Context, prompt string, _ mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	switch prompt {
	case "panic":
		panic(canary)
	case "hang":
		<-c.release
	}
	return nil, errors.New(canary)
}

// What is neither a tool nor a prompt nor a resource, but a team's own code
// all the same, holds nobody up either. case 115, case 125
func TestFaultyExtras(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := server.NewMCPServer("x", "1", server.WithCompletions(), server.WithPromptCompletionProvider(completions{release}))
	s.AddNotificationHandler("notifications/hang", func(context.Context, mcp.JSONRPCNotification) { <-release })
	s.AddNotificationHandler("notifications/panic", func(context.Context, mcp.JSONRPCNotification) { panic(canary) })
	url, log := serve(t, s, mcpserver.Config{CallTimeout: 50 * time.Millisecond, MaxCalls: 1})
	complete := func(prompt string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"` + prompt + `"},"argument":{"name":"a","value":""}}}`
	}
	for _, tc := range []struct {
		body    string
		status  int
		outcome string
	}{
		{complete("error"), 200, "error -32603"},
		{complete("panic"), 200, "panic"},
		{complete("hang"), 200, "timeout"},
		{`{"jsonrpc":"2.0","method":"notifications/hang"}`, 500, "timeout"},
		{`{"jsonrpc":"2.0","method":"notifications/panic"}`, 500, "panic"},
	} {
		resp, body := post(t, url+"/mcp", tc.body)
		a := decode(t, body)
		id := resp.Header.Get("X-Request-Id")
		if resp.StatusCode != tc.status || a.Error == nil || a.Error.Code != -32603 || a.Error.Message != "internal error (request id "+id+")" {
			t.Errorf("%s: got %d %s, want %d and an internal error with its id", tc.body, resp.StatusCode, body, tc.status)
		}
		if line := logLine(log.String(), id); !strings.Contains(line, `"outcome":"`+tc.outcome+`"`) || !strings.Contains(line, canary) && tc.outcome != "timeout" {
			t.Errorf("%s: logged %s, want outcome %s", tc.body, line, tc.outcome)
		}
	}
}

// A panic in a team's own hook or middleware is contained too.
func TestFaultyMiddleware(t *testing.T) {
	s := server.NewMCPServer("x", "1", server.WithToolHandlerMiddleware(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
		return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic(canary) }
	}))
	s.AddTool(mcp.NewTool("t"), nil)
	url, log := serve(t, s, mcpserver.Config{})
	resp, body := post(t, url+"/mcp", toolCall("t", `{}`))
	if a := decode(t, body); resp.StatusCode != 500 || a.Error == nil || string(a.ID) != "1" || strings.Contains(body, "canary") {
		t.Errorf("got %d %s, want 500 and a generic error", resp.StatusCode, body)
	}
	if !strings.Contains(log.String(), canary) {
		t.Errorf("the panic is not in the log: %s", log)
	}
}

// A tool that hangs stays refused while its calls pile up, and the others go
// on. case 115
func TestStuckTool(t *testing.T) {
	release := make(chan struct{})
	url, _ := serve(t, faulty(release), mcpserver.Config{CallTimeout: 20 * time.Millisecond})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { post(t, url+"/mcp", toolCall("hang", `{}`)) })
	}
	wg.Wait()
	_, body := post(t, url+"/mcp", toolCall("hang", `{}`))
	if got, failed := text(t, body); !failed || !strings.Contains(got, "earlier calls hang") {
		t.Errorf("got %q, error %v, want a refusal", got, failed)
	}
	_, body = post(t, url+"/mcp", toolCall("fine", `{}`))
	if got, _ := text(t, body); got != "fine" {
		t.Errorf("another tool: got %q, want fine", got)
	}
	close(release)
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, body = post(t, url+"/mcp", toolCall("hang", `{}`))
		if got, _ := text(t, body); strings.Contains(got, "the handler failed") {
			break // it runs again
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %s, want the tool back", body)
		}
	}
}

// A caller that hangs up cancels its call, and only that. case 115
func TestDisconnect(t *testing.T) {
	s := server.NewMCPServer("x", "1")
	entered, cancelled := make(chan struct{}), make(chan error)
	s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		entered <- struct{}{}
		<-ctx.Done()
		cancelled <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	url, log := serve(t, s, mcpserver.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/mcp", strings.NewReader(toolCall("wait", `{}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	done := make(chan error)
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		done <- err
	}()
	<-entered
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller got %v", err)
	}
	log.await(t, `"outcome":"disconnected"`)
}

// The middleware leaves other transports alone.
func TestOtherTransport(t *testing.T) {
	s := calcserver.New("1")
	if _, err := mcpserver.New(s, mcpserver.Config{}); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(s.HandleMessage(t.Context(), json.RawMessage(toolCall("add_numbers", `{"a":1,"b":2}`))))
	if err != nil {
		t.Fatal(err)
	}
	if sum, failed := text(t, string(got)); sum != "3" || failed {
		t.Errorf("got %s, want 3", got)
	}
}
