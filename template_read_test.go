package layout

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// template is template.yaml, its short intrinsics as one-member objects: !Ref X
// is {"Ref": "X"}.
type template struct {
	Parameters, Conditions, Resources, Outputs map[string]any
	Metadata, Globals                          map[string]any
}

func readTemplate(t *testing.T) template {
	t.Helper()
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	doc := plain(root.Content[0]).(map[string]any)
	section := func(name string) map[string]any { m, _ := doc[name].(map[string]any); return m }
	return template{
		Parameters: section("Parameters"), Conditions: section("Conditions"), Resources: section("Resources"),
		Outputs: section("Outputs"), Metadata: section("Metadata"), Globals: section("Globals"),
	}
}

// plain is a node without its YAML.
func plain(n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		v = m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			list = append(list, plain(c))
		}
		v = list
	default:
		v = n.Value
	}
	if name, ok := strings.CutPrefix(n.Tag, "!"); ok && !strings.HasPrefix(name, "!") {
		v = map[string]any{name: v}
	}
	return v
}

// at follows keys into a value; nil where there is nothing.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// walk calls f with every object in v.
func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, c := range v {
			walk(c, f)
		}
	case []any:
		for _, c := range v {
			walk(c, f)
		}
	}
}

// ofType lists the resources of a type, by logical id.
func (tp template) ofType(name string) map[string]map[string]any {
	found := map[string]map[string]any{}
	for id, r := range tp.Resources {
		if at(r, "Type") == name {
			found[id] = r.(map[string]any)
		}
	}
	return found
}

// list is v as a list of strings, whether it is one string or several.
func list(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var all []string
	items, _ := v.([]any)
	for _, e := range items {
		s, _ := e.(string)
		all = append(all, s)
	}
	return all
}
