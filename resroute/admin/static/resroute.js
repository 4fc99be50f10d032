/**
 * resroute for JavaScript: call the owners of resources, and own some, over one WebSocket that is made anew when it breaks.
 *
 * One ES module without dependencies, for browsers and Node.js. What you give and what this module makes has names in
 * camelCase; whole answers of the router (results, infos of resources, metadata, data of errors) are as on the wire.
 *
 * @module resroute
 */

// --- shapes ----------------------------------------------------------------------------------------------------------

/**
 * Whether a failed call may have run. `not_delivered`: its callee never had it and never will.
 * @typedef {"not_delivered" | "unknown"} Delivery
 */

/**
 * What the router says besides with each type of error.
 * @typedef {object} RouterErrorData
 * @property {{ detail?: string }} parse_error
 * @property {{ detail?: string }} invalid_request
 * @property {{ method: string }} method_not_found
 * @property {{ errors: { path: string, message: string }[] }} invalid_params
 * @property {{}} internal_error
 * @property {{}} unauthenticated
 * @property {{ required: string }} forbidden
 * @property {{ resource_id: string, owner_instance_id: string }} not_owner
 * @property {{ resource_id: string }} resource_not_found
 * @property {{ service_name: string }} service_not_found
 * @property {{ instance_id: string }} instance_not_found
 * @property {{ service_name: string, resource_id?: string, instance_id?: string }} service_mismatch
 * @property {{ watch_id: string }} watch_not_found
 * @property {{ session_id: string }} session_not_found
 * @property {{ conflicts: Record<string, string>, resource_id?: string, owner_instance_id?: string, epoch?: number, since?: string, owner_healthy?: boolean, pending?: boolean, suspended_until?: string }} resource_conflict
 * @property {{ resource_id: string, expected_version: number, current_version: number }} version_conflict
 * @property {{ instance_id: string, suspended_until?: string }} instance_conflict
 * @property {{ instance_id?: string }} already_registered
 * @property {{ oldest_revision: number }} revision_gone
 * @property {{ limit: number, delivery?: Delivery }} answer_too_large
 * @property {{ limit: number, current: number, requested: number }} resource_limit_exceeded
 * @property {{ limit: number, retry_after_seconds?: number }} too_many_calls
 * @property {{ limit: number, retry_after_seconds?: number }} too_many_waiters
 * @property {{ limit: number, retry_after_seconds?: number }} too_many_watches
 * @property {{ limit: number, retry_after_seconds?: number }} rate_limited
 * @property {{ delivery?: Delivery }} call_cancelled
 * @property {{ instance_id: string, delivery?: Delivery }} owner_disconnected
 * @property {{ instance_id?: string, delivery?: Delivery }} invalid_answer
 * @property {{ reason: string, retry_after_seconds?: number, delivery?: Delivery }} unavailable
 * @property {{ timeout_seconds: number, delivery?: Delivery }} call_timeout
 */

/**
 * What a client may say of a resource. The router keeps it as long as the resource has an owner.
 * @typedef {object} Metadata
 * @property {string | null} [resource_type]
 * @property {string[]} [tags]
 * @property {Record<string, any>} [attributes]
 * @property {number} [priority]
 * @property {number | null} [ttl_seconds]
 */

/**
 * What the router says of a resource.
 * @typedef {object} ResourceInfo
 * @property {string} resource_id
 * @property {string} owner_instance_id
 * @property {string} service_name
 * @property {string} registered_at
 * @property {number} epoch
 * @property {boolean} is_healthy
 * @property {number} calls_total
 * @property {string} [last_called_at]
 * @property {string} [expires_at]
 * @property {Metadata & { version: number, created_by: string, last_modified: string }} [metadata]
 */

/**
 * Which resources: all that match everything that is given.
 * @typedef {object} Filters
 * @property {string} [serviceName]
 * @property {string} [instanceId]
 * @property {string[]} [resourceIds]
 * @property {string} [resourceType]
 * @property {string[]} [tags] - all of them
 * @property {string} [prefix]
 */

/**
 * One page of a query.
 * @typedef {object} ResourcePage
 * @property {ResourceInfo[]} resources
 * @property {number} total_count
 * @property {boolean} [total_count_is_lower_bound]
 * @property {boolean} has_more
 * @property {string} [next_cursor]
 * @property {number} revision
 */

/**
 * @typedef {object} Registered
 * @property {boolean} success
 * @property {string[]} registered
 * @property {Record<string, string>} conflicts - the owner of each that another instance owns
 * @property {Record<string, number>} epochs
 */

/**
 * @typedef {object} Released
 * @property {boolean} success
 * @property {string[]} released
 * @property {Record<string, string>} failed - the type of error of each of the others
 */

/**
 * @typedef {object} BatchResult
 * @property {number} batch_number
 * @property {number} success_count
 * @property {number} failure_count
 * @property {number} duration_ms
 * @property {number} [epoch]
 */

/**
 * What became of a request in bulk.
 * @typedef {object} BulkResult
 * @property {number} total_requested
 * @property {number} [total_registered]
 * @property {number} [total_released]
 * @property {string[]} [registered]
 * @property {string[]} [released]
 * @property {Record<string, number>} [epochs] - of each that is registered
 * @property {boolean} complete
 * @property {{ resource_id: string, reason: string, current_owner?: string, error_code: string }[]} failed
 * @property {BatchResult[]} batch_results
 * @property {boolean} rolled_back
 * @property {boolean} [has_more]
 */

/**
 * @typedef {object} CallOptions
 * @property {string} [resourceId] - call the owner of this
 * @property {string} [serviceName] - call an instance of this service; with `resourceId`, its owner must belong to it
 * @property {number} [timeoutSeconds] - for all of it, waiting for a connection and trying again too. With `progress`
 *   it counts from the last part. By default what the router gives, 30 seconds; at most what it allows, 600
 * @property {number} [waitForOwnerSeconds] - how long to wait, within that, for the resource to have an owner
 * @property {boolean} [idempotent] - running it twice does no harm: try again even if it may have run
 * @property {string} [idempotencyKey] - passed on to the callee; `idempotent` makes one up
 * @property {boolean} [retry] - `false`: never try again
 * @property {string} [traceparent] - W3C Trace Context
 * @property {AbortSignal} [signal] - cancels the call, at its callee too
 */

/**
 * A notification that an owner has pushed to this client.
 * @typedef {object} PushedNotification
 * @property {string} method
 * @property {any} params
 * @property {string} [resourceId] - what it is about
 * @property {string} [instanceId] - who has sent it
 */

/**
 * What becomes of the connection. `disconnected` says when the next attempt begins.
 * @typedef {{ state: "connected", url: string, sessionId: string } | { state: "disconnected", error: ResrouteError, retryInSeconds: number } | { state: "closed", error: ResrouteError | null }} StateChange
 */

/**
 * A change of what an instance owns that is not its own doing.
 *
 * - `acquired`: another instance has handed it over. Calls under its epoch come after this.
 * - `lost`: it was taken away, or after a reconnect it could not be had again: then `cause` is `session_ended`,
 *   `errorCode` says why, and `newOwner` who has it.
 * - `disconnected`: the connection has ended, and others may own what it owned. Then each is told of, as `regained` or `lost`.
 * - `regained`: it is owned again after a reconnect. If not `resumed`, another may have owned it in between.
 * - `delayed`: after a reconnect the instance cannot register yet; it goes on trying.
 * - `ended`: after a reconnect the instance was refused for good.
 *
 * @typedef {{ kind: "acquired", resourceId: string, epoch: number, metadata: Metadata | null, cause: string, fromInstanceId?: string, transferId?: string, state?: any } | { kind: "lost", resourceId: string, epoch: number | null, cause: string, newOwner?: string, transferId?: string, reason?: string, errorCode?: string } | { kind: "regained", resourceId: string, epoch: number, previousEpoch: number | null, resumed: boolean } | { kind: "disconnected" } | { kind: "delayed", error: ResrouteError } | { kind: "ended", error: ResrouteError }} OwnershipChange
 */

/**
 * What has become of a resource.
 * @typedef {object} ResourceEvent
 * @property {number} revision
 * @property {"registered" | "released" | "transferred" | "updated" | "expired"} event
 * @property {ResourceInfo} resource - after the event; for `released` and `expired` the last there was
 * @property {string} cause
 * @property {string} [previousOwner]
 */

/**
 * Answers calls of one method: at once, later, or part by part, as an async generator whose `return` is the result.
 * @typedef {(params: any, call: IncomingCall) => any} Handler
 */

/**
 * How to wait between attempts: chance decides between 0 and a bound that doubles with each, up to the cap.
 * @typedef {object} Backoff
 * @property {number} baseSeconds - the first bound
 * @property {number} capSeconds - the last
 */

/**
 * What is used of a WebSocket: the browser's, Node's, or that of the package `ws`.
 * @typedef {object} Socket
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {string} protocol
 * @property {(text: string) => void} send
 * @property {(code?: number, reason?: string) => void} close
 * @property {(type: any, listener: (event: any) => void) => void} addEventListener
 */

/**
 * @typedef {object} ConnectOptions
 * @property {string | (() => string | Promise<string>)} [token] - a bearer token, or what gives a fresh one for each connection
 * @property {new (url: string, protocols?: string[]) => Socket} [WebSocket] - by default the global one
 * @property {Partial<Backoff>} [reconnect] - between attempts to connect; by default 0.5 and 30 seconds
 * @property {Partial<Backoff>} [retry] - between attempts of a call; by default 0.1 and 5 seconds
 * @property {boolean} [keepTrying] - try for the first connection as patiently as for all others, until it is there
 * @property {(change: StateChange) => void} [onState] - as of `client.onState`, from the first on
 * @property {number} [connectTimeoutSeconds] - for one attempt to connect, 10 by default
 * @property {number} [pingIntervalSeconds] - how often to look whether the router is there; by default as often as it pings
 * @property {(error: unknown) => void} [onError] - told what handlers and listeners throw that was not meant for a caller;
 *   by default `console.error`
 * @property {AbortSignal} [signal] - closes the client, connected or not
 */

// --- errors ----------------------------------------------------------------------------------------------------------

/** The root of every error of this module. An aborted `signal` rejects with its own `reason` instead. */
export class ResrouteError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The router's own word: it refused, or could not finish, what was asked. Nobody else can make one of these. */
export class RouterError extends ResrouteError {
  /** @param {number} code @param {string} message @param {{ type: string, trace_id?: string, [member: string]: any }} data */
  constructor(code, message, data) {
    super(message);
    /** @readonly */ this.code = code;
    /** What kind of error it is, such as `resource_not_found`. @readonly */ this.type = data.type;
    /** All that the router says of it. @type {Record<string, any>} @readonly */ this.data = data;
    /** The id under which the router's log tells of it. @readonly */ this.traceId = data.trace_id;
    /** Of a call: whether it may have run. @type {Delivery | undefined} @readonly */ this.delivery = data.delivery;
  }

  /**
   * Whether it is of this type, so that `data` has its members.
   * @template {keyof RouterErrorData} T
   * @param {T} type
   * @returns {this is RouterError & { type: T, data: RouterErrorData[T] }}
   */
  is(type) {
    return this.type === type;
  }
}

/** The callee answered with an error of its own. A handler throws one to answer so. */
export class RemoteError extends ResrouteError {
  /** @param {number} code @param {string} message @param {any} [data] */
  constructor(code, message, data) {
    super(message);
    /** @readonly */ this.code = code;
    /** @readonly */ this.data = data;
  }
}

/** A handler throws this before it changes anything, when somebody else has refused its epoch: the router tries the owner there is now. */
export class StaleEpoch extends RemoteError {
  constructor() {
    super(409, "stale epoch", { type: "stale_epoch" });
  }
}

/** There was no connection to be had. */
export class ConnectionFailed extends ResrouteError {}

/** The connection has ended, or ended before the answer. */
export class ConnectionLost extends ResrouteError {
  /**
   * @param {string} reason
   * @param {{ closeCode?: number, delivery?: Delivery }} [options]
   */
  constructor(reason, { closeCode = 1006, delivery = "unknown" } = {}) {
    super(`the connection has ended: ${reason}`);
    /** @readonly */ this.reason = reason;
    /** 1006 if it just broke. @readonly */ this.closeCode = closeCode;
    /** Whether what was asked may have been done. @readonly */ this.delivery = delivery;
  }
}

/** No answer came in the time that there was, not even the router's that the time is over. */
export class TimedOut extends ResrouteError {
  /** @param {number} seconds @param {Delivery} delivery */
  constructor(seconds, delivery) {
    super(`no answer within ${seconds} s`);
    /** @readonly */ this.delivery = delivery;
  }
}

/** This program does not take what arrives: more than 4 MiB wait. */
export class FellBehind extends ResrouteError {}

/** A handler has kept its program from doing anything else: no other call was answered meanwhile. `onError` is told, of many once in a while. */
export class HandlerBlocked extends ResrouteError {
  /** @param {string} method @param {number} seconds */
  constructor(method, seconds) {
    super(`the handler of ${JSON.stringify(method)} has blocked everything else for ${seconds.toFixed(3)} s`);
    /** @readonly */ this.method = method;
    /** @readonly */ this.seconds = seconds;
  }
}

const CONNECTION_CLOSED = "this client was closed";

// --- policy: what to do after a failure. No clock, no chance ----------------------------------------------------------

/** Close codes after which the same client would be refused again. */
const FINAL_CLOSE_CODES = new Set([1002, 1003, 1007, 1010]);
/** Those of the router's own codes, 4000 to 4099, after which it would be welcome. One that is not known is final. */
const PASSING_CLOSE_CODES = new Set([4008, 4011, 4029]);
const TOO_MANY_SESSIONS = 4029;
const AUTHENTICATION_FAILED = 4001;
const HEARTBEAT_LOST = 4011;
const MESSAGE_TOO_BIG = 1009;
const MAX_ASKED_SECONDS = 3600;

/**
 * Whether to connect again after a close.
 * @param {number} closeCode
 * @returns {boolean}
 */
