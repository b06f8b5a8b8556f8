package localaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// invalidf returns a ValidationException about the value at a path of a request.
func invalidf(path, format string, args ...any) *apiError {
	return errorf("ValidationException", "%s: %s", path, fmt.Sprintf(format, args...))
}

// shape is a structure or a union of the API: its required members, its optional
// ones, and those that the stand-in does not implement.
type shape struct{ required, optional, unimplemented string }

// The shapes of a Converse request, with the members that the API model of
// bedrockruntime v1.63.11 gives them.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
var (
	requestShape = shape{"messages",
		"system inferenceConfig toolConfig guardrailConfig additionalModelRequestFields additionalModelResponseFieldPaths requestMetadata performanceConfig serviceTier outputConfig",
		"promptVariables"}
	messageShape    = shape{"role content", "", ""}
	systemUnion     = shape{"", "text cachePoint", "guardContent"}
	contentUnion    = shape{"", "text toolUse toolResult reasoningContent cachePoint", "image document video audio guardContent citationsContent searchResult toolAddition toolRemoval"}
	toolUseShape    = shape{"toolUseId name input", "", "type"}
	toolResultShape = shape{"toolUseId content", "status", "type"}
	resultUnion     = shape{"", "text json", "image document video searchResult"}
	reasoningUnion  = shape{"", "reasoningText redactedContent", ""}
	reasoningShape  = shape{"text", "signature", ""}
	cachePointShape = shape{"type", "ttl", ""}
	toolConfigShape = shape{"tools", "toolChoice", ""}
	toolUnion       = shape{"", "toolSpec cachePoint", "systemTool"}
	toolSpecShape   = shape{"name inputSchema", "description strict", ""}
	schemaUnion     = shape{"", "json", ""}
	toolChoiceUnion = shape{"", "auto any tool", ""}
	emptyShape      = shape{}
	namedShape      = shape{"name", "", ""}
	inferenceShape  = shape{"", "maxTokens temperature topP stopSequences", ""}
	latencyShape    = shape{"", "latency", ""}
	tierShape       = shape{"type", "", ""}
	outputShape     = shape{"", "effort", "textFormat"}
	// In the API model both members of a guardrail are optional. Without either
	// there is no guardrail, so the structure would have no effect.
	guardrailShape       = shape{"guardrailIdentifier guardrailVersion", "trace", ""}
	guardrailStreamShape = shape{"guardrailIdentifier guardrailVersion", "trace streamProcessingMode", ""}
)

// value is a part of a request and the path to it.
type value struct {
	path string
	json json.RawMessage
}

// shapeReader reads a request by its shapes and keeps the first fault. After a
// fault its methods answer zero values.
type shapeReader struct{ fault *apiError }

func (d *shapeReader) failf(v value, format string, args ...any) {
	if d.fault == nil {
		d.fault = invalidf(v.path, format, args...)
	}
}

// decode reads v as what, such as a string.
func (d *shapeReader) decode(v value, what string, into any) {
	if v.json == nil || d.fault != nil {
		return
	}
	if bytes.Equal(v.json, []byte("null")) || json.Unmarshal(v.json, into) != nil {
		d.failf(v, "want %s, not %.80s", what, v.json)
	}
}

// members reads an object with arbitrary names. A repeated name is a fault.
func (d *shapeReader) members(v value) (names []string, values map[string]value) {
	values = map[string]value{}
	if v.json == nil || d.fault != nil {
		return nil, values
	}
	if v.json[0] != '{' {
		d.failf(v, "want an object, not %.80s", v.json)
		return nil, values
	}
	dec := json.NewDecoder(bytes.NewReader(v.json))
	dec.Token()
	for dec.More() {
		name, _ := dec.Token()
		member := value{path: strings.TrimPrefix(v.path+"."+name.(string), ".")}
		dec.Decode(&member.json)
		if _, twice := values[name.(string)]; twice {
			d.failf(member, "the member is there twice")
		}
		names = append(names, name.(string))
		values[name.(string)] = member
	}
	return names, values
}

// object reads a structure. A member that s does not have is a fault, because
// the service might ignore it silently.
func (d *shapeReader) object(v value, s shape) map[string]value {
	names, values := d.members(v)
	required, optional := strings.Fields(s.required), strings.Fields(s.optional)
	for _, name := range names {
		switch {
		case slices.Contains(required, name), slices.Contains(optional, name):
		case slices.Contains(strings.Fields(s.unimplemented), name):
			d.failf(values[name], "localaws does not implement this member")
		default:
			d.failf(values[name], "the API has no such member; it has %s", strings.Join(slices.Concat(required, optional), ", "))
		}
	}
	for _, name := range required {
		if _, ok := values[name]; !ok && v.json != nil {
			d.failf(v, "the member %s is required", name)
		}
	}
	return values
}

// union reads a structure of which exactly one member is set.
func (d *shapeReader) union(v value, s shape) (name string, member value) {
	values := d.object(v, s)
	if len(values) != 1 {
		d.failf(v, "want exactly one of %s", s.optional)
		return "", value{}
	}
	for name, member = range values {
	}
	return name, member
}

func (d *shapeReader) list(v value) []value {
	var raw []json.RawMessage
	d.decode(v, "a list", &raw)
	values := make([]value, len(raw))
	for i, r := range raw {
		values[i] = value{fmt.Sprintf("%s.%d", v.path, i), r}
	}
	return values
}

func (d *shapeReader) text(v value) string {
	var s string
	d.decode(v, "a string", &s)
	return s
}

// written reads a text that must not be blank.
func (d *shapeReader) written(v value) string {
	s := d.text(v)
	if v.json != nil && strings.TrimSpace(s) == "" {
		d.failf(v, "the text is blank")
	}
	return s
}

// matching reads a text of 1 to most characters that match pattern.
func (d *shapeReader) matching(v value, most int, pattern *regexp.Regexp) string {
	s := d.text(v)
	if v.json != nil && (len(s) > most || !pattern.MatchString(s)) {
		d.failf(v, "want 1 to %d characters matching %s, not %.80q", most, pattern, s)
	}
	return s
}

func (d *shapeReader) enum(v value, of ...string) string {
	s := d.text(v)
	if v.json != nil && !slices.Contains(of, s) {
		d.failf(v, "want one of %s, not %.80q", strings.Join(of, ", "), s)
	}
	return s
}

func (d *shapeReader) boolean(v value) bool {
	var b bool
	d.decode(v, "true or false", &b)
	return b
}

// positive reads a whole number of at least 1 that fits in 32 bits.
func (d *shapeReader) positive(v value) int {
	if v.json == nil {
		return 0
	}
	n, err := strconv.ParseInt(string(v.json), 10, 32)
	if err != nil || n < 1 {
		d.failf(v, "want a whole number of at least 1, not %.80s", v.json)
	}
	return int(n)
}

// share reads a number from 0 to 1.
func (d *shapeReader) share(v value) {
	var f float64
	d.decode(v, "a number", &f)
	if f < 0 || f > 1 {
		d.failf(v, "want a number from 0 to 1, not %.80s", v.json)
	}
}

// document reads an arbitrary JSON object.
func (d *shapeReader) document(v value) json.RawMessage {
	if v.json != nil && v.json[0] != '{' {
		d.failf(v, "the format is invalid; provide a JSON object, not %.80s", v.json)
	}
	return v.json
}
