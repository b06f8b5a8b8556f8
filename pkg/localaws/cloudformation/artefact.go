package cloudformation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
)

// bootstrap is the program of a function.
const bootstrap = "bootstrap"

// artefacts does to the functions' code what `sam package` does: it copies the
// built folders under names made of their content. So a deployed function keeps
// its code when its folder is built again.
type artefacts struct {
	built string // as make build makes it
	root  string
}

// bucket is the S3 bucket that the copies claim to be in.
const bucket = "local"

// pack copies the built folder of a function and returns the function's Code.
func (a artefacts) pack(logicalID, codeURI string) (map[string]any, error) {
	if path.IsAbs(codeURI) || strings.Contains(codeURI, "://") {
		return nil, fmt.Errorf("CodeUri %.200q: want the folder of a function's source", codeURI)
	}
	name := folder(logicalID, codeURI)
	from := filepath.Join(a.built, name)
	switch info, err := os.Stat(filepath.Join(from, bootstrap)); {
	case err != nil:
		return nil, fmt.Errorf("CodeUri %s: no %s in %s; run: make build", codeURI, bootstrap, from)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("CodeUri %s: %s in %s is not a program; run: make build", codeURI, bootstrap, from)
	}
	files, hash, err := contents(from)
	if err != nil {
		return nil, fmt.Errorf("CodeUri %s: %w", codeURI, err)
	}
	key := name + "/" + hash
	to := filepath.Join(a.root, filepath.FromSlash(key))
	if _, err := os.Stat(to); err == nil {
		return map[string]any{"S3Bucket": bucket, "S3Key": key}, nil
	}
	for _, file := range files {
		if err := copyFile(filepath.Join(from, file), filepath.Join(to+".part", file)); err != nil {
			return nil, fmt.Errorf("CodeUri %s: %w", codeURI, err)
		}
	}
	if err := os.Rename(to+".part", to); err != nil {
		return nil, fmt.Errorf("CodeUri %s: %w", codeURI, err)
	}
	return map[string]any{"S3Bucket": bucket, "S3Key": key}, nil
}

// folder returns the name of a function's built folder. It is the name of its
// source folder. If the makefile builder has the whole repository as source, it
// follows from the logical id: CognitoSetupFunction is in cognito-setup.
func folder(logicalID, codeURI string) string {
	if name := path.Base(path.Clean(codeURI)); name != "." {
		return name
	}
	var name strings.Builder
	for i, c := range strings.TrimSuffix(logicalID, "Function") {
		if unicode.IsUpper(c) && i > 0 {
			name.WriteByte('-')
		}
		name.WriteRune(unicode.ToLower(c))
	}
	return name.String()
}

// contents lists the files below a folder and hashes their names, contents and
// executable bits.
func contents(dir string) (files []string, hash string, err error) {
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, "", err
	}
	h := sha256.New()
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file", name)
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files = append(files, relative)
		fmt.Fprintf(h, "%q %t %d\n", relative, info.Mode()&0o111 != 0, info.Size())
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(h, f)
		return err
	})
	slices.Sort(files)
	return files, hex.EncodeToString(h.Sum(nil)), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	syscall.ForkLock.RLock() // a process started now would inherit the open file, which then could not be run
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|info.Mode()&0o100)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// program returns where make build puts a program for this machine, either as it
// is or as a function's bootstrap.
func (a artefacts) program(name string) string {
	alone := filepath.Join(a.built, name)
	if info, err := os.Stat(alone); err == nil && info.IsDir() {
		return filepath.Join(alone, bootstrap)
	}
	return alone
}

// dir returns the folder of a function's code.
func (a artefacts) dir(from, key string) (string, error) {
	dir := filepath.Join(a.root, filepath.FromSlash(key))
	if _, err := os.Stat(dir); err != nil || from != bucket || key == "" || !filepath.IsLocal(filepath.FromSlash(key)) {
		return "", fmt.Errorf("Code: there is no s3://%.200s/%.200s; write an %s with a CodeUri", from, key, serverlessFunction)
	}
	return dir, nil
}
