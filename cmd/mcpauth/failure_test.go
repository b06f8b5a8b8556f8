package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestOutcome(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
	api := func(code, message string) error {
		return fmt.Errorf("reading parameters: %w", &smithy.OperationError{
			ServiceID: "SSM", OperationName: "GetParametersByPath",
			Err: fmt.Errorf("https response error StatusCode: 400, RequestID: r, %w", &smithy.GenericAPIError{Code: code, Message: message}),
		})
	}
	transport := func(err error) error {
		return &smithy.OperationError{ServiceID: "SSM", OperationName: "GetParametersByPath", Err: fmt.Errorf("exceeded maximum number of attempts, 3, %w", err)}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		name        string
		err         error
		interrupted bool
		message     string
		code        int
	}{
		{"success", nil, false, "", 0},
		{"success in spite of an interrupt", nil, true, "", 0},
		{"failure", errors.New("no"), false, "no", 1},
		{"usage", fmt.Errorf("x: %w", usagef("no such %s", "flag")), false, "x: no such flag", 2},
		{"closed pipe", fmt.Errorf("write: %w", syscall.EPIPE), false, "", 141},
		{"closed connection", fmt.Errorf("initialize: %w", &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}), false, "initialize: write tcp: write: broken pipe", 1},
		{"interrupt", context.Canceled, true, "interrupted", 130},
		{"interrupted work", fmt.Errorf("deleting app client c: %w", transport(context.Canceled)), true, "interrupted: deleting app client c: SSM GetParametersByPath", 130},
		{"several lines", errors.Join(errors.New("one"), errors.New("two\n"), errors.New("two")), false, "one; two", 1},
		{"terminal", errors.New("a\x1b[2Jb\u202ec"), false, "a\uFFFD[2Jb\uFFFDc", 1},
		{"denied", api("AccessDeniedException", "User u is not authorized"), false, "reading parameters: SSM GetParametersByPath: AccessDeniedException: User u is not authorized", 1},
		{"expired", api("ExpiredTokenException", "The token is expired"), false, "reading parameters: SSM GetParametersByPath: ExpiredTokenException: The token is expired; " + signIn, 1},
		{"no such region", transport(&net.DNSError{Err: "no such host", Name: "ssm.eu-nowhere-9.amazonaws.com", IsNotFound: true}), false,
			"SSM GetParametersByPath: lookup ssm.eu-nowhere-9.amazonaws.com: no such host; is that a region? Use --region, or set AWS_REGION", 1},
		{"no local stack", transport(refused), false,
			"SSM GetParametersByPath: dial tcp: connect: connection refused; AWS_ENDPOINT_URL is http://127.0.0.1:4566: start it with mcpauth local, or unset it", 1},
		{"no runtime of it", fmt.Errorf("initialize: dial tcp 127.0.0.1:4566: connect: %w", syscall.ECONNREFUSED), false,
			"initialize: dial tcp 127.0.0.1:4566: connect: connection refused; AWS_ENDPOINT_URL is http://127.0.0.1:4566: start it with mcpauth local, or unset it", 1},
		{"not AWS", transport(&smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 501}}, Err: errors.New("invalid character '<'")}), false,
			"SSM GetParametersByPath: an answer of status 501 that is not AWS's; AWS_ENDPOINT_URL is http://127.0.0.1:4566, and another program than mcpauth local answers there: start mcpauth local on another port, or unset the variable", 1},
		{"another server", refused, false, "dial tcp: connect: connection refused", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if message, code := outcome(tt.err, tt.interrupted); message != tt.message || code != tt.code {
				t.Errorf("got %d %q\nwant %d %q", code, message, tt.code, tt.message)
			}
		})
	}
}
