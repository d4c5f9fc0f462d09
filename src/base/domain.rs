//! Domain prefixes: the first bytes of everything that is hashed. Each purpose has its own prefix,
//! so that a hash for one purpose never counts for another. Each prefix ends with the version of
//! the format and a zero byte.

/// A batch: see [`Batch::hash`](super::batch::batch::Batch::hash).
pub const BATCH: &[u8] = b"p2pchat batch 2\0";
/// The key that encrypts the beacons of a closed network.
pub const BEACON_KEY: &[u8] = b"p2pchat beacon key 2\0";
/// The nonce of a sealed beacon.
pub const BEACON_NONCE: &[u8] = b"p2pchat beacon nonce 2\0";
/// A room in a beacon.
pub const BEACON_ROOM: &[u8] = b"p2pchat beacon room 2\0";
/// The checksum of a stored batch that only the chain of hashes proves.
pub const CHAINED_LINE: &[u8] = b"p2pchat chained line 2\0";
/// The check sum of a connection code.
pub const CODE: &[u8] = b"p2pchat code 2\0";
/// The content of a batch, with its salt.
pub const CONTENT: &[u8] = b"p2pchat content 2\0";
/// The key that signs the items of a closed network in the DHT.
pub const DHT_KEY: &[u8] = b"p2pchat dht key 2\0";
/// The nonce of a sealed item in the DHT.
pub const DHT_NONCE: &[u8] = b"p2pchat dht nonce 2\0";
/// The salt of an item of a closed network in the DHT.
pub const DHT_SALT: &[u8] = b"p2pchat dht salt 2\0";
/// The key that seals the items of a closed network in the DHT.
pub const DHT_SEAL: &[u8] = b"p2pchat dht seal 2\0";
/// The fingerprint of a key, which users compare.
pub const FINGERPRINT: &[u8] = b"p2pchat fingerprint 2\0";
/// The checksum of a frontier line in the store.
pub const FRONTIER: &[u8] = b"p2pchat frontier 2\0";
/// The name of a room of a closed network at a Grape.
pub const GRENACHE_ROOM: &[u8] = b"p2pchat grenache room 2\0";
/// The pre-shared key of the handshakes in a closed network.
pub const HANDSHAKE_KEY: &[u8] = b"p2pchat handshake key 2\0";
/// The digest over the heads of several logs.
pub const HEADS: &[u8] = b"p2pchat heads 2\0";
/// The pre-shared key of an invite's handshake.
pub const INVITE_KEY: &[u8] = b"p2pchat invite key 2\0";
/// The checksum of a stored batch.
pub const LINE: &[u8] = b"p2pchat line 2\0";
/// The proof of a closed network in a TXT record of mDNS.
pub const MDNS_PROOF: &[u8] = b"p2pchat mdns proof 2\0";
/// The digest of the members that a peer is linked with.
pub const MEMBERS: &[u8] = b"p2pchat members 2\0";
/// The public tag of a closed network.
pub const NETWORK_TAG: &[u8] = b"p2pchat network tag 2\0";
/// A signed receipt.
pub const RECEIPT: &[u8] = b"p2pchat receipt 2\0";
/// A room in `hello` and `rooms`.
pub const ROOM: &[u8] = b"p2pchat room 2\0";
/// The Noise prologue of sealed lines.
pub const SEALED: &[u8] = b"p2pchat sealed 2\0";
