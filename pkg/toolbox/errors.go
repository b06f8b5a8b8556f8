package toolbox

import (
	"errors"
	"fmt"
)

// ServerError says which server something went wrong with.
type ServerError struct {
	Server string
	Err    error
}

func (e *ServerError) Error() string { return fmt.Sprintf("MCP server %s: %v", e.Server, e.Err) }
func (e *ServerError) Unwrap() error { return e.Err }

// UnknownOutcomeError says that a request was sent and its answer lost, so that
// nobody can tell whether it was carried out. A tool call that ends in one has
// not been sent again.
type UnknownOutcomeError struct{ Err error }

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("sent, but the answer was lost, so it may have been carried out: %v", e.Err)
}
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// AnswerError says that a server's answer cannot be used; [ErrTooLarge] is one
// reason. A tool call that ends in one may have been carried out.
type AnswerError struct{ Err error }

func (e *AnswerError) Error() string { return fmt.Sprintf("unusable answer: %v", e.Err) }
func (e *AnswerError) Unwrap() error { return e.Err }

func unusable(format string, args ...any) error { return &AnswerError{fmt.Errorf(format, args...)} }

var (
	// ErrUnknownTool says that the catalogue has no tool of that name, or that
	// its server's allow and deny lists forbid it.
	ErrUnknownTool = errors.New("unknown tool")

	// ErrTooLarge says that an answer went over 8 MiB, unpacked.
	ErrTooLarge = fmt.Errorf("over %d MiB", maxAnswer>>20)

	// ErrStalled says that an answer began and then paused for a minute.
	ErrStalled = fmt.Errorf("no byte came for %s", maxPause)

	// ErrClosed says that the toolbox was closed.
	ErrClosed = errors.New("the toolbox is closed")
)

// unsentError says that a request never left: nothing was connected to, or the
// connection broke before a byte of it was written.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }
