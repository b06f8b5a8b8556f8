package layout

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/trigger"
)

// page is a page for people: its text, and what of it is not code.
type page struct{ path, text, prose string }

var (
	fence      = regexp.MustCompile("(?ms)^```.*?^```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
)

// pages are those that the tests below hold.
func pages(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil || len(paths) < 5 {
		t.Fatalf("found %d pages in docs: %v", len(paths), err)
	}
	var all []page
	for _, path := range append(paths, "README.md", "CONTRIBUTING.md") {
		text := readText(t, path)
		prose := fence.ReplaceAllString(text, "")
		all = append(all, page{path, text, inlineCode.ReplaceAllString(prose, "")})
	}
	return all
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
)

// anchors are the fragments that a page's headings have on GitHub.
func anchors(text string) []string {
	var list []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return list
}

func TestDocs_links(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			name, fragment, _ := strings.Cut(m[1], "#")
			target := p.path
			if name != "" {
				target = filepath.Join(filepath.Dir(p.path), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links %s, which is not there", p.path, m[1])
			} else if fragment != "" && !slices.Contains(anchors(readText(t, target)), fragment) {
				t.Errorf("%s links %s, but %s has no such heading", p.path, m[1], target)
			}
		}
	}
	if found == 0 {
		t.Error("found no links")
	}
}

// What the pages tell to run is run by the tests of cmd/mcpauth, and the code of
// own-tools.md by those of docs/owntool. The other code is here.
func TestDocs_code(t *testing.T) {
	if client, err := machine(aws.Config{}, "https://mcp.example.com/mcp"); client == nil || err != nil {
		t.Errorf("got %v, %v", client, err)
	}
	source := readText(t, "docs_test.go")
	for _, p := range pages(t) {
		for _, block := range fence.FindAllString(p.text, -1) {
			code, isGo := strings.CutPrefix(strings.TrimSuffix(block, "```"), "```go\n")
			code = "\t" + strings.ReplaceAll(strings.TrimSpace(code), "\n", "\n\t")
			if isGo && p.path != "docs/own-tools.md" && !strings.Contains(source, "\n"+code+"\n") {
				t.Errorf("%s has code that is not compiled:\n%s", p.path, code)
			}
		}
	}
}

// machine has the code of README.md.
func machine(cfg aws.Config, url string) (*http.Client, error) {
	store := &credstore.Store{API: ssm.NewFromConfig(cfg)}
	source, err := tokensource.New(tokensource.Config{Credentials: store.Set("my_server"), Resource: url})
	if err != nil {
		return nil, err
	}
	client := source.Client() // *http.Client: adds the bearer, renews it, retries once on 401, follows no redirect
	return client, nil
}

var sampleName = regexp.MustCompile(`\bevents/([a-z0-9-]+\.json)`)

// Every sample is on the page of events, and no page names another.
func TestDocs_samples(t *testing.T) {
	samples, err := filepath.Glob("events/*.json")
	if err != nil || len(samples) == 0 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}
	for _, p := range pages(t) {
		for _, path := range samples {
			if p.path == "docs/events.md" && !strings.Contains(p.text, "`"+filepath.ToSlash(path)+"`") {
				t.Errorf("docs/events.md does not show %s", path)
			}
		}
		for _, m := range sampleName.FindAllString(p.text, -1) {
			if !slices.Contains(samples, filepath.FromSlash(m)) {
				t.Errorf("%s names %s, which is not there", p.path, m)
			}
		}
	}
}

var (
	commentSetting = regexp.MustCompile(`(?m)^//\t([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*) {2,}`)
	codeSetting    = regexp.MustCompile(`\b(?:getenv|number|duration|boolean)\("([A-Z][A-Z_]+)"\)`)
	codeOfError    = regexp.MustCompile(`Code = "([a-z_]+)"`)
	inBackticks    = regexp.MustCompile("`([^`]+)`")
)

// table is what the first table below a heading of a page has in its rows.
func table(t *testing.T, path, heading string) [][]string {
	t.Helper()
	_, section, _ := strings.Cut(readText(t, path), "\n"+heading+"\n")
	var rows [][]string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "#") || len(rows) > 0 && line == "\n" {
			break
		}
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			row := cells[1 : len(cells)-1]
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("%s has no table below %s", path, heading)
	}
	return rows[2:]
}

