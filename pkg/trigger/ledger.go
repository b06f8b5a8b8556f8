package trigger

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"
)

// Ledger remembers which records were worked on. Queues and buses deliver some
// records twice; with a ledger they are answered once. Implementations are safe
// for concurrent use.
type Ledger interface {
	// Begin claims the key of a record with this content. With a nil error and a
	// nil outcome the key is the caller's, until End or until the time given, when
	// a crash is assumed. An outcome is what End was given when the record came
	// before. The claim is to be passed to End.
	Begin(ctx context.Context, key string, content [sha256.Size]byte, until time.Time) (claim string, outcome []byte, err error)

	// End keeps the outcome of the record, or replaces the one that was kept; nil
	// gives the key back. It fails when another has claimed the key since.
	End(ctx context.Context, key, claim string, outcome []byte) error
}

// Errors of Begin for a key that it does not give.
var (
	ErrRunning = errors.New("the record is being worked on")
	ErrAltered = errors.New("a record of this id had another content")
)

// Errors of End when it has kept nothing.
var (
	ErrTooLarge = errors.New("the outcome is too large to be kept")
	errLost     = errors.New("the record was taken over after its time, and may be answered twice")
)

// keepOutcomes is how long outcomes are remembered: as long as EventBridge retries.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
const keepOutcomes = 24 * time.Hour

// Memory is a [Ledger] for one process. Its zero value is ready. A record that
// other processes of the same function have answered is not known to it.
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
	for len(m.order) >= cmp.Or(m.Max, 1000) {
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

// forget is called with mu held.
func (m *Memory) forget(key string) {
	if m.notes[key] == nil {
		return
	}
	delete(m.notes, key)
	i := slices.Index(m.order, key)
	m.order = slices.Delete(m.order, i, i+1)
}
