package main

import (
	"fmt"
	"strings"
)

// baseline maps the known failures of one revision, by side, scenario and check,
// to their reasons.
type baseline map[knownFailure]string // the reason

type knownFailure struct{ side, scenario, check string }

// parseBaseline reads the suite's own YAML format, so that the suite can use the
// file too. It accepts only the part of the format that names single checks:
//
//	server:
//	  # why
//	  - scenario:check
//
// A comment is the reason for the entries below it, up to an empty line. An
// entry without a reason is refused.
func parseBaseline(text string) (baseline, error) {
	b := baseline{}
	side, reason := "", ""
	for i, line := range strings.Split(text, "\n") {
		wrong := func(why string) error { return fmt.Errorf("line %d, %q: %s", i+1, line, why) }
		line := strings.TrimSpace(line)
		entry, isEntry := strings.CutPrefix(line, "- ")
		comment, isComment := strings.CutPrefix(line, "#")
		switch {
		case line == "":
			reason = ""
		case line == "server:" || line == "client:":
			side, reason = strings.TrimSuffix(line, ":"), ""
		case isComment:
			reason = strings.TrimSpace(reason + " " + strings.TrimSpace(comment))
		case !isEntry:
			return nil, wrong("want server:, client:, a comment or - scenario:check")
		case side == "" || reason == "":
			return nil, wrong("want a side and a comment with the reason above it")
		default:
			scenario, check, ok := strings.Cut(entry, ":")
			if !ok || strings.ContainsAny(entry, " #") {
				return nil, wrong("want - scenario:check")
			}
			key := knownFailure{side, scenario, check}
			if _, twice := b[key]; twice {
				return nil, wrong("it is there already")
			}
			b[key] = reason
		}
	}
	return b, nil
}

// unknown returns the first entry that matches no scenario of the revision.
func (b baseline) unknown(revision string, all []scenario) (knownFailure, bool) {
	for key := range b {
		known := false
		for _, s := range all {
			known = known || s.revision == revision && s.side == key.side && s.name == key.scenario
		}
		if !known {
			return key, true
		}
	}
	return knownFailure{}, false
}
