package localaws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
)

// latest is the version of a function that can be changed.
const latest = "$LATEST"

// validAlias is the Name of API_CreateAlias.
// https://docs.aws.amazon.com/lambda/latest/dg/API_CreateAlias.html
var validAlias = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,128}$`)

// key returns the function's key in the stand-in's map of functions.
func (f *Function) key() string { return functionKey(f.cfg.Name, f.version) }

func functionKey(name, version string) string {
	if version == latest {
		return name
	}
	return name + ":" + version
}

// Name is the function's name.
func (f *Function) Name() string { return f.cfg.Name }

// Version is the number of a published version, or $LATEST.
func (f *Function) Version() string { return f.version }

// Function finds a function by its name or ARN, which may end in a version or an
// alias. It returns nil when there is none.
func (s *Server) Function(name string) *Function {
	name = strings.TrimPrefix(name, "arn:aws:lambda:"+s.cfg.Region+":"+Account+":function:")
	name, version, qualified := strings.Cut(name, ":")
	if !qualified {
		version = latest
	}
	return s.funcs.get(name, version)
}

// get finds a function by name and version or alias.
func (p *functions) get(name, version string) *Function {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v, ok := p.aliases[name+":"+version]; ok {
		version = v
	}
	return p.byName[functionKey(name, version)]
}

// UpdateFunction gives the function cfg.Name another binary or configuration and
// returns it. A running invocation first ends with the old ones. Published
// versions do not change.
func (s *Server) UpdateFunction(ctx context.Context, cfg FunctionConfig) (*Function, error) {
	f, err := newFunction(s, cfg, latest)
	if err != nil {
		return nil, fmt.Errorf("updating function %.80q: %w", cfg.Name, err)
	}
	p := s.funcs
	p.mu.Lock()
	old := p.byName[cfg.Name]
	if old == nil {
		p.mu.Unlock()
		return nil, fmt.Errorf("updating function %q: there is none", cfg.Name)
	}
	p.byName[cfg.Name], f.url = f, old.url
	f.stop = context.AfterFunc(ctx, f.Close)
	p.mu.Unlock()
	if old.acquire(context.WithoutCancel(ctx)) == nil { // waits for its invocation
		<-old.slot
	}
	old.Close()
	return f, nil
}

// PublishVersion publishes the function's present state under the next number,
// with a process of its own, until [Server.RemoveFunction]. If the function has
// not changed since the last version, it returns that version and publishes
// nothing, like Lambda.
// https://docs.aws.amazon.com/lambda/latest/dg/API_PublishVersion.html
func (s *Server) PublishVersion(name string) (version *Function, published bool, err error) {
	p := s.funcs
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byName[name]
	if f == nil {
		return nil, false, fmt.Errorf("publishing a version of function %.80q: there is none", name)
	}
	n := p.versions[name]
	if last := p.byName[functionKey(name, strconv.Itoa(n))]; last != nil && last.cfg.same(f.cfg) {
		return last, false, nil
	}
	if version, err = newFunction(s, f.cfg, strconv.Itoa(n+1)); err != nil {
		return nil, false, fmt.Errorf("publishing a version of function %q: %w", name, err)
	}
	version.stop = func() bool { return true }
	p.versions[name] = n + 1
	p.byName[version.key()] = version
	return version, true, nil
}

// same reports whether two configurations make the same version.
func (c FunctionConfig) same(o FunctionConfig) bool {
	return c.Binary == o.Binary && c.Role == o.Role && c.Timeout == o.Timeout && c.MemoryMB == o.MemoryMB && maps.Equal(c.Env, o.Env)
}

// SetAlias makes an alias of a function name one of its published versions.
func (s *Server) SetAlias(name, alias, version string) error {
	p := s.funcs
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := strconv.Atoi(alias)
	switch {
	case !validAlias.MatchString(alias) || err == nil:
		return fmt.Errorf("alias %.140q: want letters, digits, hyphens or underscores, and not digits alone", alias)
	case version == latest:
		return errors.New("an alias of $LATEST is not implemented; publish a version")
	case p.byName[functionKey(name, version)] == nil:
		return fmt.Errorf("alias %s: function %.80q has no version %.40q", alias, name, version)
	}
	p.aliases[name+":"+alias] = version
	return nil
}

// RemoveAlias removes an alias. A missing alias is not an error.
func (s *Server) RemoveAlias(name, alias string) {
	s.funcs.mu.Lock()
	defer s.funcs.mu.Unlock()
	delete(s.funcs.aliases, name+":"+alias)
}

// RemoveFunction closes a function with all its versions and removes its
// aliases. A missing function is not an error.
func (s *Server) RemoveFunction(name string) {
	p := s.funcs
	mine := func(key string) bool { return key == name || strings.HasPrefix(key, name+":") }
	var all []*Function
	p.mu.Lock()
	for key, f := range p.byName {
		if mine(key) {
			all = append(all, f)
		}
	}
	maps.DeleteFunc(p.aliases, func(key, _ string) bool { return mine(key) })
	maps.DeleteFunc(p.retries, func(key string, _ int) bool { return mine(key) })
	delete(p.versions, name)
	p.mu.Unlock()
	for _, f := range all {
		f.Close()
	}
}
