package localaws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// mathTools offers add_numbers, multiply_numbers and greet_user, with a prefix
// before their names.
func mathTools(prefix string) *types.ToolConfiguration {
	offer := func(name, kind string, parameters ...string) types.Tool {
		properties := map[string]any{}
		for _, p := range parameters {
			properties[p] = map[string]any{"type": kind}
		}
		return &types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String(prefix + name),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(map[string]any{
				"type": "object", "properties": properties, "required": parameters,
			})},
		}}
	}
	return &types.ToolConfiguration{Tools: []types.Tool{
		offer("greet_user", "string", "name"), offer("add_numbers", "integer", "a", "b"), offer("multiply_numbers", "integer", "a", "b"),
	}}
}

// runMath does what the tools of mathTools do.
func runMath(name string, input []byte) (string, error) {
	var in struct {
		A, B json.Number
		Name string
	}
	d := json.NewDecoder(bytes.NewReader(input))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return "", err
	}
	a, _ := new(big.Int).SetString(in.A.String(), 10)
	b, _ := new(big.Int).SetString(in.B.String(), 10)
	switch {
	case strings.HasSuffix(name, "greet_user"):
		return fmt.Sprintf("Hello, %s! Nice to meet you.", in.Name), nil
	case a == nil || b == nil:
		return "", fmt.Errorf("a and b must be whole numbers")
	case strings.HasSuffix(name, "add_numbers"):
		return a.Add(a, b).String(), nil
	default:
		return fmt.Sprintf("%s times %s is %s.", in.A, in.B, a.Mul(a, b)), nil
	}
}

// converse runs a conversation to its end. It returns every tool use, those of
// one turn joined by " & ", and the answer.
func converse(ctx context.Context, client *bedrockruntime.Client, prompt string, tools *types.ToolConfiguration, run func(name string, input []byte) (string, error)) (turns []string, answer string, err error) {
	in := &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays(prompt), ToolConfig: tools}
	for range 20 {
		out, err := client.Converse(ctx, in)
		if err != nil {
			return turns, "", err
		}
		msg := out.Output.(*types.ConverseOutputMemberMessage).Value
		if out.StopReason == types.StopReasonEndTurn {
			return turns, msg.Content[0].(*types.ContentBlockMemberText).Value, nil
		}
		if out.StopReason != types.StopReasonToolUse {
			return turns, "", fmt.Errorf("stop reason %s", out.StopReason)
		}
		var uses []string
		results := types.Message{Role: types.ConversationRoleUser}
		for _, b := range msg.Content {
			use := b.(*types.ContentBlockMemberToolUse).Value
			input, err := use.Input.MarshalSmithyDocument()
			if err != nil {
				return turns, "", err
			}
			uses = append(uses, *use.Name+string(input))
			res := types.ToolResultBlock{ToolUseId: use.ToolUseId}
			text, err := run(*use.Name, input)
			if err != nil {
				text, res.Status = err.Error(), types.ToolResultStatusError
			}
			res.Content = []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: text}}
			results.Content = append(results.Content, &types.ContentBlockMemberToolResult{Value: res})
		}
		turns = append(turns, strings.Join(uses, " & "))
		in.Messages = append(in.Messages, msg, results)
	}
	return turns, "", fmt.Errorf("no answer after 20 turns")
}

const canDo = `Hello! I can add and multiply numbers and greet people. Try "What is 2+2?" or "greet Alice".`

