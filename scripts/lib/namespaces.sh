# shellcheck shell=bash
# Hosts in network namespaces; sourced. Names contain the script's process id, so that only own
# namespaces and their processes are ended.

namespaces=()

# namespaces_possible: whether this user may create namespaces here.
namespaces_possible() {
    [ "$(id -u)" -eq 0 ] && ip netns add "p2p-try-$$" 2>/dev/null && ip netns del "p2p-try-$$"
}

# namespace NAME: creates a namespace with loopback up.
namespace() {
    ip netns add "$1"
    namespaces+=("$1")
    ip -n "$1" link set lo up
}

# lone_host NAME ADDRESS/BITS: creates a host whose eth0 leads nowhere; programs on it reach each
# other. The other end of its cable gets no address, or each program would hear itself and all
# others on both ends.
lone_host() {
    namespace "$1"
    ip link add eth0 netns "$1" type veth peer name cable netns "$1"
    ip -n "$1" addr add "$2" brd + dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" link set cable addrgenmode none up
}

# switch NAME: creates a bridge to connect hosts to.
switch() {
    namespace "$1"
    ip -n "$1" link add br0 type bridge mcast_snooping 0
    ip -n "$1" link set br0 up
}

# host NAME ADDRESS/BITS SWITCH PORT: creates a host whose eth0 is connected to the switch; PORT
# names the switch's interface.
host() {
    namespace "$1"
    ip link add eth0 netns "$1" type veth peer name "$4" netns "$3"
    ip -n "$3" link set "$4" master br0 up
    ip -n "$1" addr add "$2" brd + dev eth0
    ip -n "$1" link set eth0 up
}

# namespaces_down: ends the processes that still run in the namespaces, by pid, and deletes the
# namespaces. Safe to call twice.
namespaces_down() {
    local name pids signal
    for name in "${namespaces[@]}"; do
        for signal in TERM KILL; do
            for _ in $(seq 30); do
                pids=$(ip netns pids "$name" 2>/dev/null) || pids=
                [ -n "$pids" ] || break 2
                # shellcheck disable=SC2086  # each word is a pid
                kill -s "$signal" $pids 2>/dev/null || true
                sleep 0.1
            done
        done
        ip netns del "$name" 2>/dev/null || true
    done
    namespaces=()
}
