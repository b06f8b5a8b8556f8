package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestParseBaseline(t *testing.T) {
	got, err := parseBaseline("# about\n\nserver:\n  # one\n  # reason\n  - a:x\n  - a:y\n\nclient:\n  # other\n  - auth/b:z\n")
	if err != nil {
		t.Fatal(err)
	}
	want := baseline{{"server", "a", "x"}: "one reason", {"server", "a", "y"}: "one reason", {"client", "auth/b", "z"}: "other"}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for key, reason := range want {
		if got[key] != reason {
			t.Errorf("%v: got %q, want %q", key, got[key], reason)
		}
	}
	for _, text := range []string{
		"server:\n  - a:x",                      // no reason
		"server:\n  # r\n  - a:x\n\n  - a:y",    // none either: the empty line ends it
		"  # r\n  - a:x",                        // no side
		"# r\nserver:\n  - a:x",                 // a reason for the side only
		"server:\n  # r\n  - a",                 // a whole scenario
		"server:\n  # r\n  - a: x",              // a mapping
		"server:\n  # r\n  - a:x # s",           // a second comment
		"server:\n  # r\n  - a:x\n  - a:x",      // twice
		"server:\n  # r\n  a:x",                 // no entry
		"servers:\n  # r\n  - a:x",              // no such side
		"server: [a]\n  # r\n  - a:x\nclient:x", // YAML, but not of this kind
	} {
		if b, err := parseBaseline(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, b)
		}
	}
}

func TestBaselineFiles(t *testing.T) {
	for _, revision := range []string{rev2025, rev2026} {
		text, err := os.ReadFile("../baseline-" + revision + ".yml")
		if err != nil {
			t.Fatal(err)
		}
		b, err := parseBaseline(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := b.unknown(revision, scenarios()); ok {
			t.Errorf("%s: %v is in no scenario", revision, key)
		}
		if key, ok := b.unknown(revision, nil); !ok {
			t.Errorf("%s: nothing is unknown where no scenario is run", revision)
		} else if b[key] == "" {
			t.Errorf("%s: %v has no reason", revision, key)
		}
	}
}

func TestJudge(t *testing.T) {
	server := scenario{"server", "a", rev2026, 1, false}
	client := scenario{"client", "a", rev2026, 1, false}
	refusing := scenario{"client", "a", rev2026, 1, true}
	known := baseline{{"server", "a", "k"}: "r"}
	good, bad, odd := check{ID: "g", Status: "SUCCESS"}, check{ID: "k", Status: "FAILURE"}, check{ID: "k", Status: "WARNING"}
	const gaveUp = "Client exited with code 1\n"
	for _, tc := range []struct {
		name   string
		s      scenario
		b      baseline
		checks []check
		output string
		wrong  string // part of the only reason; empty: none
	}{
		{"success", server, nil, []check{good}, "", ""},
		{"no checks", server, nil, nil, "", "want at least 1"},
		{"only skipped and informed", server, nil, []check{{ID: "g", Status: "SKIPPED"}, {ID: "g", Status: "INFO"}}, "", "want at least 1"},
		{"failure", server, nil, []check{good, bad}, "", "FAILURE k"},
		{"warning", server, nil, []check{good, odd}, "", "WARNING k"},
		{"known failure", server, known, []check{good, bad}, "", ""},
		{"known warning", server, known, []check{good, odd}, "", ""},
		{"known, but of the other side", client, known, []check{good, bad}, "", "FAILURE k"},
		{"passes again", server, known, []check{good, {ID: "k", Status: "SUCCESS"}}, "", "does not fail any more"},
		{"gone", server, known, []check{good}, "", "does not fail any more"},
		{"fails sometimes", server, nil, []check{good, {ID: "k", Status: "SUCCESS"}, bad}, "", "FAILURE k"},
		{"client gives up", client, nil, []check{good}, gaveUp, "ended with an error"},
		{"client has to give up", refusing, nil, []check{good}, gaveUp, ""},
		{"client goes on", refusing, nil, []check{good}, "", "did not refuse"},
		{"client hangs", client, nil, []check{good}, "Client timed out after 30000ms", "did not end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := judge(tc.s, tc.b, outcome{tc.checks, tc.output})
			if tc.wrong == "" && len(v.wrong) > 0 || tc.wrong != "" && (len(v.wrong) != 1 || !strings.Contains(v.wrong[0], tc.wrong)) {
				t.Errorf("got %q, want %q", v.wrong, tc.wrong)
			}
		})
	}
}

// TestRun uses one script in place of the suite, and one in place of the server.
func TestRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-ins are shell scripts")
	}
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	r := runner{
		// node suite side --scenario name … -o out (--url u | --command c)
		node: script("node", `echo "$@" >>`+dir+`/calls
case $4 in
ping) checks='[{"id":"a","status":"SUCCESS"},{"id":"b","status":"SUCCESS"}]';;
initialize) checks='[]';;
*) exit 0;;
esac
mkdir -p "$9/x" && echo "$checks" >"$9/x/checks.json"`),
		suite:  "suite",
		server: script("server", "echo http://127.0.0.1:1/mcp; exec sleep 60"),
		client: "client", baselines: "..", out: filepath.Join(dir, "out"),
	}
	for _, tc := range []struct {
		name, want string
		fails      bool
	}{
		{"ping", "1 passed, 0 failed\n", false},
		{"initialize", "0 passed, 1 failed\n", true},
		{"tools-list", "0 passed, 2 failed\n", true}, // the suite leaves nothing
		{"nothing", "", true},
	} {
		var out strings.Builder
		err := r.run(context.Background(), []string{tc.name}, &out)
		if (err != nil) != tc.fails || !strings.HasSuffix(out.String(), tc.want) {
			t.Errorf("%s: got %q, %v, want it to end with %q", tc.name, out.String(), err, tc.want)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "suite server --scenario ping --spec-version 2025-11-25 --force -o " + r.out + "/2025-11-25/server/ping --url http://127.0.0.1:1/mcp"; !slices.Contains(strings.Split(string(calls), "\n"), want) {
		t.Errorf("got the calls %q, want %q among them", calls, want)
	}
}
