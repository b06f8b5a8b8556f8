package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// maxStdin bounds what is read from stdin. The largest input is a Lambda event
// of 6 MB.
const maxStdin = 8 << 20

// readStdin reads stdin to its end, or until the command is interrupted.
func readStdin(cmd *cobra.Command) ([]byte, error) {
	text, err := interruptible(cmd.Context(), func() ([]byte, error) { return io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxStdin+1)) })
	if len(text) > maxStdin {
		return nil, usagef("stdin has more than %d MiB", maxStdin>>20)
	}
	return text, err
}

// interruptible runs read, and returns early with an error when ctx ends. A read
// from a terminal cannot be cancelled, so its goroutine is left behind.
func interruptible[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// answers reads what a person types, one line for each question.
func answers(cmd *cobra.Command) *bufio.Reader {
	return bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64<<10))
}

// question asks a person and returns the line that is typed, or "" at the end of
// the input.
func question(cmd *cobra.Command, answers *bufio.Reader, text string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), text)
	line, err := interruptible(cmd.Context(), func() (string, error) { return answers.ReadString('\n') })
	if err != nil && line == "" { // no answer has ended the question's line
		fmt.Fprintln(cmd.ErrOrStderr())
	}
	return strings.TrimSpace(line), cmd.Context().Err()
}

// confirm asks the person to type want, unless --yes was given.
func confirm(cmd *cobra.Command, yes bool, want, what string) error {
	if yes {
		return nil
	}
	line, err := question(cmd, answers(cmd), fmt.Sprintf("This will %s. Type %s to go on: ", what, want))
	if err == nil && line != want {
		err = errors.New("not confirmed, nothing was done; use --yes to go on without being asked")
	}
	return err
}
