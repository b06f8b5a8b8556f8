package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// schemas keeps compiled input schemas, one per tool name. The zero value is
// ready to use and safe for concurrent use.
type schemas struct {
	mu     sync.RWMutex // guards byName
	byName map[string]compiledSchema
}

type compiledSchema struct {
	source []byte
	schema *jsonschema.Schema
	flat   *flatSchema // nil: the schema has no flat form
}

// check returns what is wrong with arguments in plain words, or "".
func (c compiledSchema) check(raw []byte) string {
	if c.flat.accepts(raw) {
		return ""
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw)) // keeps numbers as they are written
	if err != nil {
		return "invalid arguments: they are not JSON"
	}
	if err := c.schema.Validate(doc); err != nil {
		return complaint(err)
	}
	return ""
}

// compiled returns the tool's input schema, compiled again only if the tool has
// been replaced by one with another schema.
func (s *schemas) compiled(tool mcp.Tool) (compiledSchema, error) {
	source := []byte(tool.RawInputSchema)
	if source == nil {
		var err error
		if source, err = json.Marshal(tool.InputSchema); err != nil {
			return compiledSchema{}, fmt.Errorf("encoding it: %w", err)
		}
	}
	s.mu.RLock()
	known, ok := s.byName[tool.Name]
	s.mu.RUnlock()
	if ok && bytes.Equal(known.source, source) {
		return known, nil
	}
	schema, err := compile(source)
	if err != nil {
		return compiledSchema{}, err
	}
	fresh := compiledSchema{source, schema, flatten(source)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = map[string]compiledSchema{}
	}
	s.byName[tool.Name] = fresh
	return fresh, nil
}

// noLoader refuses to fetch what a schema refers to: schemas stand alone.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside of the schema and is not fetched", url)
}

func compile(source []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	const name = "input.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// maxComplaint bounds how much of a complaint about arguments is sent back.
const maxComplaint = 600

// complaint says in plain words how arguments break a schema.
func complaint(err error) string {
	var broken *jsonschema.ValidationError
	if !errors.As(err, &broken) {
		return "the arguments cannot be checked"
	}
	var lines []string
	collect(broken, &lines)
	text := "invalid arguments: " + strings.Join(lines, "; ")
	if len(text) > maxComplaint {
		cut := maxComplaint
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + " …"
	}
	return text
}

// collect adds one line for each of the innermost causes of e.
func collect(e *jsonschema.ValidationError, lines *[]string) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			collect(cause, lines)
		}
		return
	}
	where := strings.Join(e.InstanceLocation, ".")
	if where == "" {
		where = "the arguments"
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		*lines = append(*lines, where+" must be "+typeNames(k.Want))
	case *kind.Required:
		*lines = append(*lines, where+" must have "+strings.Join(k.Missing, ", "))
	case *kind.AdditionalProperties:
		*lines = append(*lines, where+" must not have "+strings.Join(k.Properties, ", "))
	case *kind.MinLength:
		*lines = append(*lines, fmt.Sprintf("%s must have at least %d characters", where, k.Want))
	case *kind.MaxLength:
		*lines = append(*lines, fmt.Sprintf("%s must have at most %d characters", where, k.Want))
	case *kind.Minimum:
		*lines = append(*lines, where+" must be at least "+k.Want.RatString())
	case *kind.Maximum:
		*lines = append(*lines, where+" must be at most "+k.Want.RatString())
	case *kind.MinItems:
		*lines = append(*lines, fmt.Sprintf("%s must have at least %d items", where, k.Want))
	case *kind.MaxItems:
		*lines = append(*lines, fmt.Sprintf("%s must have at most %d items", where, k.Want))
	case *kind.Pattern:
		*lines = append(*lines, where+" must match "+k.Want)
	case *kind.Enum:
		*lines = append(*lines, fmt.Sprintf("%s must be one of %v", where, k.Want))
	default: // the library's own words may repeat the value
		*lines = append(*lines, where+" breaks the schema's "+strings.Join(e.ErrorKind.KeywordPath(), "/"))
	}
}

var plain = map[string]string{
	"integer": "a whole number",
	"number":  "a number",
	"string":  "a string",
	"boolean": "true or false",
	"array":   "an array",
	"object":  "an object",
	"null":    "null",
}

func typeNames(want []string) string {
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = plain[w]
	}
	return strings.Join(names, " or ")
}
