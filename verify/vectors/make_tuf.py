#!/usr/bin/env python3
"""Makes tuf-python/, a TUF repository by the reference implementation: pip install tuf==6.0.0 'securesystemslib[crypto]'.

Two roots (the second rotates one root key and the timestamp's), then targets, snapshot and timestamp of version 2. One root key
each is ECDSA P-256, Ed25519 and RSA. The private keys are never written.
"""

import copy
import os
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tuf-python")
EXPIRES = datetime(2100, 1, 1, tzinfo=timezone.utc)


def main():
    os.makedirs(os.path.join(OUT, "targets"), exist_ok=True)
    roots = [CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ed25519(), CryptoSigner.generate_rsa()]
    newcomer = CryptoSigner.generate_ecdsa()
    old_timestamp, timestamp = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa()
    snapshot, targets = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa()

    first = Root(expires=EXPIRES, consistent_snapshot=True)
    for signer in roots:
        first.add_key(signer.public_key, "root")
    first.roles["root"].threshold = 2
    first.add_key(old_timestamp.public_key, "timestamp")
    first.add_key(snapshot.public_key, "snapshot")
    first.add_key(targets.public_key, "targets")
    write("1.root.json", first, [roots[0], roots[2]])

    second = copy.deepcopy(first)
    second.version = 2
    second.revoke_key(roots[0].public_key.keyid, "root")
    second.add_key(newcomer.public_key, "root")
    second.revoke_key(old_timestamp.public_key.keyid, "timestamp")
    second.add_key(timestamp.public_key, "timestamp")
    write("2.root.json", second, [roots[1], roots[2]])

    source = os.path.join(HERE, "keyless", "trusted_root.json")
    target = TargetFile.from_file("trusted_root.json", source, ["sha256", "sha512"])
    for name in target.get_prefixed_paths():
        if name.split(".")[0] == target.hashes["sha256"]:
            with open(source, "rb") as read, open(os.path.join(OUT, "targets", name), "wb") as out:
                out.write(read.read())
    listed = write("2.targets.json", Targets(version=2, expires=EXPIRES, targets={"trusted_root.json": target}), [targets])
    meta = {"targets.json": MetaFile.from_data(2, listed, ["sha256", "sha512"])}
    listed = write("2.snapshot.json", Snapshot(version=2, expires=EXPIRES, meta=meta), [snapshot])
    pin = MetaFile.from_data(2, listed, ["sha256"])
    write("timestamp.json", Timestamp(version=2, expires=EXPIRES, snapshot_meta=pin), [timestamp])


def write(name, content, signers):
    metadata = Metadata(content)
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes(JSONSerializer(compact=False))
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
    return data


main()
