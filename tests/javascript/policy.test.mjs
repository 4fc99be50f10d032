// What to do after a failure: no time passes here, and chance is given.
import assert from "node:assert/strict";
import test from "node:test";
import {
  ConnectionFailed, ConnectionLost, FellBehind, RemoteError, RouterError, TimedOut, backoffSeconds, mayReconnect,
  refusedForSeconds, retryAfterSeconds,
} from "../../resroute/admin/static/resroute.js";

const routers = (code, type, data = {}) => new RouterError(code, type, { type, trace_id: "t", ...data });

test("a client connects again after what may pass, and not after what would only happen again", () => {
  for (const code of [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 4008, 4011, 4029]) assert.equal(mayReconnect(code), true, code);
  for (const code of [1002, 1003, 1007, 4001, 4003, 4009, 4010]) assert.equal(mayReconnect(code), false, code);
});

test("a close code of the router's that is not known is final, one of somebody else's is not", () => {
  assert.equal(mayReconnect(4042), false);
  assert.equal(mayReconnect(4099), false);
  assert.equal(mayReconnect(4100), true);
});

test("chance decides between nothing and a bound that doubles up to the cap, from the first attempt on", () => {
  const policy = { baseSeconds: 0.5, capSeconds: 4 };
  for (const [attempt, bound] of [[0, 0.5], [1, 1], [2, 2], [3, 4], [4, 4], [2000, 4]]) {
    assert.equal(backoffSeconds(attempt, { ...policy, random: 0 }), 0);
    assert.equal(backoffSeconds(attempt, { ...policy, random: 0.5 }), bound / 2);
    assert.equal(backoffSeconds(attempt, { ...policy, random: 1 }), bound);
  }
});

test("nobody comes before the router wants them, nor all at that moment", () => {
  const policy = { baseSeconds: 1, capSeconds: 8, notBeforeSeconds: 20 };
  assert.equal(backoffSeconds(0, { ...policy, random: 0 }), 20);
  assert.equal(backoffSeconds(3, { ...policy, random: 1 }), 28);
});

test("but nobody stays away for days", () => {
  assert.equal(backoffSeconds(0, { baseSeconds: 1, capSeconds: 8, random: 0, notBeforeSeconds: 1e6 }), 3600);
  assert.equal(backoffSeconds(0, { baseSeconds: 1, capSeconds: 8, random: 0, notBeforeSeconds: -5 }), 0);
});

test("what the router did not deliver is tried again", () => {
  for (const idempotent of [false, true]) {
    assert.equal(retryAfterSeconds(routers(502, "owner_disconnected", { delivery: "not_delivered" }), idempotent), 0);
    assert.equal(retryAfterSeconds(routers(503, "unavailable", { delivery: "not_delivered", reason: "moved" }), idempotent), 0);
    assert.equal(retryAfterSeconds(new ConnectionLost("gone", { delivery: "not_delivered" }), idempotent), 0);
  }
});

test("a router that says when to ask again is asked again then", () => {
  for (const error of [
    routers(503, "unavailable", { reason: "overloaded", retry_after_seconds: 1.5 }),
    routers(503, "unavailable", { reason: "suspended", retry_after_seconds: 1.5, delivery: "not_delivered" }),
    routers(429, "too_many_calls", { limit: 1, retry_after_seconds: 1.5 }),
    routers(429, "rate_limited", { limit: 1, retry_after_seconds: 1.5 }),
  ]) {
    assert.equal(retryAfterSeconds(error, false), 1.5);
    assert.equal(refusedForSeconds(error), error.delivery === undefined ? 1.5 : null);
  }
  for (const error of [routers(503, "unavailable", { reason: "draining" }), routers(429, "too_many_watches", { retry_after_seconds: 1 }), new ConnectionLost("gone"), 7]) {
    assert.equal(refusedForSeconds(error), null);
  }
});

test("what may have run is tried again only if it may run twice", () => {
  for (const error of [
    routers(502, "owner_disconnected", { delivery: "unknown" }),
    routers(503, "unavailable", { delivery: "unknown", reason: "overloaded" }),
    new ConnectionLost("gone", { delivery: "unknown" }),
  ]) {
    assert.equal(retryAfterSeconds(error, false), null);
    assert.equal(retryAfterSeconds(error, true), 0);
  }
});

test("nothing that a callee said is tried again, whatever it looks like", () => {
  const posed = { type: "unavailable", delivery: "not_delivered", retry_after_seconds: 0 };
  assert.equal(retryAfterSeconds(new RemoteError(503, "unavailable", posed), true), null);
});

test("nor what would come out the same, is over, or was not asked for any more", () => {
  for (const error of [
    routers(404, "resource_not_found"), routers(403, "forbidden"), routers(-32602, "invalid_params"),
    routers(413, "answer_too_large", { delivery: "unknown" }), routers(504, "call_timeout", { delivery: "not_delivered" }),
    routers(499, "call_cancelled", { delivery: "not_delivered" }), routers(429, "too_many_calls", { limit: 1 }),
    routers(503, "unavailable", { reason: "draining" }), new ConnectionLost("too large", { closeCode: 1009 }),
    new TimedOut(1, "not_delivered"), new FellBehind("slow"), new ConnectionFailed("nobody"), new TypeError("ours"), "text",
  ]) {
    assert.equal(retryAfterSeconds(error, true), null, String(error));
  }
});
