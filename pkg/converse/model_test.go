package converse_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/converse"
)

// odd is a Model that answers what the service and its SDK do not, or not yet.
type odd func() (*bedrockruntime.ConverseOutput, error)

func (o odd) Converse(context.Context, *bedrockruntime.ConverseInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error) {
	return o()
}

// What no conversation can be had with is told, and asked once.
func TestRun_oddModel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ids    []string
		answer odd
		kind   converse.Kind
		want   string
		asked  int
	}{
		{"no model id", nil, nil, converse.Refused, "no model id is set", 0},
		{"no message", []string{modelID}, func() (*bedrockruntime.ConverseOutput, error) {
			return &bedrockruntime.ConverseOutput{StopReason: types.StopReasonEndTurn}, nil
		}, converse.Failed, "without a message", 1},
		{"refused by the SDK", []string{modelID}, func() (*bedrockruntime.ConverseOutput, error) {
			var invalid smithy.InvalidParamsError
			invalid.Add(smithy.NewErrParamRequired("ModelId"))
			return nil, &smithy.OperationError{ServiceID: "Bedrock Runtime", OperationName: "Converse", Err: invalid}
		}, converse.Refused, "ModelId", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			model := odd(func() (*bedrockruntime.ConverseOutput, error) { asked++; return tt.answer() })
			_, err := converse.New(converse.Config{Model: model, ModelIDs: tt.ids}).Run(t.Context(), converse.Request{Prompt: "x"}, tools(nil))
			wantModelError(t, err, tt.kind, tt.want)
			if asked != tt.asked {
				t.Errorf("asked %d times, want %d", asked, tt.asked)
			}
		})
	}
}
