// A client of the gateway on grpc-js: `node client.mjs suspend CARD_ID | watch | answer`.
// It prints a JSON object for each thing that happens. Where the gateway is, and who we are, stands in the environment.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";
import "protobufjs/ext/descriptor/index.js";

const contracts = readFileSync(process.env.D1_GATEWAY_CONTRACTS);
const issuer = grpc.loadPackageDefinition(
  loader.loadFileDescriptorSetFromBuffer(contracts, { longs: String, enums: String, oneofs: true }),
).issuer;
const ErrorDetail = protobuf.Root.fromDescriptor(contracts).lookupType("issuer.common.v1.ErrorDetail");

// google.rpc, as far as it is needed to read errors.
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
`, { keepCase: true });
const Status = root.lookupType("Status");

const file = (name) => readFileSync(process.env[`D1_GATEWAY_CLIENT_${name}_FILE`]);
const credentials = grpc.credentials.createSsl(file("CA"), file("KEY"), file("CERTIFICATE"));
const client = (Service) => new Service(process.env.D1_GATEWAY_CLIENT_ADDRESS, credentials);
const print = (happened) => console.log(JSON.stringify(happened));

function errorDetail(error) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const { value } = Status.decode(bytes).details.find(({ type_url }) => type_url.endsWith("/issuer.common.v1.ErrorDetail"));
  return ErrorDetail.toObject(ErrorDetail.decode(value), { enums: String });
}

function suspend(cardId) {
  const cards = client(issuer.card.v1.CardService);
  const request = { card_id: cardId, reason_code: "FRAUD" };
  cards.suspendCard(request, { deadline: Date.now() + 10_000 }, (error) => {
    if (error) {
      const { reason, outcome } = errorDetail(error);
      print({ reason, outcome });
    } else {
      print({ suspended: cardId });
    }
  });
}

function watch() {
  const notifications = client(issuer.notification.v1.NotificationService);
  const stream = notifications.watchNotifications({ position: "START_POSITION_EARLIEST" });
  stream.on("data", (batch) => {
    for (const notification of batch.notifications ?? []) {
      const operation = notification[notification.event];
      print({ card: notification.card_id, operation: operation.type_text, status: operation.status_text });
    }
  });
}

function answer() {
  const stream = client(issuer.callback.v1.CallbackService).handleCallbacks();
  stream.on("data", ({ message, callback_request, acknowledgement }) => {
    if (message === "callback_request") {
      // Here a service would send the SMS.
      print({ consumer: callback_request.deliver_otp.consumer_id, otp: callback_request.deliver_otp.otp });
      stream.write({ callback_reply: { token: callback_request.token, deliver_otp: {} } });
    } else {
      print({ [message]: acknowledgement?.outcome ?? true });
    }
  });
  stream.write({ registration: { name: "sms-service", callback_kinds: ["CALLBACK_KIND_DELIVER_OTP"] } });
}

const [command, ...rest] = process.argv.slice(2);
({ suspend, watch, answer })[command](...rest);
