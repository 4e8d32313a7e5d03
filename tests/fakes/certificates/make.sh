#!/bin/sh
# Makes the certificates of the TLS tests anew, beside this script; each leaf's file holds its key too.
# They are for tests only and protect nothing.
set -eu
cd "$(dirname "$0")"
# All in the past and the far future, so that the tests run whatever a machine's clock says.
NOW=20200101000000Z LATER=21200101000000Z

sign() { # name, extensions, further arguments of openssl ca
    name=$1 extensions=$2
    shift 2
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n%b\n' "$extensions" >ca.cnf
    : >index.txt
    openssl ca -batch -config ca.cnf -in "$name.csr" -out "$name.pem" -notext "$@"
    rm -f "$name.csr" ca.cnf index.txt* ./[0-9A-F][0-9A-F]*.pem
}
authority() { # name
    sign "$1" 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash' \
        -selfsign -keyfile "$1.key" -startdate $NOW -enddate $LATER
}
leaf() { # name, authority, subject alternative name, the last day
    sign "$1" "subjectAltName=$3\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid" \
        -cert "$2.pem" -keyfile "$2.key" -startdate $NOW -enddate "$4"
    cat "$1.key" >>"$1.pem"
    rm "$1.key"
}

authority fleet-ca
authority strange-ca
leaf node fleet-ca IP:127.0.0.1,DNS:localhost $LATER
leaf gateway fleet-ca DNS:gateway $LATER
leaf elsewhere fleet-ca IP:10.9.9.9 $LATER
leaf expired fleet-ca IP:127.0.0.1 20210101000000Z
leaf stranger strange-ca IP:127.0.0.1 $LATER
rm fleet-ca.key strange-ca.key