export function mayReconnect(closeCode) {
  if (closeCode >= 4000 && closeCode < 4100) return PASSING_CLOSE_CODES.has(closeCode);
  return !FINAL_CLOSE_CODES.has(closeCode);
}

/**
 * How long to wait before the next attempt, in seconds: anything between 0 and the bound, as chance has it.
 * @param {number} attempt - from 0
 * @param {Backoff & { random: number, notBeforeSeconds?: number }} options - `random` is from 0 to 1; `notBeforeSeconds` is
 *   what the router asked for, which is added, up to an hour
 * @returns {number}
 */
export function backoffSeconds(attempt, { baseSeconds, capSeconds, random, notBeforeSeconds = 0 }) {
  const asked = notBeforeSeconds > 0 ? Math.min(notBeforeSeconds, MAX_ASKED_SECONDS) : 0;
  return asked + random * Math.min(capSeconds, baseSeconds * 2 ** attempt);
}

/**
 * Whether a call that failed may be made again, and not before how many seconds. `null`: it may not.
 *
 * What the router did not deliver or refused to take for now may; what may have run only if it is idempotent; what a callee
 * said never.
 * @param {unknown} error
 * @param {boolean} idempotent
 * @returns {number | null}
 */
export function retryAfterSeconds(error, idempotent) {
  if (error instanceof ConnectionLost) {
    if (error.delivery === "not_delivered") return 0;
    return idempotent && error.closeCode !== MESSAGE_TOO_BIG ? 0 : null; // it would end the next connection too
  }
  if (!(error instanceof RouterError)) return null;
  const { type, delivery } = error;
  if (delivery === undefined || (type !== "unavailable" && type !== "owner_disconnected")) return refusedForSeconds(error);
  return delivery === "not_delivered" || idempotent ? askedSeconds(error) ?? 0 : null;
}

/**
 * For how long the router refuses to take this at all, whatever was asked. `null`: that is not what it says.
 * @param {unknown} error
 * @returns {number | null}
 */
export function refusedForSeconds(error) {
  if (!(error instanceof RouterError)) return null;
  const { type, delivery } = error;
  const isForNow = type === "too_many_calls" || type === "rate_limited" || (type === "unavailable" && delivery === undefined);
  return isForNow ? askedSeconds(error) : null;
}

/** @param {RouterError} error */
const askedSeconds = ({ data }) => (typeof data.retry_after_seconds === "number" ? data.retry_after_seconds : null);

/** @type {Backoff} */
const RECONNECT = { baseSeconds: 0.5, capSeconds: 30 };
/** @type {Backoff} */
const RETRY = { baseSeconds: 0.1, capSeconds: 5 };

// --- waiting ---------------------------------------------------------------------------------------------------------

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** @param {() => void} what @param {number} seconds */
function after(what, seconds) {
  return setTimeout(what, Math.min(Math.max(0, seconds * 1000), LONGEST_TIMER_MS));
}

/** A deadline on the clock of `performance`. @param {number} seconds */
const inSeconds = (seconds) => performance.now() + seconds * 1000;
/** @param {number} deadline */
const secondsLeft = (deadline) => (deadline - performance.now()) / 1000;

// who is to act when a signal aborts; Node.js warns of more than ten listeners of one signal, so it gets one
/** @type {WeakMap<AbortSignal, Set<() => void>>} */
const abortions = new WeakMap();

/** Act when a signal aborts. Returns what stops it. @param {AbortSignal | undefined} signal @param {() => void} act @returns {() => void} */
function onAbort(signal, act) {
  if (!signal) return () => {};
  const acts = abortions.get(signal) ?? new Set();
  if (!abortions.has(signal)) {
    abortions.set(signal, acts);
    signal.addEventListener("abort", () => acts.forEach((each) => each()), { once: true });
  }
  acts.add(act);
  return () => void acts.delete(act);
}

/**
 * A promise that a signal can end, and a time. `begin` gets how to settle it, and returns how to stop waiting.
 * @template T
 * @param {{ signal?: AbortSignal, deadline?: number, tooLate?: () => Error }} limits
 * @param {(resolve: (value: T) => void, reject: (error: unknown) => void) => () => void} begin
 * @returns {Promise<T>}
 */
function within({ signal, deadline, tooLate }, begin) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    let stop = () => {};
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const clean = () => {
      clearTimeout(timer);
      ignoreAbort();
    };
    /** @param {T} value */
    const succeed = (value) => {
      clean();
      resolve(value);
    };
    /** @param {unknown} error */
    const fail = (error) => {
      clean();
      reject(error);
    };
    /** @param {unknown} error */
    const giveUp = (error) => {
      fail(error);
      stop();
    };
    const ignoreAbort = onAbort(signal, () => giveUp(signal?.reason));
    if (deadline !== undefined && tooLate) timer = after(() => giveUp(tooLate()), secondsLeft(deadline));
    stop = begin(succeed, fail);
  });
}

/**
 * What a promise resolves to, if it does so in time.
 * @template T
 * @param {Promise<T>} promise @param {{ signal?: AbortSignal, deadline?: number, tooLate?: () => Error }} limits
 * @returns {Promise<T>}
 */
function bounded(promise, limits) {
  promise.catch(() => {}); // whoever does not wait for it any more does not want to know
  return within(limits, (resolve, reject) => {
    promise.then(resolve, reject);
    return () => {};
  });
}

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(seconds, signal) {
  return within({ signal }, (resolve) => {
    const timer = after(() => resolve(undefined), seconds);
    return () => clearTimeout(timer);
  });
}

/**
 * Something that is there at times, and who waits for it.
 * @template T
 */
class Gate {
  /** @type {T | null} */
  value = null;
  /** @type {(() => Error) | null} */
  #refusal = null;
  // who waits; each is removed by its own end
  /** @type {Set<{ resolve: (value: T) => void, reject: (error: unknown) => void }>} */
  #waiting = new Set();

  /** @param {T} value */
  open(value) {
    this.value = value;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) waiter.resolve(value);
  }

  shut() {
    this.value = null;
  }

  /** It will never be there again. @param {() => Error} refusal - makes an error for each who waits */
  refuse(refusal) {
    this.value = null;
    this.#refusal ??= refusal;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) waiter.reject(this.#refusal());
  }

  /** @param {{ signal?: AbortSignal, deadline?: number, tooLate?: () => Error }} [limits] @returns {Promise<T>} */
  wait(limits = {}) {
    if (this.#refusal) return Promise.reject(this.#refusal());
    if (this.value !== null && !limits.signal?.aborted) return Promise.resolve(this.value);
    return within(limits, (resolve, reject) => {
      const waiter = { resolve, reject };
      this.#waiting.add(waiter);
      return () => this.#waiting.delete(waiter);
    });
  }
}

/**
 * First in, first out; what has gone takes no room.
 * @template T
 */
class Queue {
  /** @type {T[]} */
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  /** The one that is next. @returns {T | undefined} */
  get first() {
    return this.#items[this.#head];
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
  }

  /** @returns {T | undefined} */
  shift() {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head++];
    if (this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head); // seldom enough to cost next to nothing
      this.#head = 0;
    }
    return item;
  }

  clear() {
    this.#items = [];
    this.#head = 0;
  }
}

const MAX_KEPT = 4 * 1024 * 1024;
const OVERHEAD = 256;

/**
 * What has arrived for somebody who takes it in their own time, up to a bound.
 * @template T
 */
class Arrivals {
  overflowed = false;
  /** @type {Queue<{ value: T, size: number }>} */
  #kept = new Queue();
  #size = 0;
  #finished = false;
  // who waits for the next, the first first
  /** @type {((value: T | undefined) => void)[]} */
  #takers = [];

  /** @param {T} value @param {number} size - characters on the wire @returns {boolean} false: there is no room, and with that it is over */
  put(value, size) {
    if (this.#finished) return false;
    if (this.#size >= MAX_KEPT) {
      this.overflowed = true;
      this.finish();
      return false;
    }
    const taker = this.#takers.shift();
    if (taker) {
      taker(value);
    } else {
      this.#kept.push({ value, size: size + OVERHEAD });
      this.#size += size + OVERHEAD;
    }
    return true;
  }

  /** Keep nothing more. What is here can still be taken. */
  finish() {
    this.#finished = true;
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }

  /** The oldest, or `undefined` at the end. @returns {Promise<T | undefined>} */
  take() {
    const kept = this.#kept.shift();
    if (kept !== undefined) {
      this.#size -= kept.size;
      return Promise.resolve(kept.value);
    }
    if (this.#finished) return Promise.resolve(undefined);
    return new Promise((resolve) => void this.#takers.push(resolve));
  }
}

/**
 * Listeners, and what becomes of what they throw.
 * @template T
 */
class Listeners {
  /** @type {Set<(value: T) => void>} */
  #all = new Set();
  #onError;

  /** @param {(error: unknown) => void} onError */
  constructor(onError) {
    this.#onError = onError;
  }

  /** @param {(value: T) => void} listener @returns {() => void} stops it */
  add(listener) {
    /** @param {T} value */
    const own = (value) => listener(value);
    this.#all.add(own);
    return () => void this.#all.delete(own);
  }

  /** @param {T} value */
  tell(value) {
    for (const listener of [...this.#all]) listenTo(listener, value, this.#onError);
  }
}

/**
 * Have a listener told, which may be asynchronous: nobody waits for it.
 * @template T
 * @param {(value: T) => any} listener @param {T} value @param {(error: unknown) => void} onError
 */
function listenTo(listener, value, onError) {
  try {
    const done = listener(value);
    if (typeof done?.then === "function") Promise.resolve(done).catch(onError);
  } catch (error) {
    onError(error);
  }
}

/** Names as on the wire; what is undefined is left out. @param {Record<string, any>} options @returns {Record<string, any>} */
function toWire(options) {
  /** @type {Record<string, any>} */
  const params = {};
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) params[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value;
  }
  return params;
}

/**
 * A member of an object, by a name that may be anything: that of a resource, say.
 * @template T
 * @param {Record<string, T> | undefined} object @param {string} name @returns {T | undefined}
 */
const ownOf = (object, name) => (object !== undefined && Object.hasOwn(object, name) ? object[name] : undefined);

/** @param {string | string[]} resourceIds @returns {string[]} */
const listed = (resourceIds) => (typeof resourceIds === "string" ? [resourceIds] : [...resourceIds]);

// --- one connection --------------------------------------------------------------------------------------------------

/** Packing what is said in one go halves what a call costs, here and at the router. */
const MAX_TOLD = 100; // characters of the name of a method
const NDJSON = "resroute.v1.ndjson";
const PLAIN = "resroute.v1";
const MAX_PACK = 64 * 1024;
/** Above so many characters that wait to be sent, who has more to say waits. */
const SOFT_LIMIT = 1024 * 1024;
/** Above so many bytes in the socket nothing is handed to it. A WebSocket does not tell when there is room again. */
const SOCKET_LIMIT = 256 * 1024;
const LOOK_AGAIN_SECONDS = 0.01;
/** How much later than the router a caller gives up: the router's word on it says more. */
const PATIENCE_SECONDS = 2;
const GOODBYE_SECONDS = 2;
/** How long a router is waited for that may not be there any more. */
const PROBE_SECONDS = 5;
const OPEN = 1;

/** One message; with no text it was withdrawn. @typedef {{ text: string, sent: boolean }} Entry */

/**
 * @typedef {object} Pending
 * @property {(value: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {Entry} entry
 * @property {((result: any) => any) | undefined} take
 * @property {((result: any) => void) | undefined} late
 * @property {((value: any, size: number) => boolean) | undefined} onPart
 * @property {number} lastPart
 * @property {() => void} clean
 */

/**
 * @typedef {object} RequestOptions
 * @property {AbortSignal} [signal]
 * @property {number} [seconds] - the time that there is; with `onPart` from the last part on
 * @property {(result: any) => any} [take] - makes the value out of the result, where it stands among all that arrives
 * @property {(result: any) => void} [late] - is told the result that comes although the request was given up: it was done
 * @property {(value: any, size: number) => boolean} [onPart] - takes partial results; false ends the call
 * @property {Record<string, any>} [meta]
 */

/** @param {Socket} socket @param {string} type @param {(event: any) => void} listener */
const on = (socket, type, listener) => socket.addEventListener(type, listener);

/**
 * @param {new (url: string, protocols?: string[]) => Socket} WebSocketClass
 * @param {string} url
 * @param {string[]} protocols
 * @param {{ signal: AbortSignal, deadline: number }} limits
 * @returns {Promise<Session>}
 */
function openSession(WebSocketClass, url, protocols, { signal, deadline }) {
  const tooLate = () => new ConnectionFailed(`${url} does not answer`);
  return within({ signal, deadline, tooLate }, (resolve, reject) => {
    /** @type {Socket} */
    let socket;
    try {
      socket = new WebSocketClass(url, protocols);
    } catch (error) {
      reject(new ConnectionFailed(`${url} cannot be connected to: ${said(error)}`, { cause: error }));
      return () => {};
    }
    const session = new Session(socket);
    on(socket, "open", () => resolve(session));
    // browsers say nothing here, lest pages learn about networks
    const fail = (/** @type {any} */ { message, error }) =>
      reject(new ConnectionFailed(`${url} refuses the connection${message ? `: ${message}` : ""}`, error && { cause: error }));
    on(socket, "error", fail);
    on(socket, "close", fail);
    return () => session.end(new ConnectionLost(CONNECTION_CLOSED));
  });
}

/** @param {unknown} error */
const said = (error) => (error instanceof Error ? error.message : String(error));

/** Requests and answers over one connection. Whoever reconnects makes a new one. */
class Session {
  /** Why it has ended, once it has. @type {ConnectionLost | null} */
  lost = null;
  id = "";
  /** @type {Record<string, number>} */
  limits = {};
  /** @type {string[]} */
  features = [];
  /** The router's last words, once it is about to close. @type {{ reconnect_after_seconds?: number, url?: string } | null} */
  closing = null;
  /** @type {(error: unknown) => void} */
  onError = () => {};
  /** Takes what is called here. @type {{ receive: (message: any) => void, notice: (method: string, params: any) => boolean, sessionEnded: () => void } | null} */
  inbound = null;
  /** @type {(message: any) => void} */
  onNotification = () => {};
  onEnd = () => {};
  // watch id -> who takes its events; each is removed by the watch
  /** @type {Map<string, Feed>} */
  feeds = new Map();
  // token -> who wants to know how far the router is with a request; each is removed by the request
  /** @type {Map<string, (value: any) => void>} */
  progressListeners = new Map();

  #socket;
  #nextId = 1;
  // request id -> who waits for its answer; removed when that is settled
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  // request id -> who must know what became of a request that was given up; removed by its answer
  /** @type {Map<number, (result: any) => void>} */
  #givenUp = new Map();
  /** @type {Queue<Entry>} */
  #outbox = new Queue();
  #waitingSize = 0;
  #flushScheduled = false;
  // who waits for room in the outbox, the oldest first
  /** @type {Set<{ limit: number, go: () => void, reject: (error: unknown) => void }>} */
  #waitingForRoom = new Set();
  /** How many messages. */
  #heard = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #beat;
  // ends the connection unless something arrives; there while a probe is not answered
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #probe;
  // looks whether the socket takes more; there while it does not
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #stalled;

  /** @type {(lost: ConnectionLost) => void} */
  #resolveEnded = () => {};
  /** @type {Promise<ConnectionLost>} */
  #ended = new Promise((resolve) => {
    this.#resolveEnded = resolve;
  });

  /** @param {Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    on(socket, "message", (event) => this.#hear(event.data));
    on(socket, "close", (event) => {
      const reason = event.reason || `code ${event.code ?? 1006}`;
      this.end(new ConnectionLost(reason, { closeCode: event.code ?? 1006 }));
    });
  }

  /** Resolves once it has ended, to why. @param {{ signal?: AbortSignal }} [limits] @returns {Promise<ConnectionLost>} */
  ended(limits = {}) {
    return within(limits, (resolve) => {
      this.#ended.then(resolve);
      return () => {};
    });
  }

  /** Wait so long, or until it has ended. @param {number} seconds @returns {Promise<void>} */
  pause(seconds) {
    return new Promise((resolve) => {
      const timer = after(resolve, seconds);
      this.#ended.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  get isNdjson() {
    return this.#socket.protocol === NDJSON;
  }

  /** Look every so often whether the router is there. @param {number} seconds */
  watchOver(seconds) {
    const milliseconds = Math.min(seconds * 1000, LONGEST_TIMER_MS);
    let [heard, asked, lookedAt] = [this.#heard, 0, Date.now()];
    this.#beat = setInterval(() => {
      // a page that was frozen, or whose computer slept, comes here before it is given what has arrived meanwhile
      const isLate = Date.now() - lookedAt > 2 * milliseconds;
      lookedAt = Date.now();
      if (this.#heard !== heard) {
        [heard, asked] = [this.#heard, 0];
      } else if (asked === 0 || (asked === 1 && isLate)) {
        asked += 1;
        this.#ask();
      } else {
        this.#isSilent();
      }
    }, milliseconds);
  }

  /** Look now whether the router is there, and wait for that not as long as otherwise. */
  probe() {
    if (this.lost || this.#probe !== undefined || this.#outbox.length || this.#socket.bufferedAmount) return;
    this.#ask();
    this.#probe = after(() => this.#isSilent(), PROBE_SECONDS);
  }

  #ask() {
    this.request("session.ping", {}).catch(() => {}); // anything that arrives will do
  }

  #isSilent() {
    this.end(new ConnectionLost("the router is silent", { closeCode: HEARTBEAT_LOST }));
  }

  /** @param {string} method @param {any} params @param {RequestOptions} [options] @returns {Promise<any>} */
  request(method, params, options = {}) {
    if (this.hasRoom()) return this.send(method, params, options);
    return this.whenRoom(SOFT_LIMIT, () => this.send(method, params, options), options);
  }

  /** As `request`, whether there is room or not. @param {string} method @param {any} params @param {RequestOptions} options @returns {Promise<any>} */
  send(method, params, { signal, seconds, take, late, onPart, meta }) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.lost) return reject(this.#why("not_delivered"));
      const id = this.#nextId++;
      const text = toJson({ jsonrpc: "2.0", id, method, params, meta });
      this.checkSize(text, "message");
      const pending = { resolve, reject, entry: this.put(text), take, late, onPart, lastPart: performance.now(), clean: () => {} };
      this.#pending.set(id, pending);
      if (signal === undefined && seconds === undefined) return;
      const ignoreAbort = onAbort(signal, () => this.#giveUp(id, pending, signal?.reason));
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let timer;
      const look = () => {
        const left = secondsLeft(pending.lastPart) + Number(seconds) + PATIENCE_SECONDS;
        if (left > 0) timer = after(look, left);
        else this.#giveUp(id, pending, new TimedOut(Number(seconds), pending.entry.sent ? "unknown" : "not_delivered"));
      };
      if (seconds !== undefined) look();
      pending.clean = () => {
        clearTimeout(timer);
        ignoreAbort();
      };
    });
  }

  /** @param {number} id @param {Pending} pending @param {unknown} error */
  #giveUp(id, pending, error) {
    this.#pending.delete(id);
    pending.clean();
    if (pending.entry.sent) {
      this.notify("$/cancelRequest", { id });
      if (pending.late) this.#givenUp.set(id, pending.late);
    } else {
      this.#waitingSize -= pending.entry.text.length;
      pending.entry.text = "";
    }
    pending.reject(error);
  }

