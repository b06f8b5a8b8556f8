package converse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"agentcore-mcp-auth/pkg/converse"
)

// instant is a model in the process that asks for tools on all turns but the
// last.
type instant struct {
	uses, turns int
}

func (m instant) Converse(_ context.Context, in *bedrockruntime.ConverseInput, _ ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error) {
	n := (len(in.Messages) + 1) / 2
	if n >= m.turns {
		return turn(types.StopReasonEndTurn, &types.ContentBlockMemberText{Value: "done"}), nil
	}
	blocks := []types.ContentBlock{&types.ContentBlockMemberText{Value: "Let me see."}}
	for i := range m.uses {
		blocks = append(blocks, &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
			ToolUseId: aws.String(fmt.Sprintf("t%d_%d", n, i)), Name: aws.String("tool_0"),
			Input: document.NewLazyDocument(map[string]any{"a": n, "b": i}),
		}})
	}
	return turn(types.StopReasonToolUse, blocks...), nil
}

func benchBox(n int, run func(context.Context, string, json.RawMessage) (converse.Result, error)) *toolset {
	box := tools(run)
	for i := range n {
		box.tools = append(box.tools, converse.Tool{Name: fmt.Sprintf("tool_%d", i), Description: "A tool.", InputSchema: json.RawMessage(
			`{"type":"object","properties":{"a":{"type":"integer","minimum":0},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}`)})
	}
	return box
}

// The loop's own time per turn, with an instant model and an instant tool.
// Wanted: under 0.5 ms.
func BenchmarkTurn(b *testing.B) {
	const turns = 10
	box := benchBox(20, nil)
	loop := converse.New(converse.Config{Model: instant{uses: 1, turns: turns}, ModelIDs: []string{"m"}})
	b.ReportAllocs()
	for b.Loop() {
		if answer, err := loop.Run(b.Context(), converse.Request{Prompt: "go"}, box); err != nil || answer.Turns != turns {
			b.Fatal(answer.Turns, err)
		}
		box.calls = nil
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*turns), "µs/turn")
}

// Ten tools of 20 ms each in one turn. Wanted: what one takes.
func BenchmarkTenTools(b *testing.B) {
	box := benchBox(1, func(context.Context, string, json.RawMessage) (converse.Result, error) {
		time.Sleep(20 * time.Millisecond)
		return converse.Result{Text: "ok"}, nil
	})
	loop := converse.New(converse.Config{Model: instant{uses: 10, turns: 2}, ModelIDs: []string{"m"}})
	for b.Loop() {
		if _, err := loop.Run(b.Context(), converse.Request{Prompt: "go"}, box); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N)/20, "×slowest")
}

// Fifty conversations at once, each at the end of ten turns with results of
// 16 KiB. Wanted: under 128 MB.
func BenchmarkFiftyAtOnce(b *testing.B) {
	const turns = 10
	var most uint64
	for b.Loop() {
		var ready, wg sync.WaitGroup
		gate := make(chan struct{})
		ready.Add(50)
		box := benchBox(20, func(_ context.Context, _ string, input json.RawMessage) (converse.Result, error) {
			var in struct{ A int }
			json.Unmarshal(input, &in)
			if in.A == turns-1 {
				ready.Done()
				<-gate
			}
			b := make([]byte, 16<<10)
			for i := range b {
				b[i] = 'x'
			}
			return converse.Result{Text: string(b)}, nil
		})
		loop := converse.New(converse.Config{Model: instant{uses: 1, turns: turns}, ModelIDs: []string{"m"}})
		for range 50 {
			wg.Go(func() {
				if _, err := loop.Run(b.Context(), converse.Request{Prompt: "go"}, box); err != nil {
					b.Error(err)
				}
			})
		}
		ready.Wait()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse+m.StackInuse)
		close(gate)
		wg.Wait()
	}
	b.ReportMetric(float64(most)/1e6, "MB")
}
