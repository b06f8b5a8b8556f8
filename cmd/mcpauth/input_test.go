package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// typist is a terminal at which nothing is typed. A first read causes an
// interrupt.
type typist struct {
	interrupt func()
	gone      chan struct{}
}

func (p typist) Read([]byte) (int, error) {
	p.interrupt()
	<-p.gone
	return 0, io.EOF
}

// case 141: Ctrl-C ends a command that reads a terminal.
func TestReadStdin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	defer close(gone)
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	cmd.SetIn(typist{cancel, gone})
	if _, err := readStdin(cmd); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}

	cmd = &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetIn(strings.NewReader(strings.Repeat("x", maxStdin+1)))
	if text, err := readStdin(cmd); err == nil || text != nil {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
	cmd.SetIn(strings.NewReader(strings.Repeat("x", maxStdin)))
	if text, err := readStdin(cmd); err != nil || len(text) != maxStdin {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}
