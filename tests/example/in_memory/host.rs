//! A host: one node, its history in memory, and the directory that its next run needs. It keeps
//! every rule of "What a host must do" in [`p2pchat::node`].
use std::collections::{BTreeMap, VecDeque};

use p2pchat::shell::store::memory::MemoryStore;
use p2pchat::{
    FolderName, Identity, Input, KnownPeer, LoadReply, LoadRequest, LoadedLog, NetworkTag, Nick,
    Node, NodeConfig, Notice, Now, Output, ReaderStart, ResumeState, Room, SaveBarrier, StreamId,
    Time, WallTime,
};

use super::network::{HostIndex, Network, PORT, interfaces};

/// Maximum size of the history, in bytes.
pub const HISTORY_MAX_BYTES: usize = 1024 * 1024;
/// The wall clock at the start of the simulation: November 2023.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// What is kept between two runs, beside the history.
struct Directory {
    owner: HostIndex,
    nick: Nick,
    run_count: u8,
    /// Left by a clean end, and used once.
    resume: Option<ResumeState>,
    known_peers: Vec<KnownPeer>,
    receipts: String,
    addresses: String,
    profile: String,
    /// When the user first read each room.
    readers: BTreeMap<Room, Time>,
}

/// One node with everything it needs.
pub struct Host {
    directory: Directory,
    store: MemoryStore,
    /// Every save fails, as on a full disk.
    pub is_disk_full: bool,
    started_at: Time,
    node: Node,
    save_barrier: SaveBarrier,
    pending_inputs: VecDeque<Input<'static>>,
    notices: Vec<Notice>,
}

impl Directory {
    /// The node of the next run. A real host takes the key from a file, and the seed from the
    /// system's random source.
    fn begin_run(&mut self) -> Node {
        self.run_count += 1;
        let owner = self.owner as u8;
        let mut seed = [owner; 32];
        seed[0] = self.run_count;
        let config = NodeConfig {
            identity: Identity::from_seed(&[owner; 32]),
            network: NetworkTag::OPEN,
            psk: None,
            beacon_key: None,
            nick: self.nick.clone(),
            port: PORT,
            seed,
            transient: false,
            is_ephemeral: false,
            lsnp: None,
            speaks_go: false,
            timing: p2pchat::base::timing::Timing::default(),
            uses_grapes: false,
            beacons_enabled: true,
            known_peers: self.known_peers.clone(),
            receipts: self.receipts.clone(),
            addresses: self.addresses.clone(),
            profile: self.profile.clone(),
            resume: self.resume.take(),
        };
        Node::new(config, Now::default())
    }
}

impl Host {
    /// A host whose first run begins at `at`.
    pub fn new(index: HostIndex, name: &str, at: Time) -> Host {
        let mut directory = Directory {
            owner: index,
            nick: Nick::new(name).expect("a valid name"),
            run_count: 0,
            resume: None,
            known_peers: Vec::new(),
            receipts: String::new(),
            addresses: String::new(),
            profile: String::new(),
            readers: BTreeMap::new(),
        };
        let node = directory.begin_run();
        Host {
            directory,
            store: MemoryStore::new(node.own_peer().id, NetworkTag::OPEN, HISTORY_MAX_BYTES),
            is_disk_full: false,
            started_at: at,
            node,
            save_barrier: SaveBarrier::default(),
            pending_inputs: VecDeque::new(),
            notices: Vec::new(),
        }
    }

    /// Begins the next run. The previous run has handled [`p2pchat::Command::Leave`].
    pub fn restart(&mut self, at: Time) {
        self.directory.resume = Some(self.node.resume_state());
        self.started_at = at;
        self.node = self.directory.begin_run();
    }

