package trigger

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// Ledger remembers which records were worked on, so that one that comes twice,
// as all queues and buses allow themselves, is answered once. Implementations
// are safe for concurrent use.
type Ledger interface {
	// Begin asks for the key of a record with this content. A nil error and a nil
	// outcome give it to the caller, until End or until the time given, when a
	// crash is assumed. An outcome is what End was given when the record came
	// before. The claim is what End wants to see.
	Begin(ctx context.Context, key string, content [sha256.Size]byte, until time.Time) (claim string, outcome []byte, err error)

	// End keeps what came of the record, or replaces what was kept; nil gives the
	// key back. It fails when the key has been claimed by another since.
	End(ctx context.Context, key, claim string, outcome []byte) error
}

// What Begin answers for a key that it does not give.
var (
	ErrRunning = errors.New("the record is being worked on")
	ErrAltered = errors.New("a record of this id had another content")
)

// What End answers when it has kept nothing.
var (
	ErrTooLarge = errors.New("the outcome is too large to be kept")
	errLost     = errors.New("the record was taken over after its time, and may be answered twice")
)

// keepOutcomes is how long outcomes are remembered: as long as EventBridge retries.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
const keepOutcomes = 24 * time.Hour

// Memory is a [Ledger] for one process. Its zero value is ready. Other
// processes of the same function know nothing of it, so it keeps the deliveries
// apart that reach one process, not all.
type Memory struct {
	Keep time.Duration // how long outcomes are remembered; default 24 h
	Max  int           // how many; default 1000; the oldest go first

	mu    sync.Mutex // guards what follows
	notes map[string]*note
	order []string // keys of notes, oldest first
}

type note struct {
	claim   string
	content [sha256.Size]byte
	until   time.Time
	outcome []byte // nil: under way
}

// Begin is [Ledger].Begin.
func (m *Memory) Begin(_ context.Context, key string, content [sha256.Size]byte, until time.Time) (string, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.notes[key]; n != nil && time.Now().Before(n.until) {
		switch {
		case n.content != content:
			return "", nil, ErrAltered
		case n.outcome == nil:
			return "", nil, ErrRunning
		}
		return n.claim, n.outcome, nil
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
	n := &note{claim: rand.Text(), content: content, until: until}
	m.notes[key] = n
	m.order = append(m.order, key)
	return n.claim, nil, nil
}

// End is [Ledger].End.
func (m *Memory) End(_ context.Context, key, claim string, outcome []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.notes[key]
	switch {
	case n == nil: // one of too many
	case n.claim != claim:
		return errLost
	case outcome == nil:
		m.forget(key)
	default:
		n.outcome, n.until = outcome, time.Now().Add(cmp.Or(m.Keep, keepOutcomes))
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
