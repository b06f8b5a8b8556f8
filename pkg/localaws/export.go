package localaws

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// export is an output of a stack that other stacks can import.
type export struct{ stack, value string }

// exports holds the account's exports and the stacks that import them. Server.mu
// guards it.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html
type exports struct {
	byName  map[string]export
	imports map[string][]string // names of imported exports, by stack
}

// Export replaces the exports of a stack by these. It refuses a name that
// another stack exports, and it refuses to change or remove an export that
// another stack imports.
func (s *Server) Export(stack string, values map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if other, taken := s.exports.byName[name]; taken && other.stack != stack {
			return fmt.Errorf("Export with name %s is already exported by stack %s. Rule: export names must be unique across the account per region", name, other.stack)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.exports.byName)) {
		e := s.exports.byName[name]
		if value, stays := values[name]; e.stack != stack || stays && value == e.value {
			continue
		}
		if users := s.exports.users(name); users != nil {
			return fmt.Errorf("Export %s cannot be updated or deleted as it is in use by %s", name, strings.Join(users, " and "))
		}
	}
	maps.DeleteFunc(s.exports.byName, func(_ string, e export) bool { return e.stack == stack })
	if s.exports.byName == nil {
		s.exports.byName = map[string]export{}
	}
	for name, value := range values {
		s.exports.byName[name] = export{stack, value}
	}
	return nil
}

// Exported returns the value of an export.
func (s *Server) Exported(name string) (value string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.exports.byName[name]
	return e.value, ok
}

// Import replaces the list of exports that a stack uses by these.
func (s *Server) Import(stack string, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exports.imports == nil {
		s.exports.imports = map[string][]string{}
	}
	s.exports.imports[stack] = slices.Clone(names)
	if len(names) == 0 {
		delete(s.exports.imports, stack)
	}
}

// users returns the stacks that import an export.
func (e *exports) users(name string) []string {
	var users []string
	for _, stack := range slices.Sorted(maps.Keys(e.imports)) {
		if slices.Contains(e.imports[stack], name) {
			users = append(users, stack)
		}
	}
	return users
}
