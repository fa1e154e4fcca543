// The baseline on grpc-js: passes cards on with undici, and knows and does what bench/unary/passing.py does.
// `node server.mjs SURROUNDINGS`, as bench/unary/child.py has it.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { Pool } from "undici";

const surroundings = JSON.parse(process.argv[2]);

const { issuer } = grpc.loadPackageDefinition(
  loader.loadFileDescriptorSetFromBuffer(readFileSync(surroundings.contracts), {
    keepCase: true,
    longs: String,
    enums: String,
  }),
);

const upstream = new Pool(`https://127.0.0.1:${surroundings.upstream_port}`, {
  connections: surroundings.connections,
  keepAliveTimeout: surroundings.idle_seconds * 1000,
  connect: {
    ca: readFileSync(surroundings.server_ca),
    cert: readFileSync(surroundings.client_certificate),
    key: readFileSync(surroundings.client_key),
  },
});
const cards = `/banking/v2/issuers/${surroundings.issuer_id}/cards`;

async function send(method, place, content) {
  const headers = {
    authorization: `Bearer ${surroundings.token}`,
    "content-type": "application/json",
    "x-correlation-id": randomUUID(),
  };
  const { statusCode, body } = await upstream.request({
    method,
    path: `${cards}/${place}`,
    headers,
    body: JSON.stringify(content),
  });
  await body.dump();
  if (statusCode >= 300) throw new Error(`the upstream answered ${statusCode}`);
  return {};
}

const passed = (pass) => ({ request }, reply) => pass(request).then((answer) => reply(null, answer), reply);

const server = new grpc.Server();
server.addService(issuer.card.v1.CardService.service, {
  registerCard: passed(({ card_id, consumer_id, card_product_id, state }) =>
    send("PUT", card_id, {
      consumerId: consumer_id,
      cardProductId: card_product_id,
      state: state.replace("INITIAL_CARD_STATE_", ""),
      encryptedData: surroundings.encrypted_data,
    }),
  ),
  suspendCard: passed(({ card_id, reason_code }) =>
    send("POST", `${card_id}/operations:suspend`, { reasonCode: reason_code }),
  ),
});

const { has_tls, key, certificate } = surroundings;
const credentials = has_tls
  ? grpc.ServerCredentials.createSsl(null, [{ private_key: readFileSync(key), cert_chain: readFileSync(certificate) }])
  : grpc.ServerCredentials.createInsecure();
server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
  if (error) throw error;
  console.log(port);
});

createInterface({ input: process.stdin })
  .on("line", () => console.log(0))
  .on("close", () => process.exit(0));
