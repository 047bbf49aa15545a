// oauth2-mock-server: it accepts whatever comes, and does to the token endpoint what a test asks for.
// Prints the port, and ends with its standard input.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { OAuth2Server } = await import(pathToFileURL(join(process.env.HOLDFAST_NODE_MODULES, 'oauth2-mock-server', 'dist', 'index.mjs')));
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');
// A scope names the fault: the next answers are as their requests wish.
server.service.on('beforeResponse', (answer, request) => {
  const wish = JSON.parse(request.body.fault ?? '{}');
  if (wish.status) answer.statusCode = wish.status;
  if (wish.body !== undefined) answer.body = wish.body;
  Object.assign(answer.body ?? {}, wish.members ?? {});
});
console.log(new URL(server.issuer.url).port);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
