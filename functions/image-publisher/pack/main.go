// Command pack puts programs into the archive that image-publisher carries:
//
//	pack images.tar.zst PROGRAM...
//
// Packed together they take two thirds of what they take in the function's zip,
// and the same programs make the same archive.
package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack images.tar.zst PROGRAM...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(name string, programs []string) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// The window spans a whole program, because Go programs have most of their
	// bytes in common.
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	archive := tar.NewWriter(z)
	for _, p := range programs {
		if err := add(archive, p); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), z.Close())
}

func add(archive *tar.Writer, program string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: filepath.Base(program), Size: info.Size(), Mode: 0o555, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}
