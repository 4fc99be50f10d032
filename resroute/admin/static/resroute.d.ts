// Made by scripts/npm types of the comments in resroute.js. Do not edit.
/**
 * Whether to connect again after a close.
 */
export function mayReconnect(closeCode: number): boolean;
/**
 * How long to wait before the next attempt, in seconds: anything between 0 and the bound, as chance has it.
 * @param attempt - from 0
 * @param options - `random` is from 0 to 1; `notBeforeSeconds` is
 *   what the router asked for, which is added, up to an hour
 */
export function backoffSeconds(attempt: number, { baseSeconds, capSeconds, random, notBeforeSeconds }: Backoff & {
    random: number;
    notBeforeSeconds?: number;
}): number;
/**
 * Whether a call that failed may be made again, and not before how many seconds. `null`: it may not.
 *
 * What the router did not deliver or refused to take for now may; what may have run only if it is idempotent; what a callee
 * said never.
 */
export function retryAfterSeconds(error: unknown, idempotent: boolean): number | null;
/**
 * For how long the router refuses to take this at all, whatever was asked. `null`: that is not what it says.
 */
export function refusedForSeconds(error: unknown): number | null;
/**
 * Connect to a router. Resolves once it has said who it is; from then on the client connects again whenever the connection
 * breaks, until it is closed or refused for good.
 * @param urls - such as `ws://127.0.0.1:8765/`; of several the next one that answers
 * @returns rejects with `ConnectionFailed` if none of them answers as a router does; with `keepTrying` only
 *   if it is refused for good
 */
