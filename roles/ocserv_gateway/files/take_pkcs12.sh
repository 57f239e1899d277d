# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# given.p12 in this folder, passphrase in $PASSPHRASE: becomes key.pem, cert.pem (with its chain) and the mark `given`.
set -eu
umask 077
open() { openssl pkcs12 -in given.p12 -passin env:PASSPHRASE "$@"; }
open -nocerts -noenc -out all.pem
openssl pkey -in all.pem -out key.pem
open -clcerts -nokeys -out all.pem
openssl x509 -in all.pem -out cert.new
open -cacerts -nokeys -out all.pem
sed -n '/-BEGIN/,/-END/p' all.pem >> cert.new
sha256sum given.p12 | cut -c1-64 > given
mv cert.new cert.pem
rm all.pem given.p12
