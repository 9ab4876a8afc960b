#!/usr/bin/env bash
# What the tests use beyond Python: a browser that opens the report, and Slurm with all that it needs.
# Installs it (Debian, Ubuntu) only with --install or on a CI machine (CI=true); else says in one line which
# tests will be skipped. One of the two alone: system-packages.sh [--install] browser|slurm
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

slurm_packages=(slurm-wlm slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
slurm_programs=(munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sbatch srun sacct sacctmgr)

browser() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

slurm() {
  local program
  for program in "${slurm_programs[@]}"; do command -v "$program" || return; done
}

# A configuration that is no link into a rig of ours (tests/slurm/rig): this machine belongs to a cluster.
cluster_of_its_own() {
  local conf
  for conf in /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf; do
    if [[ -e $conf && ! -e $(dirname "$(readlink -f "$conf")")/rig.json ]]; then return 0; fi
  done
  return 1
}

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# Other programs may be installing at this moment: wait for them up to five minutes.
install_packages() {
  as_root apt-get -o DPkg::Lock::Timeout=300 -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "$@" >/dev/null
}

install_browser() {
  echo "system packages: installing chromium, about a minute"
  install_packages chromium
}

# Debian starts each service that it installs, and systemd starts it again after a reboot; the rig wants the
# programs alone. A policy that is there already is the machine owner's and stays.
policy=/usr/sbin/policy-rc.d
policy_mark='# made by scripts/system-packages.sh of trainrelay, for the moment of an installation'

forbid_services() {
  if [[ ! -e $policy ]] || grep -qxF "$policy_mark" "$policy"; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" | as_root install -m 755 /dev/stdin "$policy"
  fi
}

services_to_come() {
  local pair
  for pair in munge:munge mariadb-server:mariadb slurmdbd:slurmdbd slurmctld:slurmctld slurmd:slurmd; do
    dpkg-query -W "${pair%:*}" >/dev/null 2>&1 || echo "${pair#*:}"
  done
}

install_slurm() {
  echo "system packages: installing Slurm, munge and MariaDB, about half a minute; no service is started"
  local services
  mapfile -t services < <(services_to_come)
  forbid_services
  install_packages "${slurm_packages[@]}" || return
  if [[ -d /run/systemd/system && ${#services[@]} -gt 0 ]]; then
    as_root systemctl --quiet disable "${services[@]}"
  fi
}

# provide WHAT NAME SKIPPED: installs it where it is missing and may be installed, else says what is skipped.
provide() {
  if "$1" >/dev/null; then
    return 0
  elif [[ $install == yes ]]; then
    "install_$1"
  elif [[ ${CI:-} == true ]] && command -v apt-get >/dev/null; then
    "install_$1" || echo "system packages: $2 could not be installed" >&2
  else
    echo "system packages: no $2 here, $3 will be skipped (make system-packages installs it)"
  fi
}

provide_browser() {
  provide browser chromium "the tests that open the report in a browser"
}

provide_slurm() {
  if cluster_of_its_own; then
    echo "system packages: this machine has its own Slurm configuration and is left alone"
  else
    provide slurm Slurm "the tests on a real Slurm"
  fi
}

install=no
if [[ ${1:-} == --install ]]; then
  install=yes
  shift
fi

if [[ $# -eq 0 ]]; then set -- browser slurm; fi
for what in "$@"; do "provide_$what"; done
