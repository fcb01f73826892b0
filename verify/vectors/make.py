#!/usr/bin/env python3
"""Makes the vectors anew: make.py OUT TOOLS, where TOOLS holds cosign 3.1, notation 1.3 and docker-registry; openssl is taken from the PATH.

Keys are made afresh and thrown away, so the result differs each time in every byte that a key touches.
"""
import hashlib, json, os, shutil, subprocess, sys, tempfile, time, urllib.error, urllib.request

OUT, TOOLS = (os.path.abspath(argument) for argument in sys.argv[1:3])
WORK = tempfile.mkdtemp(prefix="vectors-")
HOST, REPO = "127.0.0.1:15055", "team/app"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

CERTIFICATES = """[req]
distinguished_name=dn
[dn]
[root]
basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign,cRLSign
[inter]
basicConstraints=critical,CA:true,pathlen:0
keyUsage=critical,keyCertSign,cRLSign
[leaf]
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
"""

EC = lambda curve: ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
RSA = lambda bits: ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"]
KEYS = {"p256": EC("P-256"), "p384": EC("P-384"), "p521": EC("P-521"), "rsa2048": RSA(2048), "rsa3072": RSA(3072),
        "ed25519": ["-algorithm", "ED25519"]}
CHAINS = {"ec256": EC("P-256"), "ec384": EC("P-384"), "ec521": EC("P-521"), "r2048": RSA(2048), "r3072": RSA(3072), "r4096": RSA(4096)}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def request(method, url, data=None, media_type=None):
    query = urllib.request.Request(url, data=data, method=method)
    query.add_header("Accept", f"{MANIFEST}, {INDEX}, */*")
    if media_type:
        query.add_header("Content-Type", media_type)
    return urllib.request.urlopen(query)


def get(path):
    return request("GET", f"http://{HOST}/v2/{REPO}/{path}").read()


def put_blob(data):
    place = request("POST", f"http://{HOST}/v2/{REPO}/blobs/uploads/", b"").headers["Location"]
    request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(data)}", data, "application/octet-stream")


def put_manifest(data, media_type, tag):
    request("PUT", f"http://{HOST}/v2/{REPO}/manifests/{tag}", data, media_type)


def descriptor(media_type, data):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def save(path, data):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def run(*command):
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": f"{WORK}/home", "XDG_CONFIG_HOME": f"{WORK}/home/.config"}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=WORK)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return done.stdout


