package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// How long a container may take to listen, as on AgentCore, and to end.
const (
	startWithin = 30 * time.Second
	stopWithin  = 5 * time.Second
)

// startAttempts bounds how often a container is started on another port.
const startAttempts = 3

// process is a container: its program as a process on a loopback port.
type process struct {
	addr  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess runs a container with HOST and PORT set and waits until it
// listens there. Whether a free port stays free until the program has it is not
// in our hands, so that one that ends before it listens is started again on
// another.
func startProcess(ctx context.Context, c localaws.Container, env []string, dir string, log io.Writer) (*process, error) {
	for attempt := 1; ; attempt++ {
		p, err := tryProcess(ctx, c, env, dir, log)
		if !errors.Is(err, errEnded) || attempt == startAttempts {
			return p, err
		}
	}
}

func tryProcess(ctx context.Context, c localaws.Container, env []string, dir string, log io.Writer) (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a port for the container: %w", err)
	}
	p := &process{addr: l.Addr().String(), cmd: exec.Command(c.Program, c.Args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	port := strings.TrimPrefix(p.addr, "127.0.0.1:")
	p.cmd.Env = slices.Concat(c.Env, env, []string{"HOST=127.0.0.1", "PORT=" + port}) // the last one counts
	l.Close()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the container: %w", err)
	}
	go func() { defer close(p.ended); p.cmd.Wait() }()
	if err := p.listens(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

var errEnded = errors.New("the container ended before it listened; its log says why")

// listens waits until the process listens.
func (p *process) listens(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var d net.Dialer
	for {
		if conn, err := d.DialContext(ctx, "tcp", p.addr); err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return errEnded
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
