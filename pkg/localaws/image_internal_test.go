package localaws

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Programs of images can be run at once, also while other processes start.
func TestWriteFile_runnable(t *testing.T) {
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skipf("no program to copy: %v", err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := strconv.Itoa(i)
			if err := writeFile(root, name, 0o755, bytes.NewReader(program)); err != nil {
				t.Error(err)
			} else if err := exec.Command(filepath.Join(dir, name)).Run(); err != nil {
				t.Errorf("running it: %v", err)
			}
		})
	}
	wg.Wait()
}
