//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type ctr struct {
	c             *v1.Container
	init, sidecar bool
	status        v1.ContainerStatus
	proc          *os.Process
	exited        chan struct{} // closed when the present process has ended
	env           []string
}

type podRun struct {
	n    *nodeAgent
	pod  *v1.Pod
	ip   string
	vols map[string]string

	mu         sync.Mutex
	inits      []*ctr
	mains      []*ctr
	start      metav1.Time
	phase      v1.PodPhase
	reason     string
	initDone   bool
	conds      map[v1.PodConditionType]v1.PodCondition
	stopping   bool
	stop, done chan struct{}
	confirm    sync.Once
	dirty      chan struct{}
}

func newPodRun(n *nodeAgent, pod *v1.Pod) *podRun {
	p := &podRun{n: n, pod: pod, phase: v1.PodPending, start: metav1.Now(), stop: make(chan struct{}), done: make(chan struct{}), dirty: make(chan struct{}, 1), conds: map[v1.PodConditionType]v1.PodCondition{}}
	h := fnv.New32a() // each pod has a loopback address of its own
	h.Write([]byte(pod.UID))
	s := h.Sum32()
	p.ip = fmt.Sprintf("127.77.%d.%d", byte(s>>8), 1+byte(s)%254)
	if pod.Spec.HostNetwork {
		p.ip = "127.0.0.1"
	}
	add := func(cs []v1.Container, init bool) (out []*ctr) {
		for i := range cs {
			c := &cs[i]
			side := init && c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
			no := false
			out = append(out, &ctr{c: c, init: init, sidecar: side, status: v1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: "process", Started: &no,
				State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}}}})
		}
		return out
	}
	p.inits, p.mains = add(pod.Spec.InitContainers, true), add(pod.Spec.Containers, false)
	return p
}

func (p *podRun) event(kind, reason, f string, a ...any) {
	p.n.rec.Eventf(p.pod, kind, reason, f, a...)
}

func (p *podRun) restarts(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range append(append([]*ctr{}, p.inits...), p.mains...) {
		if c.c.Name == name {
			return int(c.status.RestartCount)
		}
	}
	return 0
}

func (p *podRun) kick() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

func (p *podRun) run(ctx context.Context) {
	pushed := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(pushed)
		for {
			select {
			case <-p.dirty:
				p.push()
			case <-over:
				p.push()
				return
			}
		}
	}()
	p.kick()
	defer func() {
		close(over)
		<-pushed
		close(p.done)
	}()
	if d := p.pod.Spec.ActiveDeadlineSeconds; d != nil {
		t := time.AfterFunc(time.Duration(*d)*time.Second, func() { p.terminate(p.grace(), "DeadlineExceeded") })
		defer t.Stop()
	}
	for {
		var err error
		if p.vols, err = p.prepareVolumes(ctx); err == nil {
			break
		}
		p.event(v1.EventTypeWarning, "FailedMount", "%v", err)
		if !p.sleep(time.Second) {
			p.finish()
			return
		}
	}
	ok := true
	var sidecars sync.WaitGroup
	for _, c := range p.inits {
		if c.sidecar {
			sidecars.Add(1)
			up := make(chan struct{})
			go func() { defer sidecars.Done(); p.runContainer(ctx, c, func() { close(up) }) }()
			select {
			case <-up:
			case <-p.stop:
			}
			continue
		}
		if code := p.runContainer(ctx, c, func() {}); code != 0 {
			ok = false
			break
		}
	}
	if ok && !p.isStopping() {
		p.mu.Lock()
		p.initDone = true
		p.phase = v1.PodRunning
		p.mu.Unlock()
		var wg sync.WaitGroup
		for _, c := range p.mains {
			wg.Add(1)
			go func() { defer wg.Done(); p.runContainer(ctx, c, func() {}) }()
		}
		wg.Wait()
	}
	// the sidecars end after the others
	p.mu.Lock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
	left := append([]*ctr{}, p.inits...)
	p.mu.Unlock()
	for _, c := range left {
		if c.sidecar {
			go p.end(c, p.grace())
		}
	}
	sidecars.Wait()
	p.finish()
}

func (p *podRun) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = v1.PodSucceeded
	for _, c := range append(append([]*ctr{}, p.inits...), p.mains...) {
		if c.sidecar {
			continue
		}
		t := c.status.State.Terminated
		if t == nil { // never ran
			c.status.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown", Message: "the container did not start", FinishedAt: metav1.Now()}}
			t = c.status.State.Terminated
		}
		if t.ExitCode != 0 {
			p.phase = v1.PodFailed
		}
	}
	if p.reason != "" {
		p.phase = v1.PodFailed
	}
}

