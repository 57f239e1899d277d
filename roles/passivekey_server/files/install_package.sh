# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# PYTHON REQUIREMENT MARK: the environment /opt/passivekey, which sees the system's packages, and in it the package; /opt/passivekey/installed says which.
set -eu
umask 022
cd /opt/passivekey
# One that was made for another Python (the release of the host was upgraded) sees nothing of this one's packages.
version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(readlink -f bin/python3)" != "$(readlink -f "$1")" ] || [ ! -d "lib/python$version" ]; then
    rm -rf bin include lib lib64 pyvenv.cfg installed
    "$1" -m venv --without-pip --system-site-packages .
fi
# Debian's pip for environments (python3-pip-whl) runs from its wheel: in half the time that it takes to put it into this one.
set -- "$2" "$3" /usr/share/python-wheels/pip-*.whl
pip=$3
put() {
    case $1 in
        /*) offline=--no-index ;;
        *) offline= ;;
    esac
    PYTHONPATH=$pip bin/python3 -m pip install --quiet --no-deps --force-reinstall ${offline:+"$offline"} "$1" && bin/passivekey --help > /dev/null
}
if ! put "$1"; then
    for before in wheels/*/*.whl; do
        if [ -f "$before" ] && [ -f installed ] && [ "/opt/passivekey/$before" != "$1" ]; then
            put "/opt/passivekey/$before" && echo "$1 cannot be installed; $before is in place as before." >&2
        fi
    done
    exit 1
fi
printf %s "$2" > installed.new
mv installed.new installed
rm -f ./*.whl
for other in wheels/*; do
    [ "/opt/passivekey/$other" = "${1%/*}" ] || rm -rf "$other"
done
