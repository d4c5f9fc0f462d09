"""Runs p2pchat for the tests: with a directory of its own, deadlines, and an end in every case."""

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

PROGRAM = os.environ["PROGRAM"]
TIMEOUT = 10  # seconds for anything that a test waits for
ENDED = None  # what stands in the queue behind the last event


class Directory:
    """A state directory, and perhaps the secret file of a closed network."""

    def __init__(self, test, secret=None):
        self.test, self.home = test, tempfile.mkdtemp(prefix="p2pchat-interop-")
        test.addCleanup(shutil.rmtree, self.home)
        self.options = ["--dir", os.path.join(self.home, "state"), "-u", "alice"]
        if secret:
            path = os.path.join(self.home, "secret")
            with open(path, "wb", opener=lambda *a: os.open(*a, 0o600)) as file:
                file.write(secret + b"\n")
            self.options += ["--secret-file", path]

    def start(self, command, *arguments, multicast="none"):
        return self.attach(command, "-p", "0", "-m", multicast, *arguments)

    def attach(self, command, *arguments, stdin=subprocess.DEVNULL):
        """A command that acts through the program that runs in this directory."""
        return Program(self, [PROGRAM, command, *self.options, *arguments], stdin)

    def listen(self, **options):
        """A program that stays, with its port."""
        program = self.start("listen", "--json", **options)
        program.port = program.event("ready")["port"]
        return program


class Program:
    """A running p2pchat. A failed test shows its stderr."""

    def __init__(self, directory, arguments, stdin=subprocess.DEVNULL):
        self.test, self.events = directory.test, queue.Queue()
        self.stderr = tempfile.TemporaryFile()
        environment = {"HOME": directory.home, "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
        )
        self.test.addCleanup(self.end)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def say(self, line):
        """Writes a line to stdin, which must be a pipe."""
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def read(self):
        for line in self.process.stdout:
            self.events.put(line)
        self.events.put(ENDED)

    def event(self, kind, **fields):
        """The next event with this type and these fields."""
        deadline, fields = time.monotonic() + TIMEOUT, {"type": kind, **fields}
        seen = []
        while True:
            try:
                line = self.events.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                line = ENDED
            if line is ENDED:
                self.test.fail(f"no event {fields} among {seen}; stderr: {self.errors()}")
            event = json.loads(line)
            if fields.items() <= event.items():
                return event
            seen.append(event)

    def status(self):
        """The exit status, when the program has ended by itself."""
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.test.fail(f"still running; stderr: {self.errors()}")

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read().decode()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        if self.process.stdin:
            self.process.stdin.close()
        self.stderr.close()
