#!/usr/bin/env python3
"""Makes the notary-* vectors anew: make_notary.py VECTORS TOOLS, where TOOLS holds notation 1.3 and docker-registry; openssl is taken
from the PATH. VECTORS/image must be there.

One server plays the time-stamping authority (openssl ts), the OCSP responder (openssl ocsp) and the place of the revocation list
(openssl ca). notation signs against it, and then verifies at level strict, before and after its leaf is revoked: what it says is
asserted here, and the tests assert that we say the same. Keys are made afresh and thrown away.
"""
import base64, http.server, json, os, shutil, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

OUT, TOOLS = (os.path.abspath(argument) for argument in sys.argv[1:3])
WORK = tempfile.mkdtemp(prefix="vectors-")
HOST, REPO, SERVICES = "127.0.0.1:15055", "team/app", "127.0.0.1:15058"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"

CONFIG = f"""[req]
distinguished_name=dn
[dn]
[root]
basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign,cRLSign
[leaf]
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
crlDistributionPoints=URI:http://{SERVICES}/ca.crl
authorityInfoAccess=OCSP;URI:http://{SERVICES}/ocsp
[stamp]
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping
[responder]
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=OCSPSigning
noCheck=ignored
[tsa]
default_tsa=authority
[authority]
serial={WORK}/tsa.serial
crypto_device=builtin
signer_cert={WORK}/stamp.pem
certs={WORK}/tsa-root.pem
signer_key={WORK}/stamp.key
signer_digest=sha256
default_policy=1.2.3.4.1
digests=sha256,sha384,sha512
accuracy=secs:1
ess_cert_id_chain=no
ess_cert_id_alg=sha256
[ca]
default_ca=issuer
[issuer]
database={WORK}/index.txt
crlnumber={WORK}/crlnumber
default_md=sha256
default_crl_days=9000
crl_extensions=crl
[crl]
authorityKeyIdentifier=keyid:always
"""


def save(path, data):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(name, data):
    with open(f"{WORK}/{name}", "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def run(*command, fails=False):
    environment = {**os.environ, "HOME": f"{WORK}/home", "XDG_CONFIG_HOME": f"{WORK}/home/.config", "XDG_CACHE_HOME": f"{WORK}/home/.cache"}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=WORK)
    if (done.returncode != 0) != fails:
        sys.exit(f"{' '.join(command)}: {done.returncode} {done.stdout.decode()} {done.stderr.decode()}")
    return done.stdout


def certificate(name, section, title, issuer, serial):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    subject = f"/C=DE/ST=Berlin/O=Acme/CN={title}"
    if issuer is None:
        run("openssl", "req", "-x509", "-new", "-key", f"{name}.key", "-subj", subject, "-days", "9000", "-config", "openssl.cnf",
            "-extensions", section, "-set_serial", str(serial), "-out", f"{name}.pem")
    else:
        run("openssl", "req", "-new", "-key", f"{name}.key", "-subj", subject, "-config", "openssl.cnf", "-out", f"{name}.csr")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-set_serial", str(serial),
            "-days", "9000", "-extfile", "openssl.cnf", "-extensions", section, "-out", f"{name}.pem")


def ocsp(query):
    write("query.der", query)
    run("openssl", "ocsp", "-index", "index.txt", "-CA", "root.pem", "-rsigner", "responder.pem", "-rkey", "responder.key", "-reqin",
        "query.der", "-respout", "answer.der", "-ndays", "9000")
    return read(f"{WORK}/answer.der")


def revocation_list():
    run("openssl", "ca", "-config", "openssl.cnf", "-name", "issuer", "-gencrl", "-keyfile", "root.key", "-cert", "root.pem", "-out", "ca.pem")
    return run("openssl", "crl", "-in", "ca.pem", "-outform", "DER")


class Services(http.server.BaseHTTPRequestHandler):
    def answer(self, body, media_type):
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/ca.crl":
            return self.answer(revocation_list(), "application/pkix-crl")
        self.answer(ocsp(base64.b64decode(urllib.parse.unquote(self.path.removeprefix("/ocsp/")))), "application/ocsp-response")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/ocsp"):
            return self.answer(ocsp(body), "application/ocsp-response")
        write("stamp.tsq", body)
        run("openssl", "ts", "-reply", "-config", "openssl.cnf", "-section", "authority", "-queryfile", "stamp.tsq", "-out", "stamp.tsr")
        self.answer(read(f"{WORK}/stamp.tsr"), "application/timestamp-reply")

    def log_message(self, *_):
        pass


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
    import hashlib
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data, "application/octet-stream")