func TestArithmetic(t *testing.T) {
	tests := []struct {
		prompt string
		turns  []string
		answer string
	}{
		{"What is 2+2?", []string{`add_numbers{"a":2,"b":2}`}, "The sum of 2 + 2 = 4."},
		{"12 * 7", []string{`multiply_numbers{"a":12,"b":7}`}, "The product of 12 * 7 = 84."},
		{"Please compute 12x7.", []string{`multiply_numbers{"a":12,"b":7}`}, "The product of 12 * 7 = 84."},
		{"add 3 and 4", []string{`add_numbers{"a":3,"b":4}`}, "The sum of 3 + 4 = 7."},
		{"Multiply 6 by 7!", []string{`multiply_numbers{"a":6,"b":7}`}, "The product of 6 * 7 = 42."},
		{"What is the sum of 3 and 4?", []string{`add_numbers{"a":3,"b":4}`}, "The sum of 3 + 4 = 7."},
		{"what's 6 multiplied by 7", []string{`multiply_numbers{"a":6,"b":7}`}, "The product of 6 * 7 = 42."},
		{"2+3*4", []string{`multiply_numbers{"a":3,"b":4}`, `add_numbers{"a":2,"b":12}`}, "2+3*4 = 14."},
		{"(1+2)*3", []string{`add_numbers{"a":1,"b":2}`, `multiply_numbers{"a":3,"b":3}`}, "(1+2)*3 = 9."},
		{"(1+2)*(3+4)", []string{`add_numbers{"a":1,"b":2} & add_numbers{"a":3,"b":4}`, `multiply_numbers{"a":3,"b":7}`}, "(1+2)*(3+4) = 21."},
		{"add 1, 2 and 3", []string{`add_numbers{"a":1,"b":2}`, `add_numbers{"a":3,"b":3}`}, "1+2+3 = 6."},
		{"(2+2)*(2+2)", []string{`add_numbers{"a":2,"b":2}`, `multiply_numbers{"a":4,"b":4}`}, "(2+2)*(2+2) = 16."},
		{"10 - 2*3", []string{`multiply_numbers{"a":2,"b":3}`, `add_numbers{"a":10,"b":-6}`}, "10-2*3 = 4."},
		{"10-(2-3)", []string{`add_numbers{"a":2,"b":-3}`, `add_numbers{"a":10,"b":1}`}, "10-(2-3) = 11."},
		{"add -5 and 3", []string{`add_numbers{"a":-5,"b":3}`}, "The sum of -5 + 3 = -2."},
		{"-3 * -4", []string{`multiply_numbers{"a":-3,"b":-4}`}, "The product of -3 * -4 = 12."},
		{"add 3 and 4, then multiply it by 2", []string{`add_numbers{"a":3,"b":4}`, `multiply_numbers{"a":7,"b":2}`}, "The sum of 3 + 4 = 7. (3+4)*2 = 14."},
		{"add 3 and 4, then multiply by 2 and add 1 to the result", []string{`add_numbers{"a":3,"b":4}`, `multiply_numbers{"a":7,"b":2}`, `add_numbers{"a":1,"b":14}`}, "The sum of 3 + 4 = 7. (3+4)*2 = 14. 1+(3+4)*2 = 15."},
		// case 72
		{"What is 2+2 and what is 3*5?", []string{`add_numbers{"a":2,"b":2} & multiply_numbers{"a":3,"b":5}`}, "The sum of 2 + 2 = 4. The product of 3 * 5 = 15."},
		{"What is 2+2? And 2+2?", []string{`add_numbers{"a":2,"b":2}`}, "The sum of 2 + 2 = 4."},
		{"greet Alice", []string{`greet_user{"name":"Alice"}`}, "Hello, Alice! Nice to meet you."},
		{"Say hello to Bob, please.", []string{`greet_user{"name":"Bob"}`}, "Hello, Bob! Nice to meet you."},
		{"Greet Mary-Jane O'Neil and Bob, then add 1 and 1", []string{`greet_user{"name":"Mary-Jane O'Neil"} & greet_user{"name":"Bob"} & add_numbers{"a":1,"b":1}`}, "Hello, Mary-Jane O'Neil! Nice to meet you. Hello, Bob! Nice to meet you. The sum of 1 + 1 = 2."},
		// case 71: whole numbers beyond 2^53 keep their digits
		{"9007199254740993 + 9007199254740993", []string{`add_numbers{"a":9007199254740993,"b":9007199254740993}`}, "The sum of 9007199254740993 + 9007199254740993 = 18014398509481986."},
		{"123456789012345678901234567890 * 10", []string{`multiply_numbers{"a":123456789012345678901234567890,"b":10}`}, "The product of 123456789012345678901234567890 * 10 = 1234567890123456789012345678900."},
		{"007 + 1,000", []string{`add_numbers{"a":7,"b":1000}`}, "The sum of 7 + 1000 = 1007."},
		{"add 1.50 and 2", []string{`add_numbers{"a":1.50,"b":2}`}, "The tool add_numbers failed: a and b must be whole numbers"},
		{"1.5+1 and 2*2", []string{`add_numbers{"a":1.5,"b":1} & multiply_numbers{"a":2,"b":2}`}, "The tool add_numbers failed: a and b must be whole numbers The product of 2 * 2 = 4."},
		{"-(1+2)*3", []string{`add_numbers{"a":1,"b":2}`, `multiply_numbers{"a":-3,"b":3}`}, "-(1+2)*3 = -9."},
		{"-0 + 0", []string{`add_numbers{"a":0,"b":0}`}, "The sum of 0 + 0 = 0."},
		{"8/2", nil, "I have no tool to divide numbers."},
		{"8/2 and 1+1", []string{`add_numbers{"a":1,"b":1}`}, "I have no tool to divide numbers. The sum of 1 + 1 = 2."},
		{"Hello", nil, canDo},
		{"What is the weather in 1984?", nil, canDo},
		{"2 + what? (3*", nil, canDo},
		{strings.Repeat("(", 5000) + "1+1", []string{`add_numbers{"a":1,"b":1}`}, "The sum of 1 + 1 = 2."},
		{"1+1 " + strings.Repeat("it+it ", 1000) + "greet", []string{`add_numbers{"a":1,"b":1}`, `add_numbers{"a":2,"b":2}`, `add_numbers{"a":4,"b":4}`, `add_numbers{"a":8,"b":8}`, `add_numbers{"a":16,"b":16}`}, ""},
	}
	_, client := startBedrock(t)
	for _, tt := range tests {
		name := tt.prompt[:min(len(tt.prompt), 40)]
		t.Run(name, func(t *testing.T) {
			turns, answer, err := converse(t.Context(), client, tt.prompt, mathTools(""), runMath)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Join(turns, "\n"), strings.Join(tt.turns, "\n"); got != want {
				t.Errorf("got tool uses\n%s\nwant\n%s", got, want)
			}
			if answer != tt.answer && tt.answer != "" {
				t.Errorf("got answer %q, want %q", answer, tt.answer)
			}
		})
	}
}