export function connect(urls: string | string[], options?: ConnectOptions): Promise<Client>;
/** The root of every error of this module. An aborted `signal` rejects with its own `reason` instead. */
export class ResrouteError extends Error {
    constructor(message: string, options?: ErrorOptions);
}
/** The router's own word: it refused, or could not finish, what was asked. Nobody else can make one of these. */
export class RouterError extends ResrouteError {
    constructor(code: number, message: string, data: {
        type: string;
        trace_id?: string;
        [member: string]: any;
    });
    readonly code: number;
    /** What kind of error it is, such as `resource_not_found`. */ readonly type: string;
    /** All that the router says of it. */ readonly data: Record<string, any>;
    /** The id under which the router's log tells of it. */ readonly traceId: string | undefined;
    /** Of a call: whether it may have run. */ readonly delivery: Delivery | undefined;
    /**
     * Whether it is of this type, so that `data` has its members.
     */
    is<T extends keyof RouterErrorData>(type: T): this is RouterError & {
        type: T;
        data: RouterErrorData[T];
    };
}
/** The callee answered with an error of its own. A handler throws one to answer so. */
export class RemoteError extends ResrouteError {
    constructor(code: number, message: string, data?: any);
    readonly code: number;
    readonly data: any;
}
/** A handler throws this before it changes anything, when somebody else has refused its epoch: the router tries the owner there is now. */
export class StaleEpoch extends RemoteError {
    constructor();
}
/** There was no connection to be had. */
export class ConnectionFailed extends ResrouteError {
}
/** The connection has ended, or ended before the answer. */
export class ConnectionLost extends ResrouteError {
    constructor(reason: string, { closeCode, delivery }?: {
        closeCode?: number;
        delivery?: Delivery;
    });
    readonly reason: string;
    /** 1006 if it just broke. */ readonly closeCode: number;
    /** Whether what was asked may have been done. */ readonly delivery: Delivery;
}
/** No answer came in the time that there was, not even the router's that the time is over. */
export class TimedOut extends ResrouteError {
    constructor(seconds: number, delivery: Delivery);
    readonly delivery: Delivery;
}
/** This program does not take what arrives: more than 4 MiB wait. */
export class FellBehind extends ResrouteError {
}
/** A handler has kept its program from doing anything else: no other call was answered meanwhile. `onError` is told, of many once in a while. */
export class HandlerBlocked extends ResrouteError {
    constructor(method: string, seconds: number);
    readonly method: string;
    readonly seconds: number;
}
/** What `connect` resolves to. */
export class Client {
    private constructor();
    /** Resolves once it will not connect again, to the reason, or `null` if that was `close`. */
    readonly closed: Promise<ResrouteError | null>;
    /** Whether there is a connection now. */
    get isConnected(): boolean;
    /** Of the connection that there is now. */
    get sessionId(): string | null;
    /** The router's limits, by their names on the wire; empty while there is no connection. */
    get limits(): Record<string, number>;
    /** What the router can do that was added since version 1 of the protocol. */
    get features(): string[];
    /**
     * Call the owner of a resource, or an instance of a service.
     *
     * Without a connection it waits for one. What failed and surely has not run is tried again within its time; what may
     * have run only if it is `idempotent`; what the callee said never.
     *
     * With `progress: true` what comes back can be iterated for partial results too, and leaving the loop early cancels the
     * call: `for await (const part of call)`, then `await call`.
     * @param params - an object or an array, or nothing
     */
    call<R = any>(method: string, params: any, options: CallOptions & {
        progress: true;
    }): CallStream<R>;
    /**
     * @returns rejects with `RouterError`, `RemoteError`, `ConnectionLost`, `TimedOut`, or the signal's reason
     */
    call<R = any>(method: string, params: any, options: CallOptions & {
        progress?: false;
    }): Promise<R>;
    /**
     * Ask the router itself, by any method of its protocol. Without a connection it waits for one. What the router refuses
     * to take for now is asked again when it says, up to half a minute.
     * @param params - with names as on the wire
     * @returns if the connection ends before the answer, asks again what only reads, and else rejects with
     *   `ConnectionLost`
     */
    request<R = any>(method: string, params?: object, { signal }?: {
        signal?: AbortSignal;
    }): Promise<R>;
    /**
     * The resources that have an owner and match, one page of them, ordered by id.
     */
    query(filters?: Filters & {
        includeMetadata?: boolean;
        limit?: number;
        offset?: number;
        cursor?: string;
    }, options?: {
        signal?: AbortSignal;
    }): Promise<ResourcePage>;
    /**
     * All of them, page by page: `for await (const resource of client.queryAll({ prefix: "doc:" }))`.
     */
    queryAll(filters?: Filters & {
        includeMetadata?: boolean;
    }, options?: {
        signal?: AbortSignal;
    }): AsyncGenerator<ResourceInfo, void, undefined>;
    /**
     * Follow what becomes of resources. Over a new connection it goes on where it was.
     * @param options - `snapshot`: gather what
     *   matches now, as `watch.snapshot`; `fromRevision`: go on after that one
     */
    watch(filters?: Filters, options?: {
        snapshot?: boolean;
        fromRevision?: number;
        signal?: AbortSignal;
    }): Promise<Watch>;
    /** Ask whether the router is there. */
    ping(options?: {
        signal?: AbortSignal;
    }): Promise<void>;
    /**
     * Be told what owners push to this client, in order. Returns what stops it.
     */
    onNotification(listener: (notification: PushedNotification) => void): () => void;
    /**
     * Be told what becomes of the connection. Returns what stops it.
     */
    onState(listener: (change: StateChange) => void): () => void;
    /**
     * Become an instance of a service: calls for what it registers, and for the service, are answered by `handlers`.
     * Over a new connection it registers again, itself and what it owns. A client is one instance at most.
     * @param handlers - by method; only its own members count
     * @param options - `resumeGraceSeconds`: how long what it
     *   owns is kept for it after a connection that broke; `onChange`: as of `instance.onChange`, from the first on
     */
    registerInstance(serviceName: string, handlers: Record<string, Handler>, options?: {
        instanceId?: string;
        metadata?: object;
        priority?: number;
        maxConcurrency?: number;
        resumeGraceSeconds?: number;
        signal?: AbortSignal;
        onChange?: (change: OwnershipChange) => void;
    }): Promise<Instance>;
    /**
     * Send what was said already, close the connection, and make no other. Calls in flight fail with `ConnectionLost`, and
     * what an instance owned is free. Resolves once it is closed, after a few seconds in any case.
     */
    close(): Promise<void>;
    #private;
}
/**
 * A call that gives partial results. Iterate it for those, await it for the result; leaving the loop early cancels it.
 * Up to 4 MiB of parts are kept for who is slow; beyond, the call is cancelled and iterating ends with `FellBehind`.
 */
