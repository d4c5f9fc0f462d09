//! The texts that `-h` and `-V` print.

/// The usage text. It fits two screens of 80 columns and 24 lines.
pub const USAGE_TEXT: &str = "\
p2pchat [OPTIONS]                chat; on pipes: say stdin, print the transcript
p2pchat send [OPTIONS] [TEXT…]   say TEXT, or stdin, and wait until it arrived
p2pchat listen [OPTIONS]         print the transcript; stdin is not read
p2pchat peers | history | trust  who is here | stored lines | who has which key
p2pchat sync                     exchange all lines with those who are here
p2pchat whoami [--qr] | keygen   print name, id, code | a new network secret
p2pchat invite | join CODE       hand the network secret to a newcomer | get it

-u, --username NAME      your name ($P2PCHAT_USERNAME, $USER, $LOGNAME, host)
-p, --port PORT          TCP port (9999, else any free one); 0: any free one
-m, --multicast A[:P]    beacon group (224.0.0.1:9999), or none      --no-mdns
-r, --room ROOM          room, repeatable; you speak in the first (#general)
-t, --to TARGET          send to a peer (@NAME) or '#ROOM'; history: only this
    --peer HOST[:PORT]   a peer to dial, or its code  --nat  open a port outside
    --interface NAME     only this; repeatable   --lsnp, --go-room: other guests
    --secret-file FILE   network secret ($P2PCHAT_SECRET_FILE)  --lsnp-room ROOM
    --dir DIR            state (~/.local/state/p2pchat)  --scan CIDR|own  --dht
    --ephemeral          state in memory only  --lossy  mend UTF-8  --grape URL
    --json               JSON lines in and out    --color auto|always|never
-F, --format FORMAT      print lines so: %T time %r room %n name %i id %m text
                         %s sequence %% \\n \\t \\0; no line end of its own
-n, --count N            listen: stop after N lines; history: the last N
    --since T --search T history: since 2026-11-21, or 2h ago; with this text
    --from NAME          print only lines of NAME  --match REGEX  with a match
    --expect FILE        peers: who must be here, a name or id a line; else 75
-W, --wait SECONDS       wait for delivery (10), listen, look for peers (2)
    --as NAME            listen: as the reader NAME, which prints each line once
    --drain              listen: print what came since the last run, and end
    --seek end|start     listen: skip all stored lines | print them all, first
    --interval SECONDS   longest between two beacons (10)  --patience SECONDS
                         how long a silent peer counts as here (28)
    --backlog N          first print N old lines  --need N  N peers must hold it
    --no-echo            hide own lines    --commands  obey piped lines with /
    --history-direct     recall typed direct messages after a restart, too
-q, --quiet  -d, --debug  -h, --help  -V, --version  --dht-bootstrap HOST:PORT
";

/// The program's name and version, one line.
pub const VERSION_LINE: &str = concat!("p2pchat ", env!("CARGO_PKG_VERSION"), "\n");
