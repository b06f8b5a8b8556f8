package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/localaws"
)

// case 141: only terminals get colours, and only without NO_COLOR.
func TestColoured(t *testing.T) {
	_, terminal := openTerminal(t)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer pipe.Close()
	t.Setenv("NO_COLOR", "")
	if !coloured(terminal) || coloured(null) || coloured(pipe) || coloured(&bytes.Buffer{}) {
		t.Errorf("got %t for a terminal, %t for %s, %t for a pipe, %t for a buffer",
			coloured(terminal), coloured(null), os.DevNull, coloured(pipe), coloured(&bytes.Buffer{}))
	}
	t.Setenv("NO_COLOR", "1")
	if coloured(terminal) {
		t.Error("NO_COLOR is not heeded")
	}
}

// closedPipe is the stdout of a program whose reader has left.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// case 141: when the reader has left, no further check is made.
func TestDoctor_closedPipe(t *testing.T) {
	srv := localaws.New(localaws.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	for _, kv := range srv.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	err := run(t.Context(), []string{"doctor", "--mcp-name", "calculator"}, closedPipe{}, io.Discard)
	if !errors.Is(err, syscall.EPIPE) || len(srv.Records()) > 0 {
		t.Errorf("got error %v after %d requests", err, len(srv.Records()))
	}
}

// Skipped checks with the same reason share a line, and a failure has all its
// rows.
func TestCheckPrinter(t *testing.T) {
	var out bytes.Buffer
	p := &checkPrinter{out: &out, colour: true}
	for _, c := range []doctor.Check{
		{ID: "a", Status: doctor.Pass, Found: "well"},
		{ID: "b", Status: doctor.Fail, Expected: "x", Found: "y", Cause: "z", Next: "do"},
		{ID: "c", Status: doctor.Skip, Cause: "b failed"},
		{ID: "d", Status: doctor.Skip, Cause: "b failed"},
		{ID: "e", Status: doctor.Skip, Cause: "it costs"},
	} {
		p.print(c)
	}
	p.flush()
	want := "\x1b[32mpass\x1b[0m  a                                well\n" +
		"\x1b[31mfail\x1b[0m  b                                y\n" +
		"      expected  x\n      cause     z\n      next      do\n" +
		"\x1b[2mskip\x1b[0m  c …                              2 checks to d: b failed\n" +
		"\x1b[2mskip\x1b[0m  e                                it costs\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
