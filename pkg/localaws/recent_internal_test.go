package localaws

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A stand-in under load for long keeps the last requests and events.
func TestMaxRecords(t *testing.T) {
	for _, max := range []int{3, -1} {
		s := New(Config{MaxRecords: max})
		var seen []int
		s.Watch(func(r Record) { seen = append(seen, r.Seq) })
		for range 10 {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			text, detail := "test", "{}"
			s.buses.put(&putEventsRequest{Entries: []putEventsEntry{{Source: &text, DetailType: &text, Detail: &detail}}})
		}
		want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
		if !slices.Equal(seen, want) {
			t.Errorf("MaxRecords %d: watched %v", max, seen)
		}
		if max > 0 {
			want = want[len(want)-max:]
		}
		var kept []int
		for _, r := range s.Records() {
			kept = append(kept, r.Seq)
		}
		if !slices.Equal(kept, want) {
			t.Errorf("MaxRecords %d: got requests %v", max, kept)
		}
		if events := s.Events(); len(events) != len(want) {
			t.Errorf("MaxRecords %d: got %d events", max, len(events))
		}
	}
}

func TestRecent(t *testing.T) {
	var m recent[int, int]
	for i := range 5 * maxRecords {
		m.put(i, -i)
		if _, there := m.get(i - maxRecords + 1); i >= maxRecords && !there {
			t.Fatalf("after %d: the last %d are not all there", i, maxRecords)
		}
		if n := len(m.young) + len(m.old); n > 2*maxRecords {
			t.Fatalf("after %d: %d are kept", i, n)
		}
	}
	if v, ok := m.get(5*maxRecords - 1); v != 1-5*maxRecords || !ok || m.has(0) {
		t.Errorf("got %d, %v for the last, %v for the first", v, ok, m.has(0))
	}
}

// Items go when their time is long over, and no others.
func TestTable_timeToLive(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	expires := func(ago time.Duration) item {
		n := strconv.FormatInt(now.Add(-ago).Unix(), 10)
		return item{"expires": {N: &n}}
	}
	table := &table{Table: Table{TTLAttribute: "expires"}, items: map[string]item{}, sweep: maxRecords}
	for key, it := range map[string]item{"none": {}, "ahead": expires(-time.Hour), "just": expires(47 * time.Hour), "ancient": expires(6 * 365 * 24 * time.Hour)} {
		table.put(key, it, now)
	}
	for i := range 3 * maxRecords {
		table.put("old"+strconv.Itoa(i), expires(49*time.Hour), now)
		if len(table.items) >= maxRecords {
			t.Fatalf("%d items", len(table.items))
		}
	}
	for _, key := range []string{"none", "ahead", "just", "ancient"} {
		if table.items[key] == nil {
			t.Errorf("%s is gone", key)
		}
	}
	for i := range 2 * maxRecords {
		table.put(strings.Repeat("x", 10)+strconv.Itoa(i), expires(-time.Hour), now)
	}
	if len(table.items) < 2*maxRecords {
		t.Errorf("%d items: some went before their time", len(table.items))
	}
}
