package localaws

import (
	"maps"
	"slices"
)

// Leftovers names everything that exists in Parameter Store, in Cognito and in
// ECR, sorted, one line each:
//
//	client {pool id}/{client id} {name}
//	domain {prefix} of {pool id}
//	image {repository}:{tag}
//	parameter {name}
//	pool {pool id} {name}
//	repository {name}
//	resource server {pool id}/{identifier}
//	user {pool id}/{name}
//
// Nothing has been left behind when there are none.
func (s *Server) Leftovers() []string {
	var all []string
	for name := range s.Parameters() {
		all = append(all, "parameter "+name)
	}
	s.images.mu.Lock()
	repositories := slices.Collect(maps.Keys(s.images.byName))
	s.images.mu.Unlock()
	for _, name := range repositories {
		all = append(all, "repository "+name)
		for _, tag := range s.Images(name) {
			all = append(all, "image "+name+":"+tag)
		}
	}
	p := s.cognito
	p.mu.Lock()
	defer p.mu.Unlock()
	for pool := range maps.Values(p.pools) {
		all = append(all, "pool "+pool.id+" "+pool.name)
		if pool.domain != "" {
			all = append(all, "domain "+pool.domain+" of "+pool.id)
		}
		for id := range pool.servers {
			all = append(all, "resource server "+pool.id+"/"+id)
		}
		for id, c := range pool.clients {
			all = append(all, "client "+pool.id+"/"+id+" "+c.name)
		}
		for name := range pool.users {
			all = append(all, "user "+pool.id+"/"+name)
		}
	}
	slices.Sort(all)
	return all
}
