//! What a program publishes in the DHT of BitTorrent: mutable items (BEP-44) with connection codes.
//! In the open network, a peer signs its item with its own key. In a closed network, one key of all
//! members signs, and the codes are sealed. An item is a claim: its addresses are only dialed.
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::base::domain;
use crate::base::identity::{Hash, Identity, PeerId};
use crate::wire::code::ConnectionCode;

/// Number of slots of a closed network, in which members find each other without an id.
pub const DHT_SLOTS: u8 = 16;
/// Number of bytes of an item's salt in a closed network.
const ITEM_SALT_BYTES: usize = 16;
/// Number of bytes of the nonce before a sealed code.
const NONCE_BYTES: usize = 24;
/// Number of bytes of the tag behind a sealed code.
const TAG_BYTES: usize = 16;
/// Longest connection code, in bytes. Before it is sealed, zero bytes lengthen a code to this
/// length, so that outsiders cannot tell the number of addresses.
const DHT_CODE_BYTES: usize = 448;

/// Names one mutable item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemName {
    /// The key that signs the item.
    pub key: PeerId,
    /// The salt. None in the open network.
    pub salt: Option<[u8; ITEM_SALT_BYTES]>,
    /// The only peer whose code the item may contain. `None`: any peer.
    peer: Option<PeerId>,
}

/// The items of one network: signs, seals and reads them.
pub struct DhtItems {
    /// Has the key that signs: our own in the open network, else the one of all members.
    signer: Identity,
    /// The key for beacons of a closed network, from which its other keys are derived.
    beacon_key: Option<[u8; 32]>,
}

impl DhtItems {
    /// The items of the open network, or of the closed network with this key for beacons.
    pub fn new(own: &Identity, beacon_key: Option<&[u8; 32]>) -> DhtItems {
        let signer = match beacon_key {
            None => own.clone(),
            Some(key) => Identity::from_seed(&Hash::of(&[domain::DHT_KEY, key]).0),
        };
        DhtItems {
            signer,
            beacon_key: beacon_key.copied(),
        }
    }

    /// The item of a peer.
    pub fn of_peer(&self, peer: PeerId) -> ItemName {
        let closed = self.beacon_key.as_ref();
        ItemName {
            key: closed.map_or(peer, |_| self.signer.id()),
            salt: closed.map(|key| salt(key, &peer.0)),
            peer: Some(peer),
        }
    }

    /// The items of the slots of a closed network. The open network has none: all peers of the
    /// world would share them.
    pub fn slots(&self) -> Vec<ItemName> {
        let slots = self.beacon_key.iter().flat_map(|key| {
            (0..DHT_SLOTS).map(|slot| ItemName {
                key: self.signer.id(),
                salt: Some(salt(key, &[slot])),
                peer: None,
            })
        });
        slots.collect()
    }

    /// The value of an item: the code, sealed in a closed network.
    pub fn encode(&self, name: &ItemName, sequence: i64, code: &ConnectionCode) -> Vec<u8> {
        let mut clear = code.to_string().into_bytes();
        let (Some(beacon_key), Some(salt)) = (&self.beacon_key, &name.salt) else {
            return clear;
        };
        clear.resize(DHT_CODE_BYTES, 0);
        let Hash(key) = seal_key(beacon_key);
        let parts = [domain::DHT_NONCE, &key, salt, &sequence.to_be_bytes()];
        let Hash(nonce) = Hash::of(&[&parts.concat(), &clear]);
        let mut value = nonce[..NONCE_BYTES].to_vec();
        let cipher = XChaCha20Poly1305::new(Key::from_slice(&key));
        let payload = Payload {
            msg: &clear,
            aad: salt,
        };
        let sealed = cipher.encrypt(XNonce::from_slice(&value), payload);
        value.extend(sealed.unwrap_or_default());
        value
    }

    /// The signature of an item that [`DhtItems::encode`] has made.
    pub fn sign(&self, name: &ItemName, sequence: i64, value: &[u8]) -> [u8; 64] {
        let mut message = Vec::new();
        if let Some(salt) = &name.salt {
            message.extend(format!("4:salt{}:", salt.len()).into_bytes());
            message.extend(salt);
        }
        message.extend(format!("3:seqi{sequence}e1:v{}:", value.len()).into_bytes());
        message.extend(value);
        self.signer.sign(&message)
    }

    /// Reads the value of an item: the code of the peer that the name allows, with at least one
    /// address that may be dialed. Loopback addresses are left out.
    pub fn decode(&self, name: &ItemName, value: &[u8]) -> Option<ConnectionCode> {
        let opened;
        let text = match (&self.beacon_key, &name.salt) {
            (Some(beacon_key), Some(salt)) => {
                opened = open(beacon_key, salt, value)?;
                let end = opened.iter().position(|byte| *byte == 0);
                &opened[..end.unwrap_or(opened.len())]
            }
            _ => value,
        };
        let text = std::str::from_utf8(text).ok();
        let text = text.filter(|text| text.len() <= DHT_CODE_BYTES)?;
        let mut code: ConnectionCode = text.parse().ok()?;
        code.addresses
            .retain(|it| !it.ip().to_canonical().is_loopback());
        let code = ConnectionCode::new(code.id, &code.addresses);
        let is_allowed = name.peer.is_none_or(|peer| peer == code.id);
        (is_allowed && !code.addresses.is_empty()).then_some(code)
    }
}

/// The sequence of an item to publish: the time in seconds since 1970, or more if the newest item
/// is ahead of our clock. `newest`: the sequence of that item.
pub fn next_sequence(newest: Option<i64>, unix_s: i64) -> i64 {
    newest.map_or(unix_s, |newest| unix_s.max(newest.saturating_add(1)))
}

fn open(beacon_key: &[u8; 32], salt: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if value.len() != NONCE_BYTES + DHT_CODE_BYTES + TAG_BYTES {
        return None;
    }
    let (nonce, sealed) = value.split_at_checked(NONCE_BYTES)?;
    let cipher = XChaCha20Poly1305::new(Key::from_slice(&seal_key(beacon_key).0));
    let payload = Payload {
        msg: sealed,
        aad: salt,
    };
    cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
}

fn seal_key(beacon_key: &[u8; 32]) -> Hash {
    Hash::of(&[domain::DHT_SEAL, beacon_key])
}

fn salt(beacon_key: &[u8; 32], of: &[u8]) -> [u8; ITEM_SALT_BYTES] {
    let Hash(hash) = Hash::of(&[domain::DHT_SALT, beacon_key, of]);
    std::array::from_fn(|i| hash[i])
}
