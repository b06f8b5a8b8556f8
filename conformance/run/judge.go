package main

import (
	"fmt"
	"slices"
	"strings"
)

// check is one result in the checks.json that the suite writes.
type check struct {
	ID           string `json:"id"`
	Status       string `json:"status"` // SUCCESS, FAILURE, WARNING, SKIPPED or INFO
	Description  string `json:"description"`
	ErrorMessage string `json:"errorMessage"`
}

// outcome is the result of a run of the suite.
type outcome struct {
	checks []check
	output string // what the suite printed
}

// verdict says whether an outcome is as required.
type verdict struct {
	passed, known int      // checks
	wrong         []string // empty: all is well
}

// judge compares an outcome with the scenario's row and the baseline. The
// suite's own exit status does not help: it is 0 for a scenario without checks
// and for a skipped one, and with a baseline it says nothing about the client.
func judge(s scenario, b baseline, o outcome) verdict {
	var v verdict
	failed := map[string]string{}
	for _, c := range o.checks {
		switch c.Status {
		case "SUCCESS":
			v.passed++
		case "FAILURE", "WARNING":
			why := c.ErrorMessage
			if why == "" {
				why = c.Description
			}
			failed[c.ID] = fmt.Sprintf("%s %s: %s", c.Status, c.ID, why)
		}
	}
	for id, text := range failed {
		if _, ok := b[knownFailure{s.side, s.name, id}]; ok {
			v.known++
		} else {
			v.wrong = append(v.wrong, text)
		}
	}
	for key := range b {
		if _, ok := failed[key.check]; !ok && key.side == s.side && key.scenario == s.name {
			v.wrong = append(v.wrong, key.check+" does not fail any more: take it out of the baseline")
		}
	}
	slices.Sort(v.wrong)
	if v.passed < s.least {
		v.wrong = append(v.wrong, fmt.Sprintf("%d checks succeeded, want at least %d", v.passed, s.least))
	}
	if s.side == "client" {
		gaveUp := strings.Contains(o.output, "Client exited with code")
		switch {
		case strings.Contains(o.output, "Client timed out"):
			v.wrong = append(v.wrong, "the client did not end")
		case s.refuses && !gaveUp:
			v.wrong = append(v.wrong, "the client did not refuse")
		case gaveUp && !s.refuses:
			v.wrong = append(v.wrong, "the client ended with an error")
		}
	}
	return v
}
