package cloudformation

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// case 140: testdata/serverless.json is what aws-sam-translator 1.110.0 makes of
// testdata/serverless.yaml with all code at s3://bucket/abc.
func TestExpand_asTheTranslator(t *testing.T) {
	f, err := os.Open("testdata/serverless.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	template, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	resources, outputs, err := template.expand(func(string, string) (map[string]any, error) {
		return map[string]any{"S3Bucket": "bucket", "S3Key": "abc"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/serverless.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Resources map[string]map[string]any
		Outputs   map[string]map[string]any
	}
	if err := json.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	for id, w := range want.Resources {
		d := resources[id]
		if d == nil {
			t.Errorf("%s is missing", id)
			continue
		}
		got := map[string]any{"Type": d.resourceType}
		for key, value := range map[string]string{"Condition": d.condition, "DeletionPolicy": d.deletion, "UpdateReplacePolicy": d.replacement} {
			if value != "" {
				got[key] = value
			}
		}
		if len(d.properties) > 0 {
			got["Properties"] = d.properties
		}
		if d.dependsOn != nil {
			got["DependsOn"] = d.dependsOn
		}
		delete(w, "Metadata")
		if on, ok := w["DependsOn"].(string); ok {
			w["DependsOn"] = []any{on}
		}
		if p, ok := w["Properties"].(map[string]any); ok && reflect.DeepEqual(p["DestinationConfig"], map[string]any{}) {
			delete(p, "DestinationConfig")
		}
		if g := normalized(t, got); !reflect.DeepEqual(g, w) {
			t.Errorf("%s: got\n%s\nwant\n%s", id, indented(t, g), indented(t, w))
		}
	}
	for id := range resources {
		if want.Resources[id] == nil {
			t.Errorf("%s is one too many", id)
		}
	}
	for name, w := range want.Outputs {
		if g := normalized(t, outputs[name].value); !reflect.DeepEqual(g, w["Value"]) {
			t.Errorf("output %s: got %v, want %v", name, g, w["Value"])
		}
	}
}

// normalized is v as JSON reads it.
func normalized(t *testing.T, v any) any {
	t.Helper()
	var out any
	if err := json.Unmarshal(indented(t, v), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func indented(t *testing.T, v any) []byte {
	t.Helper()
	doc, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
