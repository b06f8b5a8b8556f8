package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2   // wrongly called; nothing was done
	exitInterrupted = 130 // as shells say of SIGINT
	exitClosedPipe  = 141 // as shells say of SIGPIPE
)

// usageError says that a command was wrongly called, and that so nothing was
// done.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// outcome is what a run that ended with err says on stderr, in one line, and
// its exit code. A reader of stdout who left is no fault and is not told of.
func outcome(err error, interrupted bool) (message string, code int) {
	var usage *usageError
	switch {
	case err == nil:
		return "", 0
	case errors.Is(err, syscall.EPIPE) && !errors.As(err, new(*net.OpError)): // of a file, and not of a connection
		return "", exitClosedPipe
	case interrupted:
		message, code = "interrupted", exitInterrupted
		if text := strings.TrimSuffix(oneLine(err), ": "+context.Canceled.Error()); text != context.Canceled.Error() {
			message += ": " + text
		}
		return message, code
	case errors.As(err, &usage):
		return oneLine(err), exitUsage
	}
	return oneLine(err) + hint(err), exitFailed
}

// oneLine is err in one line, without repetitions and what an AWS SDK says of
// the transport around what the service answered, and with nothing in it that a
// terminal obeys: part of it may be a stranger's words.
func oneLine(err error) string {
	text := err.Error()
	var op *smithy.OperationError
	if errors.As(err, &op) {
		var api smithy.APIError
		var transport *net.OpError
		var name *net.DNSError
		var unread *smithyhttp.ResponseError
		short := ""
		switch {
		case errors.As(op.Err, &api):
			short = api.ErrorCode() + ": " + api.ErrorMessage()
		case errors.As(op.Err, &name):
			short = name.Error()
		case errors.As(op.Err, &transport):
			short = transport.Error()
		case errors.As(op.Err, &unread):
			short = fmt.Sprintf("an answer of status %d that is not AWS's", unread.HTTPStatusCode())
		case errors.Is(op.Err, context.Canceled):
			short = context.Canceled.Error()
		}
		if short != "" {
			text = strings.Replace(text, op.Error(), op.ServiceID+" "+op.OperationName+": "+short, 1)
		}
	}
	return printable(strings.Join(slices.Compact(slices.Collect(lines(text))), "; "))
}

func lines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}

// expired are what AWS calls credentials that were good once, or never.
var expired = []string{
	"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException",
}

// hint is the next step after errors that every command can end in; empty where
// the error has it, or where nobody knows.
func hint(err error) string {
	var api smithy.APIError
	var name *net.DNSError
	var unread *smithyhttp.ResponseError
	endpoint := strings.TrimSuffix(os.Getenv("AWS_ENDPOINT_URL"), "/")
	_, host, _ := strings.Cut(endpoint, "://")
	switch {
	case errors.As(err, &api) && slices.Contains(expired, api.ErrorCode()):
		return "; " + signIn
	case errors.As(err, &name) && strings.Contains(name.Name, ".amazonaws.com"):
		return "; is that a region? Use --region, or set AWS_REGION"
	case errors.Is(err, syscall.ECONNREFUSED) && host != "" && (strings.Contains(err.Error(), "operation error") || strings.Contains(err.Error(), host)):
		return fmt.Sprintf("; AWS_ENDPOINT_URL is %s: start it with mcpauth local, or unset it", endpoint)
	case api == nil && errors.As(err, &unread) && endpoint != "":
		return fmt.Sprintf("; AWS_ENDPOINT_URL is %s, and what answers there is not mcpauth local: start that elsewhere, or unset it", endpoint)
	}
	return ""
}