// FuzzArithmetic has any prompt end in a reply that is the same when asked
// again, with tool input that is JSON.
func FuzzArithmetic(f *testing.F) {
	for _, prompt := range []string{"2+3*4", "-(1--2)x(3", "add 1,000 by it", "greet A, B and C", "1.5e3 - 007", strings.Repeat("(-", 200)} {
		f.Add(prompt)
	}
	f.Fuzz(func(t *testing.T, prompt string) {
		req := localaws.ConverseRequest{
			Tools:    []localaws.ToolSpec{{Name: "add_numbers"}, {Name: "multiply_numbers"}, {Name: "greet_user"}},
			Messages: []localaws.ConverseMessage{{Role: "user", Content: []localaws.ContentBlock{{Text: prompt}}}},
		}
		reply, again := localaws.Arithmetic(req), localaws.Arithmetic(req)
		if !reflect.DeepEqual(reply, again) {
			t.Errorf("got %+v, then %+v", reply, again)
		}
		if len(reply.Content) == 0 {
			t.Error("got no content")
		}
		for _, b := range reply.Content {
			if b.ToolUse == nil && strings.TrimSpace(b.Text) == "" || b.ToolUse != nil && !json.Valid(b.ToolUse.Input) {
				t.Errorf("got text %q, tool use %+v", b.Text, b.ToolUse)
			}
		}
	})
}

