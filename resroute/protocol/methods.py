"""The router's own methods: name, parameters, result, who may call them, and what they do.

One table: dispatching, the checks of roles and parameters, and the reference in the documentation come from it.
"""

from typing import Literal

import attrs
import msgspec

from resroute import errors as e
from resroute.protocol import params, results

Role = Literal["caller", "instance", "admin"]


@attrs.frozen
class Method:
    """One method of the router's."""

    name: str
    params: type[params.Params]
    result: type[msgspec.Struct] | None
    """None where the result is whatever the callee answered."""
    role: Role | None
    """The role a session needs. None: any session may call it."""
    doc: str
    errors: tuple[type[e.RouterError], ...] = ()
    """What it may be answered, beside what any request may."""


METHODS = {
    method.name: method
    for method in (
        Method(
            "rpc.discover",
            params.Params,
            results.Document,
            None,
            "This document: every method, with its parameters, result and errors, as OpenRPC.",
        ),
        Method(
            "session.info",
            params.Params,
            results.SessionInfo,
            None,
            "Who this session is to the router, what the router can do, and the limits in force.",
        ),
        Method(
            "session.ping",
            params.Params,
            results.Result,
            None,
            "Answers at once. For clients that cannot see WebSocket Pings, such as browsers.",
        ),
        Method(
            "session.notify",
            params.NotifyParams,
            results.Notified,
            "instance",
            "Sends a notification to a session that is bound to a resource of this instance's, has a call to it in flight, "
            "or is among the last 100 that called it.",
            (e.Forbidden, e.ResourceNotFound, e.NotOwner, e.SessionNotFound, e.Unavailable),
        ),
        Method(
            "session.end",
            params.EndSessionParams,
            results.Result,
            "admin",
            "Ends a session: its connection is closed with 4010, and all it owned is free.",
            (e.Forbidden, e.SessionNotFound),
        ),
        Method(
            "instance.register",
            params.RegisterInstanceParams,
            results.RegisteredInstance,
            "instance",
            "Makes this session an instance of a service, until it ends. Only an instance may register resources.",
            (e.Forbidden, e.AlreadyRegistered, e.InstanceConflict, e.Unavailable),
        ),
        Method(
            "instance.drain",
            params.DrainInstanceParams,
            results.DrainedInstance,
            "instance",
            "Has an instance leave: it gets nothing new, and all that it owns goes to other instances, a batch at a time. "
            "Answered once all is moved; calls that it was handed may still be in flight. By itself or an administrator.",
            (e.Forbidden, e.InstanceNotFound, e.ServiceMismatch),
        ),
        Method(
            "instance.query",
            params.QueryInstancesParams,
            results.InstancePage,
            "caller",
            "The connected instances, by service or id, in code-point order of their ids.",
            (e.Forbidden,),
        ),
        Method(
            "resource.register",
            params.RegisterResourcesParams,
            results.RegisteredResources,
            "instance",
            "Takes resources: all of them or none; with `partial` those that nobody else owns. Registering what one "
            "already owns succeeds, keeps its epoch, and replaces its metadata if some is given. With `wait_seconds` it "
            "waits for what others own. `force` is for administrators.",
            (
                e.Forbidden,
                e.InstanceNotFound,
                e.ServiceMismatch,
                e.ResourceConflict,
                e.ResourceLimitExceeded,
                e.TooManyWaiters,
                e.CallCancelled,
                e.Unavailable,
            ),
        ),
        Method(
            "resource.release",
            params.ReleaseResourcesParams,
            results.ReleasedResources,
            "instance",
            "Gives resources up: all of them or none; with `partial` those that this instance owns. Administrators release "
            "what anybody owns.",
            (e.Forbidden, e.NotOwner, e.ResourceNotFound, e.ResourceConflict),
        ),
        Method(
            "resource.bulk_register",
            params.BulkRegisterParams,
            results.BulkRegistered,
            "instance",
            "Takes resources batch by batch: all of them in one step or none; with `continue_on_error` each batch by itself, "
            "without what fails. With a `progress_token` a `$/progress` follows each batch.",
            (e.Forbidden, e.InstanceNotFound, e.ServiceMismatch, e.Unavailable, e.CallCancelled),
        ),
        Method(
            "resource.bulk_release",
            params.BulkReleaseParams,
            results.BulkReleased,
            "instance",
            "Gives resources up batch by batch: all of them in one step or none; with `continue_on_error` each batch by "
            "itself, without what fails. What nobody owns counts as given up.",
            (e.Forbidden, e.InstanceNotFound, e.ServiceMismatch, e.CallCancelled),
        ),
        Method(
            "resource.query",
            params.QueryResourcesParams,
            results.ResourcePage,
            "caller",
            "The resources that have an owner and match all filters, in code-point order of their ids, page by page.",
            (e.Forbidden,),
        ),
        Method(
            "resource.update",
            params.UpdateResourceParams,
            results.UpdatedResource,
            "instance",
            "Replaces the metadata of a resource, or with `merge` what is given of it. By its owner or an administrator. "
            "With an `expected_version` nobody's change is overwritten unseen.",
            (e.Forbidden, e.ResourceNotFound, e.NotOwner, e.VersionConflict),
        ),
        Method(
            "resource.renew",
            params.RenewResourcesParams,
            results.RenewedResources,
            "instance",
            "Has the time to live of resources begin anew: of all of them or none. Those that do not expire are left as "
            "they are.",
            (e.Forbidden, e.NotOwner, e.ResourceNotFound),
        ),
        Method(
            "resource.watch",
            params.WatchParams,
            results.StartedWatch,
            "caller",
            "Tells this session of every change of the resources that match, from now on or from after an earlier revision: "
            "in notifications `resource.events`.",
            (e.Forbidden, e.RevisionGone, e.TooManyWatches),
        ),
        Method(
            "resource.unwatch",
            params.UnwatchParams,
            results.Result,
            "caller",
            "Ends a watch of this session: nothing more of it comes after the answer.",
            (e.Forbidden, e.WatchNotFound),
        ),
        Method(
            "resource.transfer",
            params.TransferResourcesParams,
            results.TransferredResources,
            "instance",
            "Hands resources from one instance to another, with no moment in between: all of them or none; with `partial` "
            "those that can be. By their owner or an administrator. Metadata stays, a time to live runs on, and `state` "
            "travels along to the new owner.",
            (
                e.Forbidden,
                e.NotOwner,
                e.ResourceNotFound,
                e.InstanceNotFound,
                e.ServiceMismatch,
                e.Unavailable,
                e.ResourceLimitExceeded,
                e.ResourceConflict,
            ),
        ),
        Method(
            "service.rebalance",
            params.RebalanceServiceParams,
            results.RebalancedService,
            "admin",
            "Moves resources from the busy instances of a service to those that have less to do, those of the lowest "
            "priority first, until nobody has much more than others; or says what it would move.",
            (e.Forbidden, e.ServiceNotFound),
        ),
        Method(
            "route.call",
            params.RouteCallParams,
            None,
            "caller",
            "Calls the owner of a resource, or an instance of a service, and answers what it answers.",
            (
                e.Forbidden,
                e.ResourceNotFound,
                e.ServiceNotFound,
                e.ServiceMismatch,
                e.TooManyWaiters,
                e.CallCancelled,
                e.OwnerDisconnected,
                e.InvalidAnswer,
                e.Unavailable,
                e.CallTimeout,
            ),
        ),
        Method(
            "route.explain",
            params.ExplainParams,
            results.Explanation,
            "caller",
            "What a call would meet if it were made now, and why: the owner, who else could have it, and how it came to "
            "that. Nothing is called.",
            (e.Forbidden,),
        ),
        Method(
            "router.statistics",
            params.Params,
            results.Statistics,
            "caller",
            "The router in numbers, and each service: calls since it began, and how long they took in the last minute.",
            (e.Forbidden,),
        ),
        Method(
            "router.top",
            params.TopParams,
            results.Ranking,
            "caller",
            "The resources that stand out: `busiest` those with the most calls, `unowned` those that were called most while "
            "nobody owned them, `conflicts` those that others wanted to register most.",
            (e.Forbidden,),
        ),
    )
}
