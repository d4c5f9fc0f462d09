#!/usr/bin/env python3
"""stages.py STAGE: measures one stage. Each run of each rival is a JSON line in $BENCH_RESULTS.

Rivals take turns within each round, so that a ratio compares runs a few seconds apart. `run`
starts this inside a namespace.
"""
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import rivals
from harness import Group, PAGE_KB, account, feed, feed_on, line, lines, stat_fields, until
from record import growth, result, rounds


def pour(rival, receivers, count, first, settle=0, quiet=5.0, limit=120.0):
    """Pipes `count` lines through a sender to so many receivers, as fast as the pipe can."""
    data = lines(count, first)
    with Group(rival) as group:
        group.start(receivers)
        if settle:
            group.settle(settle)
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
        time.sleep(0.3)     # duplicates may arrive late
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
    rounds("bulk", ["raw", "mosquitto", "yard", "p2pchat"], 5,
           lambda rival, number: pour(rival, 1, count, number * count))


def acknowledged():
    """60 000 lines, encrypted, and each one acknowledged.

    Not more: MQTT has 65 535 numbers, and `mosquitto_pub` loses what it reads beyond them.
    """
    count = 60_000
    rounds("acknowledged", ["mosquitto_tls", "mosquitto_session", "p2pchat"], 3,
           lambda rival, number: pour(rival, 1, count, number * count))


def fanout():
    """Lines from one stdin to 5, 15 and 50 stdouts, a million deliveries in all.

    It is the rate of a settled group: all receivers have met one another, and have been quiet for 3 s.
    What a start costs is shown by the stage `mesh`.
    """
    sizes = {}
    for receivers, names in ((5, ["p2pchat"]), (15, ["p2pchat"]), (50, ["raw", "mosquitto", "p2pchat"])):
        count = 1_000_000 // receivers
        runs = rounds(f"fanout-{receivers}", names, 3, lambda rival, number, receivers=receivers, count=count:
                      pour(rival, receivers, count, number * count, settle=3))
        sizes[receivers] = runs["p2pchat"]
    growth("fanout", sizes, "rate")


