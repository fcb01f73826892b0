#!/usr/bin/env python3
"""Makes the keyless-* vectors anew: make_keyless.py VECTORS TOOLS NODE_MODULES SIGSTORE, where TOOLS holds cosign 3.1 in bin/ and cosign 2.5
in cosign-2/, NODE_MODULES @sigstore/mock 0.12.1 and @sigstore/sign 4.1 (`npm install` in an empty folder; node 20), and SIGSTORE is the
program of Python's sigstore 4.5 (`pip install` into a venv; `-` makes keyless-unpackable alone). VECTORS/image must be there.

Every signature is made against the services of keyless_services.js; the keys of all of them are thrown away.
"""
import base64, hashlib, io, json, os, shutil, subprocess, sys, tarfile, tempfile, time, urllib.error, urllib.request

OUT, TOOLS, MODULES, SIGSTORE = (os.path.abspath(argument) for argument in sys.argv[1:5])
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = tempfile.mkdtemp(prefix="vectors-")
HOST, REPO, PORT = "127.0.0.1:15057", "team/app", 15061
PUBLIC, PRIVATE = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + 1}"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
IDENTITY, ISSUER = "https://ci.example/acme/app/release.yml@refs/tags/v1", "https://token.ci.example"
WORKFLOW = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
FILE = b"a file of some length"
# What GitHub's tokens say, which Fulcio writes into extensions of the certificate.
GITHUB = {
    "event_name": "push", "sha": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c", "workflow": "release", "repository": "acme/app", "ref": "refs/tags/v1",
    "job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/tags/v1", "job_workflow_sha": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c",
    "runner_environment": "github-hosted", "repository_id": "4711", "repository_owner": "acme", "repository_owner_id": "815",
    "workflow_ref": "acme/app/.github/workflows/release.yml@refs/tags/v1", "workflow_sha": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c",
    "run_id": "42", "run_attempt": "1", "repository_visibility": "private",
}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def token(subject, issuer, **claims):
    encode = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    now = int(time.time())
    body = {"iss": issuer, "sub": subject, "aud": "sigstore", "iat": now - 5, "nbf": now - 5, "exp": now + 600, **claims}
    return ".".join([encode(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "x"}).encode()), encode(json.dumps(body).encode()), encode(b"unread" * 8)])


def request(method, path, data=None, media_type=None):
    query = urllib.request.Request(path if path.startswith("http") else f"http://{HOST}/v2/{REPO}/{path}", data=data, method=method)
    query.add_header("Accept", f"{MANIFEST}, {INDEX}, */*")
    if media_type:
        query.add_header("Content-Type", media_type)
    return urllib.request.urlopen(query)


def put_blob(data):
    place = request("POST", "blobs/uploads/", b"").headers["Location"]
    request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(data)}", data, "application/octet-stream")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def save(path, data):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def save_artifact(name, reference):
    manifest = request("GET", f"manifests/{reference}").read()
    save(f"{name}/manifest.json", manifest)
    for number, layer in enumerate(json.loads(manifest)["layers"]):
        save(f"{name}/layer-{number}", request("GET", f"blobs/{layer['digest']}").read())


def run(*command, **variables):
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": WORK, "NODE_PATH": MODULES, **variables}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=WORK)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout.decode()} {done.stderr.decode()}")
    return done.stdout


def push_image():
    for architecture in ["amd64", "arm64"]:
        for blob in [f"{architecture} layer 0".encode(), f"{architecture} layer 1".encode(), read(f"{OUT}/image/config-{architecture}.json")]:
            put_blob(blob)
        manifest = read(f"{OUT}/image/manifest-{architecture}.json")
        request("PUT", f"manifests/{digest(manifest)}", manifest, MANIFEST)
    index = read(f"{OUT}/image/index.json")
    request("PUT", "manifests/v1", index, INDEX)
    return digest(index)


def statement(index):
    return json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": f"{HOST}/{REPO}", "digest": {"sha256": index.split(":")[1]}}],
                       "predicateType": "https://slsa.dev/provenance/v1", "predicate": {
                           "buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1",
                                               "externalParameters": {"workflow": {"ref": "refs/tags/v1", "repository": "https://github.com/acme/app",
                                                                                   "path": ".github/workflows/release.yml"}},
                                               "internalParameters": {"github": {"event_name": "push", "repository_id": "4711", "repository_owner_id": "815",
                                                                                 "runner_environment": "github-hosted"}},
                                               "resolvedDependencies": [{"uri": "git+https://github.com/acme/app@refs/tags/v1",
                                                                         "digest": {"gitCommit": GITHUB["sha"]}}]},
                           "runDetails": {"builder": {"id": WORKFLOW},
                                          "metadata": {"invocationId": "https://github.com/acme/app/actions/runs/42/attempts/1"}}}}).encode()


def referrers(subject):
    try:
        return [entry["digest"] for entry in json.loads(request("GET", f"manifests/{subject.replace(':', '-')}").read())["manifests"]]
    except urllib.error.HTTPError:
        return []