def make_image():
    entries = []
    for architecture in ["amd64", "arm64"]:
        layers = [f"{architecture} layer {number}".encode() for number in range(2)]
        config = compact({"created": "2026-11-22T00:00:00Z", "architecture": architecture, "os": "linux",
                          "config": {"Env": ["PATH=/bin"], "Labels": {"maintainer": "acme"}},
                          "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}})
        manifest = compact({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config),
                            "layers": [descriptor(LAYER, layer) for layer in layers]})
        for blob in [*layers, config]:
            put_blob(blob)
        put_manifest(manifest, MANIFEST, digest(manifest))
        save(f"image/manifest-{architecture}.json", manifest)
        save(f"image/config-{architecture}.json", config)
        entries.append({**descriptor(MANIFEST, manifest), "platform": {"os": "linux", "architecture": architecture}})
    index = compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    put_manifest(index, INDEX, "v1")
    save("image/index.json", index)
    return digest(index), entries[0]["digest"]


def referrers(subject):
    try:
        return [entry["digest"] for entry in json.loads(get(f"manifests/{subject.replace(':', '-')}"))["manifests"]]
    except urllib.error.HTTPError:
        return []


def save_artifact(name, manifest):
    save(f"{name}/manifest.json", manifest)
    for number, layer in enumerate(json.loads(manifest)["layers"]):
        save(f"{name}/layer-{number}", get(f"blobs/{layer['digest']}"))


def sign(name, subject, *command):
    """Runs a signer and saves the referrer that is new afterwards."""
    before = referrers(subject)
    run(*command, f"{HOST}/{REPO}@{subject}")
    new, = (entry for entry in referrers(subject) if entry not in before)
    save_artifact(name, get(f"manifests/{new}"))


def sign_legacy(name, subject, key, *annotations):
    run(f"{TOOLS}/cosign", "sign", "--key", key, "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false",
        "--allow-http-registry", "-y", *annotations, f"{HOST}/{REPO}@{subject}")
    manifest = get(f"manifests/{subject.replace(':', '-')}.sig")
    save_artifact(name, manifest)
    request("DELETE", f"http://{HOST}/v2/{REPO}/manifests/{digest(manifest)}")


def make_key(name, options):
    run("openssl", "genpkey", *options, "-out", f"{WORK}/{name}.pem")
    save(f"keys/{name}.pub.pem", run("openssl", "pkey", "-in", f"{WORK}/{name}.pem", "-pubout"))
    run(f"{TOOLS}/cosign", "import-key-pair", "--key", f"{WORK}/{name}.pem", "--output-key-prefix", f"{WORK}/{name}-cosign")
    return f"{WORK}/{name}-cosign.key"


def make_chain(name, options):
    config, chain, subject = f"{WORK}/certificates.cnf", b"", "/C=DE/ST=Berlin/O=Acme/CN="
    for serial, (part, issuer, title) in enumerate([("root", None, "Root"), ("inter", "root", "Intermediate"), ("leaf", "inter", "Release Managers")], 1):
        here = f"{WORK}/{name}-{part}"
        run("openssl", "genpkey", *options, "-out", f"{here}.key")
        if issuer is None:
            run("openssl", "req", "-x509", "-new", "-key", f"{here}.key", "-subj", subject + title, "-days", "9000", "-config", config,
                "-extensions", part, "-set_serial", str(serial), "-out", f"{here}.pem")
        else:
            run("openssl", "req", "-new", "-key", f"{here}.key", "-subj", subject + title, "-config", config, "-out", f"{here}.csr")
            run("openssl", "x509", "-req", "-in", f"{here}.csr", "-CA", f"{WORK}/{name}-{issuer}.pem", "-CAkey", f"{WORK}/{name}-{issuer}.key",
                "-set_serial", str(serial), "-days", "9000", "-extfile", config, "-extensions", part, "-out", f"{here}.pem")
        with open(f"{here}.pem", "rb") as file:
            pem = file.read()
        chain = pem + chain
        if part == "root":
            save(f"keys/{name}-root.pem", pem)
    save(f"keys/{name}-chain.pem", chain)
    with open(f"{WORK}/{name}-chain.pem", "wb") as file:
        file.write(chain)
    return {"name": name, "keyPath": f"{WORK}/{name}-leaf.key", "certPath": f"{WORK}/{name}-chain.pem"}


def make_cosign(index, manifest):
    with open(f"{WORK}/services.json", "w") as file:
        file.write('{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}')
    with open(f"{WORK}/predicate.json", "w") as file:
        file.write('{"spdxVersion":"SPDX-2.3"}')
    keys = {name: make_key(name, options) for name, options in KEYS.items()}
    options = ["--signing-config", f"{WORK}/services.json", "--allow-http-registry", "-y"]
    stage = ["-a", "stage=release"]
    for name, key in keys.items():
        sign(f"bundle-{name}", index, f"{TOOLS}/cosign", "sign", "--key", key, *options, *(stage if name == "rsa3072" else []))
        sign_legacy(f"legacy-{name}", index, key, *(stage if name == "p256" else []))
    sign("bundle-p256-manifest", manifest, f"{TOOLS}/cosign", "sign", "--key", keys["p256"], *options)
    sign("attestation-p256", index, f"{TOOLS}/cosign", "attest", "--key", keys["p256"], *options, "--type", "spdxjson", "--predicate",
         f"{WORK}/predicate.json")


def make_notation(index, manifest):
    with open(f"{WORK}/certificates.cnf", "w") as file:
        file.write(CERTIFICATES)
    folder = f"{WORK}/home/.config/notation"
    os.makedirs(folder)
    keys = [make_chain(name, options) for name, options in CHAINS.items()]
    with open(f"{folder}/signingkeys.json", "w") as file:
        json.dump({"default": "ec256", "keys": keys}, file)
    run(f"{TOOLS}/notation", "cert", "generate-test", "selfsigned")
    with open(f"{folder}/localkeys/selfsigned.crt", "rb") as file:
        save("keys/selfsigned.pem", file.read())

    def notation(name, subject, key, form, *options):
        sign(name, subject, f"{TOOLS}/notation", "sign", "--key", key, "--signature-format", form, "--insecure-registry", *options)

    for form in ["jws", "cose"]:
        for key in CHAINS:
            notation(f"notation-{form}-{key}", index, key, form)
        notation(f"notation-{form}-metadata", index, "ec256", form, "-m", "stage=release")
        notation(f"notation-{form}-expiry", index, "ec256", form, "--expiry", "24h")
    notation("notation-jws-manifest", manifest, "ec256", "jws")
    notation("notation-jws-selfsigned", index, "selfsigned", "jws")


def main():
    os.makedirs(f"{WORK}/home")
    with open(f"{WORK}/registry.yml", "w") as file:
        file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {WORK}/registry}}, delete: {{enabled: true}}}}\n"
                   f"http: {{addr: {HOST}}}\nlog: {{level: error}}\n")
    registry = subprocess.Popen([f"{TOOLS}/docker-registry", "serve", f"{WORK}/registry.yml"])
    try:
        time.sleep(1)
        index, manifest = make_image()
        make_cosign(index, manifest)
        make_notation(index, manifest)
    finally:
        registry.terminate()
        registry.wait()
        shutil.rmtree(WORK)


main()
