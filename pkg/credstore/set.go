package credstore

import (
	"context"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Set is one server's credentials, read once and then kept. It is safe for
// concurrent use; readers at the same time share one request. A failed read is
// not remembered.
type Set struct {
	store *Store
	name  string
	group singleflight.Group

	mu   sync.Mutex // guards what follows
	kept *Credentials
}

// Set returns a handle on the server's credentials. It reads nothing yet.
func (s *Store) Set(name string) *Set { return &Set{store: s, name: name} }

// Path is where the set's parameters are, with a trailing slash.
func (s *Set) Path() string { return s.store.Path(s.name) }

// Get returns the kept credentials, or reads them.
func (s *Set) Get(ctx context.Context) (Credentials, error) {
	s.mu.Lock()
	kept := s.kept
	s.mu.Unlock()
	if kept != nil {
		return *kept, nil
	}
	return s.Refresh(ctx)
}

// Refresh reads the credentials past what is kept. A read under way is shared
// and belongs to no single caller: it goes on when one of them leaves.
func (s *Set) Refresh(ctx context.Context) (Credentials, error) {
	ch := s.group.DoChan("", func() (any, error) {
		c, err := s.store.Read(context.WithoutCancel(ctx), s.name)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.kept = &c
		s.mu.Unlock()
		return c, nil
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return Credentials{}, r.Err
		}
		return r.Val.(Credentials), nil
	case <-ctx.Done():
		return Credentials{}, context.Cause(ctx)
	}
}
