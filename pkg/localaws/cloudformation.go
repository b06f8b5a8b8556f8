package localaws

import "net/http"

type replyBox struct{ s *Server }

func newReplyBox(s *Server) *replyBox { return &replyBox{s: s} }

func (p *replyBox) serve(w http.ResponseWriter, r *http.Request, rec *Record) { refuse(w, r, rec) }
