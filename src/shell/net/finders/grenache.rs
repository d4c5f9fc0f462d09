//! Finds peers through Grapes, the phonebooks of Grenache (`--grape`), and announces this program
//! there. Each Grape has a thread of its own, so one that is dead delays no other.
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::shell::net::finders::reporter::Reporter;
use crate::shell::net::interfaces::is_own_address;
use crate::shell::os::thread;
use crate::wire::grenache::{announcement, lookup, parse_announced, parse_found};

/// How often a Grape is told that this program is there, and asked for others. By design, it
/// forgets what is older than twice this time.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(60);
/// Time to the next attempt if a Grape does not answer. The first attempts of all programs are
/// seldom at the same time, so whoever comes later finds the others.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one request, in seconds. A Grape that has just lost another one needs 2.5.
const HTTP_TIMEOUT_S: u64 = 3;
/// Longest answer that is read, in bytes.
const ANSWER_MAX_BYTES: u64 = 16 * 1024;
/// Longest header of an answer, in bytes.
const HEADERS_MAX_BYTES: usize = 8 * 1024;

/// What the finder must know of the run.
pub struct GrenacheConfig {
    /// The URLs of the Grapes, without a slash at the end.
    pub grapes: Vec<String>,
    /// The names of the services: one for each room.
    pub services: Vec<String>,
    /// Our TCP port.
    pub port: u16,
    /// Whether to announce this program. One that leaves soon only looks for others.
    pub announces: bool,
}

/// What is wrong with each of the Grapes.
type Troubles = Mutex<Vec<Option<String>>>;

/// Starts a thread for each Grape. They run until the program ends.
pub fn run(config: GrenacheConfig, reporter: &Reporter) {
    let config = Arc::new(config);
    let troubles: Arc<Troubles> = Arc::new(Mutex::new(vec![None; config.grapes.len()]));
    for index in 0..config.grapes.len() {
        let (of_thread, of_all) = (Arc::clone(&config), Arc::clone(&troubles));
        let its_reporter = reporter.clone();
        let work = Box::new(move || serve_grape(&of_thread, index, &of_all, &its_reporter));
        if let Err(error) = thread::spawn_helper("grape", work) {
            let trouble = format!("its thread cannot be started: {error}");
            set_trouble(&config, &troubles, index, Some(trouble), reporter);
        }
    }
}

fn serve_grape(config: &GrenacheConfig, index: usize, troubles: &Troubles, reporter: &Reporter) {
    let Some(grape) = config.grapes.get(index) else {
        return;
    };
    loop {
        let mut last_trouble = None;
        for service in &config.services {
            if config.announces {
                let body = announcement(service, config.port);
                match request(grape, "announce", body).and_then(|it| parse_announced(&it)) {
                    Ok(_) => reporter.record_announced(),
                    Err(trouble) => last_trouble = Some(trouble),
                }
            }
            match request(grape, "lookup", lookup(service)).and_then(|it| parse_found(&it)) {
                Ok(addresses) => report(config, addresses, reporter),
                Err(trouble) => last_trouble = Some(trouble),
            }
            if last_trouble.is_some() {
                break;
            }
        }
        let wait = match last_trouble {
            Some(_) => RETRY_INTERVAL,
            None => ANNOUNCE_INTERVAL,
        };
        set_trouble(config, troubles, index, last_trouble, reporter);
        sleep(wait);
    }
}

/// Reports addresses that are not our own.
fn report(config: &GrenacheConfig, addresses: Vec<SocketAddr>, reporter: &Reporter) {
    for address in addresses {
        if address.port() != config.port || !is_own_address(address) {
            reporter.report(None, vec![address]);
        }
    }
}

/// Records what is wrong with one Grape. The finder's trouble names all that are in trouble.
fn set_trouble(
    config: &GrenacheConfig,
    troubles: &Troubles,
    index: usize,
    trouble: Option<String>,
    reporter: &Reporter,
) {
    let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(of_grape) = troubles.get_mut(index) {
        *of_grape = trouble;
    }
    let sentences: Vec<String> = config
        .grapes
        .iter()
        .zip(troubles.iter())
        .filter_map(|(grape, trouble)| Some(format!("{grape}: {}", trouble.as_ref()?)))
        .collect();
    reporter.set_trouble((!sentences.is_empty()).then(|| sentences.join("; ")));
}

/// Sends a request. A bounded part of the answer is read, and no redirection is followed.
fn request(grape: &str, verb: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let sent = minreq::post(format!("{grape}/{verb}"))
        .with_header("Content-Type", "application/json")
        .with_body(body)
        .with_timeout(HTTP_TIMEOUT_S)
        .with_follow_redirects(false)
        .with_max_headers_size(HEADERS_MAX_BYTES)
        .with_max_status_line_length(HEADERS_MAX_BYTES)
        .send_lazy();
    let answer = sent.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = answer.take(ANSWER_MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}
