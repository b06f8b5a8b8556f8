package localaws

import "net/http"

type userPools struct{ s *Server }

func newUserPools(s *Server) *userPools { return &userPools{s: s} }

func (p *userPools) serve(w http.ResponseWriter, r *http.Request, rec *Record) { refuse(w, r, rec) }
func (p *userPools) serveDiscovery(w http.ResponseWriter, r *http.Request, rec *Record) {
	refuse(w, r, rec)
}
func (p *userPools) serveToken(w http.ResponseWriter, r *http.Request, rec *Record) {
	refuse(w, r, rec)
}
