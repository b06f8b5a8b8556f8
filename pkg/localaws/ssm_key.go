package localaws

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// defaultKey is the key of a SecureString without a KeyId.
const defaultKey = "alias/aws/ssm"

// KeyARN returns the ARN of a KMS key as policies must name it: by its id, not
// by an alias. The stand-in has no KMS. Every key exists, the id behind an alias
// is derived from the alias, and the key policy leaves permissions to IAM.
// https://docs.aws.amazon.com/kms/latest/developerguide/cmks-in-iam-policies.html
func (s *Server) KeyARN(keyID string) string {
	prefix := "arn:aws:kms:" + s.cfg.Region + ":" + Account + ":"
	id := strings.TrimPrefix(keyID, prefix)
	switch {
	case strings.HasPrefix(id, "arn:"), strings.HasPrefix(id, "key/"):
		return keyID
	case strings.HasPrefix(id, "alias/"):
		id = uuid.NewSHA1(uuid.NameSpaceURL, []byte(prefix+id)).String()
	}
	return prefix + "key/" + id
}

// encrypts refuses a SecureString if its writer may not use its key. An Advanced
// parameter is encrypted with a data key.
// https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-setting-up.html
func (p *parameterStore) encrypts(r *http.Request, param *parameter) *apiError {
	if err := p.usesKey(r, param, "kms:Encrypt"); err != nil || param.Tier != "Advanced" {
		return err
	}
	return p.usesKey(r, param, "kms:GenerateDataKey")
}

// decrypts refuses the value of a SecureString to a reader who asks for
// decryption and may not use the key.
func (p *parameterStore) decrypts(r *http.Request, param *parameter, asked bool) *apiError {
	if !asked || param.Type != "SecureString" {
		return nil
	}
	return p.usesKey(r, param, "kms:Decrypt")
}

// usesKey checks an action on a parameter's key, which Parameter Store uses on
// behalf of its caller. The policy of the account's own key allows it to
// everybody who comes through Parameter Store.
func (p *parameterStore) usesKey(r *http.Request, param *parameter, action string) *apiError {
	key, own := p.s.KeyARN(param.KeyID), p.s.KeyARN(defaultKey)
	if param.KeyID == "" {
		key = own
	}
	return p.s.authorize(r, access{
		action:    action,
		resources: []string{key},
		granted:   key == own,
		context: map[string]string{
			"kms:CallerAccount":                   Account,
			"kms:ViaService":                      "ssm." + p.s.cfg.Region + ".amazonaws.com",
			"kms:EncryptionContext:PARAMETER_ARN": p.arn(param.Name),
		},
	})
}
