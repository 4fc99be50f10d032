"""The API of administrators: which path does what. One table: routing, reading parameters and the OpenAPI document."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute import errors as e
from resroute.admin.sessions import Message
from resroute.admin.shapes import (
    AuditPage,
    AuditParams,
    CallAnswer,
    CallsOfInstance,
    CallsParams,
    EventParams,
    ExportParams,
    OneInstance,
    OneResource,
    SettingsInForce,
)
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.methods import METHODS

API = "/api/v1"

MAX_IDS = 500
"""The most resources that one request names. One that changes them all or none does it at once, and nobody's calls wait
longer for what an administrator does than for anything else."""

Verb = Literal["GET", "POST", "PATCH", "DELETE"]


@attrs.frozen(kw_only=True)
class Route:
    """One operation, as a rule a method of the router's. Parameters are in the path, and else in the query or the body."""

    verb: Verb
    path: str
    """Below :data:`API`; names in braces are parameters."""
    name: str
    """Of the operation, for programs that are generated from the document."""
    doc: str
    result: type[msgspec.Struct] | None = None
    """None where it is no JSON."""
    method_name: str | None = None
    """None: it is no method of the router's, and the server answers it itself."""
    own_params: type[p.Params] | None = None
    """Its parameters then."""
    content_types: tuple[str, ...] = ("application/json",)
    fixed: Mapping[str, Any] = attrs.field(factory=dict)
    """Parameters that are always the same."""
    left_out: frozenset[str] = frozenset()
    """Parameters of the method that are not given."""
    alone_in: str | None = None
    """The method's list of which the parameter in the path is the only item."""
    shape: Callable[[Message, Mapping[str, str]], bytes] | None = None
    """Makes the body of the answer, given the parameters in the path. By default it is the method's result."""
    errors: tuple[type[e.RouterError], ...] = ()
    """What it may be answered beside what the method may."""

    @property
    def params(self) -> type[p.Params]:
        """All parameters that there are."""
        if self.own_params is not None:
            return self.own_params
        assert self.method_name is not None
        return METHODS[self.method_name].params

    @property
    def in_path(self) -> Sequence[str]:
        """The names of the parameters in the path."""
        return _NAMES.findall(self.path)

    def fields(self) -> Sequence["attrs.Attribute[Any]"]:
        """The parameters that are not in the path."""
        taken = {*self.in_path, *self.fixed, *self.left_out, self.alone_in}
        return [field for field in attrs.fields(self.params) if field.name not in taken]


_NAMES = re.compile(r"\{(\w+)\}")

_encode = msgspec.json.Encoder().encode


class _Instances(msgspec.Struct):
    instances: Sequence[Raw]
    trace_id: str


class _Explanation(msgspec.Struct):
    waiters: int
    transitions: Raw
    trace_id: str
    owner: Raw | UnsetType = UNSET


_decode_instances = msgspec.json.Decoder(_Instances).decode
_decode_explanation = msgspec.json.Decoder(_Explanation).decode


def _one_instance(answer: Message, in_path: Mapping[str, str]) -> bytes:
    page = _decode_instances(result_of(answer))
    if not page.instances:
        raise e.InstanceNotFound(in_path["instance_id"], trace_id=page.trace_id)
    return _encode({"instance": page.instances[0], "trace_id": page.trace_id})


def _one_resource(answer: Message, in_path: Mapping[str, str]) -> bytes:
    explained = _decode_explanation(result_of(answer))
    if explained.owner is UNSET:
        raise e.ResourceNotFound(in_path["resource_id"], trace_id=explained.trace_id)
    return _encode(
        {
            "resource": explained.owner,
            "waiters": explained.waiters,
            "history": explained.transitions,
            "trace_id": explained.trace_id,
        }
    )


def result_of(answer: Message) -> Raw:
    """The result in an answer that has one."""
    assert answer.result is not UNSET
    return answer.result


def _call_answer(answer: Message, _: Mapping[str, str]) -> bytes:
    told: dict[str, Any] = {}
    if answer.error is UNSET:
        told["result"] = answer.result
    else:
        told["error"] = answer.error
    return _encode({**told, "meta": answer.meta})


