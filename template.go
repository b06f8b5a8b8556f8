// Package stack holds the template that `sam deploy` deploys, for the command
// line, which deploys it on this machine.
package stack

import _ "embed"

// Template is template.yaml.
//
//go:embed template.yaml
var Template string
