package localaws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// bedrockRuntime is what the stand-in keeps for Bedrock: the model that answers,
// the reasoning that it has handed out and the schemas that it has seen. The
// zero value is ready to use.
type bedrockRuntime struct {
	mu        sync.Mutex // guards what follows
	model     Model      // nil: Arithmetic
	reasoning recent[Reasoning, struct{}]
	texts     recent[string, struct{}]        // reasoning texts, whatever their signature
	schemas   recent[[sha256.Size]byte, bool] // by hash: whether the schema is valid draft 2020-12
}

// SetModel makes m answer from the next request on. A nil m restores
// [Arithmetic].
func (s *Server) SetModel(m Model) {
	s.bedrock.mu.Lock()
	defer s.bedrock.mu.Unlock()
	s.bedrock.model = m
}

// ask calls the model and remembers its reasoning, which must come back
// unchanged.
func (b *bedrockRuntime) ask(req ConverseRequest) ConverseReply {
	b.mu.Lock()
	model := b.model
	b.mu.Unlock()
	if model == nil {
		model = Arithmetic
	}
	reply := model(req).complete(req)

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, block := range reply.Content {
		if block.Reasoning == nil {
			continue
		}
		b.reasoning.put(*block.Reasoning, struct{}{})
		b.texts.put(block.Reasoning.Text, struct{}{})
	}
	return reply
}

// checkReasoning refuses reasoning that differs from what the model said.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningTextBlock.html
func (b *bedrockRuntime) checkReasoning(messages []ConverseMessage) *apiError {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, m := range messages {
		for j, block := range m.Content {
			r := block.Reasoning
			if r == nil || b.reasoning.has(*r) {
				continue
			}
			at := fmt.Sprintf("messages.%d.content.%d.reasoningContent", i, j)
			if r.Redacted == "" && b.texts.has(r.Text) {
				return invalidf(at, "the signature is missing or is not the one that came with this text; send reasoning back unmodified")
			}
			return invalidf(at, "this is not reasoning that the model has given; send reasoning back unmodified")
		}
	}
	return nil
}

func (s *Server) serveConverse(w http.ResponseWriter, r *http.Request, rec *Record) {
	start := s.cfg.Now()
	var req ConverseRequest
	err := s.checkSignature(r, rec.RequestBody, "bedrock")
	if err == nil {
		req, err = s.readConverse(r, rec)
	}
	if err == nil {
		err = s.authorizeAll(r, s.modelAccess(req))
	}
	if err != nil {
		writeError(w, err)
		return
	}
	reply := s.bedrock.ask(req)
	if !pause(r.Context(), reply.Latency) {
		panic(http.ErrAbortHandler) // the caller has disconnected
	}
	elapsed := func() int64 { return s.cfg.Now().Sub(start).Milliseconds() }
	switch fail := reply.Error; {
	case fail != nil && (fail.AfterEvents == 0 || req.Operation == "Converse"):
		fail.answer(w)
	case req.Operation == "ConverseStream":
		streamReply(w, r, req, reply, elapsed)
	default:
		answerReply(w, req, reply, elapsed())
	}
}

// pause waits, and reports whether the caller is still connected afterwards.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answerReply writes the answer of Converse.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
func answerReply(w http.ResponseWriter, req ConverseRequest, reply ConverseReply, elapsed int64) {
	blocks := []any{}
	for _, b := range reply.Content {
		switch {
		case b.ToolUse != nil:
			if !json.Valid(b.ToolUse.Input) {
				writeError(w, &apiError{http.StatusInternalServerError, "InternalServerException",
					fmt.Sprintf("the scripted input of tool %s is not JSON, which only a stream can carry", b.ToolUse.Name)})
				return
			}
			blocks = append(blocks, object{"toolUse": object{"toolUseId": b.ToolUse.ID, "name": b.ToolUse.Name, "input": b.ToolUse.Input}})
		case b.Reasoning != nil && b.Reasoning.Redacted != "":
			blocks = append(blocks, object{"reasoningContent": object{"redactedContent": []byte(b.Reasoning.Redacted)}})
		case b.Reasoning != nil:
			text := object{"text": b.Reasoning.Text}
			if b.Reasoning.Signature != "" {
				text["signature"] = b.Reasoning.Signature
			}
			blocks = append(blocks, object{"reasoningContent": object{"reasoningText": text}})
		default:
			blocks = append(blocks, object{"text": b.Text})
		}
	}
	answer := object{
		"output":     object{"message": object{"role": "assistant", "content": blocks}},
		"stopReason": reply.StopReason,
		"usage":      reply.Usage,
		"metrics":    object{"latencyMs": elapsed},
	}
	req.echo(answer)
	w.Header().Set("Content-Type", "application/json")
	w.Write(encodeJSON(answer))
}

