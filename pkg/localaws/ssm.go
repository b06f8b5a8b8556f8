package localaws

import "net/http"

type parameterStore struct{ s *Server }

func newParameterStore(s *Server) *parameterStore { return &parameterStore{s: s} }

func (p *parameterStore) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	refuse(w, r, rec)
}