def ping_pong(rival, first, count=2000, timeout=2.0):
    """Times each line, from write() to the sender until read() from the receiver."""
    with Group(rival) as group:
        group.start(1)
        group.probe()
        receiver = group.receivers[0]
        # Read here, not in the reader's thread, so that no hand-over between threads is measured.
        group.reader.selector.unregister(receiver.stdout)
        time.sleep(0.2)
        times, tail, printed = [], b"", []
        for number in range(first, first + count):
            want = b"@%010d@" % number
            start = time.perf_counter()
            os.write(group.sender.stdin, line(number))
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
    """One line at a time, on one core, as the scheduler's choice of cores would dominate."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rounds("latency", ["raw", "mosquitto", "mosquitto_tls", "yard", "p2pchat"], 5,
           lambda rival, number: ping_pong(rival, number * 2000))


def meet(rival, number):
    """Times from exec of the second until both report the link; a client of a broker alone."""
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
            # Varied, so that the second starts at different phases of the first one's timers.
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
    """Two programs that find each other."""
    rounds("startup", ["raw", "mosquitto", "p2pchat"], 11, meet)


def feed_singly(child, data):
    """Feeds the child line by line, each after the child has printed the one before."""
    printed = child.newlines
    for text in data.splitlines(keepends=True):
        os.write(child.stdin, text)
        printed += 1
        until(lambda: child.newlines >= printed, 10, "the sender has read a line", pause=0)


def miss(rival, number, count=100_000, give=feed_on):
    """Sends `count` lines to an absent receiver; times from its exec until it printed all."""
    first = number * count
    with Group(rival) as group:
        # The receiver joins once before, because lines from before a first start are not printed.
        reader = group.spawn(rival.first, "receiver")
        author = group.spawn([word for word in rival.sender(1) if word != "--no-echo"], "sender")
        group.wait_text(author, rival.met)
        os.kill(reader.pid, signal.SIGTERM)
        if not reader.wait_end(10):
            raise RuntimeError(f"{rival.name}: the receiver did not end within 10 s")
        before = author.newlines
        give(author, lines(count, first))
        until(lambda: author.newlines >= before + count, 60, "the sender has read all lines")
        time.sleep(1)
        reader = group.spawn(rival.first, "receiver")
        until(lambda: reader.newlines >= count, 60, "all missed lines have arrived")
        took = reader.last - reader.started
        time.sleep(0.3)
        return dict(catchup_s=round(took, 3), **account(b"".join(reader.chunks), count, first))


def catchup():
    """100 000 lines sent while the receiver was away: from a pipe, and typed one at a time."""
    rounds("catchup", ["p2pchat"], 3, miss)
    rounds("catchup-typed", ["p2pchat"], 3, lambda rival, number: miss(rival, number, give=feed_singly))


def gather(rival, count):
    """Starts `count` programs; times from the first exec until each has reported all others.

    They need all cores. The harness looks every 5 ms, as looking at each line took a sixth of the time.
    """
    pattern, tails, met, done = re.compile(rival.met.encode(), re.M), {}, {}, {}

    def hook(child, data, now):
        whole, newline, tail = (tails.get(child.pid, b"") + data).rpartition(b"\n")
        tails[child.pid] = tail
        met[child.pid] = met.get(child.pid, 0) + len(pattern.findall(whole + newline))
        if met[child.pid] >= count - 1:
            done.setdefault(child.pid, now)

    with Group(rival, hook, pause=0.005) as group:
        group.start_receivers(count)
        try:
            until(lambda: len(done) == count, 60, "all links stand", pause=0.005)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {sum(met.values()) // 2} links") from None
        return dict(mesh_s=round(max(done.values()) - group.receivers[0].started, 3), links=sum(met.values()) // 2)


def mesh():
    """12, 25 and 50 peers that start at the same moment."""
    sizes = {count: rounds(f"mesh-{count}", ["p2pchat"], 3, lambda rival, _, count=count:
                           gather(rival, count))["p2pchat"] for count in (12, 25, 50)}
    growth("mesh", sizes, "mesh_s")


def say_one(group, rival, number):
    group.receivers[0].chunks.clear()
    start = time.monotonic()
    child = group.spawn(rival.oneshot, "sender")
    os.write(child.stdin, line(number))
    child.close_stdin()
    if not child.wait_end(10):
        raise RuntimeError(f"{rival.name}: it did not end within 10 s")
    took = (time.monotonic() - start) * 1e3
    time.sleep(0.3)
    return dict(exit_ms=round(took, 2), status=child.process.returncode,
                **account(b"".join(group.receivers[0].chunks), 1, number))


def oneshot():
    """`echo hi | p2pchat send` beside a listener, from exec to exit."""
    for name in ("mosquitto", "p2pchat"):
        rival = rivals.ALL[name]()
        with Group(rival) as group:
            group.start_service()
            group.start_receivers(1)
            time.sleep(2)
            # Not counted: the first run creates its identity.
            say_one(group, rival, 0)
            rounds("oneshot", [name], 20, lambda rival, number: say_one(group, rival, number + 1))


def pour_both(direct, attached, number, count=500_000):
    """Pipes `count` lines directly, and then as many through a running program."""
    first = 2 * number * count
    one = pour(direct, 1, count, first)
    other = pour(attached, 1, count, first + count)
    faults = {key: one[key] + other[key] for key in ("lost", "doubled", "disordered", "foreign")}
    return dict(share=round(other["rate"] / one["rate"], 3), direct_rate=one["rate"], rate=other["rate"],
                sender_ended=one["sender_ended"] and other["sender_ended"],
                status=one["status"] or other["status"], **faults)


def socket():
    """Through `control.sock` of a running program: one line, and bulk beside direct bulk."""
    attached = rivals.attached_sender()
    with Group(attached) as group:
        group.start_service()
        group.start_receivers(1)
        time.sleep(2)
        # Not counted: it creates the room's folder.
        say_one(group, attached, 0)
        rounds("socket", ["p2pchat"], 20, lambda _, number: say_one(group, attached, number + 1))
    for stage, attach in (("socket-send", rivals.attached_sender), ("socket-listen", rivals.attached_receiver)):
        rounds(stage, ["p2pchat"], 5, lambda direct, number, attach=attach: pour_both(direct, attach(), number))


def share(rival, _, bursts=4, count=500_000, runs=6):
    """Times `send` into one room, in turn alone and while another room bursts, and `/bin/true` as well.

    All of it takes longer while both cores are busy. How much longer `true` takes is the scheduler's share.
    """
    once = rival.oneshot + ["-r", "ops"]
    times = {key: [] for key in ("idle_ms", "busy_ms", "true_idle_ms", "true_busy_ms")}

    def timed(group, command, text=None):
        start = time.monotonic()
        child = group.spawn(command, "sender", stdin=text is not None)
        if text:
            os.write(child.stdin, text)
            child.close_stdin()
        if not child.wait_end(20):
            raise RuntimeError(f"{rival.name}: {command[0]} did not end within 20 s")
        took = (time.monotonic() - start) * 1e3
        if child.process.returncode:
            raise RuntimeError(f"{rival.name}: {command[0]} failed: {child.errors.decode(errors='replace')}")
        # Between two sends lie 60 ms, so that what limits the dials of one address does not count.
        time.sleep(0.03)
        return took

    def both(group, when):
        times[f"{when}_ms"].append(timed(group, once, line(0)))
        times[f"true_{when}_ms"].append(timed(group, ["/bin/true"]))

    with Group(rival) as group:
        reader = group.spawn(rival.receiver(1) + ["-r", "ops", "-r", "bulk"], "receiver")
        group.wait_text(reader, "ready as")
        timed(group, once, line(0))      # not counted: it creates its identity
        burst = group.spawn(rival.sender(1) + ["-r", "bulk"], "sender")
        group.wait_text(burst, rival.met)
        # A listener that has just started is waited for 7 ms longer, as others may answer, too.
        time.sleep(5)
        for number in range(bursts):
            for _ in range(runs):
                both(group, "idle")
            before = reader.newlines
            feed_on(burst, lines(count, number * count))
            until(lambda: reader.newlines > before + count // 100, 20, "the burst has begun")
            while reader.newlines < before + count * 9 // 10:
                both(group, "busy")
            until(lambda: reader.newlines >= before + count, 20, "the burst has arrived")
            time.sleep(0.5)
        figures = {key: statistics.median(each) for key, each in times.items()}
        return dict(slower=round(figures["busy_ms"] / figures["idle_ms"], 2),
                    true_slower=round(figures["true_busy_ms"] / figures["true_idle_ms"], 2),
                    sends=len(times["busy_ms"]), **{key: round(figure, 2) for key, figure in figures.items()})


def fairness():
    """One line in a quiet room, alone and while another room gets 2 000 000 lines, in turn in one run."""
    rounds("fairness", ["p2pchat"], 3, share)


def resident_mb(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_KB * 1024 / 1e6


def wakeups(pid):
    """How often the threads of the process have slept, and so how often they were woken."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])
    return total


