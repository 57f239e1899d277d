#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The certificates of the lab, made inside a host (OpenSSL 3.4 or newer, for -not_before and -not_after): pki.sh FOLDER DOMAIN DC=ADDRESS...
set -eu
folder=$1 domain=$2
shift 2
mkdir -p "$folder/odd"
cd "$folder"
umask 077

cat > openssl.cnf <<END
[req]
distinguished_name = name
prompt = no
default_md = sha256
[name]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issuing]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
# The web server is there where ca1 is.
crlDistributionPoints = web
[web]
fullname = URI:http://ca1.$domain/CertEnroll/Corp%20Example%20Root%20CA.crl
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
END
base=$(echo "$domain" | tr . '\n' | tac | sed 's,^,/DC=,' | tr -d '\n')

# certificate FILE COMMON-NAME EXTENSIONS ISSUER|self RSA-BITS [options]
certificate() {
    file=$1 name=$2 extensions=$3 issuer=$4 bits=$5
    shift 5
    [ "$issuer" = self ] || set -- -CA "$issuer.pem" -CAkey "$issuer.key" "$@"
    openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "$file.key"
    openssl req -x509 -config openssl.cnf -key "$file.key" -out "$file.pem" -subj "$base/CN=$name" -extensions "$extensions" "$@"
    openssl x509 -in "$file.pem" -outform DER -out "$file.cer"
}

certificate root-ca "Corp Example Root CA" ca self 3072 -days 7300
# The offline root's CRL, which a person would carry into the directory and to a web server.
cat > crl.cnf <<END
[ca]
default_ca = root
[root]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 365
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid
END
: > index.txt
echo 01 > crlnumber
openssl ca -config crl.cnf -gencrl -cert root-ca.pem -keyfile root-ca.key -out root-ca.crl.pem
openssl crl -in root-ca.crl.pem -outform DER -out root-ca.crl
rm -f crl.cnf index.txt* crlnumber* root-ca.crl.pem
certificate issuing-ca "Corp Example Issuing CA" issuing root-ca 2048 -days 3650
certificate vpn-ca "Corp Example VPN CA" issuing root-ca 2048 -days 3650
certificate rogue-ca "Totally Trustworthy CA" ca self 2048 -days 3650
certificate odd/expired-ca "Corp Example Old Root CA" ca self 2048 -not_before 20100101000000Z -not_after 20200101000000Z
certificate odd/future-ca "Corp Example Next Root CA" ca self 2048 -not_before 20700101000000Z -not_after 20900101000000Z
certificate odd/weak-ca "Corp Example 1024 Bit CA" ca self 1024 -days 3650
certificate odd/sha1-ca "Corp Example SHA-1 CA" ca self 2048 -days 3650 -sha1
certificate odd/leaf "Nobody In Particular" leaf issuing-ca 2048 -days 3650
head -c 700 /dev/urandom > odd/garbage.cer
head -c 300 issuing-ca.cer > odd/truncated.cer
cat root-ca.pem > ca-bundle.pem
cat issuing-ca.pem root-ca.pem > chain.pem

for pair in "$@"; do
    host=${pair%%=*} address=${pair#*=}
    cat >> openssl.cnf <<END
[$host]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature, keyEncipherment
# server, client, smart card logon, PKINIT KDC
extendedKeyUsage = serverAuth, clientAuth, 1.3.6.1.4.1.311.20.2.2, 1.3.6.1.5.2.3.5
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:$host.$domain, DNS:$domain, IP:$address
END
    certificate "$host" "$host.$domain" "$host" issuing-ca 2048 -days 3650
    cat issuing-ca.pem >> "$host.pem"
done
rm openssl.cnf
