package localaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// readConverse reads a request of Converse or ConverseStream and checks all of
// it.
func (s *Server) readConverse(r *http.Request, rec *Record) (ConverseRequest, *apiError) {
	req := ConverseRequest{Operation: rec.Operation, Body: rec.RequestBody}
	if r.Method != http.MethodPost {
		return req, &apiError{http.StatusMethodNotAllowed, "UnknownOperationException", fmt.Sprintf("%s is a POST, not a %s", rec.Operation, r.Method)}
	}
	escaped, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/model/"), "/converse")
	id, err := url.PathUnescape(escaped)
	if err != nil || strings.Contains(escaped, "/") {
		return req, &apiError{http.StatusNotFound, "UnknownOperationException", "the model id is one path segment, with / as %2F: " + rec.Path}
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return req, invalidf("Content-Type", "want application/json, not %.80q", r.Header.Get("Content-Type"))
	}
	if !utf8.Valid(req.Body) || !json.Valid(req.Body) {
		return req, errorf("SerializationException", "the request body is not JSON in UTF-8")
	}
	if bad := checkModelID(id, s.cfg.Region); bad != nil {
		return req, bad
	}
	req.ModelID = id

	d := &converseReader{bedrock: &s.bedrock}
	d.request(&req)
	if d.fault != nil {
		return req, d.fault
	}
	if bad := checkConversation(req); bad != nil {
		return req, bad
	}
	return req, s.bedrock.checkReasoning(req.Messages)
}

// converseReader reads a request and counts what has a limit per request.
type converseReader struct {
	shapeReader
	bedrock     *bedrockRuntime
	cachePoints int
	shortCache  bool // there was a cache point of five minutes
	strictTools int
	optional    int // optional parameters of strict tools
}

// request reads the body. Tools come before the system prompt and the messages,
// the order in which a model is given them.
func (d *converseReader) request(req *ConverseRequest) {
	body := d.object(value{json: bytes.TrimSpace(req.Body)}, requestShape)
	d.toolConfig(body["toolConfig"], req)
	for _, v := range d.list(body["system"]) {
		switch name, v := d.union(v, systemUnion); name {
		case "text":
			req.System = append(req.System, d.written(v))
		case "cachePoint":
			d.cachePoint(v)
		}
	}
	for _, v := range d.list(body["messages"]) {
		req.Messages = append(req.Messages, d.message(v))
	}
	d.inference(body["inferenceConfig"], req)
	d.settings(body, req)
	if d.cachePoints > 4 {
		d.failf(value{path: "cachePoint"}, "%d cache points, of which a request may have 4", d.cachePoints)
	}
}

func (d *converseReader) message(v value) ConverseMessage {
	m := d.object(v, messageShape)
	msg := ConverseMessage{Role: d.text(m["role"])}
	switch {
	case d.fault != nil:
	case msg.Role == "system":
		d.failf(m["role"], "localaws does not implement messages of the role system")
	case msg.Role != "user" && msg.Role != "assistant":
		d.failf(m["role"], "want user or assistant, not %.80q", msg.Role)
	}
	for _, v := range d.list(m["content"]) {
		switch name, v := d.union(v, contentUnion); name {
		case "text":
			msg.Content = append(msg.Content, ContentBlock{Text: d.written(v)})
		case "cachePoint":
			d.cachePoint(v)
		case "toolUse":
			msg.Content = append(msg.Content, ContentBlock{ToolUse: d.toolUse(v)})
		case "toolResult":
			msg.Content = append(msg.Content, ContentBlock{ToolResult: d.toolResult(v)})
		case "reasoningContent":
			msg.Content = append(msg.Content, ContentBlock{Reasoning: d.reasoning(v)})
		}
	}
	if len(msg.Content) == 0 {
		d.failf(v, "the content is empty; add a content block")
	}
	return msg
}

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
var (
	validToolName  = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	validToolUseID = regexp.MustCompile(`^[a-zA-Z0-9_.:-]+$`)
)

// toolUse reads a tool use. Bedrock requires its input to be an object, although
// the API model allows any document.
func (d *converseReader) toolUse(v value) *ToolUse {
	m := d.object(v, toolUseShape)
	return &ToolUse{
		ID:    d.matching(m["toolUseId"], 64, validToolUseID),
		Name:  d.matching(m["name"], 64, validToolName),
		Input: d.document(m["input"]),
	}
}

