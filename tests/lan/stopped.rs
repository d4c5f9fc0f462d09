//! A peer that is stopped during a flood: the others stay fast, the sender stays within its
//! memory, and the peer gets every line after it continues.
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::command::run;
use super::hosts::lan::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::hosts::wait::wait_until;
use super::wait_joined;

/// Time limit for a whole flood, and for the stopped reader to catch up.
const FLOOD_TIMEOUT: Duration = Duration::from_secs(300);

/// The size of a flood: how many readers, and how many lines.
#[derive(Clone, Copy)]
struct Job {
    readers: usize,
    lines: usize,
}

/// Measurements of one flood.
struct Figures {
    /// Time until all readers but the first have printed every line.
    others: Duration,
    /// Time from SIGCONT until the first reader has printed every line.
    caught_up: Duration,
    /// Peak resident memory of the sender in kB.
    peak: u64,
}

/// The text of this line: its number and up to 25 more bytes.
fn line(number: usize) -> String {
    format!(
        "{number:07} {}",
        &"the quick brown fox jumps"[..number % 26]
    )
}

/// The user name on this host.
fn nick(host: usize) -> String {
    match host {
        0 => "alice".to_owned(),
        host => format!("reader{host}"),
    }
}

/// A sender on the first host, and readers on the others that write their transcripts to files.
struct Flood {
    job: Job,
    lan: Lan,
    sender: Program,
    readers: Vec<Program>,
}

impl Flood {
    /// Starts all programs, and waits until they are linked with each other.
    fn start(job: Job) -> Option<Flood> {
        let lan = Lan::new(job.readers + 1)?;
        let start = |host: usize| {
            let out = File::create(lan.hosts[host].folder("transcript")).expect("a file");
            let program = lan.hosts[host].spawn_into(&nick(host), &["listen"], out);
            program.wait_ready();
            program
        };
        let readers: Vec<Program> = (1..=job.readers).map(start).collect();
        let sender = lan.hosts[0].start(&nick(0), &["--no-echo", "-W", "300"]);
        let flood = Flood {
            job,
            lan,
            sender,
            readers,
        };
        for host in 1..=job.readers {
            wait_joined(&flood.sender, &nick(host));
            wait_until("a reader sees all others", TIMEOUT, || {
                let transcript = fs::read_to_string(flood.transcript(host)).expect("a file");
                transcript.lines().count() >= job.readers
            });
        }
        Some(flood)
    }

    /// The file with the transcript of this host.
    fn transcript(&self, host: usize) -> PathBuf {
        self.lan.hosts[host].folder("transcript")
    }

