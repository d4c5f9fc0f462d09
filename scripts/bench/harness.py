"""Starts programs, feeds them lines, and accounts for every line that they print.

Every line sent contains its number, as `@0000000123@`. It is found anywhere in a printed line. Signals
go only to programs started here.
"""
import os
import re
import resource
import select
import selectors
import signal
import subprocess
import threading
import time
from fcntl import fcntl

TICK = os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
F_SETPIPE_SZ = 1031
LINE_BYTES = 64     # its newline included
NUMBER = re.compile(rb"@(\d{10})@")


def line(number):
    head = b"@%010d@" % number
    return head + b"x" * (LINE_BYTES - 1 - len(head)) + b"\n"


def lines(count, first=0):
    return b"".join(line(number) for number in range(first, first + count))


def account(data, count, first=0):
    """Counts which of `count` numbers from `first` on arrived, how often, and in which order."""
    seen = bytearray(count)
    result = dict(got=0, doubled=0, disordered=0, foreign=0)
    previous = -1
    for match in NUMBER.findall(data):
        number = int(match) - first
        if not 0 <= number < count:
            result["foreign"] += 1
            continue
        if seen[number]:
            result["doubled"] += 1
        else:
            seen[number] = 1
            result["got"] += 1
        if number < previous:
            result["disordered"] += 1
        previous = number
    result["lost"] = count - result["got"]
    return result


def feed(child, data):
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(child.stdin, rest[:65_536]):]
    except OSError:
        pass            # it ended; the account shows what was lost
    child.close_stdin()


def feed_on(child, data):
    """Feeds the child from a thread, and leaves its stdin open."""
    def write(rest=memoryview(data)):
        try:
            while rest:
                rest = rest[os.write(child.stdin, rest[:65_536]):]
        except (OSError, TypeError):
            pass        # it ended, as the group does, which closes its stdin

    threading.Thread(target=write, daemon=True).start()


def until(holds, seconds, what, pause=0.002):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Child:
    """A program with pipes. `chunks` has its whole stdout, `errors` the end of its stderr."""

    def __init__(self, command, role, stdin=True):
        self.role = role
        self.started = time.monotonic()
        # In its own session, so that Ctrl-C reaches the harness alone, which ends its children.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True)
        self.pid = self.process.pid
        self.stdin = self.process.stdin.fileno() if stdin else None
        self.stdout, self.stderr = self.process.stdout.fileno(), self.process.stderr.fileno()
        try:
            fcntl(self.stdout, F_SETPIPE_SZ, 1 << 20)
        except OSError:
            pass        # a smaller pipe is slower, but works
        self.chunks, self.newlines, self.last = [], 0, None
        self.errors = b""
        self.usage = None
        self.high_kb = 0

    def text(self):
        return b"".join(self.chunks) + b"\n" + self.errors

    def close_stdin(self):
        if self.stdin is not None:
            self.stdin = None
            try:
                self.process.stdin.close()
            except OSError:
                pass

    def ended(self):
        if self.usage is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.usage is not None

    def wait_end(self, seconds):
        """Waits without polling until the program has ended. False: it has not within `seconds`."""
        handle = os.pidfd_open(self.pid)
        try:
            select.select([handle], [], [], seconds)
        finally:
            os.close(handle)
        return self.ended()

    def cpu(self):
        """User and system seconds; exact after the end, rounded to ticks before."""
        if not self.ended():
            try:
                fields = stat_fields(self.pid)
                return (int(fields[11]) + int(fields[12])) / TICK
            except OSError:
                pass
        return self.usage.ru_utime + self.usage.ru_stime if self.usage else 0.0

    def sample_memory(self):
        """Records the highest resident size so far, in KiB.

        The rusage of an ended child does not serve: it includes the harness's own size before exec.
        """
        try:
            with open(f"/proc/{self.pid}/status") as status:
                match = re.search(r"^VmHWM:\s+(\d+)", status.read(), re.M)
        except OSError:
            return
        if match:
            self.high_kb = max(self.high_kb, int(match[1]))


