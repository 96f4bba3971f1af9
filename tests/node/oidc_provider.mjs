// A certified authorization server (npm oidc-provider) for the integration tests.
// node oidc_provider.mjs CONFIG.json: {port, certificate, key, ledger, clientId, clientSecret,
// redirectUri, accessLifeS}. Prints "ready" once it listens. Every POST to the token and
// revocation endpoints goes to the ledger file as one JSON line, written before the answer leaves.
// Beside the standard's endpoints, for the tests: /test/refresh-tokens?user= lists all that a user
// was ever given, /test/forget?user= ends the user's consents.
import { appendFileSync, readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import Provider from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const issuer = `https://127.0.0.1:${config.port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: config.clientId,
    client_secret: config.clientSecret,
    redirect_uris: [config.redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: config.authMethod ?? 'client_secret_basic',
  }],
  scopes: ['openid', 'offline_access', 'calendar'],
  features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: config.accessLifeS, AuthorizationCode: 60, IdToken: 600, RefreshToken: 86400,
    Grant: 86400, Interaction: 600, Session: 86400,
  },
  cookies: { keys: ['for-tests-only'] },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

provider.use(async (context, next) => {
  await next();
  if (context.method !== 'POST' || !['/token', '/token/revocation'].includes(context.path)) return;
  const entry = {
    path: context.path, grant_type: context.oidc?.params?.grant_type ?? '', status: context.status,
    error: context.body?.error ?? '',
  };
  appendFileSync(config.ledger, `${JSON.stringify(entry)}\n`);
});

const issued = new Map(); // user -> [{value, grantId}]
provider.on('refresh_token.saved', (token) => {
  const known = issued.get(token.accountId) ?? [];
  // Saved again when it is marked as used.
  if (!known.some(({ value }) => value === token.jti)) known.push({ value: token.jti, grantId: token.grantId });
  issued.set(token.accountId, known);
});

async function forTests(request, response) {
  const url = new URL(request.url, issuer);
  const tokens = issued.get(url.searchParams.get('user')) ?? [];
  if (url.pathname === '/test/forget') {
    for (const { grantId } of tokens) await provider.RefreshToken.revokeByGrantId(grantId);
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(tokens.map(({ value }) => value)));
}

const callback = provider.callback();
createServer(
  { key: readFileSync(config.key), cert: readFileSync(config.certificate) },
  (request, response) => (
    request.url.startsWith('/test/') ? forTests(request, response) : callback(request, response)
  ),
).listen(config.port, '127.0.0.1', () => console.log('ready'));
