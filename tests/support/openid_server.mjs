// An OpenID provider for tests: oidc-provider, with clients that have an algorithm each.
//
// Prints its issuer once it serves. A line on standard input replaces its keys; it prints
// "rotated" when that is done.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { Provider } from 'oidc-provider';

const AUDIENCE = 'https://api.example.com';
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];

const keyPairs = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

function createProvider(issuer) {
  const keys = Object.entries(keyPairs).map(([name, generate]) => ({
    ...generate().privateKey.export({ format: 'jwk' }),
    kid: `${name}-${randomUUID()}`,
    use: 'sig',
  }));
  const clients = ALGORITHMS.map((algorithm) => ({
    client_id: `app-${algorithm}`,
    client_secret: 'secret-of-the-tests',
    application_type: 'native',
    grant_types: ['authorization_code', 'client_credentials'],
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    id_token_signed_response_alg: algorithm,
  }));
  return new Provider(issuer, {
    clients,
    jwks: { keys },
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    scopes: ['openid', 'items:read'],
    cookies: { keys: [randomUUID()] },
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (context, resource, client) => ({
          audience: resource === AUDIENCE ? AUDIENCE : resource,
          scope: 'items:read',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: client.clientId.split('-')[1] } },
        }),
      },
    },
  });
}

const server = createServer((request, response) => handle(request, response));
let handle;
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  handle = createProvider(issuer).callback();
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', () => {
    handle = createProvider(issuer).callback();
    console.log('rotated');
  }).on('close', () => process.exit());
});
