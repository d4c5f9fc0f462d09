//! What a person at the terminal sees of the talk of others.
use crate::alice_and_bob;
use crate::hosts::program::TIMEOUT;

/// The bell rings for a direct message and for the own name, and for nothing else; with
/// `--no-bell` it never does.
#[test]
fn the_bell_rings_for_direct_messages_and_mentions() {
    for (arguments, rings) in [(&[][..], true), (&["--no-bell"], false)] {
        let Some((lo, mut alice, mut bob)) = alice_and_bob(arguments) else {
            return;
        };
        let bells = || alice.pty.with_screen(|screen| screen.bells);
        bob.say("nothing for anyone, malice");
        alice.pty.wait_row("malice");
        assert_eq!(bells(), 0);
        bob.say("look, Alice!");
        alice.pty.wait_row("look, Alice!");
        assert_eq!(bells(), usize::from(rings));
        alice.pty.with_screen(|screen| {
            assert!(
                screen.styles.iter().any(|style| style == "7"),
                "{:?}",
                screen.styles
            );
            screen.bells = 0;
        });
        // Two rings are at least a second apart.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let send = lo.spawn("bob", &["send", "-t", "@alice", "psst"]);
        alice.pty.wait_row("] bob → you: psst");
        assert_eq!(bells(), usize::from(rings));
        send.out.wait_end(TIMEOUT);
        alice.pty.type_keys("/msg bob hush\r");
        alice.pty.wait_row("] you → bob: hush");
        bob.out.wait_for(TIMEOUT, |line| line.ends_with(": hush"));
        assert_eq!(bells(), usize::from(rings));
        alice.pty.type_keys("/quit\r");
        alice.assert_exit(0);
    }
}
