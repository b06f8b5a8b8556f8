package converse

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestCut(t *testing.T) {
	tests := []struct {
		text  string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abc", 2, "ab"},
		{"abc", 0, ""},
		{"abc", -1, ""},
		{"aé", 2, "a"},
		{"a😀b", 4, "a"},
		{"a😀b", 5, "a😀"},
		{"😀", 3, ""},
		{"\x80\x80\x80\x80\x80", 4, "\x80\x80\x80\x80"},
	}
	for _, tt := range tests {
		if got := cut(tt.text, tt.limit); got != tt.want {
			t.Errorf("cut(%q, %d): got %q, want %q", tt.text, tt.limit, got, tt.want)
		}
	}
}

func TestShorten(t *testing.T) {
	const notice = 80
	tests := []struct {
		name  string
		sizes []int
		room  int
		kept  []int
	}{
		{"fits", []int{10, 20, 30}, 60, []int{10, 20, 30}},
		{"the large one pays", []int{10, 1000, 20}, 130, []int{10, 100, 20}},
		{"the large ones share", []int{1000, 10, 500}, 210, []int{100, 10, 100}},
		{"no room", []int{1000, 500}, 0, []int{0, 0}},
		{"less than no room", []int{1000, 500}, -5, []int{0, 0}},
		{"nothing", nil, 10, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results := make([]Result, len(tt.sizes))
			for i, n := range tt.sizes {
				results[i].Text = strings.Repeat("x", n)
			}
			shorten(results, tt.room)
			for i, r := range results {
				kept := strings.Count(strings.SplitN(r.Text, "\n", 2)[0], "x")
				if kept != tt.kept[i] || len(r.Text) > kept+notice || (kept < tt.sizes[i]) != strings.Contains(r.Text, "[Cut: ") {
					t.Errorf("result %d: kept %d bytes, want %d: %.100q", i, kept, tt.kept[i], r.Text)
				}
			}
		})
	}
}

// case 83
func FuzzPresentable(f *testing.F) {
	f.Add("zażółć 😀", 7)
	f.Add("\xff\xfe", 1)
	f.Add(" \n", 100)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 0), 1<<16)
		got := presentable(text, limit)
		if !utf8.ValidString(got) || strings.TrimSpace(got) == "" {
			t.Errorf("presentable(%q, %d): got %q", text, limit, got)
		}
		if most := 3*limit + 100; len(got) > most { // a wrong byte becomes three
			t.Errorf("presentable of %d bytes with limit %d: got %d bytes", len(text), limit, len(got))
		}
		if utf8.ValidString(text) && len(text) <= limit && strings.TrimSpace(text) != "" && got != text {
			t.Errorf("got %q of %q, which fits", got, text)
		}
	})
}

// case 75: neither a server's schema nor a model's input can break the check.
func FuzzCheck(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"integer","maximum":10}},"required":["a"]}`, `{"a":1}`)
	f.Add(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`, `{}`)
	f.Add(`{"$ref":"file:///etc/passwd"}`, `{}`)
	f.Add(`{"$schema":"http://127.0.0.1:1/x","type":"object"}`, `{}`)
	f.Add(`{"properties":{"a":{"multipleOf":1e-999}}}`, `{"a":1e999999999}`)
	f.Add(`{"patternProperties":{"(":true}}`, `{"(":1}`)
	f.Add(`null`, `null`)
	f.Fuzz(func(t *testing.T, schema, input string) {
		offered := offeredSchema(json.RawMessage(schema))
		var members map[string]json.RawMessage
		if err := json.Unmarshal(offered, &members); err != nil || string(members["type"]) != `"object"` {
			t.Errorf("offered %q for %q, %v", offered, schema, err)
		}
		newTool(Tool{InputSchema: json.RawMessage(schema)}).check(json.RawMessage(input))
	})
}

