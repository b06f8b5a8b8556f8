package localaws

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// user is one user of a pool, for development without machine credentials.
// Names are case-sensitive, as in every pool made without UsernameConfiguration.
type user struct {
	name, sub         string
	password          string
	permanent         bool // false: the password is temporary and cannot sign in
	created, modified time.Time
	attributes        []attribute
}

type attribute struct{ Name, Value string }

// Rules of the API model.
var (
	usernameRule  = textRule{invalidParameter, 1, 128, regexp.MustCompile(`^[\p{L}\p{M}\p{S}\p{N}\p{P}]+$`)}
	passwordRule  = textRule{"InvalidPasswordException", 1, 256, regexp.MustCompile(`^[\S]+$`)}
	attributeRule = textRule{invalidParameter, 0, 2048, nil}
)

// userAttributes are the standard attributes that the stand-in keeps. None has
// an effect.
var userAttributes = []string{"email", "email_verified", "name", "given_name", "family_name", "nickname", "preferred_username"}

type passwordPolicy struct {
	MinimumLength                                                      int32 `json:",omitempty"`
	RequireUppercase, RequireLowercase, RequireNumbers, RequireSymbols bool
	TemporaryPasswordValidityDays                                      *int32 `json:",omitempty"`
}

func (pol *passwordPolicy) check() *apiError {
	if pol.MinimumLength == 0 {
		pol.MinimumLength = 8
	}
	return cmp.Or(
		checkRange(invalidParameter, "minimumLength", &pol.MinimumLength, 6, 99),
		checkRange(invalidParameter, "temporaryPasswordValidityDays", pol.TemporaryPasswordValidityDays, 0, 365),
	)
}

// allows refuses a password that does not conform.
func (pol *passwordPolicy) allows(password string) *apiError {
	if err := passwordRule.check("password", password); err != nil {
		return err
	}
	var lacks string
	switch {
	case utf8.RuneCountInString(password) < int(pol.MinimumLength):
		lacks = "Password not long enough"
	case pol.RequireUppercase && !strings.ContainsAny(password, upper):
		lacks = "Password must have uppercase characters"
	case pol.RequireLowercase && !strings.ContainsAny(password, lower):
		lacks = "Password must have lowercase characters"
	case pol.RequireNumbers && !strings.ContainsAny(password, digits):
		lacks = "Password must have numeric characters"
	case pol.RequireSymbols && !strings.ContainsAny(password, "^$*.[]{}()?-\"!@#%&/\\,><':;|_~`+="):
		lacks = "Password must have symbol characters"
	default:
		return nil
	}
	return errorf("InvalidPasswordException", "Password did not conform with policy: %s", lacks)
}

// userKey is how the admin operations name a user.
type userKey struct{ UserPoolId, Username string }

func (p *userPools) user(key userKey) (*userPool, *user, *apiError) {
	pool, err := p.find(key.UserPoolId)
	if err != nil {
		return nil, nil, err
	}
	if err := usernameRule.check("username", key.Username); err != nil {
		return nil, nil, err
	}
	u := pool.users[key.Username]
	if u == nil {
		return pool, nil, errorf("UserNotFoundException", "User does not exist.")
	}
	return pool, u, nil
}

func (u *user) status() string {
	if u.permanent {
		return "CONFIRMED"
	}
	return "FORCE_CHANGE_PASSWORD"
}

func (u *user) shown() []attribute {
	return append([]attribute{{"sub", u.sub}}, u.attributes...)
}

