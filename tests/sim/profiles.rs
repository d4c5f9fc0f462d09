//! What peers say about themselves: who gets it, how often, and what a liar can make of it.
use data_encoding::BASE64;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::PeerId;
use p2pchat::base::presence::profile::{
    AVATAR_MAX_BYTES, Avatar, PROFILE_FIELDS_MAX, PROFILE_VALUE_MAX_BYTES, Profile, ProfileCommand,
};
use p2pchat::wire::message::{ByeReason, Message};
use p2pchat::wire::profile::messages::{AVATAR_PART_MAX_BYTES, ProfileReply, ProfileRequest};

use super::hostile::messages::alice_and_mallory;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

fn execute(lan: &mut Lan, who: PeerIndex, command: ProfileCommand) {
    lan.feed(who, Input::Command(Command::Profile(command)));
}

fn set(lan: &mut Lan, who: PeerIndex, name: &str, value: &str) {
    let (name, value) = (name.to_owned(), value.to_owned());
    execute(lan, who, ProfileCommand::Set(name, value));
}

/// A picture of this many bytes.
fn picture(size: usize) -> Avatar {
    let file: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    Avatar::new("image/png", &BASE64.encode(&file)).expect("a picture")
}

fn start_fetch(lan: &mut Lan, who: PeerIndex, peer: PeerId, wants_avatar: bool) {
    lan.feed(
        who,
        Input::Command(Command::FetchProfile { peer, wants_avatar }),
    );
}

fn is_fetching(lan: &Lan, who: PeerIndex, peer: &PeerId) -> bool {
    let node = lan.peers[who].node.as_ref().expect("a running node");
    node.is_fetching_profile(peer)
}

/// What a peer learns of another one. `None`: nothing.
fn fetch(lan: &mut Lan, who: PeerIndex, peer: PeerId, wants_avatar: bool) -> Option<Profile> {
    start_fetch(lan, who, peer, wants_avatar);
    lan.run_for(5_000);
    assert!(!is_fetching(lan, who, &peer));
    let node = lan.peers[who].node.as_ref().expect("a running node");
    node.profile_of(&peer).cloned()
}