export class CallStream<R = any> implements PromiseLike<R> {
    private constructor();
    /** Give the call up. Does nothing if it is over. */
    cancel(): void;
    then<A = R, B = never>(onfulfilled?: ((value: R) => A | PromiseLike<A>) | null, onrejected?: ((reason: any) => B | PromiseLike<B>) | null): Promise<A | B>;
    catch<B = never>(onrejected?: ((reason: any) => B | PromiseLike<B>) | null): Promise<R | B>;
    finally(onfinally?: (() => void) | null): Promise<R>;
    [Symbol.asyncIterator](): AsyncIterator<any, void, undefined>;
    #private;
}
/**
 * What becomes of resources, in order: `for await (const event of watch)`. Leaving the loop ends it.
 *
 * Who is slow, or was disconnected, goes on where it was, for as long as the router remembers that. What it does not is a
 * `RouterError` of the type `revision_gone`: begin another watch with a snapshot.
 */
export class Watch {
    private constructor();
    /** What matched when it began, ordered by id; empty unless that was asked for. */
    snapshot: ResourceInfo[];
    /** Up to here everything has been taken. A watch with this `fromRevision` goes on from there. */
    revision: number;
    /** End it. Does nothing if it has ended. */
    close(): void;
    [Symbol.asyncIterator](): AsyncIterator<ResourceEvent, void, undefined>;
    #private;
}
/** What this client is to the router once it has registered as an instance, over all its connections. */
export class Instance {
    private constructor();
    /** As given, or as the router made it up. */
    get instanceId(): string;
    get serviceName(): string;
    /** What it owns now, and the epochs: a copy. Empty while there is no connection. */
    get resources(): Map<string, number>;
    /** How many calls it works on. */
    get callsServing(): number;
    /**
     * Be told what is handed over to it and taken away, and what becomes of what it owned after a reconnect. What it
     * registers and releases itself is not told. Returns what stops it.
     */
    onChange(listener: (change: OwnershipChange) => void): () => void;
    /**
     * Take resources: all of them or none, with `partial` those that nobody else owns.
     * @param options -
     *   `waitSeconds`: stand in line for what others own; `metadata`: by resource id; `force`: for administrators
     * @returns rejects with a `RouterError` of the type `resource_conflict` if another owns one
     */
    register(resourceIds: string | string[], { waitSeconds, metadata, signal, ...options }?: {
        partial?: boolean;
        force?: boolean;
        waitSeconds?: number;
        metadata?: Record<string, Metadata>;
        signal?: AbortSignal;
    }): Promise<Registered>;
    /**
     * Give resources up: all of them or none, with `partial` those that it owns.
     */
    release(resourceIds: string | string[], { partial, signal }?: {
        partial?: boolean;
        signal?: AbortSignal;
    }): Promise<Released>;
    /**
     * Take thousands: all of them in one step or none, with `continueOnError` batch by batch without what fails.
     * @returns a failure is a result too: see its `failed` and `rolled_back`
     */
    bulkRegister(resources: (string | {
        resourceId: string;
        metadata?: Metadata;
        force?: boolean;
    })[], { onProgress, signal, ...options }?: {
        batchSize?: number;
        continueOnError?: boolean;
        onProgress?: (progress: BatchResult & {
            done: number;
            total: number;
        }) => void;
        signal?: AbortSignal;
    }): Promise<BulkResult>;
    /**
     * Give thousands up, as `bulkRegister` takes them.
     */
    bulkRelease(resourceIds: string[], { onProgress, signal, ...options }?: {
        batchSize?: number;
        continueOnError?: boolean;
        onProgress?: (progress: BatchResult & {
            done: number;
            total: number;
        }) => void;
        signal?: AbortSignal;
    }): Promise<BulkResult>;
    /**
     * Say something else of a resource.
     * @param metadata - replaces what there is; with `merge` only what is mentioned
     */
    update(resourceId: string, metadata: Metadata, { signal, ...options }?: {
        merge?: boolean;
        expectedVersion?: number;
        signal?: AbortSignal;
    }): Promise<ResourceInfo>;
    /**
     * Have the time to live of resources begin anew.
     */
    renew(resourceIds: string | string[], { ttlSeconds, signal }?: {
        ttlSeconds?: number;
        signal?: AbortSignal;
    }): Promise<{
        renewed: string[];
        expires_at: Record<string, string>;
    }>;
    /**
     * Hand resources over to another instance, with no moment in which nobody owns them.
     * @param options - `state`:
     *   by resource id, what the new owner needs to go on
     */
    transfer(resourceIds: string | string[], { to, signal, ...options }: {
        to: string;
        reason: string;
        state?: Record<string, any>;
        partial?: boolean;
        signal?: AbortSignal;
    }): Promise<{
        success: boolean;
        transferred: string[];
        failed: Record<string, string>;
        epochs: Record<string, number>;
        transfer_id: string;
    }>;
    /**
     * Leave: get nothing new, and have the router hand over what it owns. It goes on answering the calls it has; close the
     * client when `callsServing` is 0.
     */
    drain({ signal, ...options }?: {
        handOverTo?: "service" | "nobody" | string[];
        deadlineSeconds?: number;
        batchSize?: number;
        signal?: AbortSignal;
    }): Promise<{
        handed_over: number;
        released: number;
        in_flight: number;
    }>;
    /**
     * Push a notification to a session that has called a resource of this instance.
     * @param sessionId - `call.caller.sessionId`
     * @returns once it waits to be sent there; whether it arrives nobody can say
     */
    notify(sessionId: string, resourceId: string, method: string, params?: any, { signal }?: {
        signal?: AbortSignal;
    }): Promise<void>;
    #private;
}
/** One call that an instance works on. */
export class IncomingCall {
    private constructor();
    readonly method: string;
    /** The resource by which it was called. */ readonly resourceId: string | undefined;
    /** The epoch under which the resource is owned: write it along with whatever is written elsewhere. */ readonly epoch: number | undefined;
    readonly serviceName: string | undefined;
    /** Who calls, by the router's word. */ readonly caller: {
        sessionId?: string;
        instanceId?: string;
        subject?: string;
    };
    /** The time that there was when it came; with progress it begins anew with each part. */ readonly timeoutSeconds: number | undefined;
    readonly idempotencyKey: string | undefined;
    readonly traceId: string | undefined;
    readonly traceparent: string | undefined;
    /** Whether the caller wants partial results. */ readonly wantsProgress: boolean;
    /** Whether nobody hears an answer. */ readonly isNotification: boolean;
    /** Aborts when the caller has cancelled, its time is over, or the connection has ended. */
    get signal(): AbortSignal;
    /**
     * Send one partial result, if the caller wants them. Resolves when there is room for the next one.
     */
    progress(value: any): Promise<void>;
    /**
     * Push a notification to the caller, now or any time later, as long as this instance owns the resource.
     */
    notify(method: string, params?: any, options?: {
        signal?: AbortSignal;
    }): Promise<void>;
    #private;
}
/**
 * Whether a failed call may have run. `not_delivered`: its callee never had it and never will.
 */
