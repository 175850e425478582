# What the Debian scripts share: words to the user, apt, the version and date of what is built. Sourced by bash, with `set -euo pipefail`.
# After it: $debian (this folder), $root (the checkout), $SOURCE_DATE_EPOCH (the last commit's date, or what the caller set).
debian=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$debian/../.." && pwd)
program=$(basename -- "$0")

say() { printf '%s: %s\n' "$program" "$*" >&2; }
die() { say "$*"; exit 1; }
wrong() { say "$*"; say "see --help"; exit 2; }

missing_packages() {
  # missing_packages COMMAND-OR-FILE:PACKAGE…  Prints the packages whose command is not on the PATH, or whose file (with a /) is not there.
  local pair what
  for pair in "$@"; do
    what=${pair%%:*}
    case "$what" in
      */*) [ -e "$what" ] || printf '%s\n' "${pair##*:}" ;;
      *) PATH="$PATH:/usr/sbin:/sbin" command -v "$what" >/dev/null 2>&1 || printf '%s\n' "${pair##*:}" ;;
    esac
  done | sort -u
}

need() {
  # need COMMAND-OR-FILE:PACKAGE…  Installs what is missing where we are root; else says the exact command to run, and ends.
  local names
  mapfile -t names < <(missing_packages "$@")
  [ ${#names[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null 2>&1 || die "this needs a Debian or Ubuntu system with: ${names[*]}"
  [ "$(id -u)" = 0 ] || die "some packages are missing. Run:  sudo apt-get install --no-install-recommends -y ${names[*]}"
  say "installing ${names[*]} (apt)"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  "${apt[@]}" install -y --no-install-recommends "${names[@]}" >/dev/null 2>&1 || {
    "${apt[@]}" update >/dev/null
    "${apt[@]}" install -y --no-install-recommends "${names[@]}" >/dev/null
  }
}

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  # A tree without its history is dated by its changelog.
  SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/CHANGELOG.md")
fi
export SOURCE_DATE_EPOCH
export LC_ALL=C.UTF-8 TZ=UTC PYTHONHASHSEED=0
umask 022

tree_version() { python3 "$debian/release.py" version ${1+--version "$1"}; }
