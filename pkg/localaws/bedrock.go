package localaws

import "net/http"

func (s *Server) serveConverse(w http.ResponseWriter, r *http.Request, rec *Record) {
	refuse(w, r, rec)
}
