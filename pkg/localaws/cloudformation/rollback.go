package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// goBack restores the stack's state from before the failed deployment, and
// returns why the deployment failed.
func (d *deployment) goBack(ctx context.Context, failed error) error {
	reason := strings.ReplaceAll(failed.Error(), "\n", "; ")
	switch {
	case ctx.Err() != nil:
		d.leaveAsIs()
		d.enter(map[bool]Status{true: CreateFailed, false: UpdateFailed}[d.first], reason)
		return fmt.Errorf("%w; nothing was rolled back", failed)
	case d.first:
		d.enter(RollbackInProgress, reason)
		if err := d.discard(ctx, d.undoCreation()); err != nil {
			d.enter(RollbackFailed, strings.ReplaceAll(err.Error(), "\n", "; "))
			return fmt.Errorf("%w; rolling back: %w", failed, err)
		}
		d.enter(RollbackComplete, "")
		return fmt.Errorf("%w; rolled back", failed)
	}
	d.enter(UpdateRollbackInProgress, reason)
	gone, err := d.undoUpdate(ctx)
	if err != nil {
		d.enter(UpdateRollbackFailed, strings.ReplaceAll(err.Error(), "\n", "; "))
		return fmt.Errorf("%w; rolling back: %w", failed, err)
	}
	d.enter(UpdateRollbackCleanup, "")
	d.discard(ctx, gone) // what it cannot delete is kept for Delete
	d.enter(UpdateRollbackComplete, "")
	return fmt.Errorf("%w; rolled back", failed)
}

// undone says how to remove a resource whose creation is undone.
func undone(r *resource) leaving { return leaving{r, r.deletion == retain} }

// undoCreation returns everything that was made, or may have been.
func (d *deployment) undoCreation() []leaving {
	var gone []leaving
	for _, st := range d.steps {
		if st.now != nil {
			gone = append(gone, undone(st.now))
		}
	}
	return gone
}

// leaveAsIs keeps for Delete what belongs to no resource of the stack.
func (d *deployment) leaveAsIs() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.steps {
		for _, r := range []*resource{st.was, st.now} {
			if r != nil && (d.resources[r.logicalID] == nil || d.resources[r.logicalID].id != r.id) {
				d.discarded = append(d.discarded, undone(r))
			}
		}
	}
}

// undoUpdate restores every resource in the order of their dependencies, and
// returns what is left over.
func (d *deployment) undoUpdate(ctx context.Context) ([]leaving, error) {
	var gone []leaving
	var errs []error
	steps, back := map[string]*step{}, order{}
	d.mu.Lock()
	for _, st := range d.steps {
		if st.was == nil {
			if st.now != nil {
				gone = append(gone, undone(st.now))
				delete(d.resources, st.now.logicalID)
			}
			continue
		}
		steps[st.was.logicalID], back[st.was.logicalID] = st, st.was.dependsOn
	}
	for id, r := range d.before {
		if steps[id] == nil {
			d.resources[id] = r
		}
	}
	d.mu.Unlock()
	back.run(false, func(id string) error {
		extra, err := d.restore(ctx, steps[id])
		d.mu.Lock()
		defer d.mu.Unlock()
		gone, errs = append(gone, extra...), append(errs, err)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		d.leaveAsIs()
		return nil, err
	}
	slices.SortFunc(gone, func(a, b leaving) int { return strings.Compare(a.id, b.id) })
	return gone, nil
}

// restore restores one resource to its previous state.
func (d *deployment) restore(ctx context.Context, st *step) (gone []leaving, err error) {
	now := *st.was
	if st.created { // the previous resource still exists
		if st.now != nil {
			gone = append(gone, undone(st.now))
		}
		d.emit(&now, UpdateComplete, "")
		d.keep(&now, nil)
		return gone, nil
	}
	now.made = st.now.made
	d.emit(&now, UpdateInProgress, "")
	r := now.request(d.Stack)
	r.old, r.attributes = st.now.properties, st.now.attributes
	m, err := now.kind.update(ctx, r)
	if err != nil {
		d.emit(&now, UpdateFailed, err.Error())
		return nil, fmt.Errorf("%s (%s): %w", now.logicalID, now.resourceType, err)
	}
	now.made = m
	d.emit(&now, UpdateComplete, "")
	d.keep(&now, nil)
	// A custom resource that answered with another id has made another resource.
	abandoned := map[string]*resource{st.was.id: st.was, st.now.id: st.now}
	delete(abandoned, m.id)
	for _, id := range slices.Sorted(maps.Keys(abandoned)) {
		gone = append(gone, leaving{abandoned[id], false})
	}
	return gone, nil
}