// object is a JSON object to be written.
type object map[string]any

// echo adds the settings that the API repeats in its answer.
func (req ConverseRequest) echo(answer object) {
	if req.Latency != "" {
		answer["performanceConfig"] = object{"latency": req.Latency}
	}
	if req.ServiceTier != "" {
		answer["serviceTier"] = object{"type": req.ServiceTier}
	}
}

// encodeJSON encodes v without escaping <, > and &: a tool's input leaves as the
// model gave it.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("localaws: encoding an answer of Bedrock: %v", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Model ids. An id is provider.model with an optional version, a cross-region
// profile has the geography before it, and an ARN names the kind of resource.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
var (
	modelID    = regexp.MustCompile(`^(?:(us|eu|apac|global|jp|au|ca|us-gov)\.)?([a-z0-9-]+\.[a-z0-9][a-z0-9.-]*(?::[a-z0-9]+)*)$`)
	misplaced  = regexp.MustCompile(`^[a-z0-9-]+\.(anthropic|amazon|meta|mistral|cohere|deepseek|openai|qwen)\.`)
	modelARN   = regexp.MustCompile(`^arn:aws(?:-[a-z-]+)?:bedrock:([a-z0-9-]{1,20}):([0-9]{12})?:([a-z-]+)/([a-zA-Z0-9.:/-]+)$`)
	profileFor = regexp.MustCompile(`^anthropic\.claude-(?:3-7|opus|sonnet|haiku)-`)
)

// checkModelID refuses an identifier that names no model, as Bedrock does.
// Identifiers that contain "does-not-exist" have the right form and name
// nothing.
func checkModelID(id, region string) *apiError {
	missing := strings.Contains(id, "does-not-exist")
	if arn := modelARN.FindStringSubmatch(id); arn != nil {
		switch kind, inAccount := arn[3], arn[2] != ""; kind {
		case "foundation-model":
			if inAccount {
				return invalidf("modelId", "the provided model identifier is invalid: the ARN of a foundation model has no account: %.200q", id)
			}
		case "inference-profile", "application-inference-profile", "provisioned-model", "custom-model-deployment":
			if !inAccount {
				return invalidf("modelId", "the provided model identifier is invalid: the ARN of kind %s needs an account of twelve digits: %.200q", kind, id)
			}
		case "prompt", "custom-model", "imported-model":
			return invalidf("modelId", "localaws does not implement models of kind %s: %.200q", kind, id)
		default:
			return invalidf("modelId", "the provided model identifier is invalid: nothing of kind %s can be called: %.200q", kind, id)
		}
		if arn[1] != region {
			return invalidf("modelId", "the provided model identifier is invalid: the ARN is of region %s and this is %s", arn[1], region)
		}
		if missing {
			return &apiError{Status: http.StatusNotFound, Type: "ResourceNotFoundException", Message: fmt.Sprintf("the specified resource ARN was not found: %.200s", id)}
		}
		return nil
	}
	m := modelID.FindStringSubmatch(id)
	if m == nil || missing || len(id) > 2048 || misplaced.MatchString(m[2]) {
		return invalidf("modelId", "the provided model identifier is invalid: %.200q", id)
	}
	// Newer models have no on-demand throughput of their own.
	// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
	if m[1] == "" && profileFor.MatchString(m[2]) {
		return invalidf("modelId", "invocation of %s with on-demand throughput is not supported; use the id or the ARN of an inference profile that contains it, such as eu.%s", id, id)
	}
	return nil
}
