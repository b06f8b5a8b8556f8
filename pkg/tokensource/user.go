package tokensource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"agentcore-mcp-auth/pkg/credstore"
)

// userGrant signs a user in by name and password, with Cognito's InitiateAuth.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
//
// The operation is unsigned and takes one small JSON object. Sending it here,
// and not through the SDK, puts it under the same limits as every other request
// that carries a secret: no redirect, no local address, a capped answer.
type userGrant struct{ wire *wire }

func (g userGrant) needs() []string {
	return []string{credstore.DiscoveryURL, credstore.UserClientID, credstore.Username, credstore.Password}
}

const signingIn = "signing in"

func (g userGrant) token(ctx context.Context, c credstore.Credentials, _ ask) (Token, error) {
	endpoint, err := g.endpoint(c.DiscoveryURL)
	if err != nil {
		return Token{}, err
	}
	body, err := json.Marshal(map[string]any{
		"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": c.UserClientID,
		"AuthParameters": map[string]string{"USERNAME": c.Username, "PASSWORD": c.Password.Reveal()},
	})
	if err != nil {
		return Token{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return Token{}, err
	}
	req.Header.Set("Content-Type", amzJSON)
	req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService.InitiateAuth")
	asked := g.wire.now()
	got, err := g.wire.send(ctx, signingIn, req)
	if err != nil {
		return Token{}, err
	}
	var out struct {
		Type                 string `json:"__type"`
		ChallengeName        string
		AuthenticationResult struct {
			AccessToken, TokenType string
			ExpiresIn              json.RawMessage
		}
	}
	err = got.json(&out, amzJSON)
	switch {
	case got.status != http.StatusOK:
		return Token{}, g.refused(out.Type, got.status)
	case err != nil:
		return Token{}, &UnavailableError{Doing: signingIn, Err: err}
	case out.ChallengeName != "":
		return Token{}, &ConfigError{Setting: "parameter " + g.wire.path + credstore.Username,
			Err: errors.New("this user's password alone is not enough: Cognito asks for more, such as a new password or a second factor")}
	}
	r := out.AuthenticationResult
	t, err := checkToken(r.AccessToken, r.TokenType, r.ExpiresIn, asked)
	if err != nil {
		return Token{}, &UnavailableError{Doing: signingIn, Err: err}
	}
	return t, nil
}

const amzJSON = "application/x-amz-json-1.1"

// endpoint is where the pool's API is: on the host of its discovery document.
func (g userGrant) endpoint(discoveryURL string) (string, error) {
	refuse := refusal("parameter " + g.wire.path + credstore.DiscoveryURL)
	u, err := parseURL(discoveryURL)
	if err == nil {
		err = g.wire.rule.issuer(u)
	}
	if err != nil {
		return "", refuse("%w", err)
	}
	if !isLoopback(u.Hostname()) && !cognitoIssuer.MatchString(u.Hostname()) {
		return "", refuse("a user signs in to Amazon Cognito only")
	}
	return u.Scheme + "://" + strings.TrimPrefix(u.Host, "issuer-") + "/", nil
}

// refused makes the error for an exception. Its message is left out: it is about
// the user.
func (g userGrant) refused(exception string, status int) error {
	exception = exception[strings.LastIndex(exception, "#")+1:]
	parameter := credstore.UserClientID
	switch exception {
	case "TooManyRequestsException", "InternalErrorException", "LimitExceededException", "ThrottlingException":
		return &UnavailableError{Doing: signingIn, Err: errors.New("it answered " + exception)}
	case "NotAuthorizedException", "PasswordResetRequiredException":
		parameter = credstore.Password
	case "UserNotFoundException", "UserNotConfirmedException":
		parameter = credstore.Username
	case "ResourceNotFoundException", "InvalidParameterException", "ForbiddenException":
	default:
		exception = strconv.Itoa(status)
	}
	return &RefusedError{Code: exception, Parameter: g.wire.path + parameter}
}