func (p *podRun) grace() time.Duration {
	if g := p.pod.Spec.TerminationGracePeriodSeconds; g != nil {
		return time.Duration(*g) * time.Second
	}
	return 30 * time.Second
}

func (p *podRun) isStopping() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stopping }

func (p *podRun) sleep(d time.Duration) bool {
	select {
	case <-p.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// runContainer runs a container until it is not to be restarted; it returns the last exit code.
func (p *podRun) runContainer(ctx context.Context, c *ctr, up func()) int {
	up = sync.OnceFunc(up)
	for wait := p.n.backoff; ; wait = min(wait*2, 5*time.Minute) {
		s := p.waitForSpec(ctx, c)
		if s == nil {
			return 137
		}
		code := p.runOnce(c, s, up)
		if !p.isRestarted(c, code) || !p.waitToRestart(c, code, wait) {
			return int(code)
		}
	}
}

// waitForSpec returns how the container is started, as soon as all that it refers to exists; nil if the pod is to end before.
func (p *podRun) waitForSpec(ctx context.Context, c *ctr) *spec {
	for !p.isStopping() {
		s, err := p.spec(ctx, c)
		if err == nil {
			return s
		}
		p.setState(c, v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: err.Error()}})
		p.event(v1.EventTypeWarning, "Failed", "Error: %v", err)
		p.sleep(time.Second)
	}
	return nil
}

func (p *podRun) setState(c *ctr, state v1.ContainerState) {
	p.mu.Lock()
	c.status.State = state
	p.mu.Unlock()
	p.kick()
}

// runOnce runs a container's process to its end, and returns the exit code; up is told that it has started.
func (p *podRun) runOnce(c *ctr, s *spec, up func()) int32 {
	logFile := p.logFile(c.c.Name, int(c.status.RestartCount))
	over := v1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", StartedAt: metav1.Now()}
	cmd, err := s.start(filepath.Join(s.Root, "spec.json"), logFile)
	if err != nil {
		over.Message = err.Error()
	} else {
		exited := p.started(c, s, cmd, over.StartedAt)
		up()
		over.ExitCode, over.Reason = exitOf(cmd)
		close(exited)
		over.Message = messageOf(c.c, s.TermLog, logFile, over.ExitCode)
	}
	over.FinishedAt = metav1.Now()
	// What the container has written into its root is of no more use.
	_ = os.RemoveAll(filepath.Join(s.Root, "upper"))
	_ = os.RemoveAll(filepath.Join(s.Root, "work"))
	no := false
	p.mu.Lock()
	c.proc = nil
	over.ContainerID = c.status.ContainerID
	c.status.Ready, c.status.Started = c.init && !c.sidecar && over.ExitCode == 0, &no
	p.mu.Unlock()
	p.setState(c, v1.ContainerState{Terminated: &over})
	return over.ExitCode
}

// started notes a container's process and begins its probes; the caller closes the channel when the process has ended.
func (p *podRun) started(c *ctr, s *spec, cmd *exec.Cmd, at metav1.Time) chan struct{} {
	exited := make(chan struct{})
	started := c.c.StartupProbe == nil
	p.mu.Lock()
	c.proc, c.exited, c.env = cmd.Process, exited, s.Env
	c.status.ContainerID = fmt.Sprintf("process://%s-%d-%d", c.c.Name, c.status.RestartCount, cmd.Process.Pid)
	c.status.Started = &started
	c.status.Ready = started && c.c.ReadinessProbe == nil
	stopping := p.stopping
	p.mu.Unlock()
	p.setState(c, v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: at}})
	p.event(v1.EventTypeNormal, "Started", "Started container %s (process %d)", c.c.Name, cmd.Process.Pid)
	if stopping && !c.sidecar {
		go p.end(c, p.grace())
	}
	go p.probes(c, cmd.Process.Pid, exited)
	return exited
}

// exitOf waits for a process, and returns its exit code as a container's, with the reason that a kubelet gives.
func exitOf(cmd *exec.Cmd) (int32, string) {
	err := cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		return 128 + int32(status.Signal()), "Error"
	case status.ExitStatus() != 0:
		return int32(status.ExitStatus()), "Error"
	case err != nil:
		return 128, "Error"
	}
	return 0, "Completed"
}

// messageOf returns what a container says of its end: in its file for that, else by its log if it asks for that.
func messageOf(c *v1.Container, file, logFile string, code int32) string {
	if said, _ := os.ReadFile(file); len(said) > 0 {
		return string(said[:min(len(said), 4096)])
	}
	if code == 0 || c.TerminationMessagePolicy != v1.TerminationMessageFallbackToLogsOnError {
		return ""
	}
	said, _ := os.ReadFile(logFile)
	return string(said[max(0, len(said)-2048):])
}

