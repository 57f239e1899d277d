#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What a Windows host has that was installed and joined, but has no role yet. Runs on the domain controller:
#   ca1.sh certificate PKI FOLDER FQDN ADDRESS    FOLDER/winrm.key, winrm.pem: WinRM's TLS, issued by the lab's root;
#                                                 *.crl: the offline root's CRL, which somebody has put into CertEnroll
#   ca1.sh keytab FOLDER ACCOUNT                  FOLDER/ca1.keytab: the computer account's keys
set -eu
umask 077
what=$1
shift
case $what in
certificate)
    pki=$1 folder=$2 name=$3 address=$4
    mkdir -p "$folder"
    printf '[req]\ndistinguished_name = name\nprompt = no\ndefault_md = sha256\n[name]\n' > "$folder/openssl.cnf"
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$folder/winrm.key"
    openssl req -x509 -config "$folder/openssl.cnf" -key "$folder/winrm.key" -out "$folder/winrm.pem" -subj "/CN=$name" -days 3650 \
        -CA "$pki/root-ca.pem" -CAkey "$pki/root-ca.key" -addext basicConstraints=critical,CA:false \
        -addext keyUsage=critical,digitalSignature,keyEncipherment -addext extendedKeyUsage=serverAuth \
        -addext subjectKeyIdentifier=hash -addext authorityKeyIdentifier=keyid \
        -addext "subjectAltName=DNS:$name,DNS:${name%%.*},IP:$address"
    rm "$folder/openssl.cnf"
    cp "$pki/root-ca.crl" "$folder/Corp Example Root CA.crl"
    ;;
keytab)
    samba-tool domain exportkeytab "$1/ca1.keytab" --principal="$2"
    ;;
esac
