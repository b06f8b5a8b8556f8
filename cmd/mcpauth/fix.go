package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/doctor"
	"agentcore-mcp-auth/pkg/provision"
)

// repair makes the repairs that the report suggests, asking before each, and
// then examines again.
func repair(cmd *cobra.Command, cfg doctor.Config, report doctor.Report, yes bool) (doctor.Report, error) {
	if report.First() == nil && report.Count(doctor.Warn) == 0 {
		return report, nil
	}
	all := repairsOf(report)
	if len(all.Delete)+len(all.Write) == 0 && !all.Restore && !all.Rotate {
		fmt.Fprintln(cmd.ErrOrStderr(), "there is nothing that --fix can mend")
		return report, nil
	}
	p := newProvisioner(cmd, cfg.AWS, report.Prefix)
	f := fixer{cmd: cmd, provisioner: p, store: storeOf(p), name: report.Name, yes: yes, in: answers(cmd)}
	done, err := f.mend(cmd.Context(), all)
	if err != nil || done == 0 {
		return report, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "examining again")
	return examine(cmd, cfg)
}

// repairsOf collects the repairs of all failures and warnings.
func repairsOf(report doctor.Report) doctor.Repair {
	all := doctor.Repair{Write: map[string]string{}}
	for _, c := range report.Checks {
		if r := c.Repair; r != nil && (c.Status == doctor.Fail || c.Status == doctor.Warn) {
			all.Delete = append(all.Delete, r.Delete...)
			maps.Copy(all.Write, r.Write)
			all.Restore, all.Rotate = all.Restore || r.Restore, all.Rotate || r.Rotate
		}
	}
	return all
}

// fixer makes repairs.
type fixer struct {
	cmd         *cobra.Command
	provisioner *provision.Provisioner
	store       *credstore.Store
	name        string
	yes         bool
	in          *bufio.Reader
}

// mend makes the repairs that are agreed to and returns how many it made.
// Deleting and restoring parameters is one repair: without the restoration, what
// is deleted would be missing.
func (f *fixer) mend(ctx context.Context, r doctor.Repair) (done int, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.Write)) {
		if !f.agreed("write " + r.Write[name] + " to parameter " + f.store.Path(f.name) + name) {
			continue
		}
		if err := record(ctx, f.store, f.name, name, r.Write[name]); err != nil {
			return done, err
		}
		done++
	}
	if r.Restore && f.agreed(f.restoring(ctx, r.Delete)) {
		if len(r.Delete) > 0 {
			if err := f.store.Delete(ctx, f.name, r.Delete...); err != nil {
				return done, err
			}
		}
		result, err := f.provisioner.Restore(ctx, f.name)
		printChanges(f.cmd, result.Changes, false)
		if err != nil {
			return done, err
		}
		done++
	}
	if r.Rotate && f.agreed("rotate the client secret of "+f.name) {
		result, err := f.provisioner.Rotate(ctx, f.name)
		printChanges(f.cmd, result.Changes, false)
		if err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

// restoring describes what a restoration would do.
func (f *fixer) restoring(ctx context.Context, deleted []string) string {
	what := "restore what was set up for " + f.name
	if len(deleted) > 0 {
		what += ", after deleting parameter " + strings.Join(deleted, ", ")
	}
	if st, err := f.provisioner.Status(ctx, f.name); err == nil && len(st.Changes) > 0 {
		what += ": " + strings.Join(st.Changes, "; ")
	}
	return what
}

// agreed asks for consent, unless --yes was given.
func (f *fixer) agreed(what string) bool {
	if f.yes {
		fmt.Fprintln(f.cmd.ErrOrStderr(), what)
		return true
	}
	line, err := question(f.cmd, f.in, what+"? Type yes to do it: ")
	if err == nil && strings.EqualFold(line, "yes") {
		return true
	}
	if err == nil {
		fmt.Fprintln(f.cmd.ErrOrStderr(), "not done")
	}
	return false
}
