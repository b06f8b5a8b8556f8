package localaws

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/xml"
	"net/http"
	"net/url"

	"github.com/google/uuid"
)

// stsVersion is the version of STS's API.
const stsVersion = "2011-06-15"

// serveSTS answers GetCallerIdentity, the only implemented operation, which
// needs no permission. The account's own credentials are those of its root. All
// others belong to an assumed role.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, rec *Record) {
	if rec.Operation != "GetCallerIdentity" {
		writeQueryError(w, stsVersion, &apiError{http.StatusNotImplemented, "UnknownOperationException", "localaws does not implement " + rec.Operation + " of STS"})
		return
	}
	if err := s.checkSignature(r, rec.RequestBody, "sts"); err != nil {
		writeQueryError(w, stsVersion, err)
		return
	}
	form, err := url.ParseQuery(string(rec.RequestBody))
	if err != nil {
		writeQueryError(w, stsVersion, errorf("MalformedInput", "the request is not a form"))
		return
	}
	for name := range form {
		if name != "Action" && name != "Version" {
			writeQueryError(w, stsVersion, unimplemented("member %s", name))
			return
		}
	}
	var answer struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
		Arn       string   `xml:"GetCallerIdentityResult>Arn"`
		UserId    string   `xml:"GetCallerIdentityResult>UserId"`
		Account   string   `xml:"GetCallerIdentityResult>Account"`
		RequestId string   `xml:"ResponseMetadata>RequestId"`
	}
	_, answer.Arn, answer.UserId = s.caller(r)
	answer.Account = Account
	answer.RequestId = uuid.NewString()
	writeXML(w, http.StatusOK, answer)
}

// caller returns who signed a request, by the id of the access key: the
// account's root, or the ARN of a role's session with the role's id and the
// session's name.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func (s *Server) caller(r *http.Request) (keyID, arn, id string) {
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	c := s.iam.sessions[auth.accessKeyID]
	if c == nil {
		return auth.accessKeyID, "arn:aws:iam::" + Account + ":root", Account
	}
	hash := sha256.Sum256([]byte(c.role.arn))
	return auth.accessKeyID, "arn:aws:sts::" + Account + ":assumed-role/" + c.role.name + "/" + c.name,
		"AROA" + base32.StdEncoding.EncodeToString(hash[:10]) + ":" + c.name
}
