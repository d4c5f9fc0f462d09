#!/usr/bin/env python3
"""stages.py STAGE: measures one stage and appends a JSON line for each run of each rival to $BENCH_RESULTS.

Rivals take turns within each round, so that a ratio compares runs a few seconds apart. `run` starts this inside a namespace.
"""
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import rivals
from harness import Group, PAGE_KB, account, line, lines, stat_fields

SIZE = 64       # bytes of a line, its newline included


def result(stage, rival, **figures):
    text = json.dumps(dict(stage=stage, rival=rival, **figures))
    print(text, file=sys.stderr, flush=True)
    with open(os.environ["BENCH_RESULTS"], "a") as file:
        file.write(text + "\n")


def rounds(stage, names, count, measure):
    """`measure(rival, round)` → figures, for each rival in each round. A run that fails is a result too."""
    for number in range(count):
        for name in names:
            try:
                figures = measure(rivals.ALL[name](), number)
            except (RuntimeError, OSError) as error:
                figures = dict(error=str(error))
            result(stage, name, **figures)


def feed(child, data):
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(child.stdin, rest[:65_536]):]
    except OSError:
        pass            # it ended; the account will show what that cost
    child.close_stdin()


def feed_on(child, data):
    """Feeds it from a thread, and leaves its stdin open."""
    def write(rest=memoryview(data)):
        while rest:
            rest = rest[os.write(child.stdin, rest[:65_536]):]

    threading.Thread(target=write, daemon=True).start()


def until(holds, seconds, what):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.002)


def pour(rival, receivers, count, first, quiet=5.0, limit=120.0):
    """Pipes `count` lines through a sender to so many receivers, as fast as the pipe takes them."""
    data = lines(count, first, SIZE)
    with Group(rival) as group:
        group.start(receivers)
        group.probe()
        cpu = group.cpu()
        start = time.monotonic()
        feeder = threading.Thread(target=feed, args=(group.sender, data), daemon=True)
        feeder.start()
        group.sample_memory()
        while any(child.newlines < count for child in group.receivers):
            time.sleep(0.01)
            group.sample_memory()
            now = time.monotonic()
            last = max([child.last for child in group.receivers if child.last] + [start])
            if now - start > limit or (not feeder.is_alive() and now - last > quiet):
                break
        sender_ended = group.sender.wait_end(10)
        time.sleep(0.3)     # what comes twice may come late
        end = max(child.last or start for child in group.receivers)
        cpu = group.cpu() - cpu
        accounts = [account(b"".join(child.chunks), count, first) for child in group.receivers]
        figures = {key: sum(one[key] for one in accounts) for key in accounts[0]}
        return dict(
            rate=round(figures["got"] / max(end - start, 1e-6)), cpu_s=round(cpu, 3),
            sender_mb=round(group.sender.high_kb * 1024 / 1e6, 2),
            receiver_mb=round(max(child.high_kb for child in group.receivers) * 1024 / 1e6, 2),
            sender_ended=sender_ended, status=group.sender.process.returncode, **figures)


def bulk():
    """A million lines from one stdin to one stdout."""
    count = 1_000_000
    rounds("bulk", ["raw", "mosquitto", "p2pchat"], 5, lambda rival, number: pour(rival, 1, count, number * count))


def fanout():
    """20 000 lines from one stdin to 50 stdouts."""
    count = 20_000
    rounds("fanout", ["raw", "mosquitto", "p2pchat"], 3, lambda rival, number: pour(rival, 50, count, number * count))


