#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine ready and creates .venv; `make` runs it. Installs only what
# is missing, and says so. PYTHON=python3.12 chooses the interpreter, VENV the folder; arguments
# are further commands to have, as COMMAND or COMMAND:PACKAGE where the names differ.
set -euo pipefail

venv=${VENV:-.venv}
newest_first=(python3.13 python3.12 python3.11 python3)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Some version managers put a `python3.12` on PATH that only prints an error: run it to know.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-"${newest_first[@]}"}; do
    if is_new_enough "$name"; then command -v "$name"; return; fi
  done
}

# pyfuse3 has no wheel: it is compiled against libfuse and the headers of this very Python.
has_headers() {
  "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

need_python() {
  die "hffs needs Python 3.11 or newer, found $("${PYTHON:-python3}" -V 2>/dev/null || echo none): install one with its venv and dev packages (python3.11 python3.11-venv python3.11-dev), or say \`make PYTHON=/path/to/python3\`"
}

# Debian names the parts of an interpreter after it: python3-venv, python3.12-dev.
missing_packages() {
  local python=$1 base=python3 tool
  shift
  for tool in "$@"; do command -v "${tool%:*}" >/dev/null || echo "${tool#*:}"; done
  command -v fusermount3 >/dev/null || echo fuse3
  command -v gcc >/dev/null || echo gcc
  [ -e /usr/include/stdlib.h ] || echo libc6-dev
  command -v pkg-config >/dev/null || echo pkg-config
  pkg-config --exists fuse3 2>/dev/null || echo libfuse3-dev
  if [ -z "$python" ]; then echo python3 python3-venv python3-dev; return; fi
  case $python in /usr/bin/python3.*) base=$(basename "$python") ;; esac
  has_venv "$python" || echo "$base-venv"
  has_headers "$python" || echo "$base-dev"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
  command -v apt-get >/dev/null || die "no apt-get here: install $* (or their like), then run this again"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "not root and no sudo: have root install $*"
  say "installing $*"
  local log
  log=$(mktemp)
  if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "apt-get could not install $* (the whole log: $log)"
  fi
  rm -f "$log"
}

if [ -x "$venv/bin/python" ]; then
  is_new_enough "$venv/bin/python" || die "$venv has a Python older than 3.11: remove $venv and run this again"
  python=$(command -v "$venv/bin/python")
else
  python=$(find_python)
  # A machine without any gets the distribution's; one with an old Python only would stay as it is.
  if [ -z "$python" ] && { [ -n "${PYTHON:-}" ] || command -v python3 >/dev/null; }; then need_python; fi
fi

mapfile -t missing < <(missing_packages "$python" "$@" | tr ' ' '\n')
if [ ${#missing[@]} -gt 0 ]; then install "${missing[@]}"; fi

if [ ! -x "$venv/bin/python" ]; then
  python=${python:-$(find_python)}
  [ -n "$python" ] || need_python
  say "creating $venv with $("$python" -V)"
  "$python" -m venv "$venv"
fi
