# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# In the folder of the generations: `next` becomes GENERATION and `current`, by one rename; all but the generation before are removed.
set -eu
generation=$1
before=$(readlink current || true)
rm -rf "$generation"
mv -T next "$generation"
ln -sfn "$generation" .current
mv -T .current current
for old in *; do
    case $old in
        current | "$generation" | "$before") ;;
        [0-9a-f][0-9a-f][0-9a-f][0-9a-f]*) [ "${#old}" -ne 16 ] || rm -rf "$old" ;;
    esac
done
