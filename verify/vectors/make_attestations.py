#!/usr/bin/env python3
"""Makes the attestation vectors anew: make_attestations.py OUT TOOLS, where OUT holds `image/` and TOOLS cosign 3.1 and docker-registry.

The key is made afresh and thrown away, so the result differs each time in every byte that it touches.
"""
import hashlib, json, os, shutil, subprocess, sys, tempfile, time, urllib.request

OUT, TOOLS = (os.path.abspath(argument) for argument in sys.argv[1:3])
WORK = tempfile.mkdtemp(prefix="vectors-")
HOST, REPO = "127.0.0.1:15056", "team/app"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

MATERIAL = {"uri": "git+https://git.example/acme/app@refs/tags/v1", "digest": {"sha1": "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c"}}
SARIF = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [
    {"tool": {"driver": {"name": "scanner", "version": "1.0"}},
     "results": [{"ruleId": "CVE-2026-0001", "level": "error", "message": {"text": "busybox"}},
                 {"ruleId": "CVE-2026-0002", "message": {"text": "zlib"}}]}]}
PREDICATES = {
    "slsaprovenance": {"builder": {"id": "https://ci.example/builder"}, "buildType": "https://ci.example/make@v1",
                       "invocation": {"configSource": {**MATERIAL, "entryPoint": "Makefile"}, "parameters": {"target": "all"}},
                       "metadata": {"buildInvocationId": "4711", "buildStartedOn": "2026-11-22T10:00:00Z", "buildFinishedOn": "2026-11-22T10:05:00Z",
                                    "completeness": {"parameters": True, "environment": False, "materials": True}, "reproducible": False},
                       "materials": [MATERIAL]},
    "slsaprovenance1": {"buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1",
                                            "externalParameters": {"workflow": {"ref": "refs/tags/v1", "repository": "https://git.example/acme/app",
                                                                                "path": ".ci/release.yml"}},
                                            "internalParameters": {"runner": "hosted"}, "resolvedDependencies": [MATERIAL]},
                        "runDetails": {"builder": {"id": "https://ci.example/builder"},
                                       "metadata": {"invocationId": "https://ci.example/runs/4711", "startedOn": "2026-11-22T10:00:00Z"}}},
    "spdxjson": {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "app",
                 "documentNamespace": "https://acme.example/sbom/app", "creationInfo": {"created": "2026-11-22T10:00:00Z", "creators": ["Tool: vectors"]},
                 "packages": [{"SPDXID": "SPDXRef-busybox", "name": "busybox", "versionInfo": "1.36.1", "downloadLocation": "NOASSERTION",
                               "licenseConcluded": "GPL-2.0-only", "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                                                                     "referenceLocator": "pkg:deb/debian/busybox@1.36.1"}]}]},
    "cyclonedx": {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79", "version": 1,
                  "metadata": {"timestamp": "2026-11-22T10:00:00Z"},
                  "components": [{"type": "library", "name": "busybox", "version": "1.36.1", "purl": "pkg:deb/debian/busybox@1.36.1",
                                  "components": [{"type": "library", "name": "ash"}]}],
                  "vulnerabilities": [{"id": "CVE-2026-0001", "ratings": [{"severity": "high", "score": 7.5}],
                                       "analysis": {"state": "not_affected", "justification": "code_not_reachable"}}]},
    "vuln": {"invocation": {"parameters": None, "uri": "", "event_id": "", "builder.id": ""},
             "scanner": {"uri": "pkg:deb/debian/scanner@1.0", "version": "1.0", "db": {"uri": "https://db.example", "version": "7"}, "result": SARIF},
             "metadata": {"scanStartedOn": "2026-11-22T10:00:00Z", "scanFinishedOn": "2026-11-22T10:01:00Z"}},
    "openvex": {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "Acme", "timestamp": "2026-11-22T10:00:00Z",
                "version": 1, "statements": [{"vulnerability": {"name": "CVE-2026-0001"}, "products": [{"@id": "pkg:oci/app"}],
                                              "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}]},
    "custom": {"reviewed": True, "by": ["ann", "bob"]},
    "https://slsa.dev/verification_summary/v1": {
        "verifier": {"id": "https://verifier.example"}, "timeVerified": "2026-11-22T10:00:00Z", "resourceUri": "oci://registry.example/team/app",
        "policy": {"uri": "https://policy.example/1"}, "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"]},
    "https://json.schemastore.org/sarif-2.1.0.json": SARIF,
    "https://acme.example/review/v1": {"reviewed": True},
}
NAMES = {"https://slsa.dev/verification_summary/v1": "summary", "https://json.schemastore.org/sarif-2.1.0.json": "sarif",
         "https://acme.example/review/v1": "other"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


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
    with open(os.path.join(OUT, path), "rb") as file:
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


def run(*command):
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": WORK}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=WORK)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return done.stdout


def push_image():
    for architecture in ["amd64", "arm64"]:
        for blob in [f"{architecture} layer 0".encode(), f"{architecture} layer 1".encode(), read(f"image/config-{architecture}.json")]:
            put_blob(blob)
        manifest = read(f"image/manifest-{architecture}.json")
        request("PUT", f"manifests/{digest(manifest)}", manifest, MANIFEST)
    index = read("image/index.json")
    request("PUT", "manifests/v1", index, INDEX)
    return digest(index)


def referrers(subject):
    try:
        return [entry["digest"] for entry in json.loads(request("GET", f"manifests/{subject.replace(':', '-')}").read())["manifests"]]
    except urllib.error.HTTPError:
        return []


def main():
    with open(f"{WORK}/registry.yml", "w") as file:
        file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {WORK}/registry}}}}\nhttp: {{addr: {HOST}}}\nlog: {{level: error}}\n")
    with open(f"{WORK}/services.json", "w") as file:
        file.write('{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}')
    registry = subprocess.Popen([f"{TOOLS}/docker-registry", "serve", f"{WORK}/registry.yml"])
    try:
        time.sleep(1)
        index = push_image()
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{WORK}/key.pem")
        save("keys/attester.pub.pem", run("openssl", "pkey", "-in", f"{WORK}/key.pem", "-pubout"))
        run(f"{TOOLS}/cosign", "import-key-pair", "--key", f"{WORK}/key.pem", "--output-key-prefix", f"{WORK}/key")
        attest = [f"{TOOLS}/cosign", "attest", "--key", f"{WORK}/key.key", "--allow-http-registry", "-y"]
        for kind, predicate in PREDICATES.items():
            with open(f"{WORK}/predicate.json", "w") as file:
                json.dump(predicate, file)
            what = ["--type", kind, "--predicate", f"{WORK}/predicate.json", f"{HOST}/{REPO}@{index}"]
            before = referrers(index)
            run(*attest, "--signing-config", f"{WORK}/services.json", *what)
            new, = (entry for entry in referrers(index) if entry not in before)
            save_artifact(f"attest-{NAMES.get(kind, kind)}", new)
            run(*attest, "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", *what)
        save_artifact("attest-legacy", f"{index.replace(':', '-')}.att")
    finally:
        registry.terminate()
        registry.wait()
        shutil.rmtree(WORK)


main()