// TestArithmetic_numbersFromTools shows that the model calculates nothing: a
// tool that lies is believed.
func TestArithmetic_numbersFromTools(t *testing.T) {
	_, client := startBedrock(t)
	lie := func(string, []byte) (string, error) { return "The result is 99.", nil }
	turns, answer, err := converse(t.Context(), client, "2+3*4", mathTools(""), lie)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := turns[1], `add_numbers{"a":2,"b":99}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want := "2+3*4 = 99."; answer != want {
		t.Errorf("got %q, want %q", answer, want)
	}
	mute := func(string, []byte) (string, error) { return "no idea", nil }
	if _, answer, _ = converse(t.Context(), client, "2+2", mathTools(""), mute); answer != "The tool to add numbers gave no number: no idea" {
		t.Errorf("got %q", answer)
	}
}

func TestArithmetic_toolNames(t *testing.T) {
	rename := func(name, schema string) *types.ToolConfiguration {
		var s any
		if err := json.Unmarshal([]byte(schema), &s); err != nil {
			t.Fatal(err)
		}
		return &types.ToolConfiguration{Tools: []types.Tool{&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String(name), InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(s)},
		}}}}
	}
	const ab = `{"type":"object","properties":{"a":{},"b":{}}}`
	tests := []struct {
		name  string
		tools *types.ToolConfiguration
		want  string // the tool use, or the answer without one
	}{
		{"prefix", mathTools("mcp_simple_calculator__"), `mcp_simple_calculator__add_numbers{"a":1,"b":2}`},
		{"hash", rename("add_numbers_1f3a9c", ab), `add_numbers_1f3a9c{"a":1,"b":2}`},
		{"cut short", rename("server__add_numb_1f3a9c", ab), `server__add_numb_1f3a9c{"a":1,"b":2}`},
		{"verb", rename("calc-add", ab), `calc-add{"a":1,"b":2}`},
		{"required parameters", rename("add", `{"type":"object","properties":{"note":{},"x":{},"y":{}},"required":["y","x"]}`), `add{"x":2,"y":1}`},
		{"other tool", rename("address_book", ab), "I have no tool to add numbers."},
		{"no tools", nil, "I have no tool to add numbers."},
	}
	_, client := startBedrock(t)
	for _, tt := range tests {
		turns, answer, err := converse(t.Context(), client, "1+2", tt.tools, func(string, []byte) (string, error) { return "3", nil })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := strings.Join(append(turns, answer), " "); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestArithmetic_answerNow covers case 76: text beside the tool results asks for
// an answer, and the model asks for no more tools.
func TestArithmetic_answerNow(t *testing.T) {
	_, client := startBedrock(t)
	in := &bedrockruntime.ConverseInput{ModelId: aws.String(profile), Messages: userSays("2+3*4 and 5+5"), ToolConfig: mathTools("")}
	out, err := client.Converse(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	msg := out.Output.(*types.ConverseOutputMemberMessage).Value
	results := types.Message{Role: types.ConversationRoleUser}
	for i, text := range []string{"12", "10"} {
		results.Content = append(results.Content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
			ToolUseId: msg.Content[i].(*types.ContentBlockMemberToolUse).Value.ToolUseId,
			Content:   []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: text}},
		}})
	}
	results.Content = append(results.Content, &types.ContentBlockMemberText{Value: "Answer now, 1+1 or not."})
	in.Messages = append(in.Messages, msg, results)
	if out, err = client.Converse(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	got := flatten(t, out)
	if want := "I could not finish 2+3*4. The sum of 5 + 5 = 10."; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestArithmetic_turns asks twice in one conversation: the second prompt gets
// tool uses of its own, with ids of their own.
func TestArithmetic_turns(t *testing.T) {
	ask := localaws.ConverseRequest{
		Tools: []localaws.ToolSpec{{Name: "add_numbers"}},
		Messages: []localaws.ConverseMessage{
			{Role: "user", Content: []localaws.ContentBlock{{Text: "1+1"}}},
		},
	}
	first := localaws.Arithmetic(ask).Content[0].ToolUse
	ask.Messages = append(ask.Messages,
		localaws.ConverseMessage{Role: "assistant", Content: []localaws.ContentBlock{{ToolUse: first}}},
		localaws.ConverseMessage{Role: "user", Content: []localaws.ContentBlock{{ToolResult: &localaws.ToolResult{ID: first.ID, Text: "2"}}}},
		localaws.ConverseMessage{Role: "assistant", Content: []localaws.ContentBlock{{Text: "The sum of 1 + 1 = 2."}}},
		localaws.ConverseMessage{Role: "user", Content: []localaws.ContentBlock{{Text: "1+1"}}},
	)
	second := localaws.Arithmetic(ask).Content[0].ToolUse
	if second == nil || second.ID == first.ID || string(second.Input) != string(first.Input) {
		t.Errorf("got %+v after %+v, want the same again with another id", second, first)
	}
}

func TestArithmetic_stopSequence(t *testing.T) {
	reply := localaws.Arithmetic(localaws.ConverseRequest{
		StopSequences: []string{"Try", " and greet"},
		Messages:      []localaws.ConverseMessage{{Role: "user", Content: []localaws.ContentBlock{{Text: "hi"}}}},
	})
	if want := "Hello! I can add and multiply numbers"; reply.StopReason != "stop_sequence" || reply.Content[0].Text != want {
		t.Errorf("got %s %q, want stop_sequence %q", reply.StopReason, reply.Content[0].Text, want)
	}
}
