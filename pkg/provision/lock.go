package provision

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// A lock is a parameter that says who holds it and until when. It is free when
// that time is over. Parameter Store writes a parameter only if it is absent,
// and numbers the overwrites of one that is there: of those who saw revision n
// free, the one whose write became revision n+1 has it.
type lockValue struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

const (
	// lockMargin covers clocks that differ between the holder and who waits.
	lockMargin = 2 * time.Second
	// lockTime is for holders without a deadline: what a Lambda function may take at most.
	lockTime = 15 * time.Minute
	// releaseTime is what giving it back may take, also when the context has ended.
	releaseTime = 2 * time.Second
)

func (p *Provisioner) lockPath(key string) string { return p.prefix() + "/.lock/" + key }

// poolLock is the key of the lock under which the owner's pool is made and
// removed. It ends in a dot, as no server's name does.
func (p *Provisioner) poolLock() string { return "pool-" + shortHash(p.poolKey()) + "." }

// lock waits until the lock is free and takes it, until the context's deadline
// and a little more. unlock gives it back and may be called after ctx has
// ended.
func (p *Provisioner) lock(ctx context.Context, key string) (unlock func(), err error) {
	name := p.lockPath(key)
	until, ok := ctx.Deadline()
	if !ok {
		until = p.now().Add(lockTime)
	}
	for attempt := 0; ; attempt++ {
		mine := lockValue{Holder: rand.Text(), Until: until.Add(lockMargin)}
		held, busy, err := p.tryLock(ctx, name, mine)
		if err != nil {
			return nil, fmt.Errorf("taking lock %s: %w", name, err)
		}
		if held {
			return func() { p.unlock(ctx, name, mine.Holder) }, nil
		}
		if err := p.wait(ctx, p.backoff(min(attempt, 3))); err != nil {
			return nil, fmt.Errorf("waiting for lock %s, which another run holds until %s: %w", name, busy.Until.Format(time.RFC3339), err)
		}
	}
}

// tryLock tries once, and says who has it otherwise.
func (p *Provisioner) tryLock(ctx context.Context, name string, mine lockValue) (held bool, busy lockValue, err error) {
	_, putErr := p.putLock(ctx, name, mine, false)
	if putErr == nil {
		return true, mine, nil
	}
	if !is[*types.ParameterAlreadyExists](putErr) && !unknownOutcome(putErr) {
		return false, busy, putErr
	}
	seen, revision, err := p.readLock(ctx, name)
	if err != nil {
		return false, busy, err
	}
	if seen.Holder == mine.Holder && revision == 1 {
		return true, mine, nil // the answer was lost
	}
	if p.now().Before(seen.Until) {
		return false, seen, nil
	}
	got, putErr := p.putLock(ctx, name, mine, true)
	if putErr == nil {
		// Revision 1: it had been deleted meanwhile, and this run made it anew.
		return got == revision+1 || got == 1, mine, nil
	}
	if !unknownOutcome(putErr) {
		return false, busy, putErr
	}
	seen, got, err = p.readLock(ctx, name)
	return err == nil && seen.Holder == mine.Holder && got == revision+1, seen, err
}

func (p *Provisioner) putLock(ctx context.Context, name string, v lockValue, overwrite bool) (revision int64, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	out, err := p.SSM.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String(string(text)), Type: types.ParameterTypeString, Overwrite: aws.Bool(overwrite),
	}, func(o *ssm.Options) { o.Retryer = p.retryer(unrepeatable) })
	if err != nil {
		return 0, err
	}
	return out.Version, nil
}

// readLock reads the lock. One that is absent or illegible is free.
func (p *Provisioner) readLock(ctx context.Context, name string) (v lockValue, revision int64, err error) {
	out, err := p.SSM.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	if is[*types.ParameterNotFound](err) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, err
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Parameter.Value)), &v); err != nil {
		v = lockValue{}
	}
	return v, out.Parameter.Version, nil
}

// unlock frees a lock that is still the holder's. It does what it can: a lock
// that is not given back runs out.
func (p *Provisioner) unlock(ctx context.Context, name, holder string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	seen, _, err := p.readLock(ctx, name)
	if err == nil && seen.Holder == holder {
		_, err = p.putLock(ctx, name, lockValue{Until: p.now()}, true)
	}
	if err != nil {
		p.logger().Warn("giving back a lock", "lock", name, "error", err)
	}
}

// dropLock removes a lock with what it guarded.
func (p *Provisioner) dropLock(ctx context.Context, key string) error {
	_, err := p.SSM.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{p.lockPath(key)}})
	if err != nil {
		return fmt.Errorf("deleting lock %s: %w", p.lockPath(key), err)
	}
	return nil
}
