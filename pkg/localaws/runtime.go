package localaws

import "net/http"

type runtimes struct{ s *Server }

func newRuntimes(s *Server) *runtimes { return &runtimes{s: s} }

func (p *runtimes) serve(w http.ResponseWriter, r *http.Request, rec *Record) { refuse(w, r, rec) }
