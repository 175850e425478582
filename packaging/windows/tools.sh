# For build, check and agency: finds a Python, and the tools each of them names, or installs them with apt where it may. Sourced.
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd -- "$here/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# need COMMAND=PACKAGE…: what is missing is installed by root, named to others
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing ${missing[*]}"
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}"; } >&2 \
      || die "apt-get could not install ${missing[*]}"
  else
    die "these packages are needed:  sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
}

find_python() {
  local name
  for name in "${VIDCONF_PYTHON:-python3}" python3.13 python3.12 python3.11; do
    command -v "$name" >/dev/null 2>&1 || continue
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v "$name"; return 0; fi
  done
  die "Python 3.11 or newer is needed:  sudo apt-get install python3 python3-venv"
}

# The build's own Python environment, with the pinned uv; PATH begins with it from here on.
tools_environment() {
  local python folder="$checkout/.cache/windows-tools"
  python=$(find_python)
  if ! cmp -s "$here/tools.lock" "$folder/tools.lock"; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need never-there=python3-venv
    say "preparing the build's tools"
    rm -rf "$folder"
    "$python" -m venv "$folder" || die "no Python environment could be made"
    "$folder/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes -r "$here/tools.lock" >&2 || die "uv could not be installed"
    cp "$here/tools.lock" "$folder/tools.lock"
  fi
  PATH="$folder/bin:$PATH"
  export PATH
}
