//! Items from the DHT, in the open network and in a closed one. Whatever they hold, the code that is
//! read names the peer that was looked up, and a bounded number of addresses.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::Identity;
use p2pchat::wire::code::ADDRESSES_MAX;
use p2pchat::wire::dht::DhtItems;

fuzz_target!(|bytes: &[u8]| {
    let own = Identity::from_seed(&[1; 32]);
    for key in [None, Some(&[7; 32])] {
        let items = DhtItems::new(&own, key);
        let name = items.of_peer(own.id());
        let Some(code) = items.decode(&name, bytes) else {
            continue;
        };
        assert_eq!(code.id, own.id());
        assert!((1..=ADDRESSES_MAX).contains(&code.addresses.len()));
        let again = items.encode(&name, 0, &code);
        assert_eq!(items.decode(&name, &again), Some(code));
    }
});
