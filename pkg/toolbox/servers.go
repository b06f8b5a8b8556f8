package toolbox

import (
	"fmt"
	"slices"
	"strings"
)

// ParseServers reads a list such as "calculator,search?": names separated by
// commas, a trailing question mark marks an optional server.
func ParseServers(list string) ([]Server, error) {
	var servers []Server
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		s := Server{}
		s.Name, s.Optional = strings.CutSuffix(name, "?")
		if s.Name == "" {
			return nil, fmt.Errorf("server list %.200q: a name is missing", list)
		}
		if slices.ContainsFunc(servers, func(o Server) bool { return o.Name == s.Name }) {
			return nil, fmt.Errorf("server list %.200q: %.80s is named twice", list, s.Name)
		}
		servers = append(servers, s)
	}
	return servers, nil
}
