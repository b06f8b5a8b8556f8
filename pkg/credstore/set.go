package credstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// setLife is how long a set is answered from memory.
	setLife = 5 * time.Minute

	// readTimeout bounds one read, the SDK's retries included, and agedTimeout
	// how long a caller waits for one while there are aged credentials to have.
	readTimeout = 10 * time.Second
	agedTimeout = 3 * time.Second
)

// Set is one server's credentials, read once and then kept for five minutes.
// After that they are read again; while that fails because Parameter Store
// cannot be reached or throttles, the old ones are still returned. A failed read
// is not remembered. A Set is safe for concurrent use; readers at the same time
// share one request.
type Set struct {
	store *Store
	name  string
	group singleflight.Group

	mu   sync.Mutex // guards what follows
	kept *Credentials
	read time.Time // wall clock: a process may have been frozen since
}

// Set returns a handle on the server's credentials. It reads nothing yet.
func (s *Store) Set(name string) *Set { return &Set{store: s, name: name} }

// Path is where the set's parameters are, with a trailing slash.
func (s *Set) Path() string { return s.store.Path(s.name) }

// Format masks a Set in every fmt verb: it holds secrets.
func (s *Set) Format(f fmt.State, _ rune) { io.WriteString(f, "parameters "+s.Path()) }

// Get returns the kept credentials, or reads them. Aged ones are returned when
// they cannot be read again, unless they are known to be gone.
func (s *Set) Get(ctx context.Context) (Credentials, error) {
	s.mu.Lock()
	kept, read := s.kept, s.read
	s.mu.Unlock()
	if kept == nil {
		return s.Refresh(ctx)
	}
	if age := time.Now().Round(0).Sub(read); 0 <= age && age < setLife {
		return *kept, nil
	}
	ctx, cancel := context.WithTimeout(ctx, agedTimeout)
	defer cancel()
	c, err := s.Refresh(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return *kept, nil
	}
	return c, err
}

// Refresh reads the credentials whether or not some are kept. Callers at the
// same time share one read, which goes on when one of them leaves.
func (s *Set) Refresh(ctx context.Context) (Credentials, error) {
	ch := s.group.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		c, err := s.store.Read(ctx, s.name)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case err == nil:
			s.kept, s.read = &c, time.Now().Round(0)
		case errors.Is(err, ErrNotFound):
			s.kept = nil
		}
		return c, err
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
