// keyless_services.js PORT FOLDER: a public Sigstore (certificate authority with a transparency log, Rekor) on PORT, and a private one
// (authority without a log, time-stamping authority), as GitHub has for private repositories, on PORT + 1. By @sigstore/mock 0.12.1;
// FOLDER gets their certificates and keys, and `root.json` and `private.json`, the roots of trust.
'use strict';
require('reflect-metadata');
const crypto = require('crypto'), fs = require('fs'), http = require('http'), path = require('path');
const mock = require('@sigstore/mock'), x509 = require('@peculiar/x509');

const port = Number(process.argv[2]), folder = process.argv[3];
const pair = () => crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const spki = (keys) => keys.publicKey.export({ format: 'der', type: 'spki' });
const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest();
const save = (name, text) => fs.writeFileSync(path.join(folder, name), text);
const pem = (label, der) => `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n').trim()}\n-----END ${label}-----\n`;
const since = { start: '2024-01-01T00:00:00Z' };

const log = (url, keys) => ({
  baseUrl: url, hashAlgorithm: 'SHA2_256',
  publicKey: { rawBytes: spki(keys).toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor: since },
  logId: { keyId: sha256(spki(keys)).toString('base64') },
});
const authority = (url, ...certificates) => ({
  subject: { organization: 'sigstore.mock', commonName: 'sigstore' }, uri: url,
  certChain: { certificates: certificates.map((der) => ({ rawBytes: Buffer.from(der).toString('base64') })) },
  validFor: since,
});

// What clients post differs from what the mock reads: cosign and Python's client send the token in a header,
// Python's a request for a certificate instead of a key, and the log keeps the
// canonical form of an envelope rather than the proposal.
function certificateRequest(body, headers) {
  const request = JSON.parse(body);
  request.credentials ??= { oidcIdentityToken: (headers.authorization ?? '').replace(/^Bearer /, '') };
  if (request.certificateSigningRequest) {
    const pem = Buffer.from(request.certificateSigningRequest, 'base64').toString();
    request.publicKeyRequest = { publicKey: { algorithm: 'ECDSA', content: new x509.Pkcs10CertificateRequest(pem).publicKey.toString('pem') } };
  }
  return JSON.stringify(request);
}

// The older interface, which cosign 2 speaks: a key as PEM in base64 goes in, PEM comes out.
function olderFulcio(fulcio) {
  return { path: '/api/v1/signingCert', fn: async (body) => {
    const request = JSON.parse(body);
    request.publicKeyRequest = { publicKey: { algorithm: 'ECDSA', content: Buffer.from(request.publicKey.content, 'base64').toString() } };
    const answer = await fulcio.fn(JSON.stringify(request));
    if (answer.statusCode !== 201) return answer;
    const { chain } = Object.values(JSON.parse(answer.response))[0];
    return { statusCode: 201, contentType: 'application/pem-certificate-chain', response: chain.certificates.map((one) => one.trim()).join('\n') + '\n' };
  } };
}

function canonical(entry) {
  if (entry.kind !== 'dsse' || !entry.spec.proposedContent) return entry;
  const { envelope, verifiers } = entry.spec.proposedContent;
  const { payload, signatures } = JSON.parse(envelope);
  const hash = (bytes) => ({ algorithm: 'sha256', value: sha256(bytes).toString('hex') });
  return { apiVersion: entry.apiVersion, kind: 'dsse', spec: {
    envelopeHash: hash(envelope), payloadHash: hash(Buffer.from(payload, 'base64')),
    signatures: signatures.map(({ sig }, at) => ({ signature: sig, verifier: verifiers[at] })),
  } };
}

function serve(at, handlers) {
  http.createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', async () => {
      const where = request.url.split('?')[0];
      const handler = handlers.find(({ path }) => path === where);
      if (!handler) { response.statusCode = 404; return response.end(); }
      const isCertificate = where.endsWith('signingCert');
      const body = Buffer.concat(pieces);
      const answer = await handler.fn(isCertificate ? certificateRequest(body, request.headers) : body.toString());
      if (answer.statusCode >= 400) console.error(where, answer.statusCode, String(answer.response));
      if (where.endsWith('/entries') && answer.statusCode === 201) {
        const [id] = Object.keys(JSON.parse(answer.response));
        response.setHeader('ETag', id);
        response.setHeader('Location', `${where}/${id}`);
      }
      // The newer interface answers 200, the older one 201.
      response.writeHead(where.startsWith('/api/v2') && isCertificate && answer.statusCode === 201 ? 200 : answer.statusCode, { 'Content-Type': answer.contentType ?? 'text/plain' });
      response.end(answer.response);
    });
  }).listen(at, '127.0.0.1');
}

async function main() {
  const url = `http://127.0.0.1:${port}`, privateUrl = `http://127.0.0.1:${port + 1}`;
  const [ctKeys, rekorKeys] = [pair(), pair()];
  const ca = await mock.initializeCA(pair(), await mock.initializeCTLog(ctKeys));
  const rekor = await mock.initializeTLog(url, rekorKeys);
  serve(port, [mock.fulcioHandler(ca), olderFulcio(mock.fulcioHandler(ca)), mock.rekorHandler({ log: (entry) => rekor.log(canonical(entry)) })]);
  const privateCa = await mock.initializeCA(pair());
  const tsa = await mock.initializeTSA(pair());
  const stamps = mock.tsaHandler(tsa);
  serve(port + 1, [mock.fulcioHandler(privateCa), stamps]);

  const mediaType = 'application/vnd.dev.sigstore.trustedroot+json;version=0.1';
  const root = { mediaType, tlogs: [log(url, rekorKeys)], certificateAuthorities: [authority(url, ca.rootCertificate)], ctlogs: [log(`${url}/ct`, ctKeys)], timestampAuthorities: [] };
  const config = { mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [{ url, majorApiVersion: 1, validFor: since, operator: 'acme' }],
    oidcUrls: [{ url: 'https://token.ci.example', majorApiVersion: 1, validFor: since, operator: 'acme' }],
    rekorTlogUrls: [{ url, majorApiVersion: 1, validFor: since, operator: 'acme' }], tsaUrls: [],
    rekorTlogConfig: { selector: 'ANY' }, tsaConfig: { selector: 'ANY' } };
  save('root.json', JSON.stringify(root));
  save('config.json', JSON.stringify(config));
  save('trust.json', JSON.stringify({ mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json', trustedRoot: root, signingConfig: config }));
  save('private.json', JSON.stringify({ mediaType, tlogs: [], ctlogs: [],
    certificateAuthorities: [authority(privateUrl, privateCa.rootCertificate)],
    timestampAuthorities: [authority(`${privateUrl}${stamps.path}`, ...[tsa.intCertificate, tsa.rootCertificate])] }));
  save('fulcio.pem', pem('CERTIFICATE', ca.rootCertificate));
  save('rekor.pub', pem('PUBLIC KEY', spki(rekorKeys)));
  save('ct.pub', pem('PUBLIC KEY', spki(ctKeys)));
  save('stamps.path', stamps.path);
  save('up', '');
}

main();
