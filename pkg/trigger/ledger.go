package trigger

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// Ledger remembers which records were worked on, so that one that comes twice,
// as all queues and buses allow themselves, is answered once. A nil error and a
// nil outcome of Begin give the key to the caller, until End or until the time
// given, when a crash is assumed. Implementations are safe for concurrent use.
type Ledger interface {
	// Begin asks for the key of a record with this content. An outcome is what
	// End was given when the record came before.
	Begin(ctx context.Context, key string, content [sha256.Size]byte, until time.Time) (outcome []byte, err error)

	// End keeps what came of the record; nil gives the key back.
	End(ctx context.Context, key string, outcome []byte) error
}

// What Begin answers for a key that it does not give.
var (
	ErrRunning = errors.New("the record is being worked on")
	ErrAltered = errors.New("a record of this id had another content")
)

// Memory is a [Ledger] for one process. Its zero value is ready. Other
// processes of the same function know nothing of it, so it keeps the deliveries
// apart that reach one process, not all.
type Memory struct {
	Keep time.Duration // how long outcomes are remembered; default 24 h, for as long as EventBridge retries
	Max  int           // how many; default 1000; the oldest go first

	mu    sync.Mutex // guards what follows
	notes map[string]*note
	order []string // keys of notes, oldest first
}

type note struct {
	content [sha256.Size]byte
	until   time.Time
	outcome []byte // nil: under way
}

// Begin is [Ledger].Begin.
func (m *Memory) Begin(_ context.Context, key string, content [sha256.Size]byte, until time.Time) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.notes[key]; n != nil && time.Now().Before(n.until) {
		switch {
		case n.content != content:
			return nil, ErrAltered
		case n.outcome == nil:
			return nil, ErrRunning
		}
		return n.outcome, nil
	}
	m.forget(key)
	if m.notes == nil {
		m.notes = map[string]*note{}
	}
	limit := m.Max
	if limit == 0 {
		limit = 1000
	}
	for len(m.order) >= limit {
		m.forget(m.order[0])
	}
	m.notes[key] = &note{content: content, until: until}
	m.order = append(m.order, key)
	return nil, nil
}

// End is [Ledger].End.
func (m *Memory) End(_ context.Context, key string, outcome []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.notes[key]
	switch {
	case n == nil:
	case outcome == nil:
		m.forget(key)
	default:
		keep := m.Keep
		if keep == 0 {
			keep = 24 * time.Hour
		}
		n.outcome, n.until = outcome, time.Now().Add(keep)
	}
	return nil
}

// forget is for who holds mu.
func (m *Memory) forget(key string) {
	if m.notes[key] == nil {
		return
	}
	delete(m.notes, key)
	for i, k := range m.order {
		if k == key {
			m.order = append(m.order[:i], m.order[i+1:]...)
			break
		}
	}
}
