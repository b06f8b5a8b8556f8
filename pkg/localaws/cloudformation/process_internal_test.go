package cloudformation

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"
)

// The program of the tests is also a container: a server that tells its process
// id, and ends when it is told to.
func init() {
	if os.Getenv("CRASHING") == "" {
		return
	}
	http.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(1) })
	panic(http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), nil))
}

func TestProcess_crash(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := startProcess(t.Context(), addr, localaws.Container{Program: program}, append(os.Environ(), "CRASHING=1"), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	first := fetch(t, "http://"+addr+"/pid")
	if resp, err := http.Get("http://" + addr + "/crash"); err == nil {
		resp.Body.Close()
		t.Fatalf("got %s of a program that ended", resp.Status)
	}
	if err := (&run{ended: make(chan struct{})}).listens(t.Context(), addr); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if again := fetch(t, "http://"+addr+"/pid"); again == first {
		t.Errorf("after a crash: process %s again", again)
	}
	p.stop()
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("a process that was stopped listens")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its folder stays: %v", err)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
