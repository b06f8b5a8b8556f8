package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// BenchmarkHelp measures a whole process that prints help, which should take no
// noticeable time.
func BenchmarkHelp(b *testing.B) {
	for b.Loop() {
		if out, err := exec.Command(filepath.Join(binaries, "mcpauth"), "help").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
