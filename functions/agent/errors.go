package main

import (
	"context"
	"errors"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
	"agentcore-mcp-auth/pkg/trigger"
)

// requestError gives err, which ended the request of ctx, its error code. The
// order matters: the error that a server error wraps comes before it. Only ctx
// says whether the request's time is up, because a connection attempt that timed
// out is a context.DeadlineExceeded too.
func requestError(ctx context.Context, err error, usage trigger.Usage) error {
	code, ok := credentialCode(err)
	var server *toolbox.ServerError
	var model *converse.ModelError
	var request *converse.RequestError
	switch {
	case ok:
	case errors.As(err, &request):
		if code = trigger.InvalidRequest; request.TooLarge {
			code = trigger.RequestTooLarge
		}
	case ctx.Err() != nil, errors.As(err, new(*converse.DeadlineError)):
		return &trigger.Error{Code: trigger.DeadlineExceeded, Message: "no answer fits in the time left", Usage: usage, Err: err}
	case errors.As(err, &model):
		// Bedrock's own words can name roles and accounts: they are for the log.
		message := "model " + model.ModelID + " " + string(model.Kind)
		if model.Code != "" {
			message += " (" + model.Code + ")"
		} else if model.Kind == converse.Failed {
			message += ": " + model.Message
		}
		code = map[converse.Kind]trigger.Code{
			converse.Refused:     trigger.ModelRefused,
			converse.Throttled:   trigger.ModelThrottled,
			converse.Unavailable: trigger.ModelUnavailable,
			converse.Failed:      trigger.ModelFailed,
		}[model.Kind]
		return &trigger.Error{Code: code, Message: message, Usage: usage, Err: err}
	case errors.As(err, &server):
		code = trigger.MCPUnavailable
	default:
		return err
	}
	return &trigger.Error{Code: code, Message: err.Error(), Usage: usage, Err: err}
}

func isCredentialError(err error) bool {
	_, ok := credentialCode(err)
	return ok
}

// credentialCode returns the code of an error that is the fault of a credential,
// or of the way to it.
func credentialCode(err error) (trigger.Code, bool) {
	var (
		configuration *tokensource.ConfigError
		unavailable   *tokensource.UnavailableError
		refused       *tokensource.RefusedError
		challenge     *tokensource.ChallengeError
		platform      *agentcore.Error
	)
	switch {
	case errors.As(err, &configuration):
		return trigger.ConfigurationError, true
	case errors.As(err, &unavailable):
		return trigger.CredentialsUnavailable, true
	case errors.As(err, &refused):
		return trigger.TokenRefused, true
	case errors.As(err, &challenge):
		return trigger.MCPAuthRefused, true
	case errors.As(err, &platform) && platform.Unauthorized():
		return trigger.MCPAuthRefused, true
	}
	return "", false
}
