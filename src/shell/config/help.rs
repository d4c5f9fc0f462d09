//! The texts of -h and -V.

/// The usage, which fits a screen of 80 columns and 24 lines.
pub const USAGE_TEXT: &str = "\
p2pchat [OPTIONS]                chat; on pipes: say stdin, print the transcript
p2pchat send [OPTIONS] [TEXT…]   say TEXT, or stdin; wait until it has arrived
p2pchat listen [OPTIONS]         print the transcript; stdin is not read
p2pchat peers | history          who is out there; the stored transcript
p2pchat whoami [--qr]            own name, id, fingerprint and connection code
p2pchat keygen                   a new network secret

-u, --username NAME      your name ($P2PCHAT_USERNAME, $USER, the host name)
-p, --port PORT          TCP port (9999, else any free one); 0: any free one
-m, --multicast A[:P]    beacon group (224.0.0.1:9999); none: no beacon
-r, --room ROOM          room, repeatable; you speak in the first (#general)
-t, --to TARGET          send: a room, or a peer: @NAME, @ID; history: only this
    --peer HOST[:PORT]   a peer to dial, or its connection code; repeatable
    --interface NAME     use this interface only; repeatable
    --secret-file FILE   network secret ($P2PCHAT_SECRET_FILE)
    --dir DIR            where to keep it all (~/.local/state/p2pchat)
    --ephemeral          keep everything in memory only
    --json               JSON lines in and out    --color auto|always|never
-n, --count N            listen: stop after N lines; history: the last N
    --since T --search T history: from 2026-11-21 or 2h ago on; with this text
-W, --wait SECONDS       how long for delivery (10), to listen, for peers (2)
    --backlog N          first print the last N lines    --need N  send: holders
    --no-echo  --commands   not own lines; piped lines with / are commands
-q, --quiet   -d, --debug   -h, --help   -V, --version
";

/// The program's name and version, one line.
pub const VERSION_LINE: &str = concat!("p2pchat ", env!("CARGO_PKG_VERSION"), "\n");