export type Delivery = "not_delivered" | "unknown";
/**
 * What the router says besides with each type of error.
 */
export type RouterErrorData = {
    parse_error: {
        detail?: string;
    };
    invalid_request: {
        detail?: string;
    };
    method_not_found: {
        method: string;
    };
    invalid_params: {
        errors: {
            path: string;
            message: string;
        }[];
    };
    internal_error: {};
    unauthenticated: {};
    forbidden: {
        required: string;
    };
    not_owner: {
        resource_id: string;
        owner_instance_id: string;
    };
    resource_not_found: {
        resource_id: string;
    };
    service_not_found: {
        service_name: string;
    };
    instance_not_found: {
        instance_id: string;
    };
    service_mismatch: {
        service_name: string;
        resource_id?: string;
        instance_id?: string;
    };
    watch_not_found: {
        watch_id: string;
    };
    session_not_found: {
        session_id: string;
    };
    resource_conflict: {
        conflicts: Record<string, string>;
        resource_id?: string;
        owner_instance_id?: string;
        epoch?: number;
        since?: string;
        owner_healthy?: boolean;
        pending?: boolean;
        suspended_until?: string;
    };
    version_conflict: {
        resource_id: string;
        expected_version: number;
        current_version: number;
    };
    instance_conflict: {
        instance_id: string;
        suspended_until?: string;
    };
    already_registered: {
        instance_id?: string;
    };
    revision_gone: {
        oldest_revision: number;
    };
    answer_too_large: {
        limit: number;
        delivery?: Delivery;
    };
    resource_limit_exceeded: {
        limit: number;
        current: number;
        requested: number;
    };
    too_many_calls: {
        limit: number;
        retry_after_seconds?: number;
    };
    too_many_waiters: {
        limit: number;
        retry_after_seconds?: number;
    };
    too_many_watches: {
        limit: number;
        retry_after_seconds?: number;
    };
    rate_limited: {
        limit: number;
        retry_after_seconds?: number;
    };
    call_cancelled: {
        delivery?: Delivery;
    };
    owner_disconnected: {
        instance_id: string;
        delivery?: Delivery;
    };
    invalid_answer: {
        instance_id?: string;
        delivery?: Delivery;
    };
    unavailable: {
        reason: string;
        retry_after_seconds?: number;
        delivery?: Delivery;
    };
    call_timeout: {
        timeout_seconds: number;
        delivery?: Delivery;
    };
};
/**
 * What a client may say of a resource. The router keeps it as long as the resource has an owner.
 */
