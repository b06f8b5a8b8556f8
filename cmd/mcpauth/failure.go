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
	exitUsage       = 2   // called wrongly; nothing was done
	exitInterrupted = 130 // as shells say of SIGINT
	exitClosedPipe  = 141 // as shells say of SIGPIPE
)

// usageError is the error of a command that was called wrongly and did nothing.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// outcome returns the one line on stderr and the exit code of a run that ended
// with err. If the reader of stdout has left, the message is empty: that is not
// a fault.
func outcome(err error, interrupted bool) (message string, code int) {
	var usage *usageError
	switch {
	case err == nil:
		return "", 0
	case errors.Is(err, syscall.EPIPE) && !errors.As(err, new(*net.OpError)): // on a pipe, not on a connection
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

// oneLine returns err as one line. It drops repetitions, and the SDK's words
// about the transport around a service's answer. It replaces characters that a
// terminal would obey, since parts of an error may come from strangers.
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

// expired are AWS's error codes for credentials that have expired or are
// unknown.
var expired = []string{
	"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException",
}

// hint returns the next step after an error that any command can end in. It is
// empty if the error names the step already, or if none is known.
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
		return fmt.Sprintf("; AWS_ENDPOINT_URL is %s, and another program than mcpauth local answers there: start mcpauth local on another port, or unset the variable", endpoint)
	}
	return ""
}
