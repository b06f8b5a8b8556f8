package localaws

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Model answers one request that has passed every check. It may be called by
// several requests at once and must not keep or change what is in req.
type Model func(req ConverseRequest) ConverseReply

// ConverseRequest is what a model sees of a request.
type ConverseRequest struct {
	Operation     string // Converse or ConverseStream
	ModelID       string
	System        []string // the text of the system blocks
	Messages      []ConverseMessage
	Tools         []ToolSpec
	ToolChoice    string // auto, any, tool, or empty
	MaxTokens     int    // 0: no limit was given
	StopSequences []string
	Latency       string // performanceConfig.latency
	ServiceTier   string
	Guardrail     string          // guardrailIdentifier
	Body          json.RawMessage // the whole request
}

// ConverseMessage is one turn of a conversation.
type ConverseMessage struct {
	Role    string // user or assistant
	Content []ContentBlock
}

// ContentBlock is a part of a message: the pointer that is not nil, or else a
// text.
type ContentBlock struct {
	Text       string
	ToolUse    *ToolUse
	ToolResult *ToolResult
	Reasoning  *Reasoning
}

// ToolUse is a model's request to run a tool.
type ToolUse struct {
	ID    string // in a reply, empty: one is made up
	Name  string
	Input json.RawMessage // in a stream that is cut short, possibly incomplete JSON
}

// ToolResult is the result of a tool use.
type ToolResult struct {
	ID      string
	Text    string // text and JSON blocks, one per line
	IsError bool
}

// Reasoning is a block of a model's reasoning: a text and its signature, or
// redacted bytes.
type Reasoning struct {
	Text, Signature string
	Redacted        string
}

// ToolSpec is a tool offered to the model.
type ToolSpec struct {
	Name, Description string
	InputSchema       json.RawMessage
}

// TokenUsage counts the tokens of an answer. A zero TotalTokens means the sum of
// the first two.
type TokenUsage struct {
	InputTokens           int `json:"inputTokens"`
	OutputTokens          int `json:"outputTokens"`
	TotalTokens           int `json:"totalTokens"`
	CacheReadInputTokens  int `json:"cacheReadInputTokens,omitempty"`
	CacheWriteInputTokens int `json:"cacheWriteInputTokens,omitempty"`
}

// ConverseReply is what a model answers.
type ConverseReply struct {
	Content    []ContentBlock
	StopReason string         // default: tool_use if Content asks for a tool, else end_turn
	Usage      *TokenUsage    // default: counted
	Latency    time.Duration  // wait before the answer begins
	Interval   time.Duration  // wait before each event of a stream, except the first
	Error      *ConverseError // an error in place of the answer or within it
}

// ConverseError is an exception of Bedrock.
type ConverseError struct {
	Type    string // ThrottlingException, …; empty: the connection is cut
	Message string
	// AfterEvents is how many events of a stream are sent before the exception,
	// which then comes inside the stream. With zero, and in Converse, the
	// exception is the whole answer.
	AfterEvents int
}

// converseErrors are the exceptions of Converse with their HTTP status, and
// whether a stream can carry them.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
var converseErrors = map[string]struct {
	status   int
	inStream bool
}{
	"AccessDeniedException":         {http.StatusForbidden, false},
	"InternalServerException":       {http.StatusInternalServerError, true},
	"ModelErrorException":           {http.StatusFailedDependency, false},
	"ModelNotReadyException":        {http.StatusTooManyRequests, false},
	"ModelStreamErrorException":     {http.StatusFailedDependency, true},
	"ModelTimeoutException":         {http.StatusRequestTimeout, false},
	"ResourceNotFoundException":     {http.StatusNotFound, false},
	"ServiceQuotaExceededException": {http.StatusBadRequest, false},
	"ServiceUnavailableException":   {http.StatusServiceUnavailable, true},
	"ThrottlingException":           {http.StatusTooManyRequests, true},
	"ValidationException":           {http.StatusBadRequest, true},
}

// answer writes e as the whole answer.
func (e *ConverseError) answer(w http.ResponseWriter) {
	if e.Type == "" {
		panic(http.ErrAbortHandler)
	}
	known, ok := converseErrors[e.Type]
	if !ok {
		writeError(w, &apiError{http.StatusInternalServerError, "InternalServerException", fmt.Sprintf("the model's script has an error that Converse does not: %q", e.Type)})
		return
	}
	writeError(w, &apiError{known.status, e.Type, e.Message})
}

// Say is a reply of text.
func Say(text string) ConverseReply { return ConverseReply{Content: []ContentBlock{{Text: text}}} }

// Ask is a reply that asks for tools.
func Ask(uses ...ToolUse) ConverseReply {
	var reply ConverseReply
	for _, u := range uses {
		reply.Content = append(reply.Content, ContentBlock{ToolUse: &u})
	}
	return reply
}

// Script is a model that gives the replies in their order, whatever the requests
// are. After the last one it gives a ValidationException, which no client
// retries.
func Script(replies ...ConverseReply) Model {
	var mu sync.Mutex
	next := 0
	return func(ConverseRequest) ConverseReply {
		mu.Lock()
		defer mu.Unlock()
		next++
		if next > len(replies) {
			return ConverseReply{Error: &ConverseError{Type: "ValidationException", Message: fmt.Sprintf("the model's script has %d replies and this is request %d", len(replies), next)}}
		}
		return replies[next-1]
	}
}

// complete fills in what a reply leaves out. It changes nothing that r points
// to, because a script may give the same reply twice.
func (r ConverseReply) complete(req ConverseRequest) ConverseReply {
	stop := "end_turn"
	content := make([]ContentBlock, len(r.Content))
	for i, b := range r.Content {
		if b.ToolUse != nil {
			stop = "tool_use"
			use := *b.ToolUse
			if use.ID == "" {
				use.ID = toolUseID(len(req.Messages), i, use.Name, string(use.Input))
			}
			if use.Input == nil {
				use.Input = json.RawMessage("{}")
			}
			b.ToolUse = &use
		}
		content[i] = b
	}
	r.Content = content
	if r.StopReason == "" {
		r.StopReason = stop
	}
	usage := TokenUsage{InputTokens: (len(req.Body) + 3) / 4}
	if r.Usage != nil {
		usage = *r.Usage
	} else {
		for _, b := range content {
			usage.OutputTokens += b.tokens()
		}
		if r.StopReason == "max_tokens" && req.MaxTokens > 0 {
			usage.OutputTokens = req.MaxTokens
		}
	}
	if usage.TotalTokens == 0 {
		usage.TotalTokens = usage.InputTokens + usage.OutputTokens
	}
	r.Usage = &usage
	return r
}

// tokens returns the length of a block in tokens: a text has one per word, a
// tool use one per four bytes.
func (b ContentBlock) tokens() int {
	switch {
	case b.ToolUse != nil:
		return (len(b.ToolUse.Name) + len(b.ToolUse.Input) + 3) / 4
	case b.Reasoning != nil:
		return len(strings.Fields(b.Reasoning.Text)) + (len(b.Reasoning.Redacted)+3)/4
	default:
		return len(strings.Fields(b.Text))
	}
}

// toolUseID makes an id of Bedrock's form. The same place in a conversation
// always gets the same id.
func toolUseID(place ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", place))
	return "tooluse_" + base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}