    /// The inputs that begin a run: the folders of #general and of direct messages, then the
    /// interfaces.
    pub fn first_inputs(&mut self) -> Vec<Input<'static>> {
        let general = FolderName::from(&Room::general());
        let folders = [general, FolderName::direct(), FolderName::carried()];
        let at = self.started_at;
        let opened = folders.map(|folder| self.open_folder(folder, at));
        let mut inputs: Vec<Input> = opened.into_iter().flatten().collect();
        inputs.push(Input::InterfacesChanged(interfaces(self.directory.owner)));
        inputs
    }

    /// Opens a folder. If it belongs to a room, the user reads the room, and the node joins it.
    pub fn open_folder(&mut self, folder: FolderName, at: Time) -> Vec<Input<'static>> {
        let reader = folder.room().map(|room| self.open_reader(room, at));
        let opened = Input::FolderOpened {
            ranges: self.store.open_folder(&folder),
            existed: self.store.existed_before(&folder),
            folder,
        };
        reader.into_iter().chain([opened]).collect()
    }

    /// The reader of a room begins with the first time that its folder is opened.
    fn open_reader(&mut self, room: Room, at: Time) -> Input<'static> {
        let began_at = *self.directory.readers.entry(room.clone()).or_insert(at);
        let at_ms = began_at.0 as i64 - self.started_at.0 as i64;
        let start = ReaderStart::SameBoot { at_ms };
        Input::ReaderOpened { room, start }
    }

    /// Passes an input to the node, and then the inputs that its outputs cause.
    pub fn handle(&mut self, at: Time, input: Input<'_>, network: &mut Network) {
        self.handle_one(at, input, network);
        while let Some(input) = self.next_pending_input() {
            self.handle_one(at, input, network);
        }
    }

    fn handle_one(&mut self, at: Time, input: Input<'_>, network: &mut Network) {
        let now = Now {
            time: Time(at.ms_since(self.started_at)),
            wall: WallTime(WALL_START_MS + at.0 as i64),
        };
        self.node.handle(now, input);
        while let Some(output) = self.node.poll_output() {
            if let Some(output) = self.save_barrier.admit(output) {
                self.execute(output, network);
            }
        }
        let owner = self.directory.owner;
        let abort = |stream: StreamId| network.close(owner, stream);
        self.save_barrier.finish(&mut self.pending_inputs, abort);
    }

    fn execute(&mut self, output: Output, network: &mut Network) {
        let owner = self.directory.owner;
        match output {
            Output::Save { batch, local } => {
                if self.is_disk_full || self.store.save(&batch, local).is_err() {
                    self.save_barrier.record_failure(batch);
                }
            }
            Output::Load(request) => {
                let reply = self.load(request);
                self.pending_inputs.push_back(Input::Loaded(reply));
            }
            Output::Dial {
                stream, address, ..
            } => {
                if !network.dial(owner, stream, address) {
                    self.pending_inputs.push_back(Input::Closed { stream });
                }
            }
            Output::Write { stream, bytes } => {
                if network.write(owner, stream, bytes) {
                    self.pending_inputs.push_back(Input::Blocked { stream });
                }
            }
            Output::Close { stream } => network.close(owner, stream),
            Output::SendBeacon { bytes, .. } => network.broadcast(owner, &bytes),
            // The hosts of this network have no names.
            Output::Resolve { .. } | Output::Lsnp(_) | Output::SetServices(_) => {}
            Output::SaveKnownPeer(known) => self.directory.known_peers.push(*known),
            Output::SaveReceipts(receipts) => self.directory.receipts = receipts,
            Output::SaveAddresses(addresses) => self.directory.addresses = addresses,
            Output::SaveProfile(profile) => self.directory.profile = profile,
            Output::Notice(notice) => self.notices.push(*notice),
        }
    }

    fn load(&self, request: LoadRequest) -> LoadReply {
        let mut cursors = request.cursors;
        let batches = self.store.load(&mut cursors, request.budget_bytes);
        let logs = cursors.into_iter().zip(batches);
        let logs = logs.map(|(cursor, batches)| LoadedLog { cursor, batches });
        LoadReply {
            purpose: request.purpose,
            logs: logs.collect(),
        }
    }

    /// The next input that an output caused. When none is left, evicts the oldest lines of a
    /// history that has become too large.
    fn next_pending_input(&mut self) -> Option<Input<'static>> {
        if self.pending_inputs.is_empty() {
            let evicted = self.store.enforce_limits(&self.node).into_iter();
            self.pending_inputs
                .extend(evicted.map(|evicted| Input::Evicted {
                    log: evicted.log,
                    low: evicted.first_kept,
                }));
        }
        self.pending_inputs.pop_front()
    }

    /// When the node must get its next input. [`Input::Timeout`] will do.
    pub fn next_timeout(&self) -> Option<Time> {
        let timeout = self.node.next_timeout()?;
        Some(self.started_at + timeout.0)
    }

    /// Takes the notices since the last call.
    pub fn take_notices(&mut self) -> impl Iterator<Item = Notice> {
        std::mem::take(&mut self.notices).into_iter()
    }

    /// The name of the user.
    pub fn name(&self) -> &Nick {
        &self.directory.nick
    }

    /// The node, for questions.
    pub fn node(&self) -> &Node {
        &self.node
    }
}