// adminCreateUser makes a user with a temporary password. It sends no message,
// whatever MessageAction says.
func (p *userPools) adminCreateUser(in *struct {
	userKey
	TemporaryPassword *string
	MessageAction     string
	UserAttributes    []attribute
}) (any, *apiError) {
	pool, _, err := p.user(in.userKey)
	if err == nil {
		return nil, errorf("UsernameExistsException", "User account already exists")
	}
	if err.Type != "UserNotFoundException" {
		return nil, err
	}
	if err := checkEnum(invalidParameter, "messageAction", in.MessageAction, "SUPPRESS", "RESEND"); err != nil {
		return nil, err
	}
	if in.MessageAction == "RESEND" {
		return nil, unimplemented("MessageAction RESEND")
	}
	for _, a := range in.UserAttributes {
		if !slices.Contains(userAttributes, a.Name) {
			return nil, unimplemented("user attribute %.80q", a.Name)
		}
		if err := attributeRule.check("userAttributes.value", a.Value); err != nil {
			return nil, err
		}
	}
	password := rand.Text() + "aA1!"
	if in.TemporaryPassword != nil {
		if err := pool.Policies.PasswordPolicy.allows(*in.TemporaryPassword); err != nil {
			return nil, err
		}
		password = *in.TemporaryPassword
	}
	now := p.s.cfg.Now()
	u := &user{name: in.Username, sub: uuid.NewString(), password: password, created: now, modified: now, attributes: in.UserAttributes}
	pool.users[u.name] = u
	type view struct {
		Username, UserStatus                 string
		Enabled                              bool
		UserCreateDate, UserLastModifiedDate epoch
		Attributes                           []attribute
	}
	return struct{ User view }{view{u.name, u.status(), true, epoch(u.created), epoch(u.modified), u.shown()}}, nil
}

func (p *userPools) adminSetUserPassword(in *struct {
	userKey
	Password  string
	Permanent bool
}) (any, *apiError) {
	pool, u, err := p.user(in.userKey)
	if err != nil {
		return nil, err
	}
	if err := pool.Policies.PasswordPolicy.allows(in.Password); err != nil {
		return nil, err
	}
	u.password, u.permanent, u.modified = in.Password, in.Permanent, p.s.cfg.Now()
	return nil, nil
}

func (p *userPools) adminGetUser(in *userKey) (any, *apiError) {
	_, u, err := p.user(*in)
	if err != nil {
		return nil, err
	}
	return struct {
		Username, UserStatus                 string
		Enabled                              bool
		UserCreateDate, UserLastModifiedDate epoch
		UserAttributes                       []attribute
	}{u.name, u.status(), true, epoch(u.created), epoch(u.modified), u.shown()}, nil
}

func (p *userPools) adminDeleteUser(in *userKey) (any, *apiError) {
	pool, u, err := p.user(*in)
	if err != nil {
		return nil, err
	}
	delete(pool.users, u.name)
	return nil, nil
}

type authInput struct {
	AuthFlow, ClientId string
	AuthParameters     map[string]string
}

type authResult struct {
	AccessToken, IdToken string
	ExpiresIn            int64
	TokenType            string
}

// initiateAuth signs a user in with name and password. The result has an access
// token and an id token; refresh tokens are not implemented.
func (p *userPools) initiateAuth(r *http.Request, body []byte) (any, *apiError) {
	in := new(authInput)
	if err := decode(body, in); err != nil {
		return nil, err
	}
	tokens, err := p.signIn(in, baseURL(r))
	if err != nil {
		return nil, err
	}
	if tokens == nil {
		return map[string]any{
			"ChallengeName":       "NEW_PASSWORD_REQUIRED",
			"Session":             rand.Text(),
			"ChallengeParameters": map[string]string{"USER_ID_FOR_SRP": in.AuthParameters["USERNAME"]},
		}, nil
	}
	return map[string]authResult{"AuthenticationResult": {
		AccessToken: tokens.accessKey().sign(tokens.access), IdToken: tokens.idKey().sign(tokens.id),
		ExpiresIn: tokens.access.Expires - tokens.access.IssuedAt, TokenType: "Bearer",
	}}, nil
}

// userClaims are the claims of a user's access token.
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
type userClaims struct {
	Subject  string `json:"sub"`
	Issuer   string `json:"iss"`
	ClientID string `json:"client_id"`
	OriginID string `json:"origin_jti"`
	EventID  string `json:"event_id"`
	TokenUse string `json:"token_use"`
	Scope    string `json:"scope"`
	AuthTime int64  `json:"auth_time"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
	Username string `json:"username"`
}

// idClaims are the claims of a user's id token, except those made from the
// user's attributes.
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-id-token.html
type idClaims struct {
	Subject  string `json:"sub"`
	Issuer   string `json:"iss"`
	Username string `json:"cognito:username"`
	OriginID string `json:"origin_jti"`
	Audience string `json:"aud"` // the client id
	EventID  string `json:"event_id"`
	TokenUse string `json:"token_use"`
	AuthTime int64  `json:"auth_time"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
}

