package cloudformation_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

// case 22, case 140: every template is read or refused, and a deployment of one
// that was read ends.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"evaluate", "refused", "failed"} {
		archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, ".yaml") {
				f.Add(string(file.Data) + someQueue)
			}
		}
	}
	for _, name := range []string{"testdata/serverless.yaml", "../../../template.yaml"} {
		template, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(template))
	}
	f.Fuzz(func(t *testing.T, text string) {
		template, err := cloudformation.Parse(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "template: ") {
				t.Errorf("got %v", err)
			}
			return
		}
		if strings.Contains(text, "Custom") || strings.Contains(text, "Runtime") {
			return // would start processes
		}
		a := newAccount(t)
		if a.Deploy(t.Context(), template, nil) == nil && a.Status() != cloudformation.CreateComplete {
			t.Errorf("got %s", a.Status())
		}
		if err := a.Delete(t.Context()); err != nil && !strings.Contains(err.Error(), "deletion protection") {
			t.Error(err)
		}
	})
}