// A reference out of the schema is never followed; without it the tool takes
// everything.
func TestCompile_references(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"type":"object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{
		`{"$ref":"file://` + filepath.ToSlash(file) + `"}`,
		`{"$ref":"http://127.0.0.1:1/schema"}`,
		`{"$schema":"http://127.0.0.1:1/dialect","type":"object"}`,
		`{"properties":{"a":{"$ref":"other.json"}}}`,
	} {
		if compile(json.RawMessage(schema)) != nil {
			t.Errorf("%s was compiled", schema)
		}
	}
	for _, schema := range []string{
		`{"$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}`,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}`,
	} {
		if compile(json.RawMessage(schema)) == nil {
			t.Errorf("%s was not compiled", schema)
		}
	}
}

func TestStreamedInput(t *testing.T) {
	tests := []struct{ text, want string }{ // an empty want: no JSON
		{`{"b":1.50,"a":[9007199254740993,-0,1e2]}`, `{"a":[9007199254740993,-0,1e2],"b":1.50}`},
		{``, `{}`},
		{" \n", `{}`},
		{`{"a":1,"a":2}`, `{"a":2}`},
		{`{"":{}}`, `{"":{}}`},
		{`[1]`, `[1]`},
		{`{"a":`, ``},
		{`{} x`, ``},
		{`{}{}`, ``},
		{`NaN`, ``},
	}
	for _, tt := range tests {
		got, err := streamedInput(tt.text).MarshalSmithyDocument()
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.text, got, err, tt.want)
		}
	}
}

// case 75: a schema of a few lines that names its parts again and again would
// take longer than anybody waits, and hold the processor of every later answer.
func TestCheck_endless(t *testing.T) {
	const refused = "The input cannot be checked against the tool's schema."
	// chain is a schema that takes 2^40 steps: each part wants the next one twice.
	chain := func(dialect, keyword, last string) string {
		var parts strings.Builder
		for i := range 40 {
			fmt.Fprintf(&parts, `"%d":{%q:[{"$ref":"#/definitions/%d"},{"$ref":"#/definitions/%[3]d"}]},`, i, keyword, i+1)
		}
		return fmt.Sprintf(`{"$schema":%q,"definitions":{%s"40":%s},`, dialect, &parts, last)
	}
	const draft7, draft2020 = "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"
	list := func(n int, items string) string { return "[" + strings.Repeat(items+",", n-1) + items + "]" }
	long := `{"a":"` + strings.Repeat("x", 10_000) + `"}`
	var object, properties []string
	for i := range 10 {
		object = append(object, fmt.Sprintf(`"m%d":"x"`, i))
		properties = append(properties, fmt.Sprintf(`"m%d":{"anyOf":[{"type":"string","maxLength":9},{"type":"null"}],"default":null,"title":"M"}`, i))
	}
	deep := strings.Repeat(`{"a":`, 40) + `{}` + strings.Repeat(`}`, 40)
	for _, tt := range []struct{ name, schema, input, want string }{
		{"all of them fit", chain(draft2020, "allOf", `{"type":"object"}`) + `"$ref":"#/definitions/0"}`, `{}`, refused},
		{"none of them fits", chain(draft2020, "anyOf", `{"type":"string"}`) + `"not":{"$ref":"#/definitions/0"}}`, `{}`, refused},
		{"an older dialect", chain(draft7, "allOf", `{"type":"object","format":"regex"}`) + `"allOf":[{"$ref":"#/definitions/0"}]}`, `{}`, refused},
		{"deep input", `{"allOf":[{"$ref":"#/$defs/x"},{"$ref":"#/$defs/x"}],"$defs":{"x":{"properties":{"a":{"$ref":"#"}}}}}`, deep, refused},
		{"much input", `{"properties":{"a":{"items":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}}`, `{"a":[` + strings.Repeat("1,", 10_000) + `1]}`, ""},
		{"many objects", `{"properties":{"a":{"items":{"$ref":"#/$defs/O"},"type":"array"}},"$defs":{"O":{"type":"object","additionalProperties":false,"properties":{` + strings.Join(properties, ",") + `}}}}`,
			`{"a":` + list(1000, `{`+strings.Join(object, ",")+`}`) + `}`, ""},
		{"a format of an older dialect", `{"$schema":"` + draft7 + `","properties":{"a":{"format":"ipv4"}}}`, `{"a":"x"}`,
			"The input does not fit the tool's schema:\n- at '/a': 'x' is not valid ipv4: expected four decimals"},
		{"a reference that only the check can resolve", `{"$dynamicRef":"#a","$defs":{"a":{"$dynamicAnchor":"a","required":["x"]}}}`, `{}`, ""},
		{"a dialect's schema", `{"$ref":"` + draft2020 + `"}`, `{"type":1}`, ""},
		{"a large regular expression", `{"properties":{"a":{"pattern":"` + strings.Repeat("(x{0,1000}y?)?", 5) + `z$"}}}`, long, refused},
		{"regular expressions without end", `{"properties":{"a":{"pattern":"` + strings.Repeat("(x{0,1000}y?)?", 60) + `z$"}}}`, long, ""},
		{"a regular expression for many names", `{"patternProperties":{"^(a|x{0,1000})$":true}}`, `{"` + strings.Repeat("x", 30_000) + `":1}`, refused},
		{"an enum of numbers, many times", `{"properties":{"a":{"anyOf":` + list(100, `{"$ref":"#/$defs/e"}`) + `}},"$defs":{"e":{"enum":` + list(9000, "2") + `}}}`, `{"a":1}`, refused},
		{"an enum for many values", `{"properties":{"a":{"items":{"enum":` + list(9000, `"x"`) + `}}}}`, `{"a":` + list(2000, `"y"`) + `}`, refused},
		{"many parts of which none fits, many times", `{"properties":{"a":{"items":{"anyOf":` + list(1000, `{"type":"null"}`) + `}}}}`, `{"a":` + list(1000, `1`) + `}`, refused},
		{"a long number, many times", `{"properties":{"a":{"items":{"type":"integer"}}}}`, `{"a":` + list(10_000, `1e9999`) + `}`, refused},
		{"different items", `{"properties":{"a":{"uniqueItems":true}}}`, `{"a":[` + list(20_000, `1`) + `,1]}`, refused},
		{"a long number", `{"properties":{"a":{"type":"integer","minimum":0}}}`, `{"a":` + strings.Repeat("9", 5000) + `}`, ""},
		{"an enum of usual size", `{"properties":{"a":{"items":{"enum":` + list(300, `"x"`) + `}}}}`, `{"a":` + list(2000, `"x"`) + `}`, ""},
		{"a name of its own", `{"$id":"https://example.com/a",` + chain(draft2020, "allOf", `{"type":"object"}`)[1:] + `"$ref":"#/definitions/0"}`, `{}`, refused},
	} {
		if got := newTool(Tool{InputSchema: json.RawMessage(tt.schema)}).check(json.RawMessage(tt.input)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What the model is told of wrong input stays short, whatever the schema quotes.
func TestCheck_faults(t *testing.T) {
	name := strings.Repeat("n", 10_000)
	schema := `{"additionalProperties":{"items":{"type":"string"}}}`
	got := newTool(Tool{InputSchema: json.RawMessage(schema)}).check(json.RawMessage(`{"` + name + `":[1` + strings.Repeat(",1", 10_000) + `]}`))
	if !strings.HasPrefix(got, "The input does not fit the tool's schema:\n- at '/nnn") || len(got) > 2100 {
		t.Errorf("got %d bytes: %.100q", len(got), got)
	}
	invalid := &jsonschema.ValidationError{}
	for range 10 {
		invalid.Causes = append(invalid.Causes, &jsonschema.ValidationError{Causes: make([]*jsonschema.ValidationError, 3)})
		for i := range 3 {
			invalid.Causes[len(invalid.Causes)-1].Causes[i] = &jsonschema.ValidationError{}
		}
	}
	few(invalid, 7)
	if len(invalid.Causes) != 3 || len(invalid.Causes[2].Causes) != 1 {
		t.Errorf("%d causes are left, and %d in the last, want 3 and 1", len(invalid.Causes), len(invalid.Causes[2].Causes))
	}
}
