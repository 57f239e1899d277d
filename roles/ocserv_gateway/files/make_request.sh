# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# SUBJECT NAMES GENPKEY-OPTIONS...: key.pem and request.pem in this folder, `asked` says for which subject. The request is there last.
set -eu
umask 077
subject=$1 names=$2
shift 2
openssl genpkey -quiet "$@" -out key.new
openssl req -new -sha256 -batch -utf8 -config /dev/null -key key.new -subj "$subject" -addext "subjectAltName=$names" \
    -addext keyUsage=critical,digitalSignature,keyEncipherment -addext extendedKeyUsage=serverAuth -out request.new
printf %s "$subject" | sha256sum | cut -c1-64 | tr -d '\n' > asked
mv key.new key.pem
mv request.new request.pem
