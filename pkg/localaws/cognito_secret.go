package localaws

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// clientSecret is one live secret of an app client.
type clientSecret struct {
	id, value string
	created   time.Time
	original  bool // the one the client was made with
}

// secretsPerClient is how many secrets of a client can be live at once.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AddUserPoolClientSecret.html
const secretsPerClient = 2

// secretRule is for a secret that the caller chooses.
var secretRule = textRule{invalidParameter, 24, 64, regexp.MustCompile(`^[\w+]+$`)}

func newSecret() string { return randomText(51, lower+digits) }

// addSecret adds a secret. Its id is {clientId}--{epoch}; two that are made in
// the same second get different ids.
func (c *appClient) addSecret(value string, now time.Time) *clientSecret {
	stamp := now.Unix()
	id := fmt.Sprintf("%s--%d", c.id, stamp)
	for c.secretIndex(id) >= 0 {
		stamp++
		id = fmt.Sprintf("%s--%d", c.id, stamp)
	}
	c.secrets = append(c.secrets, clientSecret{id: id, value: value, created: now})
	return &c.secrets[len(c.secrets)-1]
}

func (c *appClient) secretIndex(id string) int {
	return slices.IndexFunc(c.secrets, func(s clientSecret) bool { return s.id == id })
}

// knows reports whether value is a live secret, in constant time.
func (c *appClient) knows(value string) bool {
	given := sha256.Sum256([]byte(value))
	match := 0
	for _, s := range c.secrets {
		live := sha256.Sum256([]byte(s.value))
		match |= subtle.ConstantTimeCompare(given[:], live[:])
	}
	return match == 1
}

type secretDescriptor struct {
	ClientSecretId         string
	ClientSecretValue      string `json:",omitempty"` // only when it has just been generated
	ClientSecretCreateDate epoch
}

func (p *userPools) addSecret(in *struct {
	clientKey
	ClientSecret *string
}) (any, *apiError) {
	_, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	if err := secretRule.checkOptional("clientSecret", in.ClientSecret); err != nil {
		return nil, err
	}
	switch {
	case len(c.secrets) == 0:
		return nil, errorf(invalidParameter, "The client is a public client and cannot have secrets.")
	case len(c.secrets) >= secretsPerClient:
		return nil, errorf(limitExceeded, "An app client can have at most %d active secrets.", secretsPerClient)
	case in.ClientSecret != nil && c.knows(*in.ClientSecret):
		return nil, errorf(invalidParameter, "The client already has this secret.")
	}
	value, shown := "", ""
	if in.ClientSecret != nil {
		value = *in.ClientSecret
	} else {
		value = newSecret()
		shown = value
	}
	s := c.addSecret(value, p.s.cfg.Now())
	return struct{ ClientSecretDescriptor secretDescriptor }{secretDescriptor{s.id, shown, epoch(s.created)}}, nil
}

// listSecrets returns ids and dates, never values, on a single page.
func (p *userPools) listSecrets(in *clientKey) (any, *apiError) {
	_, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	found := []secretDescriptor{}
	for _, s := range c.secrets {
		found = append(found, secretDescriptor{ClientSecretId: s.id, ClientSecretCreateDate: epoch(s.created)})
	}
	return struct{ ClientSecrets []secretDescriptor }{found}, nil
}

func (p *userPools) deleteSecret(in *struct {
	clientKey
	ClientSecretId string
}) (any, *apiError) {
	_, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	if err := (textRule{invalidParameter, 1, 128, nil}).check("clientSecretId", in.ClientSecretId); err != nil {
		return nil, err
	}
	i := c.secretIndex(in.ClientSecretId)
	switch {
	case i < 0:
		return nil, errorf(notFound, "Client secret %s does not exist.", in.ClientSecretId)
	case len(c.secrets) == 1:
		return nil, errorf(invalidParameter, "The last secret of an app client cannot be deleted.")
	}
	c.secrets = slices.Delete(c.secrets, i, i+1)
	return nil, nil
}