// toolResult reads a tool result. Some models refuse empty content only if the
// status is error. No client needs empty content, so it is always refused.
func (d *converseReader) toolResult(v value) *ToolResult {
	m := d.object(v, toolResultShape)
	res := &ToolResult{ID: d.matching(m["toolUseId"], 64, validToolUseID)}
	res.IsError = d.enum(m["status"], "success", "error") == "error"
	var lines []string
	for _, v := range d.list(m["content"]) {
		switch name, v := d.union(v, resultUnion); name {
		case "text":
			lines = append(lines, d.written(v))
		case "json":
			lines = append(lines, string(d.document(v)))
		}
	}
	if len(lines) == 0 {
		d.failf(v, "the content of the tool result is empty")
	}
	res.Text = strings.Join(lines, "\n")
	return res
}

func (d *converseReader) reasoning(v value) *Reasoning {
	r := &Reasoning{}
	switch name, v := d.union(v, reasoningUnion); name {
	case "reasoningText":
		m := d.object(v, reasoningShape)
		r.Text, r.Signature = d.text(m["text"]), d.text(m["signature"])
	case "redactedContent":
		var b []byte
		d.decode(v, "base64", &b)
		r.Redacted = string(b)
	}
	return r
}

// cachePoint reads a cache point. Entries of an hour come before those of five
// minutes. https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
func (d *converseReader) cachePoint(v value) {
	m := d.object(v, cachePointShape)
	d.enum(m["type"], "default")
	d.cachePoints++
	if d.enum(m["ttl"], "5m", "1h") != "1h" {
		d.shortCache = true
	} else if d.shortCache {
		d.failf(m["ttl"], "a cache point of 1h comes after one of 5m")
	}
}

func (d *converseReader) inference(v value, req *ConverseRequest) {
	m := d.object(v, inferenceShape)
	req.MaxTokens = d.positive(m["maxTokens"])
	d.share(m["temperature"])
	d.share(m["topP"])
	// Newer Claude models take only one of the two.
	// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
	if m["temperature"].json != nil && m["topP"].json != nil {
		d.failf(v, "temperature and topP cannot both be specified")
	}
	// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html
	stops := d.list(m["stopSequences"])
	if len(stops) > 2500 {
		d.failf(m["stopSequences"], "%d stop sequences, of which a request may have 2500", len(stops))
	}
	for _, v := range stops {
		req.StopSequences = append(req.StopSequences, d.written(v))
	}
}

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailConfiguration.html
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
var (
	validGuardrail = regexp.MustCompile(`^([a-z0-9]+|arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+)$`)
	validVersion   = regexp.MustCompile(`^([1-9][0-9]{0,7}|DRAFT)$`)
	validMetadata  = regexp.MustCompile(`^[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}$`)
	validPointer   = regexp.MustCompile(`^(/([^~/]|~[01])*)+$`)
)

// settings reads the members that do not change the answer of a deterministic
// model.
func (d *converseReader) settings(body map[string]value, req *ConverseRequest) {
	guardrail := guardrailShape
	if req.Operation == "ConverseStream" {
		guardrail = guardrailStreamShape
	}
	g := d.object(body["guardrailConfig"], guardrail)
	req.Guardrail = d.matching(g["guardrailIdentifier"], 2048, validGuardrail)
	d.matching(g["guardrailVersion"], 8, validVersion)
	d.enum(g["trace"], "enabled", "disabled", "enabled_full")
	d.enum(g["streamProcessingMode"], "sync", "async")

	req.Latency = d.enum(d.object(body["performanceConfig"], latencyShape)["latency"], "standard", "optimized")
	req.ServiceTier = d.enum(d.object(body["serviceTier"], tierShape)["type"], "reserved", "priority", "default", "flex")
	d.enum(d.object(body["outputConfig"], outputShape)["effort"], "low", "medium", "high", "xhigh", "max")
	d.document(body["additionalModelRequestFields"])
	paths := d.list(body["additionalModelResponseFieldPaths"])
	if len(paths) > 10 {
		d.failf(body["additionalModelResponseFieldPaths"], "%d paths, of which a request may have 10", len(paths))
	}
	for _, v := range paths {
		d.matching(v, 256, validPointer)
	}
	names, metadata := d.members(body["requestMetadata"])
	if v := body["requestMetadata"]; v.json != nil && (len(names) < 1 || len(names) > 16) {
		d.failf(v, "want 1 to 16 pairs, not %d", len(names))
	}
	for _, name := range names {
		if text := d.text(metadata[name]); !validMetadata.MatchString(name) || text != "" && !validMetadata.MatchString(text) {
			d.failf(metadata[name], "want a name and a value of up to 256 characters matching %s", validMetadata)
		}
	}
}
