package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// How long a container may take to listen, as on AgentCore, and to end.
const (
	startWithin = 30 * time.Second
	stopWithin  = 5 * time.Second
)

// process is a container: its program as a process on a loopback port.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess runs a container with HOST and PORT set to addr and waits until
// it listens there.
func startProcess(ctx context.Context, addr string, c localaws.Container, env []string, dir string, log io.Writer) (*process, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(c.Program, c.Args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.Env = append(append(append([]string{}, c.Env...), env...), "HOST="+host, "PORT="+port) // the last one counts
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the container: %w", err)
	}
	go func() { defer close(p.ended); p.cmd.Wait() }()
	if err := p.listens(ctx, addr); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// freeAddress finds a port that nobody listens on. It is none of those that a
// system gives to whoever does not ask for one (from 32768 on Linux, from 49152
// elsewhere), which another process could get before the container listens.
func freeAddress() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("finding a port for the container: %w", err)
}

// listens waits until the process listens.
func (p *process) listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var d net.Dialer
	for {
		if conn, err := d.DialContext(ctx, "tcp", addr); err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return errors.New("the container ended before it listened; its log says why")
		case <-ctx.Done():
			return fmt.Errorf("the container does not listen on PORT: %w", context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the process: with an interrupt, which a server ends on in order, and
// by force when it does not.
func (p *process) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
		p.cmd.Process.Kill()
		<-p.ended
	}
}
