# shellcheck shell=bash
# To be read by scripts that need packages of Debian's.

# need_packages PURPOSE PACKAGE...: installs what is missing where that can be done without asking anybody.
need_packages() {
    local purpose=$1 missing=() package
    shift
    for package in "$@"; do
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return
    fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$0: $purpose needs Debian's packages ${missing[*]}, and only root can install them" >&2
        return 1
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends install "${missing[@]}"
}
