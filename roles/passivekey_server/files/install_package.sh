# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# PYTHON REQUIREMENT MARK: the environment /opt/passivekey, which sees the system's packages, and in it the package; /opt/passivekey/installed says which.
set -eu
umask 022
cd /opt/passivekey
[ -x bin/python3 ] || "$1" -m venv --without-pip --system-site-packages .
# Debian's pip for environments (python3-pip-whl) runs from its wheel: in half the time that it takes to put it into this one.
set -- "$2" "$3" /usr/share/python-wheels/pip-*.whl
case $1 in
    /*) offline=--no-index ;;
    *) offline= ;;
esac
PYTHONPATH=$3 bin/python3 -m pip install --quiet --no-deps --force-reinstall ${offline:+"$offline"} "$1"
bin/passivekey --help > /dev/null
printf %s "$2" > installed.new
mv installed.new installed
for wheel in ./*.whl; do
    [ "./${1##*/}" = "$wheel" ] || rm -f "$wheel"
done
