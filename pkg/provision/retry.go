package provision

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// attemptTimeout bounds one attempt of one request, so that a connection that
// died silently costs one attempt and not the whole run.
const attemptTimeout = 10 * time.Second

type repetition bool

const (
	repeatable   repetition = true  // a second request after a lost answer does no harm
	unrepeatable repetition = false // a second request would make a second thing
)

// noEffect are the errors after which nothing has happened, and the same request
// may succeed later.
var noEffect = map[string]bool{
	"TooManyRequestsException":        true,
	"ThrottlingException":             true,
	"Throttling":                      true,
	"RequestLimitExceeded":            true,
	"ConcurrentModificationException": true,
	"TooManyUpdates":                  true,
}

// internal are the errors after which it is unknown what happened.
var internal = map[string]bool{
	"InternalErrorException": true,
	"InternalServerError":    true,
	"InternalFailure":        true,
	"ServiceUnavailable":     true,
}

// retryer retries with backoff and jitter until the context's deadline. The
// SDK's own list counts LimitExceededException as throttling. Cognito uses it
// for quotas, which no waiting helps against.
func (p *Provisioner) retryer(rep repetition) aws.Retryer {
	own := retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
		code := errorCode(err)
		switch {
		case code == "LimitExceededException":
			return aws.FalseTernary
		case noEffect[code]:
			return aws.TrueTernary
		case rep == unrepeatable:
			return aws.FalseTernary
		case internal[code]:
			return aws.TrueTernary
		}
		return aws.UnknownTernary
	})
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 6
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return p.backoff(max(0, attempt-1)), nil })
		o.Retryables = append([]retry.IsErrorRetryable{retry.NoRetryCanceledError{}, own}, o.Retryables...)
	})
}

// sentOnce is the option for requests that make a new thing each time.
func (p *Provisioner) sentOnce(o *cognitoidentityprovider.Options) {
	o.Retryer = p.retryer(unrepeatable)
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// is reports whether err is the service's error of type T.
func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// unknownOutcome reports whether the request that failed with err may have had
// an effect.
func unknownOutcome(err error) bool {
	if err == nil {
		return false
	}
	if internal[errorCode(err)] {
		return true
	}
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.HTTPStatusCode() != 0 {
		return re.HTTPStatusCode() >= 500
	}
	var refused *smithy.OperationError // an error before sending, such as a missing member, is one too
	return errors.As(err, &refused)
}

// once makes something that a repeated request would make twice. If the outcome
// of make is unknown, it looks for the thing with find, and makes it again only
// if it does not exist.
func once[T any](ctx context.Context, p *Provisioner, make func() (*T, error), find func() (*T, error)) (*T, error) {
	for attempt := 0; ; attempt++ {
		made, err := make()
		if err == nil || !unknownOutcome(err) || attempt == 4 {
			return made, err
		}
		if waitErr := p.wait(ctx, p.backoff(attempt)); waitErr != nil {
			return nil, err
		}
		found, findErr := find()
		if findErr != nil {
			return nil, errors.Join(err, findErr)
		}
		if found != nil {
			return found, nil
		}
	}
}

// isAgain reports whether another run made what this one was about to make, so
// that another look finds it.
func isAgain(err error) bool {
	return errors.Is(err, errAgain) || is[*ssmtypes.ParameterAlreadyExists](err)
}