def ticks(pid):
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12])


def rest(rival, receivers, settle, window):
    """Links all programs, lets them idle, and reports the worst of them."""
    with Group(rival) as group:
        group.start(receivers)
        if not rival.ready_per_peer:
            group.probe()
        group.settle(settle)
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
    """10 silent peers in a window of 30 s, which begins 20 s after the last link; and 71, and 199, after 60 s.

    And 2, after 20 s: a program with so few is announced by multicast DNS, too.
    """
    rounds("idle-3", ["p2pchat"], 1, lambda rival, _: rest(rival, 2, 20, 30))
    rounds("idle-11", ["raw", "mosquitto"], 1, lambda rival, _: rest(rival, 10, 2, 30))
    sizes = {programs: rounds(f"idle-{programs}", ["p2pchat"], 1, lambda rival, _, programs=programs, settle=settle:
                              rest(rival, programs - 1, settle, 30))["p2pchat"]
             for programs, settle in ((11, 20), (72, 60), (200, 60))}
    growth("idle", sizes, "wakeups", "resident_mb")


def alone(rival, _, program=None):
    with Group(rival) as group:
        if rival.service:
            group.start_service()
        else:
            command = rival.receiver(1)
            group.spawn([program, *command[1:]] if program else command, "receiver")
        time.sleep(5)
        return dict(resident_mb=round(resident_mb(group.children[0].pid), 2))


def static_builds():
    """The static programs by stage; none if the program to measure was given."""
    builds = {"": "P2PCHAT_STATIC", "-small": "P2PCHAT_STATIC_SMALL"}
    return {stage: os.environ[name] for stage, name in builds.items() if os.environ[name]}


def memory():
    """Resident size alone, also of the static builds, and with 50 peers; the stage `idle` measures it with 10."""
    rounds("memory-alone", ["mosquitto", "p2pchat"], 3, alone)
    for stage, path in static_builds().items():
        rounds(f"memory-static{stage}", ["p2pchat"], 3, lambda rival, number, path=path: alone(rival, number, path))
    for name, settle in (("raw", 2), ("mosquitto", 2), ("p2pchat", 20)):
        rounds("memory-50", [name], 1, lambda rival, _, settle=settle: rest(rival, 50, settle, 1))


def stripped_mb(path):
    with tempfile.NamedTemporaryFile(dir=os.environ["BENCH_STATE"]) as copy:
        shutil.copy(path, copy.name)
        subprocess.run(["strip", copy.name], check=True)
        return round(os.path.getsize(copy.name) / 1e6, 3)


def size():
    """The size of the stripped program."""
    for name, path in (("p2pchat", os.environ["P2PCHAT_SMALL"]), ("raw", os.environ["RAWPIPE"]),
                       ("mosquitto", shutil.which("mosquitto"))):
        result("size", name, mb=stripped_mb(path))
    for stage, path in static_builds().items():
        result(f"size-static{stage}", "p2pchat", mb=stripped_mb(path))


def callgrind(option, children):
    for child in children:
        subprocess.run(["callgrind_control", option, str(child.pid)], capture_output=True, timeout=30, check=True)