fn fetched_fields(lan: &mut Lan, who: PeerIndex, peer: PeerId) -> Vec<(String, String)> {
    let profile = fetch(lan, who, peer, false);
    profile.map_or(Vec::new(), |profile| profile.fields().to_vec())
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The requests that the node has sent to a scripted peer.
fn requests(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<ProfileRequest> {
    let messages = peer.receive_messages(lan).into_iter();
    let requests = messages.filter_map(|message| match message {
        Message::ProfileRequest(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

/// The answers that the node has sent to a scripted peer.
pub fn replies(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<ProfileReply> {
    let messages = peer.receive_messages(lan).into_iter();
    let replies = messages.filter_map(|message| match message {
        Message::ProfileReply(reply) => Some(reply),
        _ => None,
    });
    replies.collect()
}

/// The answers to this request, which comes 1 s after the last one.
fn ask(
    lan: &mut Lan,
    peer: &mut ScriptedPeer,
    version: u64,
    avatar_from: Option<u64>,
) -> Vec<ProfileReply> {
    lan.run_for(1_000);
    let request = ProfileRequest {
        version,
        avatar_from,
    };
    peer.send(lan, &Message::ProfileRequest(request));
    replies(lan, peer)
}

/// Alice asks bob, and gets what he says now, with his picture if she wants it.
#[test]
fn a_profile_is_told_to_who_asks() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    let id = lan.id(bob);
    assert_eq!(fetch(&mut lan, alice, id, true), Some(Profile::default()));
    set(&mut lan, bob, "status", "busy");
    set(&mut lan, bob, "pronouns", "he");
    assert_eq!(
        fetched_fields(&mut lan, alice, id),
        [field("status", "busy"), field("pronouns", "he")]
    );
    set(&mut lan, bob, "status", "");
    let avatar = picture(AVATAR_MAX_BYTES);
    execute(
        &mut lan,
        bob,
        ProfileCommand::SetAvatar(Some(avatar.clone())),
    );
    // She learns of the picture, and gets it if she wants it.
    let known = fetch(&mut lan, alice, id, false).expect("a profile");
    let size = known.avatar.map(|known| (known.size(), known.file()));
    assert_eq!(size, Some((AVATAR_MAX_BYTES, None)));
    let whole = fetch(&mut lan, alice, id, true).expect("a profile");
    assert_eq!(whole.fields(), [field("pronouns", "he")]);
    assert_eq!(whole.avatar, Some(avatar));
    // Who does not answer says nothing.
    lan.stop(bob);
    assert_eq!(fetch(&mut lan, alice, id, false), None);
}

/// The next run says the same.
#[test]
fn a_profile_outlasts_the_run() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    set(&mut lan, bob, "status", "busy");
    let avatar = picture(5);
    execute(
        &mut lan,
        bob,
        ProfileCommand::SetAvatar(Some(avatar.clone())),
    );
    lan.stop(bob);
    lan.run_for(1_000);
    lan.start(bob);
    lan.run_for(1_000);
    execute(&mut lan, bob, ProfileCommand::Show);
    let shown = lan.peers[bob].notices_of_run().last();
    let Some(Notice::OwnProfile(own)) = shown else {
        panic!("{shown:?}");
    };
    assert_eq!(*own, Profile::new("", "busy", Some(avatar)));
    let id = lan.id(bob);
    assert_eq!(
        fetched_fields(&mut lan, alice, id),
        [field("status", "busy")]
    );
    // Damage costs the profile, and not the run.
    lan.stop(bob);
    lan.peers[bob].profile.truncate(40);
    lan.start(bob);
    lan.run_for(1_000);
    assert!(fetched_fields(&mut lan, alice, id).is_empty());
}

/// A version goes to who asks and does not have it, and nobody hears of it who has not asked.
#[test]
fn a_version_is_sent_on_request_to_who_lacks_it() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(3);
    set(&mut lan, alice, "status", "busy");
    lan.run_for(5_000);
    assert!(replies(&mut lan, &mut mallory).is_empty());
    let first = ask(&mut lan, &mut mallory, 0, None);
    let [
        ProfileReply {
            version, fields, ..
        },
    ] = &first[..]
    else {
        panic!("{first:?}");
    };
    assert_eq!(fields.as_deref(), Some(&[field("status", "busy")][..]));
    let short = ProfileReply {
        version: *version,
        ..ProfileReply::default()
    };
    // The answer has come too late to be taken.
    assert_eq!(ask(&mut lan, &mut mallory, 0, None), first);
    assert_eq!(ask(&mut lan, &mut mallory, *version, None), [short]);
    set(&mut lan, alice, "status", "there");
    lan.run_for(5_000);
    assert!(replies(&mut lan, &mut mallory).is_empty());
    let second = ask(&mut lan, &mut mallory, *version, None);
    assert!(second[0].version > *version && second[0].fields.is_some());
}

/// A picture comes in parts. A lost one is sent again; too many are not.
#[test]
fn a_picture_comes_in_parts() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(4);
    let avatar = picture(AVATAR_PART_MAX_BYTES);
    let len = avatar.data().len();
    let part = AVATAR_PART_MAX_BYTES;
    let second = part as u64;
    assert!(len > part && len < 2 * part);
    execute(
        &mut lan,
        alice,
        ProfileCommand::SetAvatar(Some(avatar.clone())),
    );
    // Not before the profile, nor of another version, nor beyond the end.
    let lens = |replies: Vec<ProfileReply>| -> Vec<usize> {
        let parts = replies.into_iter().filter_map(|reply| reply.avatar);
        parts.map(|part| part.len()).collect()
    };
    assert_eq!(lens(ask(&mut lan, &mut mallory, 2, Some(0))), [0; 0]);
    let version = ask(&mut lan, &mut mallory, 0, None)[0].version;
    for (version, from, expected) in [
        (version + 1, 0, vec![]),
        (version, 0, vec![part]),
        (version, 0, vec![part]),
        (version, second, vec![len - part]),
        (version, second, vec![len - part]),
        (version, len as u64, vec![]),
        (version, 1 << 32, vec![]),
        (version, u64::MAX, vec![]),
    ] {
        let parts = lens(ask(&mut lan, &mut mallory, version, Some(from)));
        assert_eq!(parts, expected, "version {version}, from {from}");
    }
    // Both parts have come, and 2 of 16 repetitions.
    let again = (0..20).map(|_| lens(ask(&mut lan, &mut mallory, version, Some(0))).len());
    assert_eq!(again.sum::<usize>(), 14);
    // A new picture comes whole.
    execute(&mut lan, alice, ProfileCommand::SetAvatar(Some(picture(5))));
    let version = ask(&mut lan, &mut mallory, version, None)[0].version;
    let part = lens(ask(&mut lan, &mut mallory, version, Some(0)));
    assert_eq!(part, [8]);
}

/// What was not requested changes nothing, and what breaks a rule is left out.
#[test]
fn false_answers_change_nothing() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(5);
    let id = mallory.identity.id();
    let reply = |fields: Vec<(String, String)>| ProfileReply {
        version: 7,
        fields: Some(fields),
        ..ProfileReply::default()
    };
    let unasked = Message::ProfileReply(reply(vec![field("status", "unasked")]));
    mallory.send(&mut lan, &unasked);
    // Nobody answers, so the request is given up.
    assert_eq!(fetch(&mut lan, alice, id, false), None);
    assert_eq!(requests(&mut lan, &mut mallory).len(), 1);
    start_fetch(&mut lan, alice, id, true);
    let long = "ü".repeat(PROFILE_VALUE_MAX_BYTES);
    let mut fields = vec![
        field("a b", "no name"),
        field("avatar", "no picture"),
        field("status", &long),
    ];
    fields.extend((0..100).map(|n| field(&format!("f{n}"), "x")));
    let mut answer = reply(fields);
    (answer.avatar_type, answer.avatar_bytes) = (Some("image/png".into()), Some(30_000));
    mallory.send(&mut lan, &Message::ProfileReply(answer.clone()));
    let known = |lan: &Lan| {
        let node = lan.peers[alice].node.as_ref().expect("a running node");
        node.profile_of(&id).cloned().expect("a profile")
    };
    let profile = known(&lan);
    assert_eq!(profile.fields().len(), PROFILE_FIELDS_MAX);
    assert_eq!(profile.get("status").len(), PROFILE_VALUE_MAX_BYTES);
    assert_eq!((profile.get("a b"), profile.get("avatar")), ("", ""));
    // A second answer to one request, and parts of another length or place.
    for (from, len) in [(0, 1), (1, AVATAR_PART_MAX_BYTES), (0, 20_000)] {
        let requested = requests(&mut lan, &mut mallory);
        assert_eq!(requested.last().and_then(|it| it.avatar_from), Some(0));
        let part = ProfileReply {
            version: 7,
            avatar_from: Some(from),
            avatar: Some("A".repeat(len)),
            ..ProfileReply::default()
        };
        mallory.send(&mut lan, &Message::ProfileReply(part.clone()));
        mallory.send(&mut lan, &unasked);
        assert_eq!(known(&lan), profile, "{from} {len}");
        lan.run_for(4_000);
        start_fetch(&mut lan, alice, id, true);
        mallory.send(&mut lan, &Message::ProfileReply(answer.clone()));
    }
    // Too large a picture is none.
    answer.avatar_bytes = Some(AVATAR_MAX_BYTES as u64 + 1);
    lan.run_for(4_000);
    start_fetch(&mut lan, alice, id, true);
    mallory.send(&mut lan, &Message::ProfileReply(answer));
    assert_eq!(known(&lan).avatar, None);
}

/// What has just come is not requested again.
#[test]
fn a_new_profile_is_not_requested_again() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(7);
    let id = mallory.identity.id();
    let mut asked = |lan: &mut Lan| -> Vec<u64> {
        start_fetch(lan, alice, id, false);
        let versions: Vec<u64> = requests(lan, &mut mallory)
            .into_iter()
            .map(|request| request.version)
            .collect();
        let answer = ProfileReply {
            version: 7,
            fields: Some(Vec::new()),
            ..ProfileReply::default()
        };
        mallory.send(lan, &Message::ProfileReply(answer));
        versions
    };
    assert_eq!(asked(&mut lan), [0]);
    assert!(asked(&mut lan).is_empty());
    lan.run_for(2_000);
    assert_eq!(asked(&mut lan), [7]);
}

/// Who leaves says nothing more, and nobody waits for it.
#[test]
fn a_fetch_ends_with_its_link() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(8);
    let id = mallory.identity.id();
    start_fetch(&mut lan, alice, id, false);
    assert!(is_fetching(&lan, alice, &id));
    let reason = ByeReason::Leave;
    mallory.send(&mut lan, &Message::Bye { reason });
    assert!(!is_fetching(&lan, alice, &id));
    start_fetch(&mut lan, alice, id, false);
    assert!(!is_fetching(&lan, alice, &id));
}

