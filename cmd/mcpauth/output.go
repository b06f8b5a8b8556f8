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

// isTerminal reports whether a person is at the other end of what is read or
// written.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	null, _ := os.Stat(os.DevNull)
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !os.SameFile(info, null)
}

// logs takes what the programs of a stack log: all of it goes to out when that
// is set, and the end of it is kept to be shown when something fails. It is
// safe for concurrent use.
type logs struct {
	out io.Writer // nil: kept only

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
			l.kept = l.kept[i+1:] // no half line
		}
	}
	return len(p), nil
}

// dump shows on stderr what was kept, unless somebody interrupted cmd and knows
// why it failed.
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
