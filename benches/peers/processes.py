"""Runs a program with all that it starts: measures their memory together, and leaves none behind. Linux only.

Daemons that a program leaves (Ray starts several) become children of this process, so that they are counted
and ended too.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SAMPLE_SECONDS = 0.1


def adopt_orphans():
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("this system cannot make a process adopt orphans")


def descendants():
    """Returns the ids of all processes that this one has started, directly or not."""
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, ahead = [], [os.getpid()]
    while ahead:
        ahead += (mine := children.get(ahead.pop(), []))
        found += mine
    return found


def memory_bytes(pid):
    """Returns the proportional set size: memory that n processes share counts as an nth in each."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def end_all():
    """Kills what this process has started, at once, as a lost machine would, and waits until it is gone."""
    while pids := descendants():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            continue
        time.sleep(0.01)


class Peak:
    """Samples the memory of all descendants until it is left; `bytes` is the largest sum seen."""

    def __enter__(self):
        self.bytes, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(map(memory_bytes, descendants())))

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def run(command, log, timeout, until=None):
    """Runs a program to its end; returns its exit code and its seconds.

    - `log`: path without suffix; output goes to `.out`, messages to `.err`
    - `timeout`: seconds; then it is killed, and its exit code is negative
    - `until`: asked a hundred times a second; once it is true, the program and all of its own are killed
    """
    with open(f"{log}.out", "wb") as out, open(f"{log}.err", "wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err)
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        while until is not None and process.poll() is None and not until():
            time.sleep(0.01)
        if until is not None:
            process.kill()
        return process.wait(), time.perf_counter() - start
    finally:
        timer.cancel()
        end_all()
