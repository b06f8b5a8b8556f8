package localaws

// maxRecords is how many requests and events a Server keeps unless its Config
// says otherwise.
const maxRecords = 10_000

// appendLast appends v to list, and drops the oldest element if there would be
// more than max. With a negative max there is no limit.
func appendLast[T any](list []T, v T, max int) []T {
	if max >= 0 && len(list) >= max {
		clear(list[:1]) // frees what it points to
		list = list[1:]
	}
	return append(list, v)
}

// recent is a map that forgets old keys. It keeps the last maxRecords keys that
// were put into it, and at most twice as many. Its zero value is ready to use.
type recent[K comparable, V any] struct{ young, old map[K]V }

func (m *recent[K, V]) put(key K, value V) {
	if m.young == nil || len(m.young) >= maxRecords {
		m.young, m.old = map[K]V{}, m.young
	}
	m.young[key] = value
}

func (m *recent[K, V]) get(key K) (V, bool) {
	value, ok := m.young[key]
	if !ok {
		value, ok = m.old[key]
	}
	return value, ok
}

func (m *recent[K, V]) has(key K) bool {
	_, ok := m.get(key)
	return ok
}