func (p *podRun) isRestarted(c *ctr, code int32) bool {
	switch policy := p.pod.Spec.RestartPolicy; {
	case p.isStopping():
		return false
	case c.sidecar:
		return true
	case policy == v1.RestartPolicyNever:
		return false
	case policy == v1.RestartPolicyOnFailure || c.init:
		return code != 0
	}
	return true
}

// waitToRestart returns false if the pod is to end before the wait is over.
func (p *podRun) waitToRestart(c *ctr, code int32, wait time.Duration) bool {
	p.mu.Lock()
	ended := c.status.State
	c.status.LastTerminationState = ended
	c.status.RestartCount++
	p.mu.Unlock()
	p.setState(c, v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off " + wait.String()}})
	p.event(v1.EventTypeWarning, "BackOff", "Back-off restarting container %s, exit code %d", c.c.Name, code)
	if p.sleep(wait) {
		return true
	}
	p.setState(c, ended)
	return false
}

// terminate ends the pod: because its object is being deleted (why is ""), or for a reason.
func (p *podRun) terminate(grace time.Duration, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why == "" {
		p.confirm.Do(func() {
			go func() { <-p.done; p.n.confirmDelete(p.pod) }()
		})
	} else if !p.stopping {
		p.reason = why
	}
	if !p.stopping {
		p.stopping = true
		close(p.stop)
		p.event(v1.EventTypeNormal, "Killing", "Stopping the pod's containers, %s of grace", grace)
		for _, c := range append(append([]*ctr{}, p.inits...), p.mains...) {
			if !c.sidecar {
				go p.end(c, grace)
			}
		}
	}
	if grace == 0 {
		go p.kill(syscall.SIGKILL)
	}
}

func (p *podRun) kill(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range append(append([]*ctr{}, p.inits...), p.mains...) {
		if c.proc != nil {
			_ = c.proc.Signal(sig)
		}
	}
}

// end stops one container: preStop, SIGTERM, and SIGKILL when the grace is over.
func (p *podRun) end(c *ctr, grace time.Duration) {
	p.mu.Lock()
	proc, exited, env := c.proc, c.exited, c.env
	p.mu.Unlock()
	if proc == nil {
		return
	}
	hard := time.After(grace)
	if l := c.c.Lifecycle; grace > 0 && l != nil && l.PreStop != nil && l.PreStop.Exec != nil {
		hook := execIn(proc.Pid, env, l.PreStop.Exec.Command)
		if err := hook.Start(); err == nil {
			ended := make(chan error, 1)
			go func() { ended <- hook.Wait() }()
			select {
			case err := <-ended:
				if err != nil {
					p.event(v1.EventTypeWarning, "FailedPreStopHook", "%v", err)
				}
			case <-hard:
				_ = hook.Process.Kill()
				_ = proc.Signal(syscall.SIGKILL)
				return
			}
		}
	} else if grace > 0 && l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		select {
		case <-time.After(time.Duration(l.PreStop.Sleep.Seconds) * time.Second):
		case <-exited:
		case <-hard:
		}
	}
	if grace > 0 {
		_ = proc.Signal(syscall.SIGTERM)
	}
	select {
	case <-exited:
	case <-hard:
		_ = proc.Signal(syscall.SIGKILL)
	}
}

func (p *podRun) probes(c *ctr, pid int, exited chan struct{}) {
	loop := func(pr *v1.Probe, result func(ok bool) (more bool)) bool {
		period, fails, succ := time.Duration(max(pr.PeriodSeconds, 1))*time.Second, int32(0), int32(0)
		wait := time.Duration(pr.InitialDelaySeconds) * time.Second
		for {
			select {
			case <-exited:
				return false
			case <-time.After(wait):
			}
			wait = period
			if err := p.probe(c, pid, pr); err != nil {
				fails, succ = fails+1, 0
				if fails >= max(pr.FailureThreshold, 1) && !result(false) {
					p.event(v1.EventTypeWarning, "Unhealthy", "probe failed: %v", err)
					return false
				}
			} else {
				succ, fails = succ+1, 0
				if succ >= max(pr.SuccessThreshold, 1) && !result(true) {
					return true
				}
			}
		}
	}
	set := func(f func()) {
		p.mu.Lock()
		f()
		p.mu.Unlock()
		p.kick()
	}
	unhealthy := func(pr *v1.Probe) {
		g := p.grace()
		if pr.TerminationGracePeriodSeconds != nil {
			g = time.Duration(*pr.TerminationGracePeriodSeconds) * time.Second
		}
		go p.end(c, g)
	}
	if pr := c.c.StartupProbe; pr != nil {
		if !loop(pr, func(ok bool) bool {
			if !ok {
				unhealthy(pr)
			}
			return false
		}) {
			return
		}
		yes := true
		set(func() { c.status.Started = &yes; c.status.Ready = c.c.ReadinessProbe == nil })
	}
	if pr := c.c.LivenessProbe; pr != nil {
		go loop(pr, func(ok bool) bool {
			if !ok {
				unhealthy(pr)
			}
			return ok
		})
	}
	if pr := c.c.ReadinessProbe; pr != nil {
		loop(pr, func(ok bool) bool {
			set(func() {
				if c.status.State.Running != nil {
					c.status.Ready = ok
				}
			})
			return true
		})
	}
}

