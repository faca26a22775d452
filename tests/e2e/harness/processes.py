"""Child processes with a log each, ended by id."""

import os
import signal
import subprocess
import time

SLOW = float(os.environ.get("HEADRACE_TEST_SLOW", "1"))


class ProcessError(Exception):
    """A program did not do what was asked of it; the text says which and what it printed."""


def run(command, stdin=None, check=True, timeout=60, env=None):
    """Runs a command to its end and returns its result, with stdout and stderr as text."""
    try:
        result = subprocess.run(command, input=stdin, capture_output=True, text=True,
                                timeout=timeout, env=env, check=False)
    except subprocess.TimeoutExpired as late:
        raise ProcessError(f"{' '.join(command)}: no end within {timeout} s\n"
                           f"{_text(late.stdout)}{_text(late.stderr)}") from late
    if check and result.returncode != 0:
        raise ProcessError(f"{' '.join(command)}: exit {result.returncode}\n"
                           f"{result.stdout}{result.stderr}")
    return result


def _text(output):
    if output is None:
        return ""
    return output.decode(errors="replace") if isinstance(output, bytes) else output


def tail(path, lines=40):
    """The last lines of a log, for a transcript."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])
    except OSError:
        return ""


class Process:
    """One long-running program whose output goes to DIRECTORY/NAME.log."""

    def __init__(self, name, command, directory, env=None, nice=0):
        self.name = name
        self.command = command
        self.log_path = os.path.join(directory, name + ".log")
        self._env = env
        self._nice = nice
        self._child = None

    @property
    def pid(self):
        return self._child.pid

    @property
    def alive(self):
        return self._child is not None and self._child.poll() is None

    def start(self):
        with open(self.log_path, "ab") as log:
            log.write(f"--- {' '.join(self.command)}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env,
                preexec_fn=(lambda: os.nice(self._nice)) if self._nice else None)
        return self

    def signal(self, number):
        if self.alive:
            self._child.send_signal(number)

    def wait(self, timeout):
        """Waits for the end and returns the exit status (negative for a signal)."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired as late:
            message = f"{self.name} did not end within {timeout} s\n{self.tail()}"
            raise ProcessError(message) from late

    def stop(self, timeout=30):
        """SIGTERM, then SIGKILL when that does not end it. Returns the exit status."""
        if self._child is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def kill(self):
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def tail(self, lines=40):
        return tail(self.log_path, lines)

    def must_live(self):
        if not self.alive:
            status = None if self._child is None else self._child.returncode
            raise ProcessError(f"{self.name} ended with {status}\n{self.tail()}")


def wait_until(what, condition, timeout=0.0, interval=0.1, processes=()):
    """Calls condition until it returns something true, and returns that. A timeout can only add to
    the 30 s (times HEADRACE_TEST_SLOW) that everything has: a busy machine is no failure.

    An exception of the condition counts as false and is shown when the time is over. A process
    of `processes` that ends makes it fail at once.
    """
    timeout = max(timeout, 30.0) * SLOW
    deadline = time.monotonic() + timeout
    problem = ""
    while True:
        try:
            result = condition()
            if result:
                return result
            problem = ""
        except (OSError, ProcessError, ValueError, KeyError) as error:
            problem = f": {error}"
        for process in processes:
            process.must_live()
        if time.monotonic() > deadline:
            logs = "".join(f"\n--- {p.name}\n{p.tail(15)}" for p in processes)
            raise ProcessError(f"not within {timeout} s: {what}{problem}{logs}")
        time.sleep(interval)
