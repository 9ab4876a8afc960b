#!/usr/bin/env bash
# What the tests use beyond Python: a browser that opens the report. Installs it (Debian, Ubuntu) only with
# --install or on a CI machine (CI=true); else says in one line which tests will be skipped.
set -euo pipefail

browser() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# Other programs may be installing at this moment: wait for them up to five minutes.
install_browser() {
  echo "system packages: installing chromium, about a minute"
  as_root apt-get -o DPkg::Lock::Timeout=300 -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends chromium >/dev/null
}

if browser >/dev/null; then
  exit 0
elif [[ ${1:-} == --install ]]; then
  install_browser
elif [[ ${CI:-} == true ]] && command -v apt-get >/dev/null; then
  install_browser || echo "system packages: chromium could not be installed, its tests will be skipped" >&2
else
  echo "system packages: no chromium here, the tests that open the report in a browser will be skipped (make system-packages installs it)"
fi
