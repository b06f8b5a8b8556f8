package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
)

func asJSON(cmd *cobra.Command) bool {
	on, _ := cmd.Flags().GetBool("json")
	return on
}

// printJSON prints v as the command's one object.
func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// isTerminal reports whether stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	null, _ := os.Stat(os.DevNull)
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !os.SameFile(info, null)
}

// logs takes what the programs of a stack log. It writes everything to out if
// that is set, and keeps the last part to show when something fails. It is safe
// for concurrent use.
type logs struct {
	out io.Writer // nil: logs are only kept

	mu   sync.Mutex
	kept []byte
}

const keptLogs = 8 << 10

func newLogs(cmd *cobra.Command) *logs {
	if on, _ := cmd.Flags().GetBool("verbose"); on {
		return &logs{out: cmd.ErrOrStderr()}
	}
	return &logs{}
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return l.out.Write(p)
	}
	l.kept = append(l.kept, p...)
	if over := len(l.kept) - keptLogs; over > 0 {
		l.kept = l.kept[over:]
		if i := bytes.IndexByte(l.kept, '\n'); i >= 0 {
			l.kept = l.kept[i+1:] // start with a whole line
		}
	}
	return len(p), nil
}

// dump prints what was kept to stderr, unless cmd was interrupted: then the
// person knows why it failed.
func (l *logs) dump(cmd *cobra.Command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cmd.Context().Err() == nil {
		cmd.ErrOrStderr().Write(l.kept)
	}
}

// forget drops what was kept.
func (l *logs) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = nil
}
