package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Delete deletes the stack's resources in the reverse of the order in which they
// were made. Those with a DeletionPolicy of Retain stay. It can be called again
// after it failed. A stack that was never deployed has nothing to delete.
func (s *Stack) Delete(ctx context.Context) error {
	s.operation.Lock()
	defer s.operation.Unlock()
	if status := s.Status(); status == "" || status == DeleteComplete {
		return nil
	}
	if err := s.aws.Export(s.name, nil); err != nil {
		return fmt.Errorf("deleting stack %s: Delete canceled. %w", s.name, err)
	}
	s.enter(DeleteInProgress, "User Initiated")
	s.mu.Lock()
	old := s.discarded
	s.discarded = nil
	s.mu.Unlock()
	var gone []leaving
	for _, r := range s.all() {
		gone = append(gone, leaving{r, r.deletion == retain || r.deletion == retainExceptOnCreate})
	}
	if err := errors.Join(s.discard(ctx, old), s.discard(ctx, gone)); err != nil {
		s.enter(DeleteFailed, strings.ReplaceAll(err.Error(), "\n", "; "))
		return fmt.Errorf("deleting stack %s: %w", s.name, err)
	}
	s.imports = nil
	s.aws.Import(s.name, nil)
	s.mu.Lock()
	s.parameters, s.outputs, s.shown = nil, nil, nil
	s.mu.Unlock()
	s.enter(DeleteComplete, "")
	return nil
}

// The policies that keep a resource.
const (
	retain               = "Retain"
	retainExceptOnCreate = "RetainExceptOnCreate"
)

// leaving is a resource that leaves the stack.
type leaving struct {
	*resource
	stays bool // in the stand-in
}

// discard deletes resources, dependent ones first. What cannot be deleted, and
// what it depends on, stays, or is kept for Delete.
func (s *Stack) discard(ctx context.Context, gone []leaving) error {
	var (
		mu    sync.Mutex // guards what follows
		errs  []error
		done  = map[string]bool{}
		made  = order{}
		byKey = map[string]leaving{}
	)
	for _, r := range gone {
		byKey[r.resourceType+" "+r.id] = r
	}
	for key, r := range byKey {
		made[key] = nil
		for other, o := range byKey {
			if other != key && slices.Contains(r.dependsOn, o.logicalID) {
				made[key] = append(made[key], other)
			}
		}
	}
	made.reversed().run(false, func(key string) error {
		err := s.remove(ctx, byKey[key])
		mu.Lock()
		defer mu.Unlock()
		errs, done[key] = append(errs, err), err == nil
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		r := byKey[key]
		switch current := s.resources[r.logicalID]; {
		case done[key] && current == r.resource:
			delete(s.resources, r.logicalID)
		case !done[key] && current != r.resource:
			s.discarded = append(s.discarded, r)
		}
	}
	return errors.Join(errs...)
}

// remove deletes one resource, unless it is to stay.
func (s *Stack) remove(ctx context.Context, r leaving) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.stays {
		s.emit(r.resource, DeleteSkipped, "")
		return nil
	}
	s.emit(r.resource, DeleteInProgress, "")
	if err := r.kind.remove(ctx, r.request(s)); err != nil {
		s.emit(r.resource, DeleteFailed, err.Error())
		return fmt.Errorf("%s (%s): %w", r.logicalID, r.resourceType, err)
	}
	s.emit(r.resource, DeleteComplete, "")
	return nil
}