func (p *podRun) probe(c *ctr, pid int, pr *v1.Probe) error {
	timeout := time.Duration(max(pr.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	port := func(v intstr.IntOrString) string {
		for _, q := range c.c.Ports {
			if q.Name == v.StrVal && v.Type == intstr.String {
				return strconv.Itoa(int(q.ContainerPort))
			}
		}
		return v.String()
	}
	host := func(h string) string {
		if h == "" {
			return p.ip
		}
		return h
	}
	switch {
	case pr.Exec != nil:
		cmd := execIn(pid, c.env, pr.Exec.Command)
		out, err := runFor(ctx, cmd)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	case pr.HTTPGet != nil:
		g := pr.HTTPGet
		url := fmt.Sprintf("http://%s%s", net.JoinHostPort(host(g.Host), port(g.Port)), g.Path)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		for _, h := range g.HTTPHeaders {
			req.Header.Add(h.Name, h.Value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return errors.New(resp.Status)
		}
	case pr.TCPSocket != nil:
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host(pr.TCPSocket.Host), port(pr.TCPSocket.Port)))
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}

func runFor(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return out.Bytes(), err
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return nil, ctx.Err()
	}
}

// push writes the pod's status.
func (p *podRun) push() {
	p.mu.Lock()
	now := metav1.Now()
	cond := func(t v1.PodConditionType, ok bool, reason string) {
		st := v1.ConditionFalse
		if ok {
			st, reason = v1.ConditionTrue, ""
		}
		old, have := p.conds[t]
		if !have || old.Status != st {
			old = v1.PodCondition{Type: t, Status: st, LastTransitionTime: now}
		}
		old.Reason = reason
		p.conds[t] = old
	}
	ready := p.phase == v1.PodRunning && !p.stopping
	var is, ms []v1.ContainerStatus
	for _, c := range p.inits {
		is = append(is, *c.status.DeepCopy())
		ready = ready && (!c.sidecar || c.status.Ready)
	}
	for _, c := range p.mains {
		ms = append(ms, *c.status.DeepCopy())
		ready = ready && c.status.Ready
	}
	why := "ContainersNotReady"
	if p.phase == v1.PodSucceeded {
		why = "PodCompleted"
	} else if p.phase == v1.PodFailed {
		why = "PodFailed"
	}
	cond(v1.PodInitialized, p.initDone, "ContainersNotInitialized")
	cond(v1.ContainersReady, ready, why)
	cond(v1.PodReady, ready, why)
	st := v1.PodStatus{Phase: p.phase, Reason: p.reason, StartTime: &p.start, HostIP: "127.0.0.1", HostIPs: []v1.HostIP{{IP: "127.0.0.1"}},
		PodIP: p.ip, PodIPs: []v1.PodIP{{IP: p.ip}}, InitContainerStatuses: is, ContainerStatuses: ms}
	// conditions merge by type in a strategic merge patch, so those of others (PodScheduled,
	// DisruptionTarget) stay; a null takes an old reason away
	var conds []any
	for _, t := range []v1.PodConditionType{v1.PodInitialized, v1.PodReady, v1.ContainersReady} {
		m := map[string]any{"type": t, "status": p.conds[t].Status, "lastTransitionTime": p.conds[t].LastTransitionTime, "reason": nil}
		if r := p.conds[t].Reason; r != "" {
			m["reason"] = r
		}
		conds = append(conds, m)
	}
	p.mu.Unlock()
	raw, err := json.Marshal(st)
	var status map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &status)
	}
	status["conditions"] = conds
	patch, err2 := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.pod.UID}, "status": status})
	if err = errors.Join(err, err2); err != nil {
		log.Print(err)
		return
	}
	for { // the API server may be away for a while
		_, err = p.n.client.CoreV1().Pods(p.pod.Namespace).Patch(context.Background(), p.pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			if err != nil && !apierrors.IsNotFound(err) {
				log.Printf("status of %s/%s given up: %v", p.pod.Namespace, p.pod.Name, err)
			}
			return
		}
		log.Printf("status of %s/%s: %v", p.pod.Namespace, p.pod.Name, err)
		time.Sleep(time.Second)
	}
}
