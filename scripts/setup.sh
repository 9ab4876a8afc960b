#!/usr/bin/env bash
# Makes .venv from nothing: the workflow, its tools and the demo trainers, in the versions of constraints.txt.
# Does nothing where that was done already, and starts again from nothing where it was interrupted, the
# pins changed or the folder was moved. `setup.sh slurm-native` makes .venv-slurm-native instead, with Snakemake's
# official Slurm executor: every Snakemake loads each executor that is installed beside it. `setup.sh plugin` makes
# .venv-plugin, with our executor plugin and what its tests need, without trainrelay; `setup.sh docs` .venv-docs, with
# what builds the site.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
what=${1:-all}
venv=.venv
if [[ $what != all ]]; then
  venv=.venv-$what
fi
stamp=$venv/.ready

# Where .venv is active, python3 is its own: half made, perhaps, and about to be removed.
PATH=${PATH//"$PWD/$venv/bin:"/}
PATH=${PATH//"$(pwd -P)/$venv/bin:"/}

refuse() {
  echo "set-up: $1" >&2
  exit 2
}

require_python() {
  command -v "$python" >/dev/null ||
    refuse "there is no $python here. Install Python 3.11 or newer, or type: make setup PYTHON=/path/to/python3.11"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    refuse "$python is $("$python" --version 2>&1), but 3.11 or newer is needed. Type: make setup PYTHON=python3.11"
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    refuse "$python cannot make virtual environments. On Debian and Ubuntu type: sudo apt-get install python3-venv"
}

# Everything that .venv was made from; the folder too, because a virtual environment cannot be moved.
# Of pyproject.toml only what pip reads: other settings change nothing in .venv.
ingredients() {
  pwd
  "$python" -c '
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
print(sys.version, sys.base_prefix, project["build-system"], project["project"], project["tool"]["hatch"])'
  cat constraints.txt scripts/setup.sh plugin/pyproject.toml
}

# The constraints bind what builds a package as well as what is installed, which pip tells apart since
# version 25. They are named by a relative path: pip splits these variables at spaces.
pip_install() {
  PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
    "$venv/bin/python" -m pip install -qq --no-input --disable-pip-version-check "$@" ||
    refuse "pip failed, see above; PIP_VERBOSE=2 in front of the command shows more. The next set-up starts from nothing."
}

# trainrelay itself, as the files of this folder, with the extras named. pip writes the folder into a .pth
# file, and an umlaut there stops Python 3.11 wherever the locale is C; a relative path is plain ASCII.
install_trainrelay() {
  pip_install -e ".[$1]"
  printf '../../../../%s\n' workflow/src plugin/src |
    tee "$venv"/lib/python*/site-packages/_editable_impl_trainrelay.pth >/dev/null
}

step() {
  echo "set-up $1 (${SECONDS} s so far)"
}

require_python
wanted=$(ingredients | sha256sum)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

if [[ $what == slurm-native ]]; then
  echo "set-up: making $venv for Snakemake's official Slurm executor"
  "$python" -m venv --clear "$venv"
  install_trainrelay slurm-native
  echo "$wanted" >"$stamp"
  exit 0
fi

if [[ $what == plugin ]]; then
  echo "set-up: making $venv with the executor plugin alone"
  "$python" -m venv --clear "$venv"
  pip_install "./plugin[test]"
  echo "$wanted" >"$stamp"
  exit 0
fi

if [[ $what == docs ]]; then
  echo "set-up: making $venv with what builds the site"
  "$python" -m venv --clear "$venv"
  pip_install mkdocs-material
  echo "$wanted" >"$stamp"
  exit 0
fi

echo "set-up: making $venv with $("$python" --version), one to three minutes plus the download (about 300 MB)"
step "1/4: an empty virtual environment"
"$python" -m venv --clear "$venv"
step "2/4: Snakemake, the trainrelay library and the tools that test it"
install_trainrelay dev
step "3/4: PyTorch and what else the demo trainers need"
install_trainrelay demo-base,dev
step "4/4: mmcv-full, built from source without its compiled operators"
pip_install --no-deps mmcv-full
# Caches written at a first import: mmcv's yapf does it not at once, and ranks that start together would read half
# of it.
"$venv/bin/python" -c 'import mmcv' || refuse "mmcv cannot be imported, see above"
echo "$wanted" >"$stamp"
echo "set-up: done in ${SECONDS} s; 'make clean' removes it"
