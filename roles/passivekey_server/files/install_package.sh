# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# PYTHON REQUIREMENT MARK: the environment /opt/passivekey, which sees the system's packages, and in it the package; /opt/passivekey/installed says which.
set -eu
umask 022
cd /opt/passivekey
[ -x bin/pip ] || "$1" -m venv --system-site-packages .
case $2 in
    /*) bin/pip install --quiet --no-index --no-deps --force-reinstall "$2" ;;
    *) bin/pip install --quiet --no-deps --force-reinstall "$2" ;;
esac
bin/passivekey --help > /dev/null
printf %s "$3" > installed.new
mv installed.new installed
for wheel in ./*.whl; do
    [ "./${2##*/}" = "$wheel" ] || rm -f "$wheel"
done
