package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// program reads one program from the archive that pack made.
func program(archive, name string) ([]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("reading the programs, which belong into the function's package: %w", err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("reading the programs: %w", err)
	}
	defer z.Close()
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the function does not carry the program %s; pack it", name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the programs: %w", err)
		}
		if h.Name == name {
			binary, err := io.ReadAll(files)
			if err != nil {
				return nil, fmt.Errorf("reading the program %s: %w", name, err)
			}
			return binary, nil
		}
	}
}
