package converse

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
)

// Kind says what a caller can do about a ModelError.
type Kind string

const (
	Refused     Kind = "refused"     // the request, the access or the model id is wrong
	Throttled   Kind = "throttled"   // it may pass
	Unavailable Kind = "unavailable" // it may pass
	Failed      Kind = "failed"      // the model's own output is unusable
)

// ModelError says that the model gave no answer.
type ModelError struct {
	Kind    Kind
	Message string
	Err     error // the SDK's, if there is one
}

func (e *ModelError) Error() string { return fmt.Sprintf("model %s: %s", e.Kind, e.Message) }
func (e *ModelError) Unwrap() error { return e.Err }

// modelError sorts the errors of the Converse operation.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
func modelError(err error) error {
	e := &ModelError{Kind: Unavailable, Message: err.Error(), Err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return e
	}
	e.Message = api.ErrorCode() + ": " + api.ErrorMessage()
	switch api.ErrorCode() {
	case "ValidationException", "AccessDeniedException", "ResourceNotFoundException",
		"UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException", "ExpiredTokenException":
		e.Kind = Refused
	case "ThrottlingException", "ModelNotReadyException", "ServiceQuotaExceededException":
		e.Kind = Throttled
	case "ModelErrorException":
		e.Kind = Failed
	}
	return e
}