/// A second in which the peer shows that its link lives.
fn live(lan: &mut Lan, peer: &mut ScriptedPeer) {
    peer.send(lan, &Message::Ping { nonce: 1 });
    lan.run_for(1_000);
}

/// A request for a part of the picture is not answered by another profile, whose picture would have
/// to be requested too.
#[test]
fn a_liar_does_not_prolong_a_fetch() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(9);
    let id = mallory.identity.id();
    start_fetch(&mut lan, alice, id, true);
    let mut asked = 0;
    for second in 0..60 {
        let came = requests(&mut lan, &mut mallory).len();
        asked += came;
        for n in 0..came {
            let profile = ProfileReply {
                version: 7 + second + n as u64,
                fields: Some(Vec::new()),
                avatar_type: Some("image/png".into()),
                avatar_bytes: Some(1),
                ..ProfileReply::default()
            };
            mallory.send(&mut lan, &Message::ProfileReply(profile));
        }
        live(&mut lan, &mut mallory);
    }
    assert!(!is_fetching(&lan, alice, &id));
    // The profile, and the first part of its picture.
    assert_eq!(asked, 2);
}

/// Who asks while somebody waits already has a whole period for an answer. All together wait for
/// 40 s at most.
#[test]
fn a_second_request_extends_a_fetch() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(10);
    let id = mallory.identity.id();
    start_fetch(&mut lan, alice, id, false);
    lan.run_for(2_500);
    start_fetch(&mut lan, alice, id, false);
    lan.run_for(2_500);
    assert!(is_fetching(&lan, alice, &id));
    lan.run_for(1_000);
    assert!(!is_fetching(&lan, alice, &id));
    let mut asks = 0..60;
    let answered = asks.position(|_| {
        start_fetch(&mut lan, alice, id, false);
        live(&mut lan, &mut mallory);
        !is_fetching(&lan, alice, &id)
    });
    assert_eq!(answered, Some(39));
}

