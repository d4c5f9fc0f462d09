//! A peer that is stopped amid a flood: it slows nobody, costs the sender no memory, and is complete after it goes on.
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::program::{Program, TIMEOUT};
use super::hosts::{Lan, run, wait_until};
use super::wait_joined;

/// How long all may take together, and one that catches up.
const LONG: Duration = Duration::from_secs(300);

/// The same for all of a job: who hears it, and how much.
#[derive(Clone, Copy)]
struct Job {
    readers: usize,
    lines: usize,
}

/// What a run of it took.
struct Figures {
    /// Until all readers but the first had printed everything.
    others: Duration,
    /// From the moment when the first one went on until it had, too.
    caught_up: Duration,
    /// The most memory that the sender held, in kB.
    peak: u64,
}

fn line(number: usize) -> String {
    format!(
        "{number:07} {}",
        &"the quick brown fox jumps"[..number % 26]
    )
}

fn nick(host: usize) -> String {
    match host {
        0 => "alice".to_owned(),
        host => format!("reader{host}"),
    }
}

/// A sender on the first host, and readers on the others, whose transcripts go into files.
struct Flood {
    job: Job,
    lan: Lan,
    sender: Program,
    readers: Vec<Program>,
}

impl Flood {
    /// All are linked with each other.
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

    fn transcript(&self, host: usize) -> PathBuf {
        self.lan.hosts[host].folder("transcript")
    }

    /// Has this reader printed the last line? Others come and go behind it.
    fn complete(&self, host: usize) -> bool {
        let mut file = File::open(self.transcript(host)).expect("a transcript");
        let length = file.metadata().expect("a file").len();
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(8 * 1024)))
            .expect("a file");
        file.read_to_end(&mut tail).expect("a file");
        let last = format!(": {}\n", line(self.job.lines - 1));
        String::from_utf8_lossy(&tail).contains(&last)
    }

    /// Feeds the sender half of the lines, and the other half when it is told to; gives back her stdin, still open.
    fn feed(&mut self) -> (mpsc::Sender<()>, thread::JoinHandle<ChildStdin>) {
        let path = self.lan.hosts[0].folder("said");
        let mut file = io::BufWriter::new(File::create(&path).expect("a file"));
        (0..self.job.lines).for_each(|number| {
            writeln!(file, "{}", line(number)).expect("a file");
        });
        drop(file);
        let half = fs::metadata(&path).expect("a file").len() / 2;
        let mut stdin = self.sender.take_stdin();
        let (go_on, wait) = mpsc::channel();
        let feeding = thread::spawn(move || {
            let mut file = File::open(path).expect("a file");
            io::copy(&mut (&file).take(half), &mut stdin).expect("a program");
            wait.recv().expect("a word");
            io::copy(&mut file, &mut stdin).expect("a program");
            stdin
        });
        (go_on, feeding)
    }

    /// Says everything, stops the first reader for so long when it has printed a tenth and half is said, and waits until all have
    /// printed all.
    fn run(&mut self, stop: Option<Duration>) -> Figures {
        let (go_on, feeding) = self.feed();
        let begin = Instant::now();
        let tenth = self.job.lines as u64 * 8;
        wait_until("a tenth is printed", LONG, || {
            fs::metadata(self.transcript(1)).expect("a file").len() > tenth
        });
        if stop.is_some() {
            self.readers[0].signal(Signal::SIGSTOP);
        }
        let since = Instant::now();
        go_on.send(()).expect("a feeder");
        let (mut going, mut others) = (stop.is_none(), None);
        wait_until(
            "the others are complete, and the stop is over",
            LONG,
            || {
                if others.is_none() && (2..=self.job.readers).all(|host| self.complete(host)) {
                    others = Some(begin.elapsed());
                }
                if !going && since.elapsed() >= stop.unwrap_or_default() {
                    assert!(!self.complete(1), "a stopped program prints");
                    self.readers[0].signal(Signal::SIGCONT);
                    going = true;
                }
                going && others.is_some()
            },
        );
        let on = Instant::now();
        wait_until("the first is complete", LONG, || self.complete(1));
        let caught_up = on.elapsed();
        // She holds her stdin open until here: a process that ended has no peak.
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

    /// Every transcript and every history holds every line once and in order, and the histories are the same bytes.
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

    /// What `history` prints on this host, in a file.
    fn history(&self, host: usize) -> PathBuf {
        let path = self.lan.hosts[host].folder("history");
        let out = File::create(&path).expect("a file");
        let mut program = self.lan.hosts[host].spawn_into(&nick(host), &["history"], out);
        assert_eq!(program.wait_code(LONG), 0, "{:?}", program.err.all());
        path
    }
}

#[test]
fn a_stopped_peer_is_complete_after_it_goes_on() {
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

/// The bounds, in one run: the same job with all readers, and with one that is stopped.
#[test]
#[ignore = "takes minutes; scripts/soak stopped"]
fn a_stopped_peer_costs_nobody_anything() {
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
    let Some(free) = measure(None) else { return };
    let Some(held) = measure(Some(Duration::from_secs(60))) else {
        return;
    };
    let ratio = held.others.as_secs_f64() / free.others.as_secs_f64();
    println!(
        "{} lines to {} readers: the others took {:.1} s without a stopped one, {:.1} s with one: {ratio:.2} times (most: 1.20)",
        job.lines,
        job.readers,
        free.others.as_secs_f64(),
        held.others.as_secs_f64(),
    );
    println!(
        "the stopped one was complete {:.1} s after it went on; the sender held at most {} kB without it, {} kB with it (most: 10240)",
        held.caught_up.as_secs_f64(),
        free.peak,
        held.peak,
    );
    assert!(ratio <= 1.2 && held.peak.max(free.peak) <= 10 * 1024);
}
