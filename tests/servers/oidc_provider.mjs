// A provider of OpenID Connect for tests: npm's oidc-provider, with accounts and clients of a JSON file and logins by one
// request. Arguments: folder with node_modules, JSON file {port, clients, accounts, jwks, jwt, ttl}.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [folder, file] = process.argv.slice(2);
const asked = JSON.parse(readFileSync(file, "utf8"));
const require = createRequire(path.join(folder, "package.json"));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const issuer = `http://localhost:${asked.port}`;
const provider = new Provider(issuer, {
  clients: asked.clients,
  jwks: asked.jwks,
  cookies: { keys: ["test"] },
  claims: {
    openid: ["sub"],
    profile: ["name"],
    email: ["email"],
    eduperson_entitlement: ["eduperson_entitlement"],
  },
  scopes: ["openid", "offline_access", "profile", "email", "eduperson_entitlement"],
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    userinfo: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: asked.jwt ? {
      enabled: true,
      defaultResource: () => "urn:hpckit",
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "openid profile eduperson_entitlement",
        audience: "urn:hpckit",
        accessTokenFormat: "jwt",
        accessTokenTTL: asked.ttl.AccessToken ?? 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    } : { enabled: false },
  },
  extraTokenClaims: (ctx, token) => (asked.jwt && token.accountId
    ? { eduperson_entitlement: asked.accounts[token.accountId] } : undefined),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => (id in asked.accounts ? {
    accountId: id,
    claims: () => ({ sub: id, name: id, email: `${id}@example.org`, eduperson_entitlement: asked.accounts[id] }),
  } : undefined),
  pkce: { required: () => true },
  clientBasedCORS: () => true,
  rotateRefreshToken: false, // openEO's Python client keeps the first one
  ttl: {
    AccessToken: 600, ClientCredentials: 600, AuthorizationCode: 60, IdToken: 600, Interaction: 600, Session: 600,
    Grant: 600, RefreshToken: 600, DeviceCode: 600, ...asked.ttl,
  },
});

provider.use(async (ctx, next) => {
  const match = /^\/interaction\/[^/]+$/.exec(ctx.path);
  if (!match) return next();
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  const account = ctx.query.account;
  if (prompt.name === "login" && account === undefined) {
    ctx.type = "html";
    ctx.body = '<form><label>who are you? <input name="account"></label> <button>Log in</button></form>';
    return undefined;
  }
  if (account === "nobody") {
    return provider.interactionFinished(ctx.req, ctx.res, { error: "access_denied" }, { mergeWithLastSubmission: false });
  }
  if (prompt.name === "login") {
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: account } }, { mergeWithLastSubmission: false });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  if (asked.jwt) grant.addResourceScope("urn:hpckit", params.scope);
  return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
});

// Programs keep their connections for longer than the five seconds of Node.
provider.listen(asked.port, "127.0.0.1", () => console.log("ready")).keepAliveTimeout = 60_000;