/// Who has another version, for example because the answer came late, gets this one.
#[test]
fn another_version_is_not_taken_for_a_new_answer() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(11);
    let id = mallory.identity.id();
    let mut asked = |lan: &mut Lan, answer: ProfileReply| -> Vec<u64> {
        start_fetch(lan, alice, id, false);
        let versions = requests(lan, &mut mallory).into_iter();
        let versions = versions.map(|request| request.version).collect();
        mallory.send(lan, &Message::ProfileReply(answer));
        versions
    };
    let short = |version| ProfileReply {
        version,
        ..ProfileReply::default()
    };
    let mut whole = short(7);
    whole.fields = Some(Vec::new());
    assert_eq!(asked(&mut lan, whole), [0]);
    lan.run_for(2_000);
    assert_eq!(asked(&mut lan, short(9)), [7]);
    // Nor is a part of a picture such an answer.
    let mut part = short(7);
    part.avatar = Some("iVBO".into());
    assert_eq!(asked(&mut lan, part), [7]);
    assert_eq!(asked(&mut lan, short(7)), [7]);
    assert!(asked(&mut lan, short(7)).is_empty());
}

/// A profile has at most 16 fields; the user is told.
#[test]
fn own_fields_are_bounded() {
    let mut lan = Lan::new(6);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..=PROFILE_FIELDS_MAX {
        set(&mut lan, alice, &format!("f{n}"), "x");
    }
    let shown = lan.peers[alice].notices_of_run().last();
    let Some(Notice::Error { content, .. }) = shown else {
        panic!("{shown:?}");
    };
    assert!(content.contains("at most 16 fields"), "{content}");
    set(&mut lan, alice, "f3", "");
    set(&mut lan, alice, "f16", "x");
    let shown = lan.peers[alice].notices_of_run().last();
    assert!(matches!(shown, Some(Notice::OwnProfile(own)) if own.get("f16") == "x"));
}

/// Answers to a flood of requests, in 4 s.
pub fn answers_to_a_flood(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    set(&mut lan, alice, "status", "busy");
    for _ in 0..400 {
        let request = ProfileRequest::default();
        mallory.send(&mut lan, &Message::ProfileRequest(request));
        lan.run_for(10);
    }
    replies(&mut lan, &mut mallory).len() as u64
}

/// Bytes of a picture that go out for a flood of requests for it.
pub fn picture_bytes_for_a_flood(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    execute(
        &mut lan,
        alice,
        ProfileCommand::SetAvatar(Some(picture(20_000))),
    );
    let version = ask(&mut lan, &mut mallory, 0, None)[0].version;
    for n in 0..400 {
        let request = ProfileRequest {
            version,
            avatar_from: Some(n % 4 * AVATAR_PART_MAX_BYTES as u64),
        };
        mallory.send(&mut lan, &Message::ProfileRequest(request));
    }
    let replies = replies(&mut lan, &mut mallory);
    let parts = replies.iter().filter_map(|reply| reply.avatar.as_ref());
    parts.map(|part| part.len() as u64).sum()
}
