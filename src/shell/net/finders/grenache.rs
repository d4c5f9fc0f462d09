//! Finds peers through Grapes, the phonebooks of Grenache (`--grape`), and announces this program
//! there. Each Grape has a thread of its own, so one that is dead delays no other.
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::base::guests::service::Service;
use crate::shell::net::finders::reporter::Reporter;
use crate::shell::net::finders::service_list::{ServiceList, VersionedServices};
use crate::shell::net::http::{self, HttpFailure};
use crate::shell::net::interfaces::is_own_address;
use crate::shell::os::thread;
use crate::wire::grenache::grape::{self, announcement, lookup, parse_announced, parse_found};

/// How often a Grape is told that this program is there, and asked for others. By design, it
/// forgets what is older than twice this time.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(60);
/// Least time between two rounds at a Grape, if services change.
const CHANGE_INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next attempt if a Grape does not answer. The first attempts of all programs are
/// seldom at the same time, so whoever comes later finds the others.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one request. A Grape that has just lost another one needs 2.5 s.
const HTTP_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of addresses of a Grape that are tried, if its name has several.
const HOST_ADDRESSES_MAX: usize = 4;

/// What the finder must know of the run.
pub struct GrenacheConfig {
    /// The URLs of the Grapes, without a slash at the end.
    pub grapes: Vec<String>,
    /// The services to announce and to look up.
    pub services: Arc<ServiceList>,
    /// Our TCP port.
    pub port: u16,
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
    let mut first = 0;
    loop {
        let VersionedServices { version, services } = config.services.get();
        let mut last_trouble = None;
        let count = services.len();
        for index in (0..count).map(|n| (first + n) % count) {
            match use_grape(config, grape, &services[index], reporter) {
                Ok(()) => {}
                // The Grape may refuse one service, and take the others.
                Err(GrapeFailure::Refused(trouble)) => last_trouble = Some(trouble),
                Err(GrapeFailure::Silent(trouble)) => {
                    // Perhaps it is silent about this service alone: the others come first then.
                    first = index + 1;
                    last_trouble = Some(trouble);
                    break;
                }
            }
        }
        let wait = match last_trouble {
            Some(_) => RETRY_INTERVAL,
            None => ANNOUNCE_INTERVAL,
        };
        set_trouble(config, troubles, index, last_trouble, reporter);
        sleep(CHANGE_INTERVAL);
        config.services.wait_for_change(version, wait);
    }
}

/// Why a Grape was of no use for a service, as a part of a sentence.
enum GrapeFailure {
    /// It does not answer.
    Silent(String),
    /// Its answer is an error, or none of a Grape.
    Refused(String),
}

/// Announces a service at a Grape and looks it up there, as far as that is wanted. Reports the
/// addresses that are not our own.
fn use_grape(
    config: &GrenacheConfig,
    grape: &str,
    service: &Service,
    reporter: &Reporter,
) -> Result<(), GrapeFailure> {
    let ask = |verb, body: &[u8]| request(grape, verb, body).map_err(GrapeFailure::Silent);
    let mut announced = Ok(0);
    if service.is_offered {
        let answer = ask("announce", &announcement(&service.name, config.port))?;
        announced = parse_announced(&answer);
        if announced.is_ok() {
            reporter.record_announced();
        }
    }
    if service.is_sought {
        let found = parse_found(&ask("lookup", &lookup(&service.name))?);
        let mut addresses = found.map_err(GrapeFailure::Refused)?;
        addresses.retain(|it| it.port() != config.port || !is_own_address(*it));
        if !addresses.is_empty() {
            reporter.report_service(&service.name, addresses);
        }
    }
    announced.map(|_| ()).map_err(GrapeFailure::Refused)
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

/// Sends a request to the Grape with this URL. Returns the body of the answer.
fn request(grape: &str, verb: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let host = grape.trim_start_matches("http://");
    let request = grape::request(host, verb, body);
    let deadline = Instant::now() + HTTP_TIMEOUT;
    let mut trouble = "its name has no address".to_owned();
    let addresses = host.to_socket_addrs().map_err(|error| error.to_string())?;
    for address in addresses.take(HOST_ADDRESSES_MAX) {
        match http::exchange(address, &request, deadline, &|| false) {
            Ok(answer) => return Ok(answer.body.into_bytes()),
            Err(HttpFailure::Failed(error)) => trouble = error.to_string(),
            Err(HttpFailure::Stopped) => {}
        }
    }
    Err(trouble)
}