def ping_pong(rival, first, count=2000, timeout=2.0):
    """One line at a time: from write() to the sender's stdin until it is read from the receiver's stdout."""
    with Group(rival) as group:
        group.start(1)
        group.probe()
        receiver = group.receivers[0]
        # Read here, not in the reader's thread: no hand-over between threads is measured.
        group.reader.selector.unregister(receiver.stdout)
        time.sleep(0.2)
        times, tail, printed = [], b"", []
        for number in range(first, first + count):
            want = b"@%010d@" % number
            start = time.perf_counter()
            os.write(group.sender.stdin, line(number, SIZE))
            while want not in tail or b"\n" not in tail[tail.find(want):]:
                if not select.select([receiver.stdout], [], [], max(0, start + timeout - time.perf_counter()))[0]:
                    raise RuntimeError(f"{rival.name}: line {number} did not come within {timeout} s")
                data = os.read(receiver.stdout, 65_536)
                if not data:
                    raise RuntimeError(f"{rival.name}: the receiver ended")
                tail += data
                printed.append(data)
            times.append((time.perf_counter() - start) * 1e6)
            tail = tail[-200:]
        times.sort()
        return dict(p50_us=round(times[count // 2], 1), p99_us=round(times[count * 99 // 100], 1),
                    **account(b"".join(printed), count, first))


def latency():
    """All of it on one core: otherwise the scheduler's choice of cores is most of what one sees."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rounds("latency", ["raw", "mosquitto", "p2pchat"], 5, lambda rival, number: ping_pong(rival, number * 2000))


def meet(rival, number):
    """From exec of the second until both have printed that they know the other; a broker's client says so alone."""
    pattern, printed, seen = re.compile(rival.met.encode(), re.M), {}, {}

    def hook(child, data, now):
        printed[child.pid] = printed.get(child.pid, b"") + data
        if child.pid not in seen and pattern.search(printed[child.pid]):
            seen[child.pid] = now

    with Group(rival, hook) as group:
        group.start_service()
        needed = []
        if rival.first:
            needed.append(group.spawn(rival.first, "receiver"))
            # Not always at the same point of the first one's own rhythm.
            time.sleep(2.0 + number * 0.137)
        second = group.spawn(rival.second, "sender")
        needed.append(second)
        deadline = time.monotonic() + 20
        while not all(child.pid in seen for child in needed):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{rival.name}: they did not meet within 20 s")
            time.sleep(0.001)
        return dict(both_ms=round(1e3 * (max(seen[child.pid] for child in needed) - second.started), 2))


def startup():
    """Two that did not know of each other."""
    rounds("startup", ["raw", "mosquitto", "p2pchat"], 11, meet)


def miss(rival, number, count=100_000):
    """Says so many lines while the other is away: from its exec until it has printed the last of them."""
    first = number * count
    with Group(rival) as group:
        # It was in the room before: what it misses is no newcomer's past.
        reader = group.spawn(rival.first, "receiver")
        author = group.spawn([word for word in rival.sender(1) if word != "--no-echo"], "sender")
        group.wait_text(author, rival.met)
        os.kill(reader.pid, signal.SIGTERM)
        if not reader.wait_end(10):
            raise RuntimeError(f"{rival.name}: the receiver did not end within 10 s")
        before = author.newlines
        feed_on(author, lines(count, first, SIZE))
        until(lambda: author.newlines >= before + count, 60, "the sender has taken all lines")
        time.sleep(1)
        reader = group.spawn(rival.first, "receiver")
        until(lambda: reader.newlines >= count, 60, "all that was missed has come")
        took = reader.last - reader.started
        time.sleep(0.3)
        return dict(catchup_s=round(took, 3), **account(b"".join(reader.chunks), count, first))


def catchup():
    """100 000 missed lines."""
    rounds("catchup", ["p2pchat"], 3, miss)


def gather(rival, _, count=50):
    """Starts so many at once: from the first one's exec until each has seen all others."""
    pattern, tails, met, done = re.compile(rival.met.encode(), re.M), {}, {}, {}

    def hook(child, data, now):
        whole, newline, tail = (tails.get(child.pid, b"") + data).rpartition(b"\n")
        tails[child.pid] = tail
        met[child.pid] = met.get(child.pid, 0) + len(pattern.findall(whole + newline))
        if met[child.pid] >= count - 1:
            done.setdefault(child.pid, now)

    with Group(rival, hook) as group:
        group.start_receivers(count)
        try:
            until(lambda: len(done) == count, 60, "all links stand")
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {sum(met.values()) // 2} links") from None
        return dict(mesh_s=round(max(done.values()) - group.receivers[0].started, 3), links=sum(met.values()) // 2)


def mesh():
    """50 peers that start at the same moment."""
    rounds("mesh", ["p2pchat"], 3, gather)


def say_one(group, rival, number):
    group.receivers[0].chunks.clear()
    start = time.monotonic()
    child = group.spawn(rival.oneshot, "sender")
    os.write(child.stdin, line(number, SIZE))
    child.close_stdin()
    if not child.wait_end(10):
        raise RuntimeError(f"{rival.name}: it did not end within 10 s")
    took = (time.monotonic() - start) * 1e3
    time.sleep(0.3)
    return dict(exit_ms=round(took, 2), status=child.process.returncode,
                **account(b"".join(group.receivers[0].chunks), 1, number))


def oneshot():
    """`echo hi | p2pchat send`, exec to exit, a listener being there."""
    for name in ("mosquitto", "p2pchat"):
        rival = rivals.ALL[name]()
        with Group(rival) as group:
            group.start_service()
            group.start_receivers(1)
            time.sleep(2)
            # The first one only warms up: it makes its identity.
            say_one(group, rival, 0)
            rounds("oneshot", [name], 20, lambda rival, number: say_one(group, rival, number + 1))


def resident_mb(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_KB * 1024 / 1e6


def wakeups(pid):
    """How often its threads have gone to sleep so far, which is how often they were woken."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])
    return total


def ticks(pid):
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12])


def rest(rival, receivers, settle, window):
    """Lets them meet, and then looks at each that idles: the worst of them counts."""
    with Group(rival) as group:
        group.start(receivers)
        if rival.ready_per_peer:
            for child in group.receivers:
                group.wait_text(child, rival.met, receivers, seconds=120)
        else:
            group.probe()
        time.sleep(settle)
        pids = [child.pid for child in group.children]
        before = {pid: (wakeups(pid), ticks(pid)) for pid in pids}
        time.sleep(window)
        after = {pid: (wakeups(pid), ticks(pid)) for pid in pids}
        return dict(
            peers=receivers, seconds=window,
            wakeups=max(after[pid][0] - before[pid][0] for pid in pids),
            cpu_ticks=max(after[pid][1] - before[pid][1] for pid in pids),
            resident_mb=round(max(resident_mb(pid) for pid in pids), 2))


def idle():
    """10 peers that have nothing to say; one window of 30 s, which begins 20 s after they met."""
    for name, settle in (("raw", 2), ("mosquitto", 2), ("p2pchat", 20)):
        rounds("idle", [name], 1, lambda rival, _, settle=settle: rest(rival, 10, settle, 30))


def alone(rival, _):
    with Group(rival) as group:
        if rival.service:
            group.start_service()
        else:
            group.start_receivers(1)
        time.sleep(5)
        return dict(resident_mb=round(resident_mb(group.children[0].pid), 2))


def memory():
    """Alone, and with 50 peers. (With 10: the stage `idle`.)"""
    rounds("memory-alone", ["mosquitto", "p2pchat"], 3, alone)
    for name, settle in (("raw", 2), ("mosquitto", 2), ("p2pchat", 20)):
        rounds("memory-50", [name], 1, lambda rival, _, settle=settle: rest(rival, 50, settle, 1))


def size():
    """The stripped program."""
    for name, path in (("p2pchat", os.environ["P2PCHAT_SMALL"]), ("raw", os.environ["RAWPIPE"]),
                       ("mosquitto", shutil.which("mosquitto"))):
        with tempfile.NamedTemporaryFile(dir=os.environ["BENCH_STATE"]) as copy:
            shutil.copy(path, copy.name)
            subprocess.run(["strip", copy.name], check=True)
            result("size", name, mb=round(os.path.getsize(copy.name) / 1e6, 3))


STAGES = dict(startup=startup, latency=latency, bulk=bulk, fanout=fanout, idle=idle, memory=memory, size=size, oneshot=oneshot, catchup=catchup,
              mesh=mesh)

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: stages.py {' | '.join(STAGES)}")
    STAGES[sys.argv[1]]()