export type Metadata = {
    resource_type?: string | null | undefined;
    tags?: string[] | undefined;
    attributes?: Record<string, any> | undefined;
    priority?: number | undefined;
    ttl_seconds?: number | null | undefined;
};
/**
 * What the router says of a resource.
 */
export type ResourceInfo = {
    resource_id: string;
    owner_instance_id: string;
    service_name: string;
    registered_at: string;
    epoch: number;
    is_healthy: boolean;
    calls_total: number;
    last_called_at?: string | undefined;
    expires_at?: string | undefined;
    metadata?: (Metadata & {
        version: number;
        created_by: string;
        last_modified: string;
    }) | undefined;
};
/**
 * Which resources: all that match everything that is given.
 */
export type Filters = {
    serviceName?: string | undefined;
    instanceId?: string | undefined;
    resourceIds?: string[] | undefined;
    resourceType?: string | undefined;
    /**
     * all of them
     */
    tags?: string[] | undefined;
    prefix?: string | undefined;
};
/**
 * One page of a query.
 */
export type ResourcePage = {
    resources: ResourceInfo[];
    total_count: number;
    total_count_is_lower_bound?: boolean | undefined;
    has_more: boolean;
    next_cursor?: string | undefined;
    revision: number;
};
export type Registered = {
    success: boolean;
    registered: string[];
    /**
     * the owner of each that another instance owns
     */
    conflicts: Record<string, string>;
    epochs: Record<string, number>;
};
export type Released = {
    success: boolean;
    released: string[];
    /**
     * the type of error of each of the others
     */
    failed: Record<string, string>;
};
export type BatchResult = {
    batch_number: number;
    success_count: number;
    failure_count: number;
    duration_ms: number;
    epoch?: number | undefined;
};
/**
 * What became of a request in bulk.
 */
export type BulkResult = {
    total_requested: number;
    total_registered?: number | undefined;
    total_released?: number | undefined;
    registered?: string[] | undefined;
    released?: string[] | undefined;
    /**
     * of each that is registered
     */
    epochs?: Record<string, number> | undefined;
    complete: boolean;
    failed: {
        resource_id: string;
        reason: string;
        current_owner?: string;
        error_code: string;
    }[];
    batch_results: BatchResult[];
    rolled_back: boolean;
    has_more?: boolean | undefined;
};
export type CallOptions = {
    /**
     * call the owner of this
     */
    resourceId?: string | undefined;
    /**
     * call an instance of this service; with `resourceId`, its owner must belong to it
     */
    serviceName?: string | undefined;
    /**
     * for all of it, waiting for a connection and trying again too. With `progress`
     * it counts from the last part. By default what the router gives, 30 seconds; at most what it allows, 600
     */
    timeoutSeconds?: number | undefined;
    /**
     * how long to wait, within that, for the resource to have an owner
     */
    waitForOwnerSeconds?: number | undefined;
    /**
     * running it twice does no harm: try again even if it may have run
     */
    idempotent?: boolean | undefined;
    /**
     * passed on to the callee; `idempotent` makes one up
     */
    idempotencyKey?: string | undefined;
    /**
     * `false`: never try again
     */
    retry?: boolean | undefined;
    /**
     * W3C Trace Context
     */
    traceparent?: string | undefined;
    /**
     * cancels the call, at its callee too
     */
    signal?: AbortSignal | undefined;
};
/**
 * A notification that an owner has pushed to this client.
 */
