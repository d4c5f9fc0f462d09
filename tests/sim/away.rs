//! Who is away: what peers say of their users, and when ours hears of it.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::presence::away::{AWAY_TEXT_MAX_BYTES, AwayText};
use p2pchat::wire::message::Message;

use super::hostile::messages::alice_and_mallory;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

fn set_away(lan: &mut Lan, who: PeerIndex, text: Option<&str>) {
    let command = Command::Away(text.map(AwayText::cut));
    lan.feed(who, Input::Command(command));
    lan.run_for(100);
}

/// What a peer is shown of others' and its own presence in this run: `bob #general away: lunch`.
fn shown(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let notices = lan.peers[who].notices_of_run();
    let shown = notices.filter_map(|notice| match notice {
        Notice::Presence {
            room, peer, away, ..
        } => {
            let what = away.as_ref().map_or("back".into(), AwayText::to_string);
            Some(format!("{} {room} {what}", peer.nick))
        }
        _ => None,
    });
    shown.collect()
}

/// What the list of peers says of each.
fn listed(lan: &mut Lan, who: PeerIndex) -> Vec<Option<String>> {
    lan.feed(who, Input::Command(Command::Peers));
    let Some(Notice::Peers(rows)) = lan.peers[who].notices_of_run().last() else {
        panic!("no list");
    };
    let aways = rows.iter().map(|row| row.away.as_ref());
    aways.map(|away| away.map(AwayText::to_string)).collect()
}

/// Members of a room see who goes away and who is back, once each; so does the user.
#[test]
fn members_see_who_is_away_and_who_is_back() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    set_away(&mut lan, bob, Some("lunch"));
    set_away(&mut lan, bob, Some("lunch"));
    assert_eq!(listed(&mut lan, alice), [Some("away: lunch".to_owned())]);
    set_away(&mut lan, bob, Some(""));
    set_away(&mut lan, bob, None);
    let expected = [
        "bob #general away: lunch",
        "bob #general away",
        "bob #general back",
    ];
    assert_eq!(shown(&lan, alice), expected);
    assert_eq!(shown(&lan, bob), expected);
    assert_eq!(listed(&mut lan, alice), [None]);
}

/// Who comes later learns it at once; who comes back to a peer that has come back learns that, too.
/// The next run begins with somebody who is there.
#[test]
fn a_new_link_tells_who_is_away() {
    let mut lan = Lan::new(2);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    set_away(&mut lan, bob, Some("lunch"));
    lan.start(carol);
    lan.run_for(500);
    assert_eq!(shown(&lan, carol), ["bob #general away: lunch"]);
    // Carol has routes to both, so nobody is shown as gone.
    lan.cut(alice, bob);
    lan.run_for(60_000);
    set_away(&mut lan, bob, None);
    assert_eq!(shown(&lan, alice).len(), 1, "nobody tells alice");
    lan.heal();
    lan.run_for(120_000);
    assert_eq!(
        shown(&lan, alice),
        ["bob #general away: lunch", "bob #general back"],
    );
    set_away(&mut lan, bob, Some("dinner"));
    lan.kill(bob);
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(listed(&mut lan, alice), [None, None]);
}

/// Who joins a room is shown as away there, if it is away already.
#[test]
fn somebody_who_is_away_can_join() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    for round in 1..=2 {
        lan.part(bob, "general");
        lan.run_for(100);
        set_away(&mut lan, bob, Some("asleep"));
        lan.join(bob, "general");
        lan.run_for(100);
        let expected = vec!["bob #general away: asleep"; round];
        assert_eq!(shown(&lan, alice), expected);
    }
}

/// A text is cut, and nothing of a peer that floods is kept but the last text.
#[test]
fn a_long_text_is_cut() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(3);
    let away = Some("é".repeat(40_000 / 2));
    mallory.send(&mut lan, &Message::Presence { away });
    let cut = listed(&mut lan, alice).remove(0).expect("a text");
    assert_eq!(cut.len(), "away: ".len() + AWAY_TEXT_MAX_BYTES);
}