def stat_fields(pid):
    """The fields of /proc/PID/stat after the name, which may contain spaces and parentheses."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()


class Reader(threading.Thread):
    """Drains stdout and stderr of all children; only counts newlines, so as not to slow them.

    `pause`: seconds between looks. What comes is then seen that much later, and costs less.
    """

    def __init__(self, hook, pause):
        super().__init__(daemon=True)
        self.selector, self.hook, self.stopped = selectors.DefaultSelector(), hook, False
        self.pause = pause

    def add(self, child):
        self.selector.register(child.stdout, selectors.EVENT_READ, (child, True))
        self.selector.register(child.stderr, selectors.EVENT_READ, (child, False))

    def run(self):
        while not self.stopped:
            if self.pause:
                time.sleep(self.pause)
            for key, _ in self.selector.select(0.1):
                child, is_stdout = key.data
                try:
                    data = os.read(key.fd, 1 << 20 if is_stdout else 1 << 16)
                except OSError:
                    data = b""
                if not data:
                    self.selector.unregister(key.fd)
                    continue
                now = time.monotonic()
                if is_stdout:
                    child.chunks.append(data)
                    child.newlines += data.count(b"\n")
                    child.last = now
                else:
                    child.errors = (child.errors + data)[-200_000:]
                if self.hook:
                    self.hook(child, data, now)


class Group:
    """The programs of one run: perhaps a service, receivers, one sender. A context manager."""

    def __init__(self, rival, hook=None, pause=0):
        self.rival, self.children, self.receivers, self.sender = rival, [], [], None
        self.reader = Reader(hook, pause)

    def __enter__(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
        self.reader.start()
        return self

    def spawn(self, command, role, stdin=True):
        child = Child(command, role, stdin)
        self.children.append(child)
        self.reader.add(child)
        return child

    def wait_text(self, child, pattern, count=1, seconds=60):
        """Waits until the child has printed the pattern `count` times; raises after `seconds`."""
        compiled = re.compile(pattern.encode(), re.M)
        deadline = time.monotonic() + seconds
        while True:
            over = time.monotonic() > deadline
            if child.ended():
                time.sleep(0.2)     # the reader may be behind
                over = True
            if len(compiled.findall(child.text())) >= count:
                return
            if over:
                printed = child.text().decode(errors="replace")[-300:]
                who = f"{self.rival.name}: the {child.role}"
                raise RuntimeError(f"{who} did not print {pattern} × {count}, but: {printed}")
            time.sleep(0.01)

    def start_service(self):
        if self.rival.service:
            service = self.spawn(self.rival.service, "service", stdin=False)
            self.wait_text(service, self.rival.service_ready)

    def start_receivers(self, count):
        for number in range(1, count + 1):
            self.receivers.append(self.spawn(self.rival.receiver(number), "receiver"))

    def start_sender(self, receivers):
        self.sender = self.spawn(self.rival.sender(receivers), "sender")

    def start(self, receivers):
        """Starts all programs and returns when they are linked."""
        self.start_service()
        if self.rival.sender_first:
            self.start_sender(receivers)
            self.start_receivers(receivers)
        else:
            self.start_receivers(receivers)
            time.sleep(0.3)
            self.start_sender(receivers)
        if self.rival.sender_ready:
            count = receivers if self.rival.ready_per_peer else 1
            self.wait_text(self.sender, self.rival.sender_ready, count)

    def settle(self, seconds):
        """Waits until every receiver has met all others, if it says so, and then some seconds more."""
        if self.rival.ready_per_peer:
            for child in self.receivers:
                self.wait_text(child, self.rival.met, len(self.receivers), seconds=120)
        time.sleep(seconds)

    def probe(self, seconds=60):
        """Sends uncounted lines until every receiver has printed one, then waits for late ones."""
        deadline = time.monotonic() + seconds
        number = 0
        while True:
            os.write(self.sender.stdin, b"@P%09d@probe\n" % number)
            number += 1
            resend_at = time.monotonic() + 0.2
            while time.monotonic() < resend_at:
                printed = [child.chunks for child in self.receivers]
                if all(any(b"probe" in chunk for chunk in chunks) for chunks in printed):
                    time.sleep(0.4)
                    for child in self.receivers:
                        child.chunks.clear()
                        child.newlines = 0
                    return
                time.sleep(0.005)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.rival.name}: a receiver never printed a probe line")

    def sample_memory(self):
        for child in self.children:
            child.sample_memory()

    def cpu(self):
        """CPU seconds of all programs."""
        return sum(child.cpu() for child in self.children)

    def __exit__(self, *_):
        for child in self.children:
            child.close_stdin()
        for number, seconds in ((signal.SIGTERM, 4), (signal.SIGKILL, 2)):
            for child in self.children:
                if not child.ended():
                    os.kill(child.pid, number)
            deadline = time.monotonic() + seconds
            while not all([child.ended() for child in self.children]):
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.01)
        self.reader.stopped = True
        self.reader.join(2)
        for child in self.children:
            child.process.stdout.close()
            child.process.stderr.close()
