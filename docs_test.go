package layout

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
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
	tableSetting   = regexp.MustCompile("(?m)^\\| (`[A-Z][A-Z_]+`(?:, `[A-Z][A-Z_]+`)*) \\|([^|]*)\\|([^|]*)\\|")
)

// The settings of the agent are the same in the program, in its comment and on
// the page, and the page knows which the template sets.
func TestDocs_settings(t *testing.T) {
	text := readText(t, "docs/operating.md")
	_, section, _ := strings.Cut(text, "\n## Settings of the agent\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented, fromTemplate := map[string]bool{}, map[string]bool{}
	for _, m := range tableSetting.FindAllStringSubmatch(section, -1) {
		for name := range strings.SplitSeq(strings.ReplaceAll(m[1], "`", ""), ", ") {
			documented[name] = true
			if strings.TrimSpace(m[3]) != "" {
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
