package cloudformation_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"agentcore-mcp-auth/pkg/localaws/cloudformation"
)

var update = flag.Bool("update", false, "write the archives in testdata anew")

const someQueue = "\nResources: {Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: work}}}\n"

// golden runs do with every template of an archive, which returns what has to
// be in the file .want of the same name.
func golden(t *testing.T, name string, do func(t *testing.T, template string, parameters map[string]string) string) {
	file := "testdata/" + name + ".txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, f := range archive.Files {
		content[f.Name] = string(f.Data)
	}
	for i, f := range archive.Files {
		base, ok := strings.CutSuffix(f.Name, ".want")
		if !ok {
			continue
		}
		t.Run(base, func(t *testing.T) {
			template, ok := content[base+".yaml"]
			if !ok {
				t.Fatalf("%s has no %s.yaml", file, base)
			}
			if !strings.Contains(template, "Resources") {
				template += someQueue
			}
			got := do(t, template, values(strings.Split(strings.TrimSpace(content[base+".parameters"]), "\n")))
			archive.Files[i].Data = []byte(got)
			if want := string(f.Data); got != want && !*update {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEvaluate(t *testing.T) {
	golden(t, "evaluate", func(t *testing.T, template string, parameters map[string]string) string {
		delete(parameters, "")
		a := newAccount(t)
		if err := a.Deploy(t.Context(), parse(t, template), parameters); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		outputs := a.Outputs()
		for _, name := range slices.Sorted(maps.Keys(outputs)) {
			fmt.Fprintf(&out, "%s: %s\n", name, strings.ReplaceAll(outputs[name], path.Base(a.ID()), "STACK-UUID"))
		}
		return out.String()
	})
}

// case 140: what cannot be deployed faithfully is refused by name, everything in
// one error.
func TestParse_refused(t *testing.T) {
	golden(t, "refused", func(t *testing.T, template string, _ map[string]string) string {
		_, err := cloudformation.Parse(strings.NewReader(template))
		if err == nil {
			t.Fatal("it was not refused")
		}
		return strings.TrimPrefix(err.Error(), "template: ") + "\n"
	})
}

// A wrong deployment is refused before anything is made.
func TestDeploy_refused(t *testing.T) {
	golden(t, "failed", func(t *testing.T, template string, parameters map[string]string) string {
		delete(parameters, "")
		a := newAccount(t)
		err := a.Deploy(t.Context(), parse(t, template), parameters)
		if err == nil {
			t.Fatal("it was not refused")
		}
		if a.Status() != "" || len(a.events) > 0 {
			t.Errorf("something was done: %s %v", a.Status(), a.events)
		}
		a.wantNothing()
		text := strings.ReplaceAll(err.Error(), a.programs, "PROGRAMS")
		return strings.TrimPrefix(text, "deploying stack test: ") + "\n"
	})
}
