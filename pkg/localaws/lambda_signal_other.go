//go:build !unix

package localaws

import (
	"errors"
	"os"
)

func freezeProcess(*os.Process) error {
	return errors.New("this operating system has no signal that stops a process")
}
func thawProcess(*os.Process) error { return nil }
