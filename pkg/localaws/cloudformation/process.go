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
	"sync"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// How long a container may take to listen, as on AgentCore, and to end, and how
// long to wait before one that ended by itself is started again.
const (
	startWithin  = 30 * time.Second
	stopWithin   = 5 * time.Second
	restartAfter = 200 * time.Millisecond
)

// process is a container: its program as a process on a loopback port. If the
// program ends by itself, it is started again, as AgentCore starts a new
// container for the next request.
type process struct {
	command func() *exec.Cmd
	dir     string
	once    sync.Once
	stopped chan struct{} // closed by stop
	ended   chan struct{} // closed when the program has ended for good
}

// startProcess runs a container, with HOST and PORT set to addr, and waits until
// it listens there. The container has a folder of its own, which is removed when
// it ends.
func startProcess(ctx context.Context, addr string, c localaws.Container, env []string, dir string, log io.Writer) (*process, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir, stopped: make(chan struct{}), ended: make(chan struct{}), command: func() *exec.Cmd {
		cmd := exec.Command(c.Program, c.Args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
		cmd.Env = append(append(append([]string{}, c.Env...), env...), "HOST="+host, "PORT="+port) // the last one counts
		return cmd
	}}
	first, err := start(p.command())
	if err != nil {
		return nil, fmt.Errorf("starting the container: %w", err)
	}
	if err := first.listens(ctx, addr); err != nil {
		first.stop()
		return nil, err
	}
	go p.keep(first)
	return p, nil
}

// keep keeps the program running until the process is stopped.
func (p *process) keep(r *run) {
	defer close(p.ended)
	for {
		select {
		case <-p.stopped:
			r.stop()
			return
		case <-r.ended:
		}
		select {
		case <-p.stopped:
			return
		case <-time.After(restartAfter):
		}
		var err error
		if r, err = start(p.command()); err != nil {
			return // the front door reports that the container failed
		}
	}
}

// stop ends the process, waits for it, and removes its folder.
func (p *process) stop() {
	p.once.Do(func() { close(p.stopped) })
	<-p.ended
	os.RemoveAll(p.dir)
}

// freeAddress finds a free port. It is below the ports that the system picks
// itself (from 32768 on Linux, from 49152 elsewhere). Another process could get
// one of those before the container listens.
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

// run is one run of a program.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func start(cmd *exec.Cmd) (*run, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &run{cmd: cmd, ended: make(chan struct{})}
	go func() { defer close(r.ended); cmd.Wait() }()
	return r, nil
}

// listens waits until the program listens.
func (r *run) listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var d net.Dialer
	for {
		if conn, err := d.DialContext(ctx, "tcp", addr); err == nil {
			return conn.Close()
		}
		select {
		case <-r.ended:
			return errors.New("the container ended before it listened; its log says why")
		case <-ctx.Done():
			return fmt.Errorf("the container does not listen on PORT: %w", context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the program with an interrupt, which lets a server shut down
// properly, and kills it if it does not end.
func (r *run) stop() {
	r.cmd.Process.Signal(os.Interrupt)
	select {
	case <-r.ended:
	case <-time.After(stopWithin):
		r.cmd.Process.Kill()
		<-r.ended
	}
}
