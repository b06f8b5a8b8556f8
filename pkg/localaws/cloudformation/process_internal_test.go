package cloudformation

import (
	"io"
	"net"
	"os"
	"testing"

	"agentcore-mcp-auth/pkg/localaws"
)

// failing names the folder of a container whose first start finds its port
// taken. The test's own program is that container.
const failing = "FAILING_CONTAINER"

func init() {
	dir, ok := os.LookupEnv(failing)
	if !ok {
		return
	}
	if os.Mkdir(dir+"/tried", 0o700) == nil {
		os.Exit(1)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	for err == nil {
		_, err = l.Accept()
	}
	os.Exit(1)
}

// A port that was free may be taken by the time that the container wants it.
func TestStartProcess_again(t *testing.T) {
	p, err := startProcess(t.Context(), localaws.Container{Program: os.Args[0]}, []string{failing + "=" + t.TempDir()}, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
