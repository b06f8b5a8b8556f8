package localaws

import (
	"fmt"
	"maps"
	"slices"
)

// Keep records that something exists that the stand-in has no other place for,
// such as a queue or an alarm. Its name is taken, and it is among the Leftovers,
// until [Server.Forget]. It is an error if it exists already.
func (s *Server) Keep(resourceType, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := keptResource{resourceType, id}
	if s.kept[k] {
		return fmt.Errorf("%s %s already exists", resourceType, id)
	}
	if s.kept == nil {
		s.kept = map[keptResource]bool{}
	}
	s.kept[k] = true
	return nil
}

// Kept reports whether [Server.Keep] recorded something that still exists.
func (s *Server) Kept(resourceType, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[keptResource{resourceType, id}]
}

// Forget undoes [Server.Keep]. It does nothing if the thing does not exist.
func (s *Server) Forget(resourceType, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, keptResource{resourceType, id})
}

type keptResource struct{ resourceType, id string }

// Leftovers lists everything that exists in Parameter Store, Cognito and ECR,
// and everything that was recorded with Keep, sorted, one line each:
//
//	client {pool id}/{client id} {name}
//	domain {prefix} of {pool id}
//	image {repository}:{tag or digest}
//	parameter {name}
//	pool {pool id} {name}
//	repository {name}
//	resource server {pool id}/{identifier}
//	user {pool id}/{name}
//	{resource type} {id}
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
	s.mu.Lock()
	for k := range s.kept {
		all = append(all, k.resourceType+" "+k.id)
	}
	s.mu.Unlock()
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
