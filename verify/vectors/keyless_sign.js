// keyless_sign.js FULCIO KIND REKOR|TSA WHERE TOKEN FILE BUNDLE: signs FILE with @sigstore/sign, as a message or (KIND: statement) as an
// envelope, and writes the bundle.
'use strict';
const fs = require('fs');
const { DSSEBundleBuilder, FulcioSigner, MessageSignatureBundleBuilder, RekorWitness, TSAWitness } = require('@sigstore/sign');
const { bundleToJSON } = require('@sigstore/bundle');

const [fulcio, kind, by, where, token, file, out] = process.argv.slice(2);
const signer = new FulcioSigner({ fulcioBaseURL: fulcio, identityProvider: { getToken: async () => token } });
const witnesses = [by === 'REKOR' ? new RekorWitness({ rekorBaseURL: where, entryType: 'dsse' }) : new TSAWitness({ tsaBaseURL: where })];
const builder = kind === 'statement' ? new DSSEBundleBuilder({ signer, witnesses }) : new MessageSignatureBundleBuilder({ signer, witnesses });
const artifact = { data: fs.readFileSync(file), type: kind === 'statement' ? 'application/vnd.in-toto+json' : undefined };
builder.create(artifact).then((bundle) => fs.writeFileSync(out, JSON.stringify(bundleToJSON(bundle))));
