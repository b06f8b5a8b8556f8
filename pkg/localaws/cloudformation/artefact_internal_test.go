package cloudformation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A function's code is the content of its folder. Another content, another file
// or another mode makes other code. A copy outlives the folder.
func TestPack(t *testing.T) {
	built := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(built, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(built, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(built, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	a := artefacts{built: built, root: t.TempDir()}
	key := func() string {
		t.Helper()
		code, err := a.pack("Agent", "functions/agent/")
		if err != nil {
			t.Fatal(err)
		}
		return code["S3Key"].(string)
	}
	write("agent/bootstrap", "one", 0o755)
	keys := []string{key()}
	write("agent/assets/logo", "x", 0o600)
	keys = append(keys, key())
	write("agent/assets/logo", "y", 0o600)
	keys = append(keys, key())
	write("agent/assets/logo", "y", 0o700)
	keys = append(keys, key())
	write("agent/bootstrap", "two", 0o755)
	keys = append(keys, key(), key())
	for i, k := range keys {
		for _, other := range keys[:i] {
			if (k == other) != (i == len(keys)-1 && other == keys[i-1]) {
				t.Errorf("key %d: got %s", i, k)
			}
		}
	}
	for id, want := range map[string]string{"AgentFunction": "agent", "CognitoSetupFunction": "cognito-setup", "Odd": "odd"} {
		if got := folder(id, "."); got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
	dir, err := a.dir(bucket, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, bootstrap)); err != nil || string(got) != "one" {
		t.Errorf("got %s, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, bootstrap)); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("got %v, %v", info, err)
	}

	write("flat/bootstrap", "x", 0o644)
	if err := os.MkdirAll(filepath.Join(built, "odd"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("odd/bootstrap", "x", 0o755)
	if err := os.Symlink(built, filepath.Join(built, "odd", "folder")); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"functions/none/":   "no bootstrap in " + filepath.Join(built, "none") + "; run: make build",
		"functions/flat/":   "is not a program",
		"functions/odd":     "is not a file",
		"/functions/agent":  "want the folder of a function's source",
		"s3://bucket/agent": "want the folder of a function's source",
	} {
		if _, err := a.pack("Agent", uri); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", uri, err, want)
		}
	}
	for _, at := range [][2]string{{"other", keys[0]}, {bucket, ""}, {bucket, "agent/none"}, {bucket, "../" + filepath.Base(a.root)}} {
		if _, err := a.dir(at[0], at[1]); err == nil || !strings.Contains(err.Error(), "there is no s3://") {
			t.Errorf("%v: got %v", at, err)
		}
	}
}
