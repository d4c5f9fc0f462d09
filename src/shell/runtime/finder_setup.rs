//! Chooses the finders of a run by its options.
use std::sync::Arc;

use crate::node::config::NodeConfig;
use crate::shell::config::options::Options;
use crate::shell::net::finders::finders::Finders;
use crate::shell::net::resolver::IdLookup;
use crate::shell::runtime::port_mapping::PortMapping;

/// The finders of a run.
pub struct SelectedFinders {
    /// All finders.
    pub finders: Finders,
    /// Looks up peers by their ids, if one of the finders can.
    pub id_lookup: Option<IdLookup>,
}

/// The finders that the options select. `random` are new random bytes. `wake` wakes the event loop.
pub fn create_finders(
    options: &Options,
    node: &NodeConfig,
    port_mapping: &PortMapping,
    random: &[u8; 32],
    wake: Arc<dyn Fn() + Send + Sync>,
) -> SelectedFinders {
    let mut finders = Finders::new(wake);
    let random = random.first_chunk().copied();
    let random = random.map_or(0, u64::from_be_bytes);
    add_mdns(&mut finders, options, node, random);
    add_scan(&mut finders, options, node);
    add_grenache(&mut finders, options, node);
    let id_lookup = add_dht(&mut finders, options, node, port_mapping, random);
    SelectedFinders { finders, id_lookup }
}

#[cfg(feature = "mdns")]
fn add_mdns(finders: &mut Finders, options: &Options, node: &NodeConfig, random: u64) {
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
        salt: random,
        interfaces: options.interfaces.clone(),
        announces: !node.transient,
    };
    let work = move |reporter| mdns::run(&config, &reporter);
    finders.add_for_need(FoundVia::Mdns, Box::new(work));
}

#[cfg(not(feature = "mdns"))]
fn add_mdns(_: &mut Finders, _: &Options, _: &NodeConfig, _: u64) {}

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

#[cfg(feature = "dht")]
fn add_dht(
    finders: &mut Finders,
    options: &Options,
    node: &NodeConfig,
    port_mapping: &PortMapping,
    random: u64,
) -> Option<IdLookup> {
    use crate::base::interface::FoundVia;
    use crate::shell::net::finders::dht::{
        CHECK_INTERVAL, DhtConfig, DhtFinder, ITEM_LIFE, PUBLISH_INTERVAL,
    };
    use crate::wire::dht::DhtItems;

    if !options.dht {
        return None;
    }
    let finder = DhtFinder::new(DhtConfig {
        items: DhtItems::new(&node.identity, node.beacon_key.as_ref()),
        own: node.identity.id(),
        port: node.port,
        interfaces: options.interfaces.clone(),
        bootstrap: options.dht_bootstrap.clone(),
        mapped: port_mapping.external_source(),
        announces: !node.transient,
        publish_interval: PUBLISH_INTERVAL,
        check_interval: CHECK_INTERVAL,
        item_life: ITEM_LIFE,
        random,
    });
    let in_thread = Arc::clone(&finder);
    let work = move |reporter| in_thread.run(reporter);
    finders.add(FoundVia::Dht, Box::new(work));
    Some(Arc::new(move |peer, is_requested| {
        finder.look_up(peer, is_requested)
    }))
}

#[cfg(not(feature = "dht"))]
fn add_dht(
    _: &mut Finders,
    _: &Options,
    _: &NodeConfig,
    _: &PortMapping,
    _: u64,
) -> Option<IdLookup> {
    None
}