ROUTES: Sequence[Route] = (
    Route(
        verb="GET",
        path="/instances",
        name="list_instances",
        method_name="instance.query",
        doc="The connected instances, by service or id, in code-point order of their ids.",
        result=r.InstancePage,
    ),
    Route(
        verb="GET",
        path="/instances/{instance_id}",
        name="get_instance",
        method_name="instance.query",
        doc="One connected instance.",
        result=OneInstance,
        left_out=frozenset({"service_name", "limit", "offset"}),
        shape=_one_instance,
        errors=(e.InstanceNotFound,),
    ),
    Route(
        verb="POST",
        path="/instances/{instance_id}/drain",
        name="drain_instance",
        method_name="instance.drain",
        doc="Has an instance leave: it gets nothing new, and what it owns goes to others. Answered once all is moved; who "
        "hangs up before stops the moving.",
        result=r.DrainedInstance,
        left_out=frozenset({"progress_token"}),
    ),
    Route(
        verb="POST",
        path="/sessions/{session_id}/end",
        name="end_session",
        method_name="session.end",
        doc="Ends a session: its connection is closed with 4010, and all it owned is free.",
        result=r.Result,
    ),
    Route(
        verb="GET",
        path="/resources",
        name="list_resources",
        method_name="resource.query",
        doc="The resources that have an owner and match all filters, in code-point order of their ids, page by page.",
        result=r.ResourcePage,
    ),
    Route(
        verb="GET",
        path="/resources/{resource_id}",
        name="get_resource",
        method_name="route.explain",
        doc="One resource that has an owner, and its latest changes.",
        result=OneResource,
        left_out=frozenset({"service_name"}),
        shape=_one_resource,
        errors=(e.ResourceNotFound,),
    ),
    Route(
        verb="PATCH",
        path="/resources/{resource_id}",
        name="update_resource",
        method_name="resource.update",
        doc="Replaces the metadata of a resource, or with `merge` what is given of it. With an `expected_version` nobody's "
        "change is overwritten unseen.",
        result=r.UpdatedResource,
    ),
    Route(
        verb="DELETE",
        path="/resources/{resource_id}",
        name="release_resource",
        method_name="resource.release",
        doc="Takes a resource from whoever owns it.",
        result=r.ReleasedResources,
        left_out=frozenset({"partial"}),
        alone_in="resource_ids",
    ),
    Route(
        verb="POST",
        path="/resources/release",
        name="release_resources",
        method_name="resource.release",
        doc="Takes resources from whoever owns them: all of them or none; with `partial` those that somebody owns.",
        result=r.ReleasedResources,
    ),
    Route(
        verb="POST",
        path="/resources/transfer",
        name="transfer_resources",
        method_name="resource.transfer",
        doc="Hands resources from one instance to another: all of them or none; with `partial` those that can be. Without "
        "`verify_ownership` they are taken from whoever owns them.",
        result=r.TransferredResources,
    ),
    Route(
        verb="POST",
        path="/services/{service_name}/rebalance",
        name="rebalance_service",
        method_name="service.rebalance",
        doc="Moves resources of a service from its busy instances to its idle ones, or with `dry_run` says what would move.",
        result=r.RebalancedService,
    ),
    Route(
        verb="POST",
        path="/call",
        name="call",
        method_name="route.call",
        doc="Calls the owner of a resource, or an instance of a service. What the callee answers is told with status 200, be "
        "it a result or an error of its own.",
        result=CallAnswer,
        shape=_call_answer,
    ),
    Route(
        verb="GET",
        path="/calls",
        name="list_calls",
        own_params=CallsParams,
        doc="The calls that a connected instance has not answered yet, the oldest that are with it first, then those in "
        "line; and how long it takes to answer, which is measured while somebody asks at least every two minutes.",
        result=CallsOfInstance,
        errors=(e.InstanceNotFound,),
    ),
    Route(
        verb="GET",
        path="/explain",
        name="explain",
        method_name="route.explain",
        doc="What a call would meet if it were made now, and why. Nothing is called.",
        result=r.Explanation,
    ),
    Route(
        verb="GET",
        path="/top",
        name="top",
        method_name="router.top",
        doc="The resources that stand out: `busiest`, `unowned` or `conflicts`.",
        result=r.Ranking,
    ),
    Route(
        verb="GET",
        path="/statistics",
        name="statistics",
        method_name="router.statistics",
        doc="The router in numbers, and each service.",
        result=r.Statistics,
    ),
    Route(
        verb="GET",
        path="/events",
        name="follow_events",
        own_params=EventParams,
        doc="Every change of the resources that match, as server-sent events, from now on or from after a revision.",
        content_types=("text/event-stream",),
        errors=(e.TooManyWatches,),
    ),
    Route(
        verb="GET",
        path="/audit",
        name="list_audit_records",
        own_params=AuditParams,
        doc="The audit log, page by page: what was taken by force, cleaned up, expired, or done by administrators.",
        result=AuditPage,
    ),
    Route(
        verb="GET",
        path="/audit/export",
        name="export_audit_records",
        own_params=ExportParams,
        doc="All records of the audit log that match, oldest first: a row for each resource of each record.",
        content_types=("application/x-ndjson", "text/csv"),
    ),
    Route(
        verb="GET",
        path="/settings",
        name="get_settings",
        own_params=p.Params,
        doc="The settings in force, by name. What is secret is not told.",
        result=SettingsInForce,
    ),
)
