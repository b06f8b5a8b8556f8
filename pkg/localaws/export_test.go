package localaws_test

import (
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"
)

func TestExport(t *testing.T) {
	s := localaws.New(localaws.Config{})
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(s.Export("a", map[string]string{"pool": "1", "queue": "2"}))
	refused(s.Export("b", map[string]string{"pool": "3"}), "already exported by stack a")
	s.Import("b", []string{"pool"})
	s.Import("c", []string{"pool", "queue"})
	refused(s.Export("a", map[string]string{"pool": "4", "queue": "2"}), "Export pool cannot be updated or deleted as it is in use by b and c")
	refused(s.Export("a", map[string]string{"pool": "1"}), "Export queue cannot be updated or deleted as it is in use by c")
	ok(s.Export("a", map[string]string{"pool": "1", "queue": "2", "topic": "5"}))
	s.Import("c", nil)
	ok(s.Export("a", map[string]string{"pool": "1", "topic": "6"}))
	for name, want := range map[string]string{"pool": "1", "topic": "6", "queue": ""} {
		if got, there := s.Exported(name); got != want || there != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, there, want)
		}
	}
	s.Import("b", nil)
	ok(s.Export("a", nil))
	ok(s.Export("b", map[string]string{"pool": "3"}))
}
