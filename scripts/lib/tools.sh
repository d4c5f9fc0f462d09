# shellcheck shell=bash
# Installs missing tools from Debian's packages; sourced.

# ip, nft and mosquitto are here, and not every user has these in PATH.
PATH="$PATH:/usr/sbin:/sbin"

# need COMMAND:PACKAGE…: installs the packages of missing commands, or of missing files whose paths
# are given; returns 1 with the reason on stderr if that fails.
need() {
    local pair packages=() as_root=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing: ${packages[*]}; install them as root: apt-get install ${packages[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing ${packages[*]}" >&2
    "${as_root[@]}" apt-get update -qq >&2 || true
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >&2; then
        echo "could not install ${packages[*]}" >&2
        return 1
    fi
}