def per_line(rival, program, count, feeder, warm_up=10):
    """Thousands of instructions for one of `count` lines. What comes before them does not count."""
    files = [os.path.join(os.environ["BENCH_STATE"], f"callgrind.{role}") for role in ("sender", "receiver")]

    def under_callgrind(command, file):
        return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={file}", program, *command[1:]]

    with Group(rival) as group:
        receiver = group.spawn(under_callgrind(rival.receiver(1), files[1]), "receiver")
        group.wait_text(receiver, "ready as")
        sender = group.spawn(under_callgrind(rival.sender(1), files[0]), "sender")
        group.wait_text(sender, rival.sender_ready)
        feed_in_step(sender, receiver, lines(warm_up, 0))
        time.sleep(2)
        callgrind("--zero", (sender, receiver))
        feeder(sender, receiver, lines(count, warm_up))
        until(lambda: receiver.newlines >= warm_up + count, 60, f"{count} lines have arrived")
        callgrind("--dump", (sender, receiver))
        printed = account(b"".join(receiver.chunks), warm_up + count)
    totals = []
    for file in files:
        with open(f"{file}.1") as text:
            totals.append(int(re.search(r"^totals: (\d+)", text.read(), re.M)[1]))
        os.remove(f"{file}.1")
    return dict(zip(("sender_k", "receiver_k"), (round(total / count / 1e3, 3) for total in totals)), **printed)


def feed_in_step(child, receiver, data):
    """Feeds line by line, each after the receiver has printed the one before."""
    printed = receiver.newlines
    for text in data.splitlines(keepends=True):
        os.write(child.stdin, text)
        printed += 1
        until(lambda: receiver.newlines >= printed, 10, "a line has arrived")


def instructions():
    """Instructions of one line under callgrind, which emulates AVX2, but not the SHA instructions."""
    for suffix, name in (("", "P2PCHAT"), ("-32", "P2PCHAT_BITS_32")):
        program = os.environ[name]
        if not program:
            continue
        for stage, count, feeder in (
                ("typed", 200, feed_in_step), ("bulk", 50_000, lambda child, _, data: feed_on(child, data))):
            rounds(f"instructions-{stage}{suffix}", ["p2pchat"], 1,
                   lambda rival, _, program=program, count=count, feeder=feeder:
                   per_line(rival, program, count, feeder))


def visit(rival, number):
    """A new identity says one line, and goes."""
    folder = os.path.join(os.environ["BENCH_STATE"], "visitor")
    try:
        subprocess.run([rival.oneshot[0], "send", "-u", f"v{number}", "--dir", folder], input=line(number),
                       capture_output=True, timeout=20, check=True)
    except subprocess.SubprocessError as error:
        raise RuntimeError(f"{rival.name}: visitor {number} failed: {error}") from None
    shutil.rmtree(folder)


def start_ms(rival):
    ready = []

    def hook(_, data, now):
        if b"ready as" in data:
            ready.append(now)

    with Group(rival, hook) as group:
        child = group.spawn(rival.receiver(1), "receiver")
        until(lambda: ready, 20, "it is ready")
        return (ready[0] - child.started) * 1e3


def with_people(rival, before, people):
    """The figures of a box that has met so many people, each of whom said a line."""
    with Group(rival) as group:
        receiver = group.spawn(rival.receiver(1), "receiver")
        group.wait_text(receiver, "ready as")
        for number in range(before, people):
            visit(rival, number)
        until(lambda: receiver.newlines >= people - before, 10, "each has said a line")
    start = statistics.median(start_ms(rival) for _ in range(9))
    # A shared machine has phases of 100 ms in which all takes half as long again.
    runs = [ping_pong(rival, people * 10_000 + number * 2000) for number in range(3)]
    line_figures = {figure: statistics.median(run[figure] for run in runs) for figure in ("p50_us", "p99_us")}
    faults = {fault: sum(run[fault] for run in runs) for fault in ("lost", "doubled", "disordered", "foreign")}
    return dict(start_ms=round(start, 2), **alone(rival, 0), **line_figures, **faults)


def identities():
    """How the start, the resident size and one line grow with the people whom a box has met."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sizes, before = {}, 0
    for people in (50, 200, 800):
        sizes[people] = rounds(f"identities-{people}", ["p2pchat"], 1, lambda rival, _, before=before, people=people:
                               with_people(rival, before, people))["p2pchat"]
        before = people
    growth("identities", sizes, "start_ms", "resident_mb", "p50_us")


STAGES = dict(startup=startup, latency=latency, bulk=bulk, acknowledged=acknowledged, fanout=fanout, idle=idle,
              memory=memory, size=size, oneshot=oneshot, socket=socket, catchup=catchup, mesh=mesh,
              fairness=fairness, instructions=instructions, identities=identities)

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: stages.py {' | '.join(STAGES)}")
    STAGES[sys.argv[1]]()
