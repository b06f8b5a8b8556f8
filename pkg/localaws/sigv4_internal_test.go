package localaws

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// A path with escaped characters is signed as it is sent, and REST services
// refuse with 403.
func TestCheckSignature_rest(t *testing.T) {
	s := New(Config{})
	var good, bad *apiError
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		good = s.checkSignature(r, body, "bedrock")
		bad = s.checkSignature(r, append(body, ' '), "bedrock")
		w.Write([]byte("{}"))
	}))
	defer srv.Close()
	cfg := s.AWSConfig()
	cfg.BaseEndpoint = &srv.URL
	for _, model := range []string{"eu.anthropic.claude-3:0", "arn:aws:bedrock:eu-central-1:000000000000:inference-profile/eu.a b+c"} {
		good, bad = errorf("none", "no request came"), nil
		bedrockruntime.NewFromConfig(cfg).Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: &model,
			Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "hi"}}}}})
		if good != nil {
			t.Errorf("%s: got %v, want a good signature", model, good)
		}
		if bad == nil || bad.Status != http.StatusForbidden || bad.Type != "InvalidSignatureException" {
			t.Errorf("%s, changed body: got %v, want a 403 InvalidSignatureException", model, bad)
		}
	}
}
