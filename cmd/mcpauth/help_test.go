package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// Every command says what it does in a line and shows how it is called.
func TestHelp_examples(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || cmd.Args == nil {
			t.Errorf("%s: Short %q, Args set: %t", cmd.CommandPath(), cmd.Short, cmd.Args != nil)
		}
		if !cmd.Hidden && !strings.Contains(cmd.Example, "mcpauth ") {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for row := range strings.Lines(cmd.Long) {
			if len(strings.TrimRight(row, "\n")) > 82 {
				t.Errorf("%s: %q does not fit a terminal", cmd.CommandPath(), row)
			}
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(newRoot())
}

// Help comes before anybody notices that a program was started.
func TestHelp_soon(t *testing.T) {
	best := time.Hour
	for range 10 { // the machine may be busy
		start := time.Now()
		if out, err := exec.Command(filepath.Join(binaries, "mcpauth"), "help").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("help takes %s", best)
	if best > 50*time.Millisecond {
		t.Errorf("help takes %s, at most 50ms are allowed", best)
	}
}
