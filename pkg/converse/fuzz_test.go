package converse_test

import (
	"context"
	"encoding/json"
	"testing"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

// case 75: whatever a model gives as input, the tool gets a JSON object that
// fits or nothing, and the conversation goes on.
func FuzzRun_toolInput(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":"1"}`, `{"a":1e400}`, `{"a":1e99999999}`, `{`, ``, `null`, `[]`, `{"a":1}x`, `{"\ud800":1}`, `{"a":1,"a":"x"}`, `{"a":0,"A":""}`} {
		f.Add(s)
	}
	schema := json.RawMessage(`{"type":"object","properties":{"a":{"type":"number","maximum":10}},"required":["a"]}`)
	f.Fuzz(func(t *testing.T, input string) {
		box := tools(func(_ context.Context, _ string, got json.RawMessage) (converse.Result, error) {
			var in map[string]json.RawMessage
			var a *json.Number
			if json.Unmarshal(got, &in) != nil || json.Unmarshal(in["a"], &a) != nil || a == nil || in["a"][0] == '"' {
				t.Errorf("the tool got %s for %q", got, input)
			}
			return converse.Result{Text: "ok"}, nil
		})
		box.tools = []converse.Tool{{Name: "t", InputSchema: schema}}
		r := newRig(converse.Config{}, localaws.Script(localaws.Ask(use("t1", "t", input)), localaws.Say("done")))
		answer, err := r.Run(t.Context(), converse.Request{Prompt: "go", Events: func(converse.Event) {}}, box)
		if err != nil || answer.Output != "done" {
			t.Errorf("%q: got %q, %v", input, answer.Output, err)
		}
	})
}