def push_image():
    for architecture in ["amd64", "arm64"]:
        for number in range(2):
            put_blob(f"{architecture} layer {number}".encode())
        put_blob(read(f"{OUT}/image/config-{architecture}.json"))
        request("PUT", f"http://{HOST}/v2/{REPO}/manifests/{architecture}", read(f"{OUT}/image/manifest-{architecture}.json"), MANIFEST)
    answer = request("PUT", f"http://{HOST}/v2/{REPO}/manifests/v1", read(f"{OUT}/image/index.json"), INDEX)
    return answer.headers["Docker-Content-Digest"]


def referrers(subject):
    try:
        return [entry["digest"] for entry in json.loads(get(f"manifests/{subject.replace(':', '-')}"))["manifests"]]
    except urllib.error.HTTPError:
        return []


def index(leaf):
    write("index.txt", f"V\t490101000000Z\t\t02\tunknown\t/CN=other\n{leaf}\t03\tunknown\t/C=DE/ST=Berlin/O=Acme/CN=Release Managers\n")


def make():
    write("openssl.cnf", CONFIG)
    write("tsa.serial", "01")
    write("crlnumber", "01")
    index("V\t490101000000Z\t")
    certificate("root", "root", "Root", None, 1)
    certificate("leaf", "leaf", "Release Managers", "root", 3)
    certificate("responder", "responder", "Responder", "root", 4)
    certificate("tsa-root", "root", "Time Root", None, 5)
    certificate("stamp", "stamp", "Time", "tsa-root", 6)
    write("chain.pem", read(f"{WORK}/leaf.pem") + read(f"{WORK}/root.pem"))
    folder = f"{WORK}/home/.config/notation"
    for kind, name in [("ca", "root"), ("tsa", "tsa-root")]:
        os.makedirs(f"{folder}/truststore/x509/{kind}/acme")
        shutil.copy(f"{WORK}/{name}.pem", f"{folder}/truststore/x509/{kind}/acme/{name}.pem")
        save(f"notary/x509/{kind}/acme/{name}.pem", read(f"{WORK}/{name}.pem"))
    write("home/.config/notation/signingkeys.json", json.dumps({"default": "leaf", "keys": [
        {"name": "leaf", "keyPath": f"{WORK}/leaf.key", "certPath": f"{WORK}/chain.pem"}]}))
    policy = json.dumps({"version": "1.0", "trustPolicies": [{
        "name": "acme", "registryScopes": [f"{HOST}/{REPO}"], "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme", "tsa:acme"], "trustedIdentities": ["x509.subject: C=DE, ST=Berlin, O=Acme, CN=Release Managers"]}]})
    write("home/.config/notation/trustpolicy.json", policy)
    save("notary/trustpolicy.json", policy.encode())
    image = push_image()
    for form in ["jws", "cose"]:
        before = referrers(image)
        run(f"{TOOLS}/notation", "sign", "--key", "leaf", "--signature-format", form, "--insecure-registry", "--timestamp-url",
            f"http://{SERVICES}/tsa", "--timestamp-root-cert", f"{WORK}/tsa-root.pem", f"{HOST}/{REPO}@{image}")
        new, = (entry for entry in referrers(image) if entry not in before)
        manifest = get(f"manifests/{new}")
        save(f"notary-{form}/manifest.json", manifest)
        save(f"notary-{form}/layer-0", get(f"blobs/{json.loads(manifest)['layers'][0]['digest']}"))
    run("openssl", "ocsp", "-issuer", "root.pem", "-cert", "leaf.pem", "-no_nonce", "-reqout", "asked.der")
    asked = read(f"{WORK}/asked.der")
    verify = (f"{TOOLS}/notation", "verify", "--insecure-registry", f"{HOST}/{REPO}@{image}")
    run(*verify)
    save("notary/good.ocsp", ocsp(asked))
    save("notary/good.crl", revocation_list())
    index("R\t490101000000Z\t260101000000Z,keyCompromise")
    shutil.rmtree(f"{WORK}/home/.cache", ignore_errors=True)
    run(*verify, fails=True)
    save("notary/revoked.ocsp", ocsp(asked))
    save("notary/revoked.crl", revocation_list())
    # A second, so that nothing above is from the future.
    save("notary/made", str(int(time.time()) + 1).encode())


def main():
    os.makedirs(f"{WORK}/home")
    write("registry.yml", f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {WORK}/registry}}, delete: {{enabled: true}}}}\n"
          f"http: {{addr: {HOST}}}\nlog: {{level: error}}\n")
    registry = subprocess.Popen([f"{TOOLS}/docker-registry", "serve", f"{WORK}/registry.yml"])
    host, port = SERVICES.split(":")
    services = http.server.HTTPServer((host, int(port)), Services)
    threading.Thread(target=services.serve_forever, daemon=True).start()
    try:
        time.sleep(1)
        make()
    finally:
        services.shutdown()
        registry.terminate()
        registry.wait()
        shutil.rmtree(WORK)


main()
