# What the programs of tools/ share: messages, Debian packages, the virtual environment. To be sourced by bash.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What the agent needs to run (setup.cfg's install_requires, as Debian names them).
run_packages="python3 python3-cliff python3-os-collect-config python3-psutil python3-requests python3-tenacity python3-yaml"
venv_packages="python3-setuptools python3-venv python3-wheel"

say() { printf '%s\n' "$*" >&2; }
die() {
    say "${0##*/}: $*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "must be root: it installs packages and starts servers; call it with sudo"
    command -v apt-get >/dev/null || die "wants a Debian 12 or a machine like it (apt-get is not there)"
}

# missing_packages NAME... : those that are not installed, one a line
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
    done
}

# A package must not start its daemon: tests start their own servers on ports of their own, and stop them.
policy=/usr/sbin/policy-rc.d
policy_mark="# For the time of a tools/ program of swagent only."

policy_restore() {
    if [ -e "$policy.before" ]; then
        mv -f "$policy.before" "$policy"
    elif grep -qsF "$policy_mark" "$policy"; then
        rm -f "$policy"
    fi
}

policy_hold() {
    policy_restore # what a killed call left
    if [ -e "$policy" ]; then
        cp -a "$policy" "$policy.before"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy.new"
    chmod 0755 "$policy.new"
    mv -f "$policy.new" "$policy"
}

# install_packages NAME... : with apt-get, those that are missing, without starting any daemon; one caller at a time
install_packages() (
    exec 9>/run/lock/swagent-packages.lock
    flock 9
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || exit 0
    say "installing with apt-get: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    trap policy_restore EXIT
    trap 'exit 1' INT TERM
    policy_hold
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || "${apt[@]}" update
    install=("${apt[@]}" install --no-install-recommends "${missing[@]}")
    # 9>&-: nothing that apt leaves running may hold the lock.
    if ! "${install[@]}" >/tmp/swagent-apt.log 2>&1 9>&-; then
        "${apt[@]}" update # the lists may be too old for the files that they name
        "${install[@]}" >/tmp/swagent-apt.log 2>&1 9>&- || { tail -n 20 /tmp/swagent-apt.log >&2; exit 1; }
    fi
    mapfile -t missing < <(missing_packages "${missing[@]}")
    [ ${#missing[@]} = 0 ] || die "apt-get did not install ${missing[*]}; see /tmp/swagent-apt.log"
)

# make_venv : .venv in the checkout, on the system's Python and its packages, with `swagent` in its bin
make_venv() {
    local venv=$checkout/.venv
    if [ ! -x "$venv/bin/swagent" ] || [ "$checkout/setup.cfg" -nt "$venv/bin/swagent" ] ||
        ! (cd / && "$venv/bin/python" -c "import swagent; assert swagent.__file__ == '$checkout/swagent/__init__.py'") 2>/dev/null; then
        say "making $venv"
        rm -rf "$venv"
        /usr/bin/python3 -m venv --system-site-packages "$venv"
        "$venv/bin/pip" install --quiet --no-index --no-build-isolation --no-deps --editable "$checkout"
    fi
}
