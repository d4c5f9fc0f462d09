//! Chooses the finders of a run by its options.
use std::sync::Arc;

use crate::node::context::NodeConfig;
use crate::shell::config::options::Options;
use crate::shell::net::finders::finders::Finders;

/// The finders that the options select. `random` are new random bytes. `wake` wakes the event loop.
pub fn create_finders(
    options: &Options,
    node: &NodeConfig,
    random: &[u8; 32],
    wake: Arc<dyn Fn() + Send + Sync>,
) -> Finders {
    let mut finders = Finders::new(wake);
    add_mdns(&mut finders, options, node, random);
    add_scan(&mut finders, options, node);
    add_grenache(&mut finders, options, node);
    finders
}

#[cfg(feature = "mdns")]
fn add_mdns(finders: &mut Finders, options: &Options, node: &NodeConfig, random: &[u8; 32]) {
    use crate::base::event::peer::Peer;
    use crate::base::interface::FoundVia;
    use crate::shell::net::finders::mdns::{self, MdnsConfig};

    if !options.mdns {
        return;
    }
    let config = MdnsConfig {
        own: Peer {
            id: node.identity.id(),
            nick: node.nick.clone(),
        },
        port: node.port,
        beacon_key: node.beacon_key,
        salt: random
            .iter()
            .take(8)
            .fold(0, |salt, byte| salt << 8 | u64::from(*byte)),
        interfaces: options.interfaces.clone(),
        announces: !node.transient,
    };
    let work = move |reporter| mdns::run(&config, &reporter);
    finders.add_for_need(FoundVia::Mdns, Box::new(work));
}

#[cfg(not(feature = "mdns"))]
fn add_mdns(_: &mut Finders, _: &Options, _: &NodeConfig, _: &[u8; 32]) {}

#[cfg(feature = "scan")]
fn add_scan(finders: &mut Finders, options: &Options, node: &NodeConfig) {
    use crate::base::interface::FoundVia;
    use crate::shell::net::finders::scan::{self, ScanConfig};

    if let Some(target) = options.scan {
        let config = ScanConfig {
            target,
            interfaces: options.interfaces.clone(),
            own_port: node.port,
        };
        finders.add(
            FoundVia::Scan,
            Box::new(move |reporter| scan::run(&config, &reporter)),
        );
    }
}

#[cfg(not(feature = "scan"))]
fn add_scan(_: &mut Finders, _: &Options, _: &NodeConfig) {}

#[cfg(feature = "grenache")]
fn add_grenache(finders: &mut Finders, options: &Options, node: &NodeConfig) {
    use crate::base::interface::FoundVia;
    use crate::shell::net::finders::grenache::{self, GrenacheConfig};

    if options.grapes.is_empty() {
        return;
    }
    let config = GrenacheConfig {
        grapes: options.grapes.clone(),
        services: Arc::clone(finders.services()),
        port: node.port,
    };
    let work = move |reporter| grenache::run(config, &reporter);
    finders.add(FoundVia::Grenache, Box::new(work));
}

#[cfg(not(feature = "grenache"))]
fn add_grenache(_: &mut Finders, _: &Options, _: &NodeConfig) {}
