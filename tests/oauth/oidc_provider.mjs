// A certified authorization server (oidc-provider) and an API that takes its tokens, on one port of loopback.
// Prints the port, and ends with its standard input.
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const modules = process.env.HOLDFAST_NODE_MODULES;
const load = (...path) => import(pathToFileURL(join(modules, ...path)));
const { Provider } = await load('oidc-provider', 'lib', 'index.js');
const { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } = await load('jose', 'dist', 'webapi', 'index.js');

const signing = { ...(await exportJWK((await generateKeyPair('RS256', { extractable: true })).privateKey)), alg: 'RS256', kid: 'op', use: 'sig' };
const { d, p, q, dp, dq, qi, ...verifying } = signing;
const keys = createLocalJWKSet({ keys: [verifying] });
const LIFETIMES = { 'https://api.test': 3, 'https://quick.test': 1 };
const counts = {};
const count = (name) => { counts[name] = (counts[name] ?? 0) + 1; };

let handle = (request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { client_id: 'worker:1', client_secret: 'p%ss &+:/', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
      { client_id: 'poster', client_secret: 'secret-of-the-poster', token_endpoint_auth_method: 'client_secret_post', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
      ...JSON.parse(process.env.SIGNERS ?? '[]').map((jwk) => ({ client_id: jwk.kid, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: jwk.alg, jwks: { keys: [jwk] }, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] })),
      { client_id: 'app', token_endpoint_auth_method: 'none', application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
      { client_id: 'television', token_endpoint_auth_method: 'none', application_type: 'native', grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], redirect_uris: [], response_types: [] },
    ],
    jwks: { keys: [signing] },
    cookies: { keys: ['of-this-run'] },
    clientAuthMethods: undefined,
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'] },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://api.test',
        useGrantedResource: () => true,
        getResourceServerInfo: (context, resource) => ({
          scope: 'read write',
          accessTokenTTL: LIFETIMES[resource],
          accessTokenFormat: context.oidc.client.clientId === 'poster' ? 'opaque' : 'jwt',
          audience: resource,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    issueRefreshToken: () => true,
    pkce: { required: () => true },
    rotateRefreshToken: () => true,
  });
  provider.on('grant.success', (context) => count(`${context.oidc.params.grant_type} good`));
  provider.on('grant.error', (context, error) => count(`${context.oidc.params?.grant_type} ${error.error}`));
  provider.on('grant.revoked', () => count('family revoked'));
  const callback = provider.callback();
  handle = async (request, response) => {
    const json = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (request.url === '/counts') return json(200, counts);
    if (!request.url.startsWith('/api/')) return callback(request, response);
    try {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
      // exp is in whole seconds: to the letter, a token of three would live for two to three.
      const { payload } = await jwtVerify(token, keys, { issuer, clockTolerance: 1 });
      json(200, { id: 1, name: payload.client_id });
    } catch {
      response.setHeader('www-authenticate', 'Bearer error="invalid_token"');
      json(401, { error: 'invalid_token' });
    }
  };
  console.log(server.address().port);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
