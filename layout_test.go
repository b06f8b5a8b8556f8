// Package layout holds the habits of this repository that a test can keep.
package layout

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path of this one, which may have been renamed.
var module = func() string {
	out, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}()

// arrows are the imports that packages below pkg may have of each other. A
// package that is not here does not exist; a new one gets a line.
var arrows = map[string][]string{
	"agentcore":      {},
	"authorizer":     {},
	"calculator":     {},
	"converse":       {},
	"credstore":      {},
	"customresource": {},
	"doctor":         {"agentcore", "authorizer", "credstore", "provision", "tokensource"},
	"image":          {},
	"localaws":       {"authorizer"},
	"mcpserver":      {},
	"provision":      {"credstore"},
	"tokensource":    {"credstore"},
	"toolbox":        {"agentcore"},
	"trigger":        {},

	"calculator/calcserver":   {"calculator"},
	"localaws/cloudformation": {"localaws", "authorizer"},
}

// goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath, Dir, Name string
	GoFiles, Imports      []string
	Deps                  []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("reading what go list says: %v", err)
		}
		list = append(list, p)
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		documented := len(p.GoFiles) == 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil
		}
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestImportDirection(t *testing.T) {
	for _, p := range packages(t) {
		name, inPkg := strings.CutPrefix(p.ImportPath, module+"/pkg/")
		allowed, known := arrows[name]
		if inPkg && !known {
			t.Errorf("package pkg/%s has no line in arrows", name)
		}
		for _, imp := range p.Imports {
			other, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			target, pkg := strings.CutPrefix(other, "pkg/")
			switch {
			case strings.HasPrefix(other, "functions/"), strings.HasPrefix(other, "cmd/"):
				t.Errorf("%s imports the program %s", p.ImportPath, other)
			case inPkg && (!pkg || !slices.Contains(allowed, target)):
				t.Errorf("pkg/%s must not import %s", name, other)
			}
		}
	}
}

func TestNoStandInInDeployables(t *testing.T) {
	found := 0
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module+"/functions/") {
			continue
		}
		found++
		for _, dep := range p.Deps {
			if dep == module+"/pkg/localaws" || dep == "testing" {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d programs below functions, want at least 3", found)
	}
}

func TestNoReplace(t *testing.T) {
	for _, name := range []string{"go.mod", "tools/go.mod"} {
		mod, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mod)) {
			if strings.HasPrefix(strings.TrimSpace(line), "replace") {
				t.Errorf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
}
