//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// spec is what the shim (PID 1 of a container) is told.
type spec struct {
	Root       string   // folder for the overlay's upper, work and merged folders
	Argv       []string // the container's command and args
	Env        []string
	Dir        string
	Hostname   string
	Mounts     []mount
	ReadOnly   bool // readOnlyRootFilesystem
	UID, GID   int  // -1: leave
	Groups     []int
	TermLog    string // host file bound at TermPath
	TermPath   string
	NoNewPrivs bool // allowPrivilegeEscalation: false
	DropAll    bool // capabilities.drop: [ALL]
}

type mount struct {
	Source, Target string
	ReadOnly       bool
}

// shim runs as PID 1 of new mount, PID and UTS namespaces. It lays an overlay over the
// host's root, so that what a container writes stays its own, binds the volumes, and
// becomes the command. An error before that is exit code 128, as runc's.
func shim(specFile string) {
	runtime.LockOSThread()
	fail := func(code int, f string, a ...any) {
		fmt.Fprintf(os.Stderr, "localnode: "+f+"\n", a...)
		os.Exit(code)
	}
	raw, err := os.ReadFile(specFile)
	if err != nil {
		fail(128, "%v", err)
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		fail(128, "%v", err)
	}
	must := func(what string, err error) {
		if err != nil {
			fail(128, "%s: %v", what, err)
		}
	}
	must("private mounts", syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	up, work, root := filepath.Join(s.Root, "upper"), filepath.Join(s.Root, "work"), filepath.Join(s.Root, "merged")
	for _, d := range []string{up, work, root} {
		must("mkdir", os.MkdirAll(d, 0o755))
	}
	must("overlay", syscall.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+up+",workdir="+work))
	must("bind /sys", syscall.Mount("/sys", root+"/sys", "", syscall.MS_BIND|syscall.MS_REC, ""))
	must("proc", syscall.Mount("proc", root+"/proc", "proc", 0, ""))
	must("dev", syscall.Mount("tmpfs", root+"/dev", "tmpfs", syscall.MS_NOSUID, "mode=755,size=65536k"))
	devs, _ := filepath.Glob("/dev/nvidia*")
	for _, d := range append(devs, "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty") {
		f, err := os.Create(root + d)
		must("dev", err)
		f.Close()
		must("bind "+d, syscall.Mount(d, root+d, "", syscall.MS_BIND, ""))
	}
	must("shm", os.Mkdir(root+"/dev/shm", 0o777))
	must("shm", syscall.Mount("tmpfs", root+"/dev/shm", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=1777,size=65536k"))
	for l, t := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		must("dev", os.Symlink(t, root+"/dev/"+l))
	}
	if s.TermPath != "" {
		s.Mounts = append(s.Mounts, mount{s.TermLog, s.TermPath, false})
	}
	// The sources are opened here and bound after the chroot, so that a mount path's symbolic
	// links (/var/run is one) lead inside the container and never to the host's files.
	sources := make([]*os.File, len(s.Mounts))
	for i, m := range s.Mounts {
		fd, err := syscall.Open(m.Source, 0x200000 /* O_PATH */ |syscall.O_CLOEXEC, 0)
		must("volume "+m.Source, err)
		sources[i] = os.NewFile(uintptr(fd), m.Source)
	}
	must("chroot", syscall.Chroot(root))
	must("chdir /", os.Chdir("/"))
	for i, m := range s.Mounts {
		src := fmt.Sprintf("/proc/self/fd/%d", sources[i].Fd())
		fi, err := os.Stat(src)
		must("volume", err)
		if fi.IsDir() {
			must("mountpoint", os.MkdirAll(m.Target, 0o755))
		} else {
			must("mountpoint", os.MkdirAll(filepath.Dir(m.Target), 0o755))
			f, err := os.OpenFile(m.Target, os.O_CREATE|os.O_RDONLY, 0o644)
			must("mountpoint", err)
			f.Close()
		}
		must("bind "+m.Target, syscall.Mount(src, m.Target, "", syscall.MS_BIND|syscall.MS_REC, ""))
		if m.ReadOnly {
			must("read-only "+m.Target, syscall.Mount("", m.Target, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
		}
	}
	if s.ReadOnly {
		must("read-only root", syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	}
	must("hostname", syscall.Sethostname([]byte(s.Hostname)))
	if s.Dir != "" {
		if !s.ReadOnly {
			_ = os.MkdirAll(s.Dir, 0o755)
		}
		must("workingDir", os.Chdir(s.Dir))
	}
	if s.NoNewPrivs {
		_, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0, 0)
		if e != 0 {
			fail(128, "no_new_privs: %v", e)
		}
	}
	if s.DropAll {
		for c := uintptr(0); c < 64; c++ { // the bounding set: a root process has none left after exec
			_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, 24 /* PR_CAPBSET_DROP */, c, 0, 0, 0, 0)
		}
	}
	if len(s.Groups) > 0 || s.GID >= 0 || s.UID >= 0 {
		must("setgroups", syscall.Setgroups(s.Groups))
	}
	if s.GID >= 0 {
		must("setgid", syscall.Setgid(s.GID))
	}
	if s.UID >= 0 {
		must("setuid", syscall.Setuid(s.UID))
	}
	os.Clearenv()
	for _, e := range s.Env {
		k, v, _ := strings.Cut(e, "=")
		os.Setenv(k, v)
	}
	path, err := exec.LookPath(s.Argv[0])
	if err != nil {
		fail(127, "%v", err)
	}
	if err := syscall.Exec(path, s.Argv, s.Env); err != nil {
		fail(126, "exec %s: %v", path, err)
	}
}

// start runs one container; its output goes to logFile.
func (s *spec) start(specFile, logFile string) (*exec.Cmd, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(specFile), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(specFile, raw, 0o600); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "container-shim", specFile)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Setpgid:    true,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd, cmd.Start()
}

// execIn runs argv inside a running container (exec probes, preStop).
func execIn(pid int, env []string, argv []string) *exec.Cmd {
	a := append([]string{"-t", fmt.Sprint(pid), "-m", "-p", "-u", "-r", "--"}, argv...)
	cmd := exec.Command("nsenter", a...)
	cmd.Env = env
	return cmd
}