// names are what stands in backticks.
func names(cell string) []string {
	var list []string
	for _, m := range inBackticks.FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

// What the tables say of the template and of the programs is so.
func TestDocs_tables(t *testing.T) {
	tmpl := readTemplate(t)
	same := func(what string, got, want []string) {
		t.Helper()
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
		}
	}

	var parameters []string
	for _, row := range table(t, "docs/deploy.md", "## Parameters") {
		of, defaults := names(row[0]), names(row[1])
		parameters = append(parameters, of...)
		for i, name := range of {
			if want := at(tmpl.Parameters[name], "Default"); len(defaults) == len(of) && defaults[i] != fmt.Sprint(want) {
				t.Errorf("docs/deploy.md: the default of %s is %q, want %q", name, defaults[i], want)
			}
		}
	}
	same("parameters of docs/deploy.md", parameters, slices.Sorted(maps.Keys(tmpl.Parameters)))

	var alarms, wantAlarms []string
	for _, row := range table(t, "docs/operating.md", "## Alarms") {
		alarms = append(alarms, names(row[0])...)
	}
	for name, r := range tmpl.Resources {
		if at(r, "Type") == "AWS::CloudWatch::Alarm" {
			wantAlarms = append(wantAlarms, name)
		}
	}
	slices.Sort(wantAlarms)
	same("alarms of docs/operating.md", alarms, wantAlarms)

	var exports, wantExports []string
	for _, row := range table(t, "docs/upgrading.md", "## What stays as it is") {
		if strings.HasPrefix(row[0], "outputs and exports") {
			exports = names(row[1])
		}
	}
	for name, o := range tmpl.Outputs {
		if at(o, "Export") != nil {
			wantExports = append(wantExports, name)
		}
	}
	slices.Sort(wantExports)
	same("exports of docs/upgrading.md", exports, wantExports)

	var codes, wantCodes []string
	for _, row := range table(t, "docs/operating.md", "### Error codes of the agent") {
		for _, code := range names(row[0]) {
			codes = append(codes, code)
			c := trigger.Code(code)
			if row[1] != strconv.Itoa(c.Status()) || strings.HasPrefix(row[2], "yes") != c.Retryable() {
				t.Errorf("docs/operating.md: %s is %s and again %s, want %d and %t", code, row[1], row[2], c.Status(), c.Retryable())
			}
		}
	}
	for _, m := range codeOfError.FindAllStringSubmatch(readText(t, "pkg/trigger/code.go"), -1) {
		wantCodes = append(wantCodes, m[1])
	}
	slices.Sort(wantCodes)
	same("error codes of docs/operating.md", codes, wantCodes)

	var sources strings.Builder
	for _, pattern := range []string{"functions/*/*.go", "pkg/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") {
				sources.WriteString(readText(t, path))
			}
		}
	}
	for _, row := range table(t, "docs/operating.md", "### What to look for") {
		if msg := names(row[0])[0]; !strings.Contains(sources.String(), strconv.Quote(msg)) {
			t.Errorf("docs/operating.md: nothing logs %q", msg)
		}
	}
}

// The settings of the agent are the same in the program, in its comment and on
// the page, and the page knows which the template sets.
func TestDocs_settings(t *testing.T) {
	documented, fromTemplate := map[string]bool{}, map[string]bool{}
	for _, row := range table(t, "docs/operating.md", "## Settings of the agent") {
		for _, name := range names(row[0]) {
			documented[name] = true
			if row[2] != "" {
				fromTemplate[name] = true
			}
		}
	}
	commented := map[string]bool{}
	for _, m := range commentSetting.FindAllStringSubmatch(readText(t, "functions/agent/main.go"), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			commented[name] = true
		}
	}
	read := map[string]bool{}
	for _, name := range []string{"main.go", "settings.go"} {
		for _, m := range codeSetting.FindAllStringSubmatch(readText(t, "functions/agent/"+name), -1) {
			if !strings.HasPrefix(m[1], "AWS_") { // not the agent's own
				read[m[1]] = true
			}
		}
	}
	set := map[string]bool{}
	tmpl := readTemplate(t)
	for _, v := range []any{
		at(tmpl.Globals, "Function", "Environment", "Variables"),
		at(tmpl.Resources, "AgentFunction", "Properties", "Environment", "Variables"),
		at(tmpl.Resources, "AgentRuntime", "Properties", "EnvironmentVariables"),
	} {
		variables, _ := v.(map[string]any)
		if len(variables) == 0 {
			t.Error("a place in template.yaml where the agent's environment was is empty")
		}
		for name := range variables {
			if !strings.HasPrefix(name, "AWS_") {
				set[name] = true
			}
		}
	}
	for _, c := range []struct {
		what      string
		got, want map[string]bool
	}{
		{"the comment of functions/agent/main.go, against what the program reads", commented, read},
		{"the table in docs/operating.md, against what the program reads", documented, read},
		{"the table's column of the template, against template.yaml", fromTemplate, set},
	} {
		if got, want := slices.Sorted(maps.Keys(c.got)), slices.Sorted(maps.Keys(c.want)); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", c.what, got, want)
		}
	}
}