def sign_images(index):
    image, who = f"{HOST}/{REPO}@{index}", token(IDENTITY, ISSUER)
    run(f"{TOOLS}/bin/cosign", "sign", "--identity-token", who, "--signing-config", "config.json", "--trusted-root", "root.json", "--allow-http-registry",
        "-y", image)
    new, = referrers(index)
    save_artifact("keyless-cosign-3", new)
    older = {"SIGSTORE_ROOT_FILE": "fulcio.pem", "SIGSTORE_REKOR_PUBLIC_KEY": "rekor.pub", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": "ct.pub"}
    options = ["--identity-token", token(IDENTITY, ISSUER), "--fulcio-url", PUBLIC, "--rekor-url", PUBLIC, "--allow-http-registry", "-y"]
    run(f"{TOOLS}/cosign-2/cosign", "sign", *options, image, **older)
    save_artifact("keyless-cosign-2", f"{index.replace(':', '-')}.sig")
    with open(f"{WORK}/predicate.json", "w") as file:
        file.write('{"reviewed":true}')
    run(f"{TOOLS}/cosign-2/cosign", "attest", *options, "--predicate", "predicate.json", image, **older)
    save_artifact("keyless-cosign-2-attest", f"{index.replace(':', '-')}.att")


def sign_files(index):
    for name, data in [("file", FILE), ("statement", statement(index))]:
        with open(f"{WORK}/{name}", "wb") as file:
            file.write(data)
    def javascript(name, fulcio, kind, by, where, who, file):
        run("node", f"{HERE}/keyless_sign.js", fulcio, kind, by, where, who, file, "bundle.json")
        save(f"keyless-files/{name}.json", read(f"{WORK}/bundle.json"))
    who = lambda: token(IDENTITY, ISSUER)
    javascript("sigstore-js-message", PUBLIC, "message", "REKOR", PUBLIC, who(), "file")
    javascript("sigstore-js-statement", PUBLIC, "statement", "REKOR", PUBLIC, who(), "statement")
    workflow = token(WORKFLOW, "https://token.actions.githubusercontent.com", **GITHUB)
    javascript("github-private", PRIVATE, "statement", "TSA", PRIVATE, workflow, "statement")
    run(f"{TOOLS}/bin/cosign", "sign-blob", "--identity-token", who(), "--signing-config", "config.json", "--trusted-root", "root.json", "--bundle",
        "bundle.json", "-y", "file")
    save("keyless-files/cosign-3-message.json", read(f"{WORK}/bundle.json"))
    common = [SIGSTORE, "--trust-config", "trust.json"]
    run(*common, "sign", "--identity-token", who(), "--bundle", "python.json", "--overwrite", "file")
    save("keyless-files/sigstore-python-message.json", read(f"{WORK}/python.json"))
    with open(f"{WORK}/predicate.json", "wb") as file:
        file.write(json.dumps(json.loads(statement(index))["predicate"]).encode())
    run(*common, "attest", "--identity-token", who(), "--predicate", "predicate.json", "--predicate-type", "https://slsa.dev/provenance/v1", "--bundle",
        "attested.json", "--overwrite", "file")
    save("keyless-files/sigstore-python-statement.json", read(f"{WORK}/attested.json"))
    save("keyless-files/file", FILE)


def sign_unpackable():
    """An image that containerd can unpack, with the bundle of cosign 3 and the root of trust that it leads to."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = len(FILE)
        archive.addfile(entry, io.BytesIO(FILE))
    layer = layer.getvalue()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}).encode()
    describe = lambda media_type, data: {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": digest(data), "size": len(data)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": describe("config.v1+json", config),
                           "layers": [describe("layer.v1.tar", layer)]}).encode()
    for blob in [layer, config]:
        put_blob(blob)
    request("PUT", "manifests/unpackable", manifest, MANIFEST)
    run(f"{TOOLS}/bin/cosign", "sign", "--identity-token", token(IDENTITY, ISSUER), "--signing-config", "config.json", "--trusted-root", "root.json",
        "--allow-http-registry", "-y", f"{HOST}/{REPO}@{digest(manifest)}")
    new, = referrers(digest(manifest))
    save_artifact("keyless-unpackable/signature", new)
    for name, data in [("layer.tar", layer), ("config.json", config), ("manifest.json", manifest), ("root.json", read(f"{WORK}/root.json"))]:
        save(f"keyless-unpackable/{name}", data)


def main():
    with open(f"{WORK}/registry.yml", "w") as file:
        file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {WORK}/registry}}}}\nhttp: {{addr: {HOST}}}\nlog: {{level: error}}\n")
    registry = subprocess.Popen([f"{TOOLS}/bin/docker-registry", "serve", f"{WORK}/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    services = subprocess.Popen(["node", f"{HERE}/keyless_services.js", str(PORT), WORK], env={**os.environ, "NODE_PATH": MODULES})
    try:
        while not os.path.exists(f"{WORK}/up"):
            time.sleep(0.1)
        time.sleep(1)
        sign_unpackable()
        if sys.argv[4] == "-":
            return
        index = push_image()
        for name in ["root.json", "private.json"]:
            save(f"keyless-files/{name}", read(f"{WORK}/{name}"))
        sign_images(index)
        sign_files(index)
        save("keyless-files/made", str(int(time.time()) + 1).encode())
    finally:
        for process in [services, registry]:
            process.terminate()
            process.wait()
        shutil.rmtree(WORK)


main()