export type PushedNotification = {
    method: string;
    params: any;
    /**
     * what it is about
     */
    resourceId?: string | undefined;
    /**
     * who has sent it
     */
    instanceId?: string | undefined;
};
/**
 * What becomes of the connection. `disconnected` says when the next attempt begins.
 */
export type StateChange = {
    state: "connected";
    url: string;
    sessionId: string;
} | {
    state: "disconnected";
    error: ResrouteError;
    retryInSeconds: number;
} | {
    state: "closed";
    error: ResrouteError | null;
};
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
 */
export type OwnershipChange = {
    kind: "acquired";
    resourceId: string;
    epoch: number;
    metadata: Metadata | null;
    cause: string;
    fromInstanceId?: string;
    transferId?: string;
    state?: any;
} | {
    kind: "lost";
    resourceId: string;
    epoch: number | null;
    cause: string;
    newOwner?: string;
    transferId?: string;
    reason?: string;
    errorCode?: string;
} | {
    kind: "regained";
    resourceId: string;
    epoch: number;
    previousEpoch: number | null;
    resumed: boolean;
} | {
    kind: "disconnected";
} | {
    kind: "delayed";
    error: ResrouteError;
} | {
    kind: "ended";
    error: ResrouteError;
};
/**
 * What has become of a resource.
 */
export type ResourceEvent = {
    revision: number;
    event: "registered" | "released" | "transferred" | "updated" | "expired";
    /**
     * after the event; for `released` and `expired` the last there was
     */
    resource: ResourceInfo;
    cause: string;
    previousOwner?: string | undefined;
};
/**
 * Answers calls of one method: at once, later, or part by part, as an async generator whose `return` is the result.
 */
export type Handler = (params: any, call: IncomingCall) => any;
/**
 * How to wait between attempts: chance decides between 0 and a bound that doubles with each, up to the cap.
 */
export type Backoff = {
    /**
     * the first bound
     */
    baseSeconds: number;
    /**
     * the last
     */
    capSeconds: number;
};
/**
 * What is used of a WebSocket: the browser's, Node's, or that of the package `ws`.
 */
export type Socket = {
    readyState: number;
    bufferedAmount: number;
    protocol: string;
    send: (text: string) => void;
    close: (code?: number, reason?: string) => void;
    addEventListener: (type: any, listener: (event: any) => void) => void;
};
export type ConnectOptions = {
    /**
     * a bearer token, or what gives a fresh one for each connection
     */
    token?: string | (() => string | Promise<string>) | undefined;
    /**
     * by default the global one
     */
    WebSocket?: (new (url: string, protocols?: string[]) => Socket) | undefined;
    /**
     * between attempts to connect; by default 0.5 and 30 seconds
     */
    reconnect?: Partial<Backoff> | undefined;
    /**
     * between attempts of a call; by default 0.1 and 5 seconds
     */
    retry?: Partial<Backoff> | undefined;
    /**
     * try for the first connection as patiently as for all others, until it is there
     */
    keepTrying?: boolean | undefined;
    /**
     * as of `client.onState`, from the first on
     */
    onState?: ((change: StateChange) => void) | undefined;
    /**
     * for one attempt to connect, 10 by default
     */
    connectTimeoutSeconds?: number | undefined;
    /**
     * how often to look whether the router is there; by default as often as it pings
     */
    pingIntervalSeconds?: number | undefined;
    /**
     * told what handlers and listeners throw that was not meant for a caller;
     * by default `console.error`
     */
    onError?: ((error: unknown) => void) | undefined;
    /**
     * closes the client, connected or not
     */
    signal?: AbortSignal | undefined;
};
export {};
