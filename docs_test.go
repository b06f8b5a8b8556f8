package layout

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
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

var (
	makeCommand = regexp.MustCompile("(?m)(?:^(?: {4})?|`|&& )make ([a-z][a-z0-9-]*)")
	makeTarget  = regexp.MustCompile(`(?m)^([a-zA-Z0-9%-]+):`)
	verbCommand = regexp.MustCompile(`bin/mcpauth ([a-z]+)(?: ([a-z]+)\b)?`)
	verbUse     = regexp.MustCompile(`Use: +"([a-z]+)[ "]`)
	sampleName  = regexp.MustCompile(`\bevents/([a-z0-9-]+\.json)`)
)

// verbs of mcpauth that cobra brings along.
var builtIn = []string{"help", "completion"}

func TestDocs_commands(t *testing.T) {
	var targets, verbs []string
	for _, m := range makeTarget.FindAllStringSubmatch(readText(t, "Makefile"), -1) {
		targets = append(targets, m[1])
	}
	sources, err := filepath.Glob("cmd/mcpauth/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		for _, m := range verbUse.FindAllStringSubmatch(readText(t, path), -1) {
			verbs = append(verbs, m[1])
		}
	}
	verbs = append(verbs, builtIn...)
	makes, calls, samples := 0, 0, 0
	for _, p := range pages(t) {
		for _, m := range makeCommand.FindAllStringSubmatch(p.text, -1) {
			makes++
			sample, invokes := strings.CutPrefix(m[1], "invoke-")
			switch {
			case invokes && slices.Contains(targets, "invoke-%"):
				if sample == "" { // of make invoke-NAME
					continue
				}
				if _, err := os.Stat("events/" + sample + ".json"); err != nil {
					t.Errorf("%s has make %s, but there is no such event", p.path, m[1])
				}
			case !slices.Contains(targets, m[1]):
				t.Errorf("%s has make %s, which is no target", p.path, m[1])
			}
		}
		for _, m := range verbCommand.FindAllStringSubmatch(p.text, -1) {
			calls++
			if !slices.Contains(verbs, m[1]) {
				t.Errorf("%s has %s, which mcpauth does not know", p.path, m[0])
			}
			if m[1] == "local" && m[2] != "" && m[2] != "invoke" {
				t.Errorf("%s has %s, which mcpauth local does not know", p.path, m[0])
			}
		}
		for _, m := range sampleName.FindAllStringSubmatch(p.text, -1) {
			samples++
			if _, err := os.Stat("events/" + m[1]); err != nil {
				t.Errorf("%s names events/%s, which is not there", p.path, m[1])
			}
		}
	}
	if makes == 0 || calls == 0 || samples == 0 {
		t.Errorf("found %d make commands, %d of mcpauth and %d samples, want some of each", makes, calls, samples)
	}
}

// Every sample is on the page of events.
func TestDocs_samples(t *testing.T) {
	samples, err := filepath.Glob("events/*.json")
	if err != nil || len(samples) == 0 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}
	text := readText(t, "docs/events.md")
	for _, path := range samples {
		if !strings.Contains(text, "`"+filepath.ToSlash(path)+"`") {
			t.Errorf("docs/events.md does not show %s", path)
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