  /** @param {string} method @param {any} params */
  notify(method, params) {
    this.put(toJson({ jsonrpc: "2.0", method, params }));
  }

  /** Hand a message over to be sent, in `whenRoom` if it can wait. Dropped once the connection is gone. @param {string} text @returns {Entry} */
  put(text) {
    const entry = { text, sent: false };
    if (this.lost) return entry;
    this.#outbox.push(entry);
    this.#waitingSize += text.length;
    if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      queueMicrotask(this.#flush); // what is said in one go is packed together
    }
    return entry;
  }

  /**
   * Do something once less than `limit` waits to be sent. Those who wait do theirs one after the other, so the bound holds.
   * @template T
   * @param {number} limit @param {() => T} act @param {{ signal?: AbortSignal, deadline?: number, tooLate?: () => Error }} [limits]
   * @returns {Promise<Awaited<T>>}
   */
  async whenRoom(limit, act, limits = {}) {
    if (this.lost) throw this.#why("not_delivered");
    if (this.hasRoom(limit)) return await act();
    return await within(limits, (/** @type {(value: T) => void} */ resolve, reject) => {
      const go = () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      };
      const waiter = { limit, go, reject };
      this.#waitingForRoom.add(waiter);
      return () => this.#waitingForRoom.delete(waiter);
    });
  }

  hasRoom(limit = SOFT_LIMIT) {
    return this.#waitingSize < limit;
  }

  /** The router would end the connection for it. @param {string} text @param {string} what @param {number} [times] */
  checkSize(text, what, times = 1) {
    const max = (this.limits.max_message_bytes ?? Infinity) * times;
    if (text.length * 3 <= max) return;
    const size = new TextEncoder().encode(text).length;
    if (size > max) throw new RangeError(`the ${what} has ${size} bytes; the router takes ${max}`);
  }

  #flush = () => {
    this.#flushScheduled = false;
    clearTimeout(this.#stalled);
    this.#stalled = undefined;
    const socket = this.#socket;
    while (!this.lost && this.#outbox.length && socket.readyState === OPEN) {
      if (socket.bufferedAmount > SOCKET_LIMIT) {
        this.#flushScheduled = true;
        this.#stalled = after(this.#flush, LOOK_AGAIN_SECONDS);
        break;
      }
      const pack = this.#takePack();
      if (pack) socket.send(pack);
    }
    for (const waiter of this.#waitingForRoom) {
      if (this.#waitingSize >= waiter.limit) break;
      this.#waitingForRoom.delete(waiter);
      waiter.go();
    }
  };

  #takePack() {
    const texts = [];
    let size = 0;
    const maxSize = this.isNdjson ? MAX_PACK : 0;
    for (let entry = this.#outbox.first; entry; entry = this.#outbox.first) {
      if (texts.length && size + entry.text.length > maxSize) break;
      this.#outbox.shift();
      if (!entry.text) continue; // withdrawn
      texts.push(entry.text);
      size += entry.text.length;
      this.#waitingSize -= entry.text.length;
      entry.sent = true;
      entry.text = "";
    }
    return texts.join("\n");
  }

  /** @param {unknown} data */
  #hear(data) {
    if (this.lost) return; // it may go on for a moment
    this.#heard += 1;
    if (this.#probe !== undefined) {
      clearTimeout(this.#probe);
      this.#probe = undefined;
    }
    if (this.#stalled !== undefined) this.#flush(); // in the background timers are slow
    if (typeof data !== "string") {
      this.end(new ConnectionLost("a binary message arrived", { closeCode: 1003 }));
      return;
    }
    if (!this.isNdjson) return this.#receive(data);
    for (const line of data.split("\n")) {
      if (line && !this.lost) this.#receive(line);
    }
  }

  /** @param {string} text */
  #receive(text) {
    try {
      const message = JSON.parse(text);
      if (typeof message.method !== "string") this.#settle(message);
      else if (message.id === undefined || message.id === null) this.#takeNotification(message, text.length);
      else if (this.inbound) this.inbound.receive(message);
      else this.put(errorText(message.id, new RemoteError(-32601, "This session is no instance")));
    } catch (error) {
      this.onError(new ResrouteError(`a message of the router's cannot be read: ${text.slice(0, 200)}`, { cause: error }));
    }
  }

  /** @param {any} message */
  #settle(message) {
    const pending = this.#pending.get(message.id);
    if (!pending) return this.#settleLate(message); // it has crossed our cancellation
    this.#pending.delete(message.id);
    pending.clean();
    try {
      if (message.error !== undefined) pending.reject(errorFrom(message));
      else if (message.result === undefined) pending.reject(new RemoteError(-32603, "the answer has no result"));
      else pending.resolve(pending.take ? pending.take(message.result) : message.result);
    } catch (error) {
      pending.reject(new ResrouteError("an answer of the router's cannot be read", { cause: error }));
    }
  }

  /** @param {any} message */
  #settleLate({ id, result }) {
    const late = this.#givenUp.get(id);
    this.#givenUp.delete(id);
    if (late && result !== undefined) late(result);
  }

  /** @param {any} message @param {number} size */
  #takeNotification(message, size) {
    const { method, params } = message;
    if (method === "$/progress") {
      this.#takeProgress(params?.token, params?.value, size);
    } else if (method === "resource.events") {
      const feed = this.feeds.get(params?.watch_id);
      if (feed && !Array.isArray(params.events)) throw new TypeError("it has no events");
      if (feed && !feed.arrivals.put(params, size)) feed.end();
    } else if (method === "resource.watch_lost") {
      this.feeds.get(params?.watch_id)?.arrivals.finish();
    } else if (method === "session.closing") {
      this.closing = closingFrom(params);
    } else if (message.meta?.caller !== undefined) {
      this.inbound?.receive(message); // a call that nobody waits for; what is pushed has no caller
    } else if (!this.inbound?.notice(method, params)) {
      this.onNotification(message);
    }
  }

  /** @param {any} token @param {any} value @param {number} size */
  #takeProgress(token, value, size) {
    const listener = this.progressListeners.get(token);
    if (listener) return listener(value);
    const pending = this.#pending.get(token);
    if (!pending?.onPart) return; // it has crossed our cancellation
    pending.lastPart = performance.now();
    if (!pending.onPart(value ?? null, size)) {
      this.#giveUp(token, pending, new FellBehind("this program does not take the parts of a result"));
    }
  }

  /** @param {Delivery} delivery */
  #why(delivery) {
    const lost = /** @type {ConnectionLost} */ (this.lost);
    return new ConnectionLost(lost.reason, { closeCode: lost.closeCode, delivery });
  }

  /** Send what was said already, and say goodbye. Resolves once the connection is closed, or after a while. */
  async close() {
    const deadline = inSeconds(GOODBYE_SECONDS);
    while (!this.lost && this.#outbox.length && secondsLeft(deadline) > 0) await sleep(LOOK_AGAIN_SECONDS);
    if (this.lost) return;
    const socket = this.#socket;
    const closed = new Promise((resolve) => on(socket, "close", resolve));
    this.end(new ConnectionLost(CONNECTION_CLOSED, { closeCode: 1000 }));
    const giveUp = new AbortController();
    await Promise.race([closed, sleep(secondsLeft(deadline) + 0.1, giveUp.signal).catch(() => {})]);
    giveUp.abort();
  }

  /** Whoever waits for an answer fails. The first reason stands. @param {ConnectionLost} lost */
  end(lost) {
    if (this.lost) return;
    this.lost = lost;
    clearInterval(this.#beat);
    clearTimeout(this.#probe);
    clearTimeout(this.#stalled);
    for (const pending of this.#pending.values()) {
      pending.clean();
      pending.reject(this.#why(pending.entry.sent ? "unknown" : "not_delivered"));
    }
    this.#pending.clear();
    this.#givenUp.clear();
    for (const { reject } of this.#waitingForRoom) reject(this.#why("not_delivered"));
    this.#waitingForRoom.clear();
    for (const feed of this.feeds.values()) feed.arrivals.finish();
    this.#outbox.clear();
    this.inbound?.sessionEnded();
    try {
      this.#socket.close(1000);
    } catch {
      // one that never opened
    }
    this.onEnd();
    this.#resolveEnded(lost);
  }
}

/** What can be used of a router's last words. @param {any} params @returns {{ reconnect_after_seconds?: number, url?: string }} */
function closingFrom(params) {
  const { reconnect_after_seconds: seconds, url } = params ?? {};
  return {
    reconnect_after_seconds: typeof seconds === "number" ? seconds : undefined,
    url: typeof url === "string" ? url : undefined,
  };
}

/** What can be used of the limits that a router tells. @param {any} limits @returns {Record<string, number>} */
function limitsFrom(limits) {
  return Object.fromEntries(Object.entries(limits ?? {}).filter(([, limit]) => typeof limit === "number"));
}

/** @param {any} message @returns {ResrouteError} */
function errorFrom({ error, meta }) {
  const code = Number.isInteger(error?.code) ? error.code : -32603;
  const text = typeof error?.message === "string" ? error.message : "an error without a message";
  const isRouters = meta?.origin === "router" && typeof error.data?.type === "string";
  return isRouters ? new RouterError(code, text, error.data) : new RemoteError(code, text, error?.data);
}

/** @param {string | number} id @param {RemoteError} error */
function errorText(id, { code, message, data }) {
  if (!Number.isSafeInteger(code)) throw new TypeError(`the code of an error is an integer, not ${String(code)}`);
  return toJson({ jsonrpc: "2.0", id, error: { code, message, data } });
}

/** Throws a TypeError for half a surrogate pair too: it is no text on any wire. @param {unknown} value @returns {string} */
function toJson(value) {
  const text = JSON.stringify(value);
  // what is escaped so was alone, unless its backslash was a text's own
  if (text?.includes("\\ud") && /(^|[^\\])(\\\\)*\\ud[89a-f]/.test(text)) throw new TypeError("half a surrogate pair is no text");
  return text;
}

// --- the client ------------------------------------------------------------------------------------------------------

/** A session that lasted so long has begun well: counting attempts begins anew. */
const STABLE_SECONDS = 10;
/** Notifications that only the router sends. */
const RESERVED = /^(session\.|resource\.|rpc\.|\$\/)/;
/** For how long something other than a call is asked again that the router refuses for now. */
const REFUSED_SECONDS = 30;
/** How long at most an attempt to connect waits when a page wakes up. */
const WAKING_SECONDS = 0.5;

/** Act when a page wakes up: it has been frozen, hidden, left and come back to, or offline. Programs that are no pages never do. @param {() => void} act @param {AbortSignal} signal */
function onWaking(act, signal) {
  const { document } = globalThis;
  for (const type of ["online", "pageshow"]) globalThis.addEventListener?.(type, act, { signal });
  document?.addEventListener("resume", act, { signal });
  document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && act(), { signal });
}

/** How often to look whether a router is there that says nothing about that. */
const PING_SECONDS = 10;

/** @param {unknown} seconds */
const isDuration = (seconds) => typeof seconds === "number" && seconds > 0;

/** Options that would only go wrong later. @param {ConnectOptions} options */
function check({ token, onError, onState, connectTimeoutSeconds, pingIntervalSeconds, reconnect = {}, retry = {} }) {
  if (!["undefined", "string", "function"].includes(typeof token)) throw noToken(token);
  for (const [name, listener] of Object.entries({ onError, onState })) {
    if (!["undefined", "function"].includes(typeof listener)) throw new TypeError(`${name} is a function`);
  }
  for (const [name, seconds] of Object.entries({ connectTimeoutSeconds, pingIntervalSeconds, ...reconnect, ...retry })) {
    if (seconds !== undefined && !isDuration(seconds)) throw new TypeError(`${name} is a number of seconds above 0, not ${String(seconds)}`);
  }
}

/** @param {unknown} token */
function noToken(token) {
  return new TypeError(`a token is a string, or a function that gives one, not ${token === null ? "null" : `a ${typeof token}`}`);
}

/** What a WebSocket subprotocol may consist of. A token with anything else goes in a message. */
const SUBPROTOCOL = /^[\w!#$%&'*+.^`|~-]+$/;
/** Asking these twice does no harm. */
const READ_ONLY = /^(rpc\.discover|session\.(info|ping)|(instance|resource)\.query|route\.explain|router\.\w+)$/;

/**
 * Connect to a router. Resolves once it has said who it is; from then on the client connects again whenever the connection
 * breaks, until it is closed or refused for good.
 * @param {string | string[]} urls - such as `ws://127.0.0.1:8765/`; of several the next one that answers
 * @param {ConnectOptions} [options]
 * @returns {Promise<Client>} rejects with `ConnectionFailed` if none of them answers as a router does; with `keepTrying` only
 *   if it is refused for good
 */
export async function connect(urls, options = {}) {
  const client = new Client(typeof urls === "string" || Array.isArray(urls) ? listed(urls) : [], options);
  await client._begin();
  return client;
}

/** What `connect` resolves to. */
export class Client {
  /** Resolves once it will not connect again, to the reason, or `null` if that was `close`. @type {Promise<ResrouteError | null>} @readonly */
  closed;

  #urls;
  #options;
  #webSocket;
  #backoff;
  #retry;
  #onError;
  /** @type {Gate<Session>} */
  #gate = new Gate();
  #end = new AbortController();
  /** @type {(reason: ResrouteError | null) => void} */
  #resolveClosed = () => {};
  #nextUrl = 0;
  /** Where the last router wants the next attempt to go. @type {string | null} */
  #sentTo = null;
  #attempt = 0;
  #refusals = 0;
  /** Ends a pause before its time. */
  #hurry = () => {};
  /** @type {Listeners<PushedNotification>} */
  #notifications;
  /** @type {Listeners<StateChange>} */
  #states;
  /** @type {Instance | null} */
  #instance = null;
  #ignoreAbort;

  /** @param {string[]} urls @param {ConnectOptions} options @internal */
  constructor(urls, options) {
    if (urls.length === 0) throw new TypeError("connect needs a URL");
    check(options);
    const WebSocketClass = options.WebSocket ?? globalThis.WebSocket;
    if (!WebSocketClass) throw new TypeError("there is no WebSocket here: pass one, such as that of the package ws");
    this.#urls = urls;
    this.#options = options;
    this.#webSocket = WebSocketClass;
    this.#backoff = { ...RECONNECT, ...options.reconnect };
    this.#retry = { ...RETRY, ...options.retry };
    const report = options.onError ?? ((/** @type {unknown} */ error) => console.error(error));
    this.#onError = (/** @type {unknown} */ error) => {
      try {
        report(error);
      } catch (raised) {
        queueMicrotask(() => {
          throw raised; // on its own, so that nothing here is left half done
        });
      }
    };
    this.#notifications = new Listeners(this.#onError);
    this.#states = new Listeners(this.#onError);
    if (options.onState) this.#states.add(options.onState);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#ignoreAbort = onAbort(options.signal, () => void this.close());
  }

  /** Whether there is a connection now. */
  get isConnected() {
    return this.#gate.value !== null;
  }

  /** Of the connection that there is now. @returns {string | null} */
  get sessionId() {
    return this.#gate.value?.id ?? null;
  }

  /** The router's limits, by their names on the wire; empty while there is no connection. @returns {Record<string, number>} */
  get limits() {
    return this.#gate.value?.limits ?? {};
  }

  /** What the router can do that was added since version 1 of the protocol. @returns {string[]} */
  get features() {
    return this.#gate.value?.features ?? [];
  }

  // --- asking ---

  /**
   * Call the owner of a resource, or an instance of a service.
   *
   * Without a connection it waits for one. What failed and surely has not run is tried again within its time; what may
   * have run only if it is `idempotent`; what the callee said never.
   *
   * With `progress: true` what comes back can be iterated for partial results too, and leaving the loop early cancels the
   * call: `for await (const part of call)`, then `await call`.
   *
   * @template [R=any]
   * @overload
   * @param {string} method
   * @param {any} params - an object or an array, or nothing
   * @param {CallOptions & { progress: true }} options
   * @returns {CallStream<R>}
   */
  /**
   * @template [R=any]
   * @overload
   * @param {string} method
   * @param {any} params
   * @param {CallOptions & { progress?: false }} options
   * @returns {Promise<R>} rejects with `RouterError`, `RemoteError`, `ConnectionLost`, `TimedOut`, or the signal's reason
   */
  /**
   * @param {string} method
   * @param {any} params
   * @param {CallOptions & { progress?: boolean }} [options]
   */
  call(method, params, options = {}) {
    return options.progress ? new CallStream(this, method, params, options) : this._call(method, params, options);
  }

  /**
   * @param {string} method @param {any} params @param {CallOptions} options
   * @param {(value: any, size: number) => boolean} [onPart] @param {() => boolean} [hasParts]
   * @returns {Promise<any>}
   * @internal
   */
  async _call(method, params, options, onPart, hasParts = () => false) {
    const { signal, idempotent = false, traceparent, timeoutSeconds } = options;
    const seconds = timeoutSeconds ?? this.limits.default_timeout_seconds ?? 30;
    if (typeof seconds !== "number" || Number.isNaN(seconds)) {
      throw new TypeError(`timeoutSeconds is a number of seconds, not ${String(seconds)}`);
    }
    if (seconds <= 0) throw new TimedOut(seconds, "not_delivered");
    const deadline = inSeconds(seconds);
    const idempotencyKey = options.idempotencyKey ?? (idempotent ? randomKey() : undefined);
    const meta = onPart || traceparent ? { progress: onPart ? true : undefined, traceparent } : undefined;
    const tooLate = () => new TimedOut(seconds, "not_delivered");
    for (let attempt = 0; ; attempt++) {
      try {
        const session = this.#gate.value ?? (await this.#gate.wait({ signal, deadline, tooLate }));
        const ask = () => {
          const asked = Math.min(secondsLeft(deadline), session.limits.max_timeout_seconds ?? LONGEST_TIMER_MS / 1000);
          const left = Math.max(0.001, Math.ceil(asked * 1000) / 1000);
          const request = {
            method,
            params,
            resource_id: options.resourceId,
            service_name: options.serviceName,
            timeout_seconds: left,
            wait_for_owner_seconds: options.waitForOwnerSeconds,
            idempotency_key: idempotencyKey,
          };
          return session.send("route.call", request, { signal, seconds: left, meta, onPart });
        };
        return await (session.hasRoom() ? ask() : session.whenRoom(SOFT_LIMIT, ask, { signal, deadline, tooLate }));
      } catch (error) {
        if (options.retry === false || signal?.aborted || hasParts() || this.#end.signal.aborted) throw error;
        const notBeforeSeconds = retryAfterSeconds(error, idempotent);
        if (notBeforeSeconds === null) throw error;
        const pause = backoffSeconds(attempt, { ...this.#retry, random: Math.random(), notBeforeSeconds });
        if (pause >= secondsLeft(deadline)) throw error;
        await this.#rest(pause, signal, error);
      }
    }
  }

  /**
   * Ask, and again after a pause if the router refuses to take it for now and says when it may be asked again.
   * @template T
   * @param {AbortSignal | undefined} signal @param {() => Promise<T>} ask
   * @returns {Promise<T>}
   * @internal
   */
  async _patiently(signal, ask) {
    const deadline = inSeconds(REFUSED_SECONDS);
    for (let attempt = 0; ; attempt++) {
      try {
        return await ask();
      } catch (error) {
        const notBeforeSeconds = refusedForSeconds(error);
        if (notBeforeSeconds === null || signal?.aborted || this.#end.signal.aborted) throw error;
        const pause = backoffSeconds(attempt, { ...this.#retry, random: Math.random(), notBeforeSeconds });
        if (pause >= secondsLeft(deadline)) throw error;
        await this.#rest(pause, signal, error);
      }
    }
  }

  /** Wait before asking again; if this client is closed meanwhile, the error stands. @param {number} seconds @param {AbortSignal | undefined} signal @param {unknown} error */
  #rest(seconds, signal, error) {
    return within({ signal }, (/** @type {(value: void) => void} */ resolve, reject) => {
      const timer = after(() => {
        ignoreEnd();
        resolve();
      }, seconds);
      const ignoreEnd = onAbort(this.#end.signal, () => {
        clearTimeout(timer);
        reject(error);
      });
      return () => {
        clearTimeout(timer);
        ignoreEnd();
      };
    });
  }

  /**
   * Ask the router itself, by any method of its protocol. Without a connection it waits for one. What the router refuses
   * to take for now is asked again when it says, up to half a minute.
   * @template [R=any]
   * @param {string} method
   * @param {object} [params] - with names as on the wire
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<R>} if the connection ends before the answer, asks again what only reads, and else rejects with
   *   `ConnectionLost`
   */
  request(method, params = {}, { signal } = {}) {
    return this._patiently(signal, async () => {
      for (;;) {
        const session = await this.#gate.wait({ signal });
        try {
          return await session.request(method, params, { signal });
        } catch (error) {
          if (!this._mayRepeat(error) && !(error instanceof ConnectionLost && READ_ONLY.test(method))) throw error;
          await session.ended();
        }
      }
    });
  }

  /** Whether it was not sent, and there may be another connection. @param {unknown} error @internal */
  _mayRepeat(error) {
    return error instanceof ConnectionLost && error.delivery === "not_delivered" && !this.#end.signal.aborted;
  }

  /**
   * The resources that have an owner and match, one page of them, ordered by id.
   * @param {Filters & { includeMetadata?: boolean, limit?: number, offset?: number, cursor?: string }} [filters]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<ResourcePage>}
   */
  query(filters = {}, options = {}) {
    return this.request("resource.query", toWire(filters), options);
  }

  /**
   * All of them, page by page: `for await (const resource of client.queryAll({ prefix: "doc:" }))`.
   * @param {Filters & { includeMetadata?: boolean }} [filters]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<ResourceInfo, void, undefined>}
   */
  async *queryAll(filters = {}, options = {}) {
    /** @type {string | undefined} */
    let cursor;
    do {
      const page = await this.query({ ...filters, limit: 1000, cursor }, options);
      yield* page.resources;
      cursor = page.next_cursor;
    } while (cursor !== undefined);
  }

  /**
   * Follow what becomes of resources. Over a new connection it goes on where it was.
   * @param {Filters} [filters]
   * @param {{ snapshot?: boolean, fromRevision?: number, signal?: AbortSignal }} [options] - `snapshot`: gather what
   *   matches now, as `watch.snapshot`; `fromRevision`: go on after that one
   * @returns {Promise<Watch>}
   */
  async watch(filters = {}, options = {}) {
    const watch = new Watch(this, filters, options);
    await watch._begin();
    return watch;
  }

  /** Ask whether the router is there. @param {{ signal?: AbortSignal }} [options] @returns {Promise<void>} */
  async ping(options = {}) {
    await this.request("session.ping", {}, options);
  }

  // --- being told ---

  /**
   * Be told what owners push to this client, in order. Returns what stops it.
   * @param {(notification: PushedNotification) => void} listener
   * @returns {() => void}
   */
  onNotification(listener) {
    return this.#notifications.add(listener);
  }

  /**
   * Be told what becomes of the connection. Returns what stops it.
   * @param {(change: StateChange) => void} listener
   * @returns {() => void}
   */
  onState(listener) {
    return this.#states.add(listener);
  }

  // --- being an instance ---

  /**
   * Become an instance of a service: calls for what it registers, and for the service, are answered by `handlers`.
   * Over a new connection it registers again, itself and what it owns. A client is one instance at most.
   * @param {string} serviceName
   * @param {Record<string, Handler>} handlers - by method; only its own members count
   * @param {{ instanceId?: string, metadata?: object, priority?: number, maxConcurrency?: number, resumeGraceSeconds?: number,
   *   signal?: AbortSignal, onChange?: (change: OwnershipChange) => void }} [options] - `resumeGraceSeconds`: how long what it
   *   owns is kept for it after a connection that broke; `onChange`: as of `instance.onChange`, from the first on
   * @returns {Promise<Instance>}
   */
  async registerInstance(serviceName, handlers, options = {}) {
    if (this.#instance) throw new TypeError("this client is an instance already");
    if (typeof handlers !== "object" || handlers === null) throw new TypeError("handlers is an object with a function for each method");
    const { signal, onChange, ...identity } = options;
    const instance = new Instance(this, handlers, toWire({ serviceName, ...identity }), this.#onError);
    if (onChange) instance.onChange(onChange);
    this.#instance = instance;
    try {
      for (;;) {
        const session = await this.#gate.wait({ signal });
        try {
          await this._patiently(signal, () => instance._enter(session, signal));
          return instance;
        } catch (error) {
          if (!goesOn(session, error) || this.#end.signal.aborted) throw error;
          await session.ended({ signal });
        }
      }
    } catch (error) {
      this.#instance = null;
      throw error;
    }
  }

  // --- the connection ---

  /** @param {{ signal?: AbortSignal }} limits @internal */
  _session(limits) {
    return this.#gate.wait(limits);
  }

  /** @internal */
  get _isClosed() {
    return this.#end.signal.aborted;
  }

  /** @internal */
  get _backoff() {
    return this.#backoff;
  }

  /** Connect for the first time: each URL gets one chance. @internal */
  async _begin() {
    /** @type {ResrouteError | null} */
    let failure = null;
    if (this.#options.signal?.aborted) this.#end.abort(this.#options.signal.reason);
    onWaking(() => this.#wake(), this.#end.signal);
    for (let tries = 0; tries < this.#urls.length && !this.#end.signal.aborted; tries++) {
      try {
        const session = await this.#open();
        this.#run(session).catch(this.#onError);
        return;
      } catch (error) {
        failure = error instanceof ResrouteError ? error : new ConnectionFailed(said(error), { cause: error });
      }
    }
    if (this.#options.keepTrying && failure) {
      const session = await this.#reconnect(failure, null);
      if (session) return void this.#run(session).catch(this.#onError);
      failure = await this.closed;
    }
    await this.#finish(failure);
    const { signal } = this.#options;
    if (signal?.aborted) throw signal.reason;
    if (failure instanceof ConnectionLost && mayReconnect(failure.closeCode)) {
      throw new ConnectionFailed(failure.message, { cause: failure }); // there was hardly a connection
    }
    throw failure ?? new ConnectionFailed(CONNECTION_CLOSED);
  }

  /** @param {Session} first */
  async #run(first) {
    /** @type {Session | null} */
    let session = first;
    while (session) {
      const begun = performance.now();
      const lost = await session.ended();
      if (performance.now() - begun >= STABLE_SECONDS * 1000) this.#attempt = this.#refusals = 0;
      session = await this.#reconnect(lost, session.closing);
    }
  }

  /**
   * @param {ResrouteError} error @param {{ reconnect_after_seconds?: number, url?: string } | null} closing
   * @returns {Promise<Session | null>}
   */
  async #reconnect(error, closing) {
    let notBeforeSeconds = closing?.reconnect_after_seconds ?? 0;
    if (closing?.url !== undefined) this.#prefer(closing.url);
    while (!this.#end.signal.aborted) {
      if (this.#isFinal(error)) {
        await this.#finish(error);
        return null;
      }
      const takesLong = error instanceof ConnectionLost && error.closeCode === TOO_MANY_SESSIONS;
      // each of several routers gets its turn before anybody waits longer
      const round = takesLong ? Infinity : Math.floor(this.#attempt++ / this.#urls.length);
      const retryInSeconds = backoffSeconds(round, { ...this.#backoff, random: Math.random(), notBeforeSeconds });
      const atLeastSeconds = takesLong ? retryInSeconds : notBeforeSeconds;
      notBeforeSeconds = 0;
      this.#states.tell({ state: "disconnected", error, retryInSeconds });
      try {
        await this.#pause(retryInSeconds, atLeastSeconds);
        return await this.#open();
      } catch (raised) {
        error = raised instanceof ResrouteError ? raised : new ConnectionFailed(said(raised), { cause: raised });
        if (error.cause instanceof RouterError) notBeforeSeconds = askedSeconds(error.cause) ?? 0;
      }
    }
    return null;
  }

  /** Wait before an attempt: not as long if the page wakes up, but at least as long as the router wants. @param {number} seconds @param {number} atLeastSeconds */
  async #pause(seconds, atLeastSeconds) {
    const [soonest, latest] = [inSeconds(atLeastSeconds), inSeconds(seconds)];
    await within({ signal: this.#end.signal }, (/** @type {(value: void) => void} */ resolve) => {
      let timer = after(resolve, seconds);
      this.#hurry = () => {
        clearTimeout(timer);
        this.#attempt = 0;
        timer = after(resolve, Math.min(secondsLeft(latest), Math.max(0, secondsLeft(soonest)) + Math.random() * WAKING_SECONDS));
      };
      return () => clearTimeout(timer);
    }).finally(() => {
      this.#hurry = () => {};
    });
  }

  /** The page is looked at again, or its computer is online again: what was known of connections may be so no more. */
  #wake() {
    this.#gate.value?.probe();
    this.#hurry();
  }

  /** @param {ResrouteError} error */
  #isFinal(error) {
    const { cause } = error;
    const isRefused = cause instanceof RouterError && (cause.is("unauthenticated") || cause.is("forbidden"));
    if (!isRefused && (!(error instanceof ConnectionLost) || mayReconnect(error.closeCode))) return false;
    // a token may have expired: one more attempt with a fresh one
    const isAboutToken = error instanceof ConnectionLost ? error.closeCode === AUTHENTICATION_FAILED : isRefused && cause.is("unauthenticated");
    const mayHaveExpired = isAboutToken && typeof this.#options.token === "function";
    return !mayHaveExpired || ++this.#refusals > 1;
  }

  /** The router that closes says where to go, as long as that is no less safe. @param {string} url */
  #prefer(url) {
    const isSafe = url.startsWith("wss://") || (url.startsWith("ws://") && !this.#urls.some((own) => /^(wss|https):/.test(own)));
    if (isSafe) this.#sentTo = url;
  }

  /** One attempt, to the next URL. @returns {Promise<Session>} */
  async #open() {
    const url = this.#sentTo ?? this.#urls[this.#nextUrl++ % this.#urls.length];
    this.#sentTo = null;
    const seconds = this.#options.connectTimeoutSeconds ?? 10;
    const limits = { signal: this.#end.signal, deadline: inSeconds(seconds) };
    const token = await bounded(this.#token(), { ...limits, tooLate: () => new ConnectionFailed("there is no token in time") });
    const isOffered = token !== undefined && SUBPROTOCOL.test(`bearer.${token}`);
    const protocols = [NDJSON, PLAIN, ...(isOffered ? [`bearer.${token}`] : [])];
    const session = await openSession(this.#webSocket, url, protocols, limits);
    try {
      const tooLate = () => new ConnectionFailed(`${url} does not answer as a router does`);
      const info = await bounded(this.#greet(session, isOffered ? undefined : token), { ...limits, tooLate });
      if (typeof info?.session_id !== "string" || typeof info.limits !== "object") throw tooLate();
      this.#take(session, url, info);
      return session;
    } catch (error) {
      session.end(new ConnectionLost(CONNECTION_CLOSED));
      const isForeign = error instanceof RouterError || error instanceof RemoteError;
      throw isForeign ? new ConnectionFailed(`${url} refuses this session: ${error.message}`, { cause: error }) : error;
    }
  }

  async #token() {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    const fresh = await token();
    if (typeof fresh !== "string") throw noToken(fresh);
    return fresh;
  }

  /** @param {Session} session @param {string | undefined} token @returns {Promise<any>} */
  async #greet(session, token) {
    const authenticated = token === undefined ? null : session.request("session.authenticate", { token });
    const info = session.request("session.info", {});
    await Promise.all([authenticated, info]);
    return info;
  }

  /** @param {Session} session @param {string} url @param {any} info */
  #take(session, url, info) {
    if (session.lost) throw session.lost;
    session.id = info.session_id;
    session.limits = limitsFrom(info.limits);
    session.features = Array.isArray(info.features) ? info.features : [];
    const { interval_seconds: interval } = info.heartbeat ?? {};
    session.watchOver(this.#options.pingIntervalSeconds ?? (isDuration(interval) ? interval : PING_SECONDS));
    session.onError = this.#onError;
    session.onNotification = (message) => this.#hear(session, message);
    session.onEnd = () => this.#gate.shut();
    this.#gate.open(session);
    if (this.#instance?._hasEntered) void this.#instance._restore(session);
    this.#states.tell({ state: "connected", url, sessionId: session.id });
  }

  /** @param {Session} session @param {any} message */
  #hear(session, { method, params, meta }) {
    if (method === "session.expiring") {
      if (typeof this.#options.token !== "function") return;
      this.#refresh(session).catch((error) => session.lost ?? this.#onError(error)); // the next one has a fresh one anyway
    } else if (!RESERVED.test(method)) {
      this.#notifications.tell({ method, params, resourceId: meta?.resource_id, instanceId: meta?.instance_id });
    }
  }

  /** @param {Session} session */
  async #refresh(session) {
    await session.request("session.authenticate", { token: await this.#token() });
  }

  /**
   * Send what was said already, close the connection, and make no other. Calls in flight fail with `ConnectionLost`, and
   * what an instance owned is free. Resolves once it is closed, after a few seconds in any case.
   * @returns {Promise<void>}
   */
  async close() {
    this.#finish(null).catch(this.#onError);
    await this.closed;
  }

  /** @param {ResrouteError | null} reason */
  async #finish(reason) {
    if (this.#end.signal.aborted) return;
    this.#ignoreAbort();
    const session = this.#gate.value;
    this.#gate.refuse(() => new ConnectionLost(reason?.message ?? CONNECTION_CLOSED, { closeCode: 1000, delivery: "not_delivered" }));
    this.#end.abort(new ConnectionLost(CONNECTION_CLOSED, { closeCode: 1000, delivery: "not_delivered" }));
    this.#instance?._clientClosed();
    await session?.close();
    this.#states.tell({ state: "closed", error: reason });
    this.#resolveClosed(reason);
  }
}

/** In every context, also where `crypto.randomUUID` is missing. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A call that gives partial results. Iterate it for those, await it for the result; leaving the loop early cancels it.
 * Up to 4 MiB of parts are kept for who is slow; beyond, the call is cancelled and iterating ends with `FellBehind`.
 * @template [R=any]
 * @implements {PromiseLike<R>}
 */
export class CallStream {
  #arrivals = new Arrivals();
  #cancel = new AbortController();
  /** @type {Promise<R>} */
  #result;

  /** @param {Client} client @param {string} method @param {any} params @param {CallOptions} options @internal */
  constructor(client, method, params, options) {
    const { signal } = options;
    const abort = () => this.#cancel.abort(signal?.reason);
    if (signal?.aborted) abort();
    const ignoreAbort = onAbort(signal, abort);
    let hasParts = false;
    /** @param {any} value @param {number} size */
    const onPart = (value, size) => {
      hasParts = true;
      return this.#arrivals.put(value, size);
    };
    this.#result = client._call(method, params, { ...options, signal: this.#cancel.signal }, onPart, () => hasParts);
    const over = () => {
      ignoreAbort();
      this.#arrivals.finish();
    };
    this.#result.then(over, over); // whoever iterates is told there, so nothing is left unhandled
  }

  /** Give the call up. Does nothing if it is over. */
  cancel() {
    this.#cancel.abort(new DOMException("The call was cancelled", "AbortError"));
  }

  /**
   * @template [A=R]
   * @template [B=never]
   * @param {((value: R) => A | PromiseLike<A>) | null} [onfulfilled]
   * @param {((reason: any) => B | PromiseLike<B>) | null} [onrejected]
   * @returns {Promise<A | B>}
   */
  then(onfulfilled, onrejected) {
    return this.#result.then(onfulfilled, onrejected);
  }

  /**
   * @template [B=never]
   * @param {((reason: any) => B | PromiseLike<B>) | null} [onrejected]
   * @returns {Promise<R | B>}
   */
  catch(onrejected) {
    return this.#result.catch(onrejected);
  }

  /** @param {(() => void) | null} [onfinally] @returns {Promise<R>} */
  finally(onfinally) {
    return this.#result.finally(onfinally);
  }

  /** @returns {AsyncIterator<any, void, undefined>} */
  [Symbol.asyncIterator]() {
    return {
      next: async () => {
        const value = await this.#arrivals.take();
        if (value !== undefined) return { done: false, value };
        await this.#result;
        return { done: true, value: undefined };
      },
      return: async () => {
        this.cancel();
        return { done: true, value: undefined };
      },
    };
  }
}

// --- watches ---------------------------------------------------------------------------------------------------------

/** What arrives of a watch over one connection. */
class Feed {
  /** @type {Arrivals<{ revision: number, index: number, count: number, events: any[] }>} */
  arrivals = new Arrivals();

  /** @param {Session} session @param {any} started - the answer that began it */
  constructor(session, started) {
    this.session = session;
    this.watchId = started.watch_id;
    session.feeds.set(this.watchId, this);
  }

  end() {
    const isFollowed = this.session.feeds.delete(this.watchId);
    this.arrivals.finish();
    if (isFollowed && !this.session.lost) this.session.request("resource.unwatch", { watch_id: this.watchId }).catch(() => {});
  }
}

/**
 * What becomes of resources, in order: `for await (const event of watch)`. Leaving the loop ends it.
 *
 * Who is slow, or was disconnected, goes on where it was, for as long as the router remembers that. What it does not is a
 * `RouterError` of the type `revision_gone`: begin another watch with a snapshot.
 */
export class Watch {
  /** What matched when it began, ordered by id; empty unless that was asked for. @type {ResourceInfo[]} */
  snapshot = [];
  /** Up to here everything has been taken. A watch with this `fromRevision` goes on from there. */
  revision = 0;

  #client;
  #filters;
  #options;
  #end = new AbortController();
  /** @type {Feed | null} */
  #feed = null;
  /** @type {ResourceEvent[]} */
  #events = [];
  // the revision of what was taken last, whether all of it has come, and how many events of it
  #current = 0;
  #isWhole = true;
  #taken = 0;
  /** @type {Promise<any>} */
  #turn = Promise.resolve();
  // how many events of a revision that is told again have been taken already
  #known = 0;
  // what a page of the snapshot covers: up to this id, up to that revision
  /** @type {{ lastId: string, revision: number }[]} */
  #pages = [];
  #ignoreAbort;

  /**
   * @param {Client} client @param {Filters} filters
   * @param {{ snapshot?: boolean, fromRevision?: number, signal?: AbortSignal }} options
   * @internal
   */
  constructor(client, filters, options) {
    this.#client = client;
    this.#filters = toWire(filters);
    this.#options = options;
    const { signal } = options;
    if (signal?.aborted) this.#end.abort(signal.reason);
    this.#ignoreAbort = onAbort(signal, () => this.#stop(signal?.reason));
  }

  /** @internal */
  async _begin() {
    const { snapshot, fromRevision } = this.#options;
    for (;;) {
      const session = await this.#client._session({ signal: this.#end.signal });
      try {
        const started = await this.#ask(session, toWire({ snapshot, fromRevision }));
        this.revision = this.#current = started.revision;
        if (snapshot) await this.#gather(session, started);
        return;
      } catch (error) {
        this.#dropFeed();
        if (!(error instanceof ConnectionLost) || this.#client._isClosed) {
          this.#stop(error);
          throw error;
        }
        await session.ended();
      }
    }
  }

  /** @param {Session} session @param {object} begin @returns {Promise<any>} */
  #ask(session, begin) {
    const { signal } = this.#end;
    return this.#client._patiently(signal, () => session.request("resource.watch", { ...this.#filters, ...begin }, {
      signal,
      late: (started) => new Feed(session, started).end(),
      take: (started) => {
        if (typeof started?.watch_id !== "string") throw new TypeError("it names no watch");
        if ("snapshot" in begin && !Array.isArray(started.resources)) throw new TypeError("it has no snapshot");
        this.#feed = new Feed(session, started);
        return started;
      },
    }));
  }

  /** All pages, each of which may be newer than the one before. @param {Session} session @param {any} started */
  async #gather(session, started) {
    this.snapshot = [];
    this.#pages = [];
    let page = started;
    for (;;) {
      this.snapshot.push(...page.resources);
      this.#pages.push({ lastId: this.snapshot.at(-1)?.resource_id ?? "", revision: page.revision });
      if (page.next_cursor === undefined) return;
      const params = { ...this.#filters, cursor: page.next_cursor, limit: 1000 };
      const { signal } = this.#end;
      page = await this.#client._patiently(signal, () => session.request("resource.query", params, { signal }));
    }
  }

  /** Whether the snapshot has it already. @param {string} resourceId @param {number} revision */
  #isCovered(resourceId, revision) {
    if (this.#pages.length === 0) return false;
    if (revision > this.#pages[this.#pages.length - 1].revision) {
      this.#pages = []; // and so it is with all that follows
      return false;
    }
    const page = this.#pages.find(({ lastId }) => !isBefore(lastId, resourceId)) ?? this.#pages[this.#pages.length - 1];
    return revision <= page.revision;
  }

  /** End it. Does nothing if it has ended. */
  close() {
    this.#stop(new ResrouteError("this watch was closed"));
  }

  /** @param {unknown} reason */
  #stop(reason) {
    if (this.#end.signal.aborted) return;
    this.#ignoreAbort();
    this.#end.abort(reason);
    this.#dropFeed();
  }

  #dropFeed() {
    this.#feed?.end();
    this.#feed = null;
  }

  /** @returns {AsyncIterator<ResourceEvent, void, undefined>} */
  [Symbol.asyncIterator]() {
    return {
      next: () => {
        const next = () => this.#next();
        return (this.#turn = this.#turn.then(next, next)); // one after the other, whoever asks
      },
      return: async () => {
        this.close();
        return { done: true, value: undefined };
      },
    };
  }

  /** @returns {Promise<IteratorResult<ResourceEvent, void>>} */
  async #next() {
    const { signal } = this.#options;
    while (this.#events.length === 0) {
      if (this.#isWhole) this.revision = this.#current;
      if (signal?.aborted) throw signal.reason;
      if (this.#end.signal.aborted) return { done: true, value: undefined };
      if (this.#feed === null) await this.#resume();
      const changes = await this.#feed?.arrivals.take();
      if (changes) this.#take(changes);
      else this.#dropFeed(); // the connection has ended, or too much has come at once, or the router has given it up
    }
    const event = /** @type {ResourceEvent} */ (this.#events.shift());
    if (this.#isWhole && this.#events.length === 0) this.revision = this.#current;
    return { done: false, value: event };
  }

  /** Go on after the last revision that was told as a whole. */
  async #resume() {
    try {
      for (;;) {
        const session = await this.#client._session({ signal: this.#end.signal });
        try {
          this.#known = this.#isWhole ? 0 : this.#taken;
          await this.#ask(session, { from_revision: this.revision });
          return;
        } catch (error) {
          if (!(error instanceof ConnectionLost) || this.#client._isClosed) throw error;
          await session.ended();
        }
      }
    } catch (error) {
      if (this.#end.signal.aborted) return; // said by who asked
      this.#stop(error);
      throw error;
    }
  }

  /** @param {{ revision: number, index: number, count: number, events: any[] }} changes */
  #take({ revision, index, count, events }) {
    if (revision !== this.#current) this.#known = this.#taken = 0;
    this.#current = revision;
    for (const { event, resource, cause, previous_owner } of events) {
      if (this.#known > 0) {
        this.#known -= 1; // only a part of this revision had come
        continue;
      }
      this.#taken += 1;
      if (this.#isCovered(resource.resource_id, revision)) continue;
      this.#events.push({ revision, event, resource, cause, previousOwner: previous_owner });
    }
    this.#isWhole = index + 1 === count;
  }
}

/** By code points, as the router orders ids, which are ASCII. @param {string} one @param {string} other */
const isBefore = (one, other) => one < other;

// --- being an instance -----------------------------------------------------------------------------------------------

const INTERNAL_ERROR = -32000;
const METHOD_NOT_FOUND = -32601;
const MAX_ENDED = 10_000;
/** From then on a handler is told of that lets nothing else happen. */
const BLOCKED_SECONDS = 0.5;
const SILENT_SECONDS = 10;
/** Of a registration after a reconnect: what fails is told in full, in an answer that is not too large. */
const RESTORE_ITEMS = 2000;
const RESTORE_BATCH = 1000;
/** More bytes than a request in bulk has besides its items. */
const ENVELOPE = 1024;

/** `isHearsay`: a call has told of it, and no answer yet. @typedef {{ epoch: number | null, last: number | null, metadata: Metadata | null, leaving: boolean, isHearsay: boolean }} Grant */
/** @typedef {{ resourceId: string, epoch: number, previousEpoch: number | null }} Regained */

/** What this client is to the router once it has registered as an instance, over all its connections. */
export class Instance {
  #client;
  #handlers;
  #identity;
  #onError;
  /** @type {Gate<Session>} */
  #gate = new Gate();
  /** @type {string | undefined} */
  #resumeToken;
  #hasEntered = false;
  /** @type {Listeners<OwnershipChange>} */
  #changes;
  // resource -> its grant; with the epoch null while it is to be had again after a reconnect
  /** @type {Map<string, Grant>} */
  #grants = new Map();
  // resource -> the epoch of its last grant that has ended; the oldest is forgotten when there are too many
  /** @type {Map<string, number>} */
  #ended = new Map();
  // resource -> how many are asking for it
  /** @type {Map<string, number>} */
  #wanted = new Map();
  // the calls that are being worked on
  /** @type {Set<IncomingCall>} */
  #atWork = new Set();
  // correlation id -> the call
  /** @type {Map<string | number, IncomingCall>} */
  #byId = new Map();
  // until then nothing is said of handlers that block
  #silentUntil = 0;

  /**
   * @param {Client} client @param {Record<string, Handler>} handlers @param {Record<string, any>} identity
   * @param {(error: unknown) => void} onError
   * @internal
   */
  constructor(client, handlers, identity, onError) {
    this.#client = client;
    this.#handlers = handlers;
    this.#identity = identity;
    this.#onError = onError;
    this.#changes = new Listeners(onError);
  }

  /** As given, or as the router made it up. @returns {string} */
  get instanceId() {
    return this.#identity.instance_id ?? "";
  }

  /** @returns {string} */
  get serviceName() {
    return this.#identity.service_name;
  }

  /** What it owns now, and the epochs: a copy. Empty while there is no connection. @returns {Map<string, number>} */
  get resources() {
    /** @type {Map<string, number>} */
    const owned = new Map();
    for (const [resourceId, { epoch }] of this.#grants) {
      if (epoch !== null) owned.set(resourceId, epoch);
    }
    return owned;
  }

  /** How many calls it works on. */
  get callsServing() {
    return this.#atWork.size;
  }

  /**
   * Be told what is handed over to it and taken away, and what becomes of what it owned after a reconnect. What it
   * registers and releases itself is not told. Returns what stops it.
   * @param {(change: OwnershipChange) => void} listener
   * @returns {() => void}
   */
  onChange(listener) {
    return this.#changes.add(listener);
  }

  // --- owning ---

  /**
   * Take resources: all of them or none, with `partial` those that nobody else owns.
   * @param {string | string[]} resourceIds
   * @param {{ partial?: boolean, force?: boolean, waitSeconds?: number, metadata?: Record<string, Metadata>, signal?: AbortSignal }} [options] -
   *   `waitSeconds`: stand in line for what others own; `metadata`: by resource id; `force`: for administrators
   * @returns {Promise<Registered>} rejects with a `RouterError` of the type `resource_conflict` if another owns one
   */
  register(resourceIds, { waitSeconds, metadata, signal, ...options } = {}) {
    const ids = listed(resourceIds);
    const deadline = waitSeconds === undefined ? undefined : inSeconds(waitSeconds);
    return this.#take(ids, signal, (session) => {
      const left = deadline === undefined ? undefined : Math.max(0, Math.min(Number(waitSeconds), secondsLeft(deadline)));
      const params = toWire({ ...options, resourceIds: ids, waitSeconds: left, metadata });
      return session.request("resource.register", params, {
        signal,
        late: ({ epochs }) => this.#giveBack(session, epochs),
        take: (/** @type {Registered} */ result) => {
          for (const id of result.registered) this.#grant(id, result.epochs[id], ownOf(metadata, id));
          return result;
        },
      });
    });
  }

  /**
   * Give resources up: all of them or none, with `partial` those that it owns.
   * @param {string | string[]} resourceIds
   * @param {{ partial?: boolean, signal?: AbortSignal }} [options]
   * @returns {Promise<Released>}
   */
  release(resourceIds, { partial = false, signal } = {}) {
    const ids = listed(resourceIds);
    return this.#leave(ids, signal, (session, isRepeated) => {
      // what was owned by the connection before is free already
      const params = { resource_ids: ids, partial: partial || isRepeated };
      const take = (/** @type {Released} */ result) => {
        const isGone = (/** @type {string} */ id) => ["resource_not_found", "not_owner"].includes(ownOf(result.failed, id) ?? "");
        for (const id of ids) if (result.released.includes(id) || isGone(id)) this.#forget(id);
        if (partial || !isRepeated) return result;
        return { ...result, success: true, released: ids, failed: {} };
      };
      return session.request("resource.release", params, { signal, take, late: take });
    });
  }

  /**
   * Take thousands: all of them in one step or none, with `continueOnError` batch by batch without what fails.
   * @param {(string | { resourceId: string, metadata?: Metadata, force?: boolean })[]} resources
   * @param {{ batchSize?: number, continueOnError?: boolean, onProgress?: (progress: BatchResult & { done: number, total: number }) => void, signal?: AbortSignal }} [options]
   * @returns {Promise<BulkResult>} a failure is a result too: see its `failed` and `rolled_back`
   */
  bulkRegister(resources, { onProgress, signal, ...options } = {}) {
    const items = resources.map((resource) => toWire(typeof resource === "string" ? { resourceId: resource } : resource));
    const ids = items.map(({ resource_id }) => resource_id);
    return this.#take(ids, signal, (session) => this.#bulkRegister(session, items, options, onProgress, signal));
  }

  /**
   * Give thousands up, as `bulkRegister` takes them.
   * @param {string[]} resourceIds
   * @param {{ batchSize?: number, continueOnError?: boolean, onProgress?: (progress: BatchResult & { done: number, total: number }) => void, signal?: AbortSignal }} [options]
   * @returns {Promise<BulkResult>}
   */
  bulkRelease(resourceIds, { onProgress, signal, ...options } = {}) {
    const ids = [...resourceIds];
    const before = new Map(ids.map((id) => [id, this.#grants.get(id)?.last]));
    const take = (/** @type {BulkResult} */ result) => {
      const released = result.complete ? ids : (result.released ?? []);
      // others do not wait for a bulk: some may be registered again already
      for (const id of released) if (this.#grants.get(id)?.last === before.get(id)) this.#forget(id);
      return { ...result, released };
    };
    return this.#leave(ids, signal, (session) =>
      this.#withProgress(session, onProgress, (progressToken) => {
        const params = toWire({ ...options, resourceIds: ids, progressToken });
        return session.request("resource.bulk_release", params, { signal, take, late: take });
      }),
    );
  }

  /**
   * Say something else of a resource.
   * @param {string} resourceId
   * @param {Metadata} metadata - replaces what there is; with `merge` only what is mentioned
   * @param {{ merge?: boolean, expectedVersion?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<ResourceInfo>}
   */
  async update(resourceId, metadata, { signal, ...options } = {}) {
    const { resource } = await this.#once(signal, (session) =>
      session.request("resource.update", toWire({ ...options, resourceId, metadata }), {
        signal,
        take: (result) => {
          const grant = this.#grants.get(resourceId);
          if (grant) grant.metadata = result.resource.metadata ?? null;
          return result;
        },
      }),
    );
    return resource;
  }

  /**
   * Have the time to live of resources begin anew.
   * @param {string | string[]} resourceIds
   * @param {{ ttlSeconds?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<{ renewed: string[], expires_at: Record<string, string> }>}
   */
  renew(resourceIds, { ttlSeconds, signal } = {}) {
    const params = toWire({ resourceIds: listed(resourceIds), ttlSeconds });
    return this.#once(signal, (session) => session.request("resource.renew", params, { signal }));
  }

  /**
   * Hand resources over to another instance, with no moment in which nobody owns them.
   * @param {string | string[]} resourceIds
   * @param {{ to: string, reason: string, state?: Record<string, any>, partial?: boolean, signal?: AbortSignal }} options - `state`:
   *   by resource id, what the new owner needs to go on
   * @returns {Promise<{ success: boolean, transferred: string[], failed: Record<string, string>, epochs: Record<string, number>, transfer_id: string }>}
   */
  transfer(resourceIds, { to, signal, ...options }) {
    const ids = listed(resourceIds);
    const params = toWire({ ...options, resourceIds: ids, fromInstanceId: this.instanceId, toInstanceId: to });
    return this.#once(signal, (session) => session.request("resource.transfer", params, { signal }));
  }

  /**
   * Leave: get nothing new, and have the router hand over what it owns. It goes on answering the calls it has; close the
   * client when `callsServing` is 0.
   * @param {{ handOverTo?: "service" | "nobody" | string[], deadlineSeconds?: number, batchSize?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<{ handed_over: number, released: number, in_flight: number }>}
   */
  drain({ signal, ...options } = {}) {
    return this.#once(signal, (session) => session.request("instance.drain", toWire(options), { signal }));
  }

  /**
   * Push a notification to a session that has called a resource of this instance.
   * @param {string} sessionId - `call.caller.sessionId`
   * @param {string} resourceId
   * @param {string} method
   * @param {any} [params]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>} once it waits to be sent there; whether it arrives nobody can say
   */
  async notify(sessionId, resourceId, method, params, { signal } = {}) {
    const request = { session_id: sessionId, resource_id: resourceId, method, params };
    await this.#once(signal, (session) => session.request("session.notify", request, { signal }));
  }

  /**
   * Ask once there is a connection. What was not sent is asked again over the next one.
   * @template T
   * @param {AbortSignal | undefined} signal @param {(session: Session) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  #once(signal, ask) {
    return this.#client._patiently(signal, async () => {
      for (;;) {
        const session = await this.#gate.wait({ signal });
        try {
          return await ask(session);
        } catch (error) {
          if (!this.#client._mayRepeat(error)) throw error;
          await session.ended();
        }
      }
    });
  }

  /**
   * Ask until there is an answer, over as many connections as it takes: for what does no harm twice.
   * @template T
   * @param {AbortSignal | undefined} signal @param {(session: Session, isRepeated: boolean) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  #repeat(signal, ask) {
    let isRepeated = false;
    return this.#client._patiently(signal, async () => {
      for (;;) {
        const session = await this.#gate.wait({ signal });
        try {
          return await ask(session, isRepeated);
        } catch (error) {
          if (!goesOn(session, error) || this.#client._isClosed) throw error;
          isRepeated = true;
          await session.ended({ signal });
        }
      }
    });
  }

  /**
   * Ask to register: meanwhile nobody gives these back.
   * @template T
   * @param {string[]} ids @param {AbortSignal | undefined} signal @param {(session: Session) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #take(ids, signal, ask) {
    for (const id of ids) this.#wanted.set(id, (this.#wanted.get(id) ?? 0) + 1);
    try {
      return await this.#repeat(signal, ask);
    } finally {
      for (const id of ids) {
        const others = (this.#wanted.get(id) ?? 1) - 1;
        if (others) this.#wanted.set(id, others);
        else this.#wanted.delete(id);
      }
    }
  }

  /**
   * Ask to release: meanwhile a new connection does not register these again.
   * @template T
   * @param {string[]} ids @param {AbortSignal | undefined} signal @param {(session: Session, isRepeated: boolean) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #leave(ids, signal, ask) {
    const grants = ids.map((id) => this.#grants.get(id));
    for (const grant of grants) if (grant) grant.leaving = true;
    try {
      return await this.#repeat(signal, ask);
    } finally {
      for (const grant of grants) if (grant) grant.leaving = false;
    }
  }

  /**
   * @template T
   * @param {Session} session @param {((progress: any) => void) | undefined} onProgress @param {(token: string | undefined) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #withProgress(session, onProgress, ask) {
    if (!onProgress) return ask(undefined);
    const token = randomKey();
    session.progressListeners.set(token, (value) => listenTo(onProgress, value, this.#onError));
    try {
      return await ask(token);
    } finally {
      session.progressListeners.delete(token);
    }
  }

  /**
   * @param {Session} session @param {Record<string, any>[]} items @param {{ batchSize?: number, continueOnError?: boolean }} options
   * @param {((progress: any) => void) | undefined} onProgress @param {AbortSignal} [signal]
   * @returns {Promise<BulkResult>}
   */
  #bulkRegister(session, items, options, onProgress, signal) {
    const epochsOf = (/** @type {BulkResult} */ result) => {
      const epochs = new Map(Object.entries(result.epochs ?? {}));
      const size = options.batchSize ?? 100;
      items.forEach(({ resource_id }, index) => {
        // most epochs of one that is complete are told by batch only
        const ofBatch = result.complete ? result.batch_results[Math.floor(index / size)]?.epoch : undefined;
        const epoch = epochs.get(resource_id) ?? ofBatch;
        if (epoch !== undefined) epochs.set(resource_id, epoch);
      });
      return epochs;
    };
    return this.#withProgress(session, onProgress, (progressToken) =>
      session.request("resource.bulk_register", toWire({ ...options, resources: items, progressToken }), {
        signal,
        late: (result) => this.#giveBack(session, Object.fromEntries(epochsOf(result))),
        take: (/** @type {BulkResult} */ result) => {
          const epochs = epochsOf(result);
          for (const { resource_id, metadata } of items) {
            const epoch = epochs.get(resource_id);
            if (epoch !== undefined) this.#grant(resource_id, epoch, metadata);
          }
          return { ...result, epochs: Object.fromEntries(epochs), registered: [...epochs.keys()] };
        },
      }),
    );
  }

  /**
   * Release what was granted to somebody who had given up by then, and nobody else here knows of or asks for.
   * @param {Session} session @param {Record<string, number>} epochs
   */
  #giveBack(session, epochs) {
    const unknown = Object.entries(epochs).filter(([id, epoch]) => {
      const grant = this.#grants.get(id);
      return grant?.epoch !== epoch || grant.isHearsay;
    });
    for (const [id, epoch] of unknown) this.#grant(id, epoch, undefined, true);
    const ids = unknown.flatMap(([id]) => (this.#wanted.has(id) ? [] : [id]));
    for (let first = 0; first < ids.length; first += RESTORE_BATCH) {
      // not in bulk: what is asked after this is to come after it
      const params = { resource_ids: ids.slice(first, first + RESTORE_BATCH), partial: true };
      const take = (/** @type {Released} */ { released }) => released.forEach((id) => this.#forget(id));
      session.request("resource.release", params, { take }).catch(() => {});
    }
  }

  // --- what it owns: every change of that happens here, in the order in which the router said it ---

  /** @param {string} resourceId @param {number} epoch @param {Metadata} [metadata] - `undefined`: as it was */
  #grant(resourceId, epoch, metadata, isHearsay = false) {
    const grant = this.#grants.get(resourceId);
    if (!grant) {
      this.#grants.set(resourceId, { epoch, last: epoch, metadata: metadata ?? null, leaving: false, isHearsay });
    } else {
      grant.isHearsay = isHearsay;
      grant.epoch = Math.max(grant.epoch ?? 0, epoch); // a later one may have come with a call
      grant.last = grant.epoch;
      if (metadata !== undefined) grant.metadata = metadata;
    }
  }

  /** @param {string} resourceId @returns {number | null} the epoch that has ended */
  #forget(resourceId) {
    const last = this.#grants.get(resourceId)?.last ?? null;
    this.#grants.delete(resourceId);
    if (last !== null) {
      this.#ended.delete(resourceId); // to the end of the line
      this.#ended.set(resourceId, last);
      if (this.#ended.size > MAX_ENDED) {
        const [oldest] = this.#ended.keys();
        this.#ended.delete(oldest);
      }
    }
    return last;
  }

  /** Whether a grant that a call names can be in force. A later one than is known is news. @param {string} resourceId @param {number} epoch */
  #isInForce(resourceId, epoch) {
    const known = this.#grants.get(resourceId)?.epoch ?? 0;
    if (epoch <= known) return epoch === known;
    if (epoch <= (this.#ended.get(resourceId) ?? 0)) return false;
    this.#grant(resourceId, epoch, undefined, true);
    return true;
  }

  // --- the connection ---

  /** Whether it was an instance over some connection. @internal */
  get _hasEntered() {
    return this.#hasEntered;
  }

  /** Become an instance over this connection. @param {Session} session @param {AbortSignal} [signal] @internal */
  async _enter(session, signal) {
    await this.#register(session, signal);
    if (!session.lost) this.#gate.open(session);
  }

  /** @param {Session} session @param {AbortSignal} [signal] @returns {Promise<Regained[]>} what came along */
  #register(session, signal) {
    const params = { ...this.#identity, resume_token: this.#resumeToken };
    return session.request("instance.register", params, {
      signal,
      // a session can be an instance only once, and nobody would answer its calls: there is to be another
      late: () => session.end(new ConnectionLost("it is an instance that was given up")),
      take: (result) => {
        if (typeof result?.instance_id !== "string") throw new TypeError("it names no instance");
        this.#identity.instance_id = result.instance_id;
        this.#resumeToken = result.resume_token;
        session.inbound = {
          receive: (message) => this.#receive(session, message),
          notice: (method, notice) => this.#notice(method, notice),
          sessionEnded: () => this.#sessionEnded(),
        };
        this.#hasEntered = true;
        // calls may be right behind this
        const resumed = Object.entries(result.resumed ?? {});
        const unknown = resumed.filter(([resourceId]) => !this.#grants.has(resourceId));
        this.#giveBack(session, Object.fromEntries(unknown)); // who had asked for it gave up, or never heard of it
        return resumed.filter((each) => !unknown.includes(each)).map(([resourceId, epoch]) => {
          const previousEpoch = this.#grants.get(resourceId)?.last ?? null;
          this.#grant(resourceId, epoch);
          return { resourceId, epoch, previousEpoch };
        });
      },
    });
  }

  /** Be over this connection what it was over the one before. Rejects never. @param {Session} session @internal */
  async _restore(session) {
    for (let attempt = 0; !session.lost; attempt++) {
      try {
        const resumed = await this.#register(session);
        await this.#regain(session, resumed);
        if (!session.lost) this.#gate.open(session);
        return;
      } catch (error) {
        if (session.lost) return; // the next one goes on
        if (!mayPass(error)) {
          const reason = error instanceof ResrouteError ? error : new ResrouteError(said(error), { cause: error });
          this.#gate.refuse(() => reason);
          this.#grants.clear();
          this.#changes.tell({ kind: "ended", error: reason });
          return;
        }
        this.#changes.tell({ kind: "delayed", error });
        const notBeforeSeconds = error.data.retry_after_seconds ?? 0;
        await session.pause(backoffSeconds(attempt, { ...this.#client._backoff, random: Math.random(), notBeforeSeconds }));
      }
    }
  }

  /** Own again what it owned, in bulk. @param {Session} session @param {Regained[]} resumed - what it owns already */
  async #regain(session, resumed) {
    /** @param {Regained} regained @param {boolean} isResumed */
    const tell = (regained, isResumed) => {
      if (this.#grants.get(regained.resourceId)?.leaving) return; // its release is under way, and would be no news
      this.#changes.tell({ kind: "regained", ...regained, resumed: isResumed });
    };
    for (const regained of resumed) tell(regained, true);
    // of very many that came along the answer names some; all have one epoch
    const resumedAt = resumed[0]?.epoch;
    const missing = [...this.#grants].filter(([, grant]) => grant.epoch === null && !grant.leaving);
    const options = { batchSize: RESTORE_BATCH, continueOnError: true };
    const before = new Map(missing.map(([resourceId, { last }]) => [resourceId, last]));
    const all = missing.map(([resource_id, { metadata }]) => toWire({ resource_id, metadata: metadata ?? undefined }));
    for (const items of inMessages(all, session.limits)) {
      const result = await this.#bulkRegister(session, items, options, undefined);
      for (const { resource_id, current_owner, error_code, reason } of result.failed) {
        const epoch = this.#forget(resource_id);
        this.#changes.tell({ kind: "lost", resourceId: resource_id, epoch, cause: "session_ended", newOwner: current_owner, reason, errorCode: error_code });
      }
      for (const { resource_id } of items) {
        const epoch = this.#grants.get(resource_id)?.epoch;
        if (epoch) tell({ resourceId: resource_id, epoch, previousEpoch: before.get(resource_id) ?? null }, epoch === resumedAt);
      }
    }
  }

  #sessionEnded() {
    this.#gate.shut();
    for (const grant of this.#grants.values()) grant.epoch = null;
    for (const call of [...this.#atWork]) this.#over(call, new ConnectionLost("nobody waits for the answer any more"));
    this.#changes.tell({ kind: "disconnected" });
  }

  /** @internal */
  _clientClosed() {
    this.#gate.refuse(() => new ConnectionLost(CONNECTION_CLOSED, { closeCode: 1000, delivery: "not_delivered" }));
  }

  // --- what arrives ---

  /** @param {string} method @param {any} params @returns {boolean} whether it was for an instance */
  #notice(method, params) {
    switch (method) {
      case "$/cancelRequest": {
        const call = this.#byId.get(params?.id);
        if (call) this.#over(call, new DOMException("The call was cancelled", "AbortError"));
        return true;
      }
      case "resource.acquired":
        for (const { resource_id, epoch, metadata, state } of params.resources) {
          this.#grant(resource_id, epoch, metadata);
          const { cause, from_instance_id, transfer_id } = params;
          this.#changes.tell({ kind: "acquired", resourceId: resource_id, epoch, metadata, cause, fromInstanceId: from_instance_id, transferId: transfer_id, state });
        }
        return true;
      case "resource.lost":
        for (const resourceId of params.resource_ids) {
          const epoch = this.#forget(resourceId);
          const { cause, new_owner, transfer_id, reason } = params;
          this.#changes.tell({ kind: "lost", resourceId, epoch, cause, newOwner: new_owner, transferId: transfer_id, reason });
        }
        return true;
      default:
        return false;
    }
  }

  /** One call, or a notification, which has no id. @param {Session} session @param {any} message */
  #receive(session, { id, method, params, meta = {} }) {
    const call = new IncomingCall(this, session, { id, method, meta }, (reason) => this.#over(call, reason));
    if (typeof meta.resource_id === "string" && typeof meta.epoch === "number") {
      if (!this.#isInForce(meta.resource_id, meta.epoch)) return this.#answer(session, call, undefined, new StaleEpoch());
    }
    const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined;
    if (typeof handler !== "function") {
      const error = new RemoteError(METHOD_NOT_FOUND, `There is no method ${quoted(method)}`, { method: method.slice(0, MAX_TOLD) });
      return this.#answer(session, call, undefined, error);
    }
    this.#atWork.add(call);
    if (id !== undefined) this.#byId.set(id, call);
    try {
      const result = this.#timed(call, () => handler(params, call));
      if (typeof result?.next === "function" || typeof result?.then === "function") {
        const later = typeof result.then === "function" ? result : drive(result, call, (step) => this.#timed(call, step));
        Promise.resolve(later).then(
          (value) => this.#finish(session, call, value),
          (error) => this.#finish(session, call, undefined, error ?? new Error("a handler threw nothing")),
        );
      } else {
        this.#finish(session, call, result);
      }
    } catch (error) {
      this.#finish(session, call, undefined, error ?? new Error("a handler threw nothing"));
    }
  }

  /** Run what a handler does in one go, and tell of it if that takes long. @template T @param {IncomingCall} call @param {() => T} act @returns {T} */
  #timed(call, act) {
    const begun = performance.now();
    try {
      return act();
    } finally {
      const seconds = (performance.now() - begun) / 1000;
      if (seconds >= BLOCKED_SECONDS && secondsLeft(this.#silentUntil) <= 0) {
        this.#silentUntil = inSeconds(SILENT_SECONDS);
        this.#onError(new HandlerBlocked(call.method, seconds));
      }
    }
  }

  /** @param {IncomingCall} call @param {unknown} reason - why nobody waits for the answer any more */
  #over(call, reason) {
    this.#remove(call);
    call._abort(reason);
  }

  /** @param {IncomingCall} call */
  #remove(call) {
    this.#atWork.delete(call);
    if (call._id !== undefined) this.#byId.delete(call._id);
    call._end();
  }

  /** @param {Session} session @param {IncomingCall} call @param {unknown} value @param {unknown} [error] */
  #finish(session, call, value, error) {
    if (!this.#atWork.has(call)) {
      if (error !== undefined && !isAbout(call._reason, error)) this.#onError(error);
      return;
    }
    this.#remove(call);
    this.#answer(session, call, value, error);
  }

  /** @param {Session} session @param {IncomingCall} call @param {unknown} value @param {unknown} [error] */
  #answer(session, call, value, error) {
    const id = call._id;
    let told = error instanceof RemoteError ? withoutClaim(error) : undefined;
    if (error !== undefined && !told) {
      this.#onError(error);
      told = new RemoteError(INTERNAL_ERROR, `Internal error in ${quoted(call.method)}`);
    }
    if (id === undefined) return;
    let text;
    try {
      text = told ? errorText(id, told) : resultText(id, value);
      session.checkSize(text, "answer", 2); // the router says of one that is too large, but ends the session for twice that
    } catch (unsayable) {
      this.#onError(unsayable);
      text = errorText(id, new RemoteError(INTERNAL_ERROR, `Internal error in ${quoted(call.method)}`));
    }
    const answer = text;
    if (session.hasRoom()) session.put(answer);
    else session.whenRoom(SOFT_LIMIT, () => session.put(answer)).catch(() => {}); // the connection is gone, and the call with it
  }
}

/**
 * Items of a bulk, as many at a time as a router takes.
 * @param {Record<string, any>[]} items @param {Record<string, number>} limits
 * @returns {Generator<Record<string, any>[], void>}
 */
function* inMessages(items, { max_message_bytes = Infinity, max_bulk_items = Infinity }) {
  const encoder = new TextEncoder();
  const maxItems = Math.min(RESTORE_ITEMS, max_bulk_items);
  /** @type {Record<string, any>[]} */
  let part = [];
  let size = 0;
  for (const item of items) {
    const itemSize = encoder.encode(JSON.stringify(item)).length + 1;
    if (part.length === maxItems || (part.length && size + itemSize > max_message_bytes - ENVELOPE)) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(item);
    size += itemSize;
  }
  if (part.length) yield part;
}

/** Whether an error is an answer, or what a cancelled handler says to that. @param {unknown} reason @param {unknown} error */
function isAbout(reason, error) {
  const isAbort = error instanceof Error && error.name === "AbortError";
  return isAbort || error instanceof RemoteError || error === reason || (reason instanceof ConnectionLost && error instanceof ConnectionLost);
}

/** Whether the router may take the same registration later. @param {unknown} error @returns {error is RouterError} */
function mayPass(error) {
  return error instanceof RouterError && (error.code === 503 || error.code === 429 || error.type === "instance_conflict");
}

/**
 * Whether what failed, and does no harm twice, is for the next connection: this one has ended, or will before long, because its
 * router is about to stop and takes nothing more.
 * @param {Session} session @param {unknown} error
 */
function goesOn(session, error) {
  if (error instanceof ConnectionLost) return true;
  return session.closing !== null && error instanceof RouterError && error.code === 503;
}

/** A name as callers and logs are told of it, at most so long: a caller may have made it up. @param {string} name */
function quoted(name) {
  return JSON.stringify(name.slice(0, MAX_TOLD));
}

/** What an error from further on says of its own call is not so of this one. @param {RemoteError} error */
function withoutClaim(error) {
  const claims = !(error instanceof StaleEpoch) && error.data?.type === "stale_epoch";
  return claims ? new RemoteError(error.code, error.message) : error;
}

/** @param {string | number} id @param {unknown} value */
function resultText(id, value) {
  const result = toJson(value ?? null);
  if (result === undefined) throw new TypeError(`a ${typeof value} is no result`);
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}`;
}

/**
 * Send whatever a generator yields. Its result is what it returns.
 * @param {AsyncGenerator | Generator} parts @param {IncomingCall} call
 * @param {(step: () => any) => any} timed
 */
async function drive(parts, call, timed) {
  let isRunning = false;
  /** @type {Promise<unknown> | undefined} */
  let ended;
  const end = () => (ended ??= new Promise((resolve) => resolve(parts.return?.(undefined))));
  onAbort(call.signal, () => {
    // it may stand at an await of its own, and is ended after that; what has aborted its own call at its next step
    if (!isRunning) end().catch(() => {});
  });
  for (;;) {
    isRunning = true;
    let step;
    try {
      step = timed(() => parts.next());
    } finally {
      isRunning = false;
    }
    const { done, value } = await step;
    if (call._reason !== undefined) return void (await end());
    if (done) return value;
    try {
      await call.progress(value);
    } catch (error) {
      await end().catch(() => {}); // as a loop does: the first error counts
      throw error;
    }
  }
}

/** One call that an instance works on. */
export class IncomingCall {
  /** @readonly */ method;
  /** The resource by which it was called. @type {string | undefined} @readonly */ resourceId;
  /** The epoch under which the resource is owned: write it along with whatever is written elsewhere. @type {number | undefined} @readonly */ epoch;
  /** @type {string | undefined} @readonly */ serviceName;
  /** Who calls, by the router's word. @type {{ sessionId?: string, instanceId?: string, subject?: string }} @readonly */ caller;
  /** The time that there was when it came; with progress it begins anew with each part. @type {number | undefined} @readonly */ timeoutSeconds;
  /** @type {string | undefined} @readonly */ idempotencyKey;
  /** @type {string | undefined} @readonly */ traceId;
  /** @type {string | undefined} @readonly */ traceparent;
  /** Whether the caller wants partial results. @type {boolean} @readonly */ wantsProgress;
  /** Whether nobody hears an answer. @type {boolean} @readonly */ isNotification;

  /** @type {string | number | undefined} @internal */
  _id;
  /** Why it is over, once it was cancelled. @type {unknown} @internal */
  _reason;
  #instance;
  #session;
  #giveUp;
  /** @type {AbortController | null} */
  #controller = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #deadline = 0;
  #isOver = false;

  /**
   * @param {Instance} instance @param {Session} session @param {{ id: string | number | undefined, method: string, meta: any }} message
   * @param {(reason: unknown) => void} giveUp
   * @internal
   */
  constructor(instance, session, { id, method, meta }, giveUp) {
    this.#instance = instance;
    this.#session = session;
    this.#giveUp = giveUp;
    this._id = id;
    this.method = method;
    this.resourceId = meta.resource_id;
    this.epoch = meta.epoch;
    this.serviceName = meta.service_name;
    const { session_id: sessionId, instance_id: instanceId, subject } = meta.caller ?? {};
    this.caller = { sessionId, instanceId, subject };
    this.timeoutSeconds = meta.timeout_seconds;
    this.idempotencyKey = meta.idempotency_key;
    this.traceId = meta.trace_id;
    this.traceparent = meta.traceparent;
    this.wantsProgress = meta.progress === true && id !== undefined;
    this.isNotification = id === undefined;
    if (typeof this.timeoutSeconds === "number") this.#deadline = inSeconds(this.timeoutSeconds);
  }

  /** Aborts when the caller has cancelled, its time is over, or the connection has ended. @returns {AbortSignal} */
  get signal() {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this._reason !== undefined) this.#controller.abort(this._reason);
      else if (this.#deadline && !this.#isOver) this.#arm();
    }
    return this.#controller.signal;
  }

  #arm() {
    this.#timer = after(() => {
      if (secondsLeft(this.#deadline) > 0) this.#arm();
      else this.#giveUp(new DOMException("The time of the call is over", "TimeoutError"));
    }, secondsLeft(this.#deadline));
  }

  /**
   * Send one partial result, if the caller wants them. Resolves when there is room for the next one.
   * @param {any} value
   * @returns {Promise<void>}
   */
  async progress(value) {
    if (!this.wantsProgress || this.#isOver) return;
    const part = toJson(value ?? null);
    if (part === undefined) throw new TypeError(`a ${typeof value} is no partial result`);
    const text = `{"jsonrpc":"2.0","method":"$/progress","params":{"token":${JSON.stringify(this._id)},"value":${part}}}`;
    const session = this.#session;
    session.checkSize(text, "partial result");
    try {
      const put = () => void (this.#isOver || session.put(text));
      await session.whenRoom(MAX_PACK, put, session.hasRoom(MAX_PACK) ? {} : { signal: this.signal });
    } catch {
      return; // the call is over, by itself or with its connection
    }
    if (this.timeoutSeconds !== undefined) this.#deadline = inSeconds(this.timeoutSeconds); // as the router counts it
  }

  /**
   * Push a notification to the caller, now or any time later, as long as this instance owns the resource.
   * @param {string} method
   * @param {any} [params]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>}
   */
  notify(method, params, options) {
    const { sessionId } = this.caller;
    if (sessionId === undefined || this.resourceId === undefined) {
      return Promise.reject(new TypeError("only who has called a resource can be notified"));
    }
    return this.#instance.notify(sessionId, this.resourceId, method, params, options);
  }

  /** @param {unknown} reason @internal */
  _abort(reason) {
    this._reason ??= reason;
    this.#controller?.abort(reason);
  }

  /** @internal */
  _end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