    /// Whether this reader has printed the last line. `joined` and `left` may follow it.
    fn is_complete(&self, host: usize) -> bool {
        let mut file = File::open(self.transcript(host)).expect("a transcript");
        let length = file.metadata().expect("a file").len();
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(8 * 1024)))
            .expect("a file");
        file.read_to_end(&mut tail).expect("a file");
        let last = format!(": {}\n", line(self.job.lines - 1));
        String::from_utf8_lossy(&tail).contains(&last)
    }

    /// Writes half of the lines to the sender, and the other half when signalled. The thread
    /// returns stdin, still open.
    fn feed(&mut self) -> (mpsc::Sender<()>, thread::JoinHandle<ChildStdin>) {
        let path = self.lan.hosts[0].folder("input");
        let mut file = io::BufWriter::new(File::create(&path).expect("a file"));
        (0..self.job.lines).for_each(|number| {
            writeln!(file, "{}", line(number)).expect("a file");
        });
        drop(file);
        let half = fs::metadata(&path).expect("a file").len() / 2;
        let mut stdin = self.sender.take_stdin();
        let (send_rest, rest) = mpsc::channel();
        let feeding = thread::spawn(move || {
            let mut file = File::open(path).expect("a file");
            io::copy(&mut (&file).take(half), &mut stdin).expect("a program");
            rest.recv().expect("a signal");
            io::copy(&mut file, &mut stdin).expect("a program");
            stdin
        });
        (send_rest, feeding)
    }

    /// Sends all lines, and waits until all readers have printed them. With `stop` the first
    /// reader is stopped for this long, once it has printed a tenth and half of the lines are
    /// sent.
    fn run(&mut self, stop: Option<Duration>) -> Figures {
        let (send_rest, feeding) = self.feed();
        let begin = Instant::now();
        let tenth = self.job.lines as u64 * 8;
        wait_until("a tenth of the lines is printed", FLOOD_TIMEOUT, || {
            fs::metadata(self.transcript(1)).expect("a file").len() > tenth
        });
        if stop.is_some() {
            self.readers[0].signal(Signal::SIGSTOP);
        }
        let stopped = Instant::now();
        send_rest.send(()).expect("a feeder");
        let (mut is_running, mut others) = (stop.is_none(), None);
        wait_until(
            "the others are complete, and the stop is over",
            FLOOD_TIMEOUT,
            || {
                if others.is_none() && (2..=self.job.readers).all(|host| self.is_complete(host)) {
                    others = Some(begin.elapsed());
                }
                if !is_running && stopped.elapsed() >= stop.unwrap_or_default() {
                    assert!(!self.is_complete(1), "a stopped program prints");
                    self.readers[0].signal(Signal::SIGCONT);
                    is_running = true;
                }
                is_running && others.is_some()
            },
        );
        let continued = Instant::now();
        wait_until("the first reader is complete", FLOOD_TIMEOUT, || {
            self.is_complete(1)
        });
        let caught_up = continued.elapsed();
        // The sender still runs, since stdin is open: /proc has no peak of a process that has
        // ended.
        let peak = self.sender.peak();
        drop(feeding.join().expect("a feeder"));
        assert_eq!(
            self.sender.wait_code(TIMEOUT),
            0,
            "{:?}",
            self.sender.err.all()
        );
        Figures {
            others: others.expect("just waited for"),
            caught_up,
            peak,
        }
    }

    /// Asserts that every transcript and every history holds every line once and in order, and
    /// that the histories are the same bytes.
    fn check(&self) {
        for host in 1..=self.job.readers {
            let file = File::open(self.transcript(host)).expect("a transcript");
            let mut next = 0;
            for text in BufReader::new(file).lines() {
                let text = text.expect("text");
                if let Some((_, content)) = text.split_once(": ") {
                    assert!(content == line(next), "{} prints {text}", nick(host));
                    next += 1;
                }
            }
            assert_eq!(next, self.job.lines, "lines that {} prints", nick(host));
        }
        let histories: Vec<PathBuf> = (0..=self.job.readers)
            .map(|host| self.history(host))
            .collect();
        let first = BufReader::new(File::open(&histories[0]).expect("a history"));
        let mut count = 0;
        for (number, text) in first.lines().enumerate() {
            let text = text.expect("text");
            assert!(text.ends_with(&format!(": {}", line(number))), "{text}");
            count += 1;
        }
        assert_eq!(count, self.job.lines, "lines of the history");
        for other in &histories[1..] {
            run(&format!(
                "cmp {} {}",
                histories[0].display(),
                other.display()
            ));
        }
    }

    /// Writes the output of `history` on this host to a file, and returns its path.
    fn history(&self, host: usize) -> PathBuf {
        let path = self.lan.hosts[host].folder("history");
        let out = File::create(&path).expect("a file");
        let mut program = self.lan.hosts[host].spawn_into(&nick(host), &["history"], out);
        assert_eq!(
            program.wait_code(FLOOD_TIMEOUT),
            0,
            "{:?}",
            program.err.all()
        );
        path
    }
}

/// A peer stopped for 5 s during 50 000 lines prints all of them after SIGCONT, and all
/// histories are equal.
#[test]
fn a_stopped_peer_gets_every_line_after_it_continues() {
    let job = Job {
        readers: 3,
        lines: 50_000,
    };
    let Some(mut flood) = Flood::start(job) else {
        return;
    };
    flood.run(Some(Duration::from_secs(5)));
    flood.check();
}

/// A peer stopped for 60 s during 1 000 000 lines delays the others by at most 20 %, and the
/// sender stays within 10 MiB.
#[test]
#[ignore = "takes minutes; scripts/soak stopped"]
fn a_stopped_peer_delays_nobody_and_costs_no_memory() {
    let job = Job {
        readers: 9,
        lines: 1_000_000,
    };
    let measure = |stop: Option<Duration>| {
        let mut flood = Flood::start(job)?;
        let figures = flood.run(stop);
        flood.check();
        Some(figures)
    };
    let Some(baseline) = measure(None) else {
        return;
    };
    let Some(stopped) = measure(Some(Duration::from_secs(60))) else {
        return;
    };
    let ratio = stopped.others.as_secs_f64() / baseline.others.as_secs_f64();
    println!(
        "{} lines to {} readers: the others took {:.1} s without a stopped one, {:.1} s with one: {ratio:.2} times (most: 1.20)",
        job.lines,
        job.readers,
        baseline.others.as_secs_f64(),
        stopped.others.as_secs_f64(),
    );
    println!(
        "the stopped one was complete {:.1} s after it went on; the sender held at most {} kB without it, {} kB with it (most: 10240)",
        stopped.caught_up.as_secs_f64(),
        baseline.peak,
        stopped.peak,
    );
    assert!(ratio <= 1.2 && stopped.peak.max(baseline.peak) <= 10 * 1024);
}