// userTokens are the unsigned tokens of a user who signed in.
type userTokens struct {
	access           userClaims
	id               idClaims
	accessKey, idKey func() *signingKey
}

// signIn checks a user's password. It returns no tokens and no error for a user
// whose password is only temporary.
func (p *userPools) signIn(in *authInput, base string) (*userTokens, *apiError) {
	if in.AuthFlow != "USER_PASSWORD_AUTH" {
		return nil, unimplemented("AuthFlow %.80q", in.AuthFlow)
	}
	for _, k := range slices.Sorted(maps.Keys(in.AuthParameters)) {
		if !slices.Contains([]string{"USERNAME", "PASSWORD", "SECRET_HASH"}, k) {
			return nil, unimplemented("AuthParameters.%.80s", k)
		}
	}
	name, password := in.AuthParameters["USERNAME"], in.AuthParameters["PASSWORD"]
	if name == "" || password == "" {
		return nil, errorf(invalidParameter, "Missing required parameter USERNAME or PASSWORD")
	}
	if err := clientIDRule.check("clientId", in.ClientId); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pool, c := p.clientOfAnyPool(in.ClientId)
	switch {
	case c == nil:
		return nil, errorf(notFound, "User pool client %.128s does not exist.", in.ClientId)
	case !slices.Contains(c.ExplicitAuthFlows, "ALLOW_USER_PASSWORD_AUTH") && !slices.Contains(c.ExplicitAuthFlows, "USER_PASSWORD_AUTH"):
		return nil, errorf(invalidParameter, "USER_PASSWORD_AUTH flow not enabled for this client")
	case !c.hashMatches(name, in.AuthParameters["SECRET_HASH"]):
		return nil, errorf("NotAuthorizedException", "Unable to verify secret hash for client %s", c.id)
	}
	u := pool.users[name]
	switch {
	case u == nil && c.PreventUserExistenceErrors != "ENABLED":
		return nil, errorf("UserNotFoundException", "User does not exist.")
	case u == nil, subtle.ConstantTimeCompare([]byte(u.password), []byte(password)) != 1:
		return nil, errorf("NotAuthorizedException", "Incorrect username or password.")
	case !u.permanent:
		return nil, nil
	}
	now := p.s.cfg.Now()
	access := userClaims{
		Subject: u.sub, Issuer: base + "/" + pool.id, ClientID: c.id, OriginID: uuid.NewString(), EventID: uuid.NewString(),
		TokenUse: "access", Scope: "aws.cognito.signin.user.admin", AuthTime: now.Unix(), Expires: now.Add(c.accessLifetime()).Unix(),
		IssuedAt: now.Unix(), ID: uuid.NewString(), Username: u.name,
	}
	id := idClaims{
		Subject: u.sub, Issuer: access.Issuer, Username: u.name, OriginID: access.OriginID, Audience: c.id, EventID: access.EventID,
		TokenUse: "id", AuthTime: now.Unix(), Expires: now.Add(c.idLifetime()).Unix(), IssuedAt: now.Unix(), ID: uuid.NewString(),
	}
	return &userTokens{access, id, pool.signer(), pool.idSigner}, nil
}

func (p *userPools) clientOfAnyPool(id string) (*userPool, *appClient) {
	for _, pool := range p.pools {
		if c := pool.clients[id]; c != nil {
			return pool, c
		}
	}
	return nil, nil
}

// hashMatches checks the SECRET_HASH that a client with a secret must send.
// https://docs.aws.amazon.com/cognito/latest/developerguide/signing-up-users-in-your-app.html#cognito-user-pools-computing-secret-hash
func (c *appClient) hashMatches(username, hash string) bool {
	if len(c.secrets) == 0 {
		return hash == ""
	}
	match := 0
	for _, s := range c.secrets {
		mac := hmac.New(sha256.New, []byte(s.value))
		mac.Write([]byte(username + c.id))
		want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
		match |= subtle.ConstantTimeCompare([]byte(want), []byte(hash))
	}
	return match == 1
}
