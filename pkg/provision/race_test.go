//go:build race

package provision_test

// Under the race detector every call takes ten times as long: the matrix then
// breaks one call in five, another one for each fault.
func init() { faultStep = 5 }
