#!/usr/bin/env bash
# Runs the tests on another Python, in a copy of this tree: tests/pythons/run.sh VERSION|lowest
#
# For the versions that a Debian release carries this makes a root of that release with debootstrap and works in
# it, as root. For any other version, or with ROOT_FROM=none, it takes the machine's own pythonVERSION, or $PYTHON.
# "lowest" takes python3 with the lowest version of everything that pyproject.toml allows.
#
# SELECT is pytest's -m, JOBS its -n, TORCH pip's arguments for torch alone. Copies and roots are kept in $WORK.
set -euo pipefail
version=$1
here=$(cd "$(dirname "$0")/../.." && pwd)
work=${WORK:-/var/tmp/bitnet-sweep-pythons}
fail() { echo "test-python: $*" >&2; exit 2; }

case ${ROOT_FROM:-debian}-$version in
    debian-3.11) release=bookworm ;;
    debian-3.13) release=trixie ;;
    *) release= ;;
esac

if [ -n "$release" ]; then
    [ "$(id -u)" = 0 ] || fail "a Debian root is made as root; ROOT_FROM=none takes the machine's python$version"
    command -v debootstrap > /dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends debootstrap; }
    # in a mount namespace of its own: the mounts end with it, so nothing removed later can reach through them
    [ -n "${OWN_MOUNTS:-}" ] || OWN_MOUNTS=1 exec unshare --mount --propagation private "$0" "$@"
    root=$work/$release
    if [ ! -e "$root/.complete" ]; then
        rm -rf "$root"
        mkdir -p "$work"
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,git,make "$release" "$root"
        touch "$root/.complete"
    fi
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # pip's configuration with what it names on this machine: certificates, folders of wheels
    python3 -m pip config list | { grep -oE "/[^' ]+" || true; } | sed -E 's,^/+,/,' | while read -r path; do
        if [ -d "$path" ]; then mkdir -p "$root${path%/*}" && mount --rbind "${path%/*}" "$root${path%/*}"; fi
        if [ -f "$path" ]; then cp --parents "$path" "$root"; fi
    done
    for path in /etc/pip.conf /etc/xdg/pip ~/.config/pip ~/.pip /etc/resolv.conf; do
        if [ -e "$path" ]; then cp -RL --parents "$path" "$root"; fi
    done
    python=python3
    tree=$root/tree
    inside() { chroot "$root" sh -c 'cd /tree && exec "$@"' - "$@"; }
else
    name=python$version
    [ "$version" = lowest ] && name=python3
    python=${PYTHON:-$name}
    "$python" --version > /dev/null || fail "no $python here; say where it is: PYTHON=/path/to/$name"
    tree=$work/$version
    inside() { (cd "$tree" && "$@"); }
fi

rm -rf "$tree"
mkdir -p "$tree"
(cd "$here" && git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=-) |
    tar --extract --no-same-owner --directory "$tree"
constraints=constraints.txt
if [ "$version" = lowest ]; then
    constraints="constraints-lowest.txt"
    python3 "$here/tests/pythons/lowest.py" > "$tree/$constraints"
fi

inside "$python" -m venv .venv
# shellcheck disable=SC2086 # TORCH is several words
inside .venv/bin/pip install --quiet --no-deps --constraint $constraints ${TORCH:-} torch
python3 "$here/tests/pythons/cpu_torch.py" "$tree/.venv"
inside .venv/bin/pip install --quiet --constraint $constraints --editable '.[gpt2,dashboard,dev]'
inside .venv/bin/python -m pytest -n "${JOBS:-2}" --dist worksteal -m "${SELECT:-not system}"
