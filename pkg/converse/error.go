package converse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Kind says what a caller can do about a ModelError.
type Kind string

const (
	Refused     Kind = "refused"     // the request, the access or the model id is wrong
	Throttled   Kind = "throttled"   // it may pass
	Unavailable Kind = "unavailable" // it may pass
	Failed      Kind = "failed"      // the model's own output is unusable
)

// ModelError says that the model gave no answer, after the retries that fit.
type ModelError struct {
	Kind    Kind
	ModelID string // that was asked last; empty: none was
	Code    string // of Bedrock's exception; empty: there was none
	Message string // Bedrock's; it may name roles and accounts
	Err     error  // the SDK's, if there is one

	transient bool // the same call may succeed
}

func (e *ModelError) Error() string {
	s := fmt.Sprintf("model %s: ", e.Kind)
	if e.ModelID != "" {
		s += e.ModelID + ": "
	}
	if e.Code != "" {
		s += e.Code + ": "
	}
	return s + e.Message
}

func (e *ModelError) Unwrap() error { return e.Err }

// DeadlineError says that no answer fits in the time left. It is a
// [context.DeadlineExceeded].
type DeadlineError struct{ Doing string }

func (e *DeadlineError) Error() string { return "no time left for " + e.Doing }
func (e *DeadlineError) Unwrap() error { return context.DeadlineExceeded }

// interrupted is the error of what was going on when ctx ended.
func interrupted(ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &DeadlineError{Doing: doing}
	}
	return fmt.Errorf("waiting for %s: %w", doing, context.Cause(ctx))
}

// exceptions are the errors of Converse and ConverseStream, and of the service
// around them. The SDK by itself retries only some of those that pass.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
// https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
var exceptions = map[string]struct {
	kind      Kind
	transient bool
}{
	"AccessDeniedException":               {Refused, false},
	"ExpiredTokenException":               {Refused, false},
	"InvalidSignatureException":           {Refused, false},
	"MissingAuthenticationTokenException": {Refused, false},
	"ResourceNotFoundException":           {Refused, false},
	"UnrecognizedClientException":         {Refused, false},
	"ValidationException":                 {Refused, false},
	"InternalServerException":             {Unavailable, true},
	"ModelErrorException":                 {Failed, true},
	"ModelNotReadyException":              {Throttled, true},
	"ModelStreamErrorException":           {Failed, true},
	"ModelTimeoutException":               {Unavailable, true},
	"ServiceQuotaExceededException":       {Throttled, false},
	"ServiceUnavailableException":         {Unavailable, true},
	"ThrottlingException":                 {Throttled, true},
}

// retryable is the SDK's own judgement: connections that broke before an answer,
// timeouts, throttle codes and gateway statuses.
var retryable = retry.IsErrorRetryables(retry.DefaultRetryables)

// modelError sorts what an SDK call returned.
func modelError(err error) *ModelError {
	if e, ok := err.(*ModelError); ok {
		return e
	}
	e := &ModelError{Kind: Unavailable, Message: err.Error(), Err: err, transient: retryable.IsErrorRetryable(err) == aws.TrueTernary}
	var api smithy.APIError
	var invalid smithy.InvalidParamsError
	var response *smithyhttp.ResponseError
	switch {
	case errors.As(err, &invalid): // refused by the SDK itself
		e.Kind, e.transient = Refused, false
	case errors.Is(err, io.ErrUnexpectedEOF): // the answer broke off
		e.transient = true
	case errors.As(err, &api):
		e.Code, e.Message = api.ErrorCode(), api.ErrorMessage()
		if x, known := exceptions[e.Code]; known {
			e.Kind, e.transient = x.kind, x.transient
			return e
		}
		if !errors.As(err, &response) {
			return e
		}
		switch status := response.HTTPStatusCode(); {
		case status == http.StatusTooManyRequests:
			e.Kind, e.transient = Throttled, true
		case status >= 400 && status < 500 && !e.transient:
			e.Kind, e.transient = Refused, false
		}
	}
	return e
}
