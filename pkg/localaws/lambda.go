package localaws

import "net/http"

type functions struct{ s *Server }

func newFunctions(s *Server) *functions { return &functions{s: s} }

func (p *functions) serveInvoke(w http.ResponseWriter, r *http.Request, rec *Record) {
	refuse(w, r, rec)
}
func (p *functions) close() {}
