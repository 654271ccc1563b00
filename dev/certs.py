"""Certificates for the development SMTP server and its tests: certs.py FOLDER SYSTEM_BUNDLE

ca.pem            the authority
bundle.pem        the system's authorities and this one: the SSL_CERT_FILE under which Odoo runs
server.pem/.key   valid for localhost, 127.0.0.1, ::1 and mail.demo.test
otherhost.*       valid, but for another host
expired.*         for the right host, but no longer valid
unknown.*         for the right host, but signed by an authority that nobody trusts
"""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
HERE = ["localhost", "mail.demo.test", "127.0.0.1", "::1"]


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject, issuer, public_key, start, end):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def make_authority(name):
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        (
            "digital_signature content_commitment key_encipherment data_encipherment "
            "key_agreement key_cert_sign crl_sign encipher_only decipher_only"
        ).split(),
        False,
    )
    usage.update(key_cert_sign=True, crl_sign=True)
    cert = (
        _builder(_name(name), _name(name), key.public_key(), NOW - 2 * 365 * DAY, NOW + 10 * 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return cert, key


def make_certificate(authority, hosts, start=NOW - DAY, end=NOW + 10 * 365 * DAY):
    ca_cert, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    cert = (
        _builder(_name(hosts[0]), ca_cert.subject, key.public_key(), start, end)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        # Python 3.13 verifies strictly, and insists on this one
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return cert, key


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def store(folder, name, pair):
    cert, key = pair
    (folder / f"{name}.pem").write_bytes(pem(cert))
    path = folder / f"{name}.key"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def main(folder, system_bundle):
    folder, system_bundle = pathlib.Path(folder), pathlib.Path(system_bundle)
    folder.mkdir(parents=True)
    # The authority's own key is not kept: nobody can sign anything else with it.
    authority = make_authority("dunning_mail development authority")
    (folder / "ca.pem").write_bytes(pem(authority[0]))
    system = system_bundle.read_bytes() if system_bundle.is_file() else b""
    (folder / "bundle.pem").write_bytes(system + b"\n" + pem(authority[0]))
    store(folder, "server", make_certificate(authority, HERE))
    store(folder, "otherhost", make_certificate(authority, ["mail.elsewhere.test"]))
    store(folder, "expired", make_certificate(authority, HERE, NOW - 400 * DAY, NOW - 10 * DAY))
    store(folder, "unknown", make_certificate(make_authority("an authority that nobody trusts"), HERE))


if __name__ == "__main__":
    main(*sys.argv[1:])
