"""What names of the wire mean, for :mod:`tables`, where the code that has them does not say so itself."""

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    "host": "Where to listen for sessions. Without authentication only loopback addresses are allowed.",
    "admin_host": "Where the [admin pages and their API](admin.md) are. Without tokens only loopback addresses are allowed.",
    "admin_port": "Their port. 0: any free port.",
    "log_level": "`debug`, `info`, `warning` or `error`.",
    "allowed_origins": "Web origins, such as `https://example.org`, whose pages may connect besides pages of the "
    "router's own host.",
    "anonymous_roles": "What every session may do. `caller`: calls and queries. `instance`: register. `admin`: both, "
    "and what is for administrators alone.",
    "max_resources_per_instance": "Resources that one instance may own.",
    "max_message_bytes": "Size of one WebSocket message from a peer, and of one answer.",
    "max_calls_in_flight": "Requests of one session that have no answer yet.",
    "max_batch_messages": "Messages in one JSON-RPC batch.",
    "max_metadata_bytes": "Metadata of one instance or resource, as compact JSON: white space between its tokens counts "
    "for nothing.",
    "outbox_soft_bytes": "While more than this waits for a session, new calls from it and to it are refused.",
    "max_outbox_bytes": "While more than this would wait for a session, answers to it are replaced by a small error; "
    "if not even that fits, it ends.",
    "max_sessions": "Sessions at a time.",
    "handshake_timeout_seconds": "How long the WebSocket handshake may take.",
    "write_timeout_seconds": "A session that takes nothing of what is sent to it for this long is ended.",
    "probe_timeout_seconds": "How long a silent owner may take to show that it is still there, when somebody else "
    "wants what it owns.",
    "default_timeout_seconds": "Time for a call whose caller gives none.",
    "max_timeout_seconds": "The longest time a caller may give.",
}

# type of error -> what whoever gets it does about it
WHAT_TO_DO: Mapping[str, str] = {
    "parse_error": "Mend the sender: what it sends is no JSON.",
    "invalid_request": "Mend the sender; `detail` says what is wrong.",
    "method_not_found": "Look for a typing error. What instances offer is called through `route.call`.",
    "invalid_params": "Mend the request; `errors` names each place.",
    "internal_error": "Tell whoever runs the router, with the `trace_id`. A call may have run.",
    "forbidden": "Call `instance.register` first if `required` says so; else the setting `anonymous_roles` must allow it.",
    "not_owner": "Nothing: it is not yours any more. Drop what you keep for it.",
    "resource_not_found": "Try again in a moment if an owner is expected back.",
    "service_not_found": "Try again in a moment if an instance is expected back.",
    "instance_not_found": "Look at `instance.query` for who is there.",
    "service_mismatch": "Name the right service, or none.",
    "session_not_found": "Nothing: the session ended while the request was under way.",
    "resource_conflict": "Leave the resource to its owner or take another; ask again once the owner may have left.",
    "watch_not_found": "Nothing: it has ended already, or was lost.",
    "revision_gone": "Begin a new watch with `snapshot`, and take what it says for the state of things.",
    "too_many_watches": "End one, or watch with wider filters; or raise `max_watches`.",
    "version_conflict": "Read the metadata again, and decide again.",
    "instance_conflict": "Take another name, or none. After a lost connection: show the `resume_token`; without it, try "
    "again for as long as the heartbeat may take to notice.",
    "already_registered": "Nothing, if it was a repetition. For another service or name, open another session.",
    "answer_too_large": "Ask for less. It has run; calling again gives the same.",
    "resource_limit_exceeded": "Run more instances, or raise `max_resources_per_instance`.",
    "too_many_waiters": "Try again after a pause. Look why nobody registers what so many wait for.",
    "too_many_calls": "Wait for answers, and read them faster; then call again.",
    "call_cancelled": "Nothing: it was you.",
    "owner_disconnected": "`not_delivered`: call again. `unknown`: only if running it twice does no harm.",
    "invalid_answer": "Mend the callee. It may have run.",
    "unavailable": "`not_delivered`, or no `delivery`: try again after a pause. `unknown`: only if running it twice does "
    "no harm.",
    "call_timeout": "`not_delivered`: call again. `unknown`: only if running it twice does no harm.",
}

_PAGE = {
    "limit": "At most so many, from 1 to 1000.",
    "offset": "Leave out so many first, at most 10 000.",
}

_FILTERS = {
    "service_name": "Only those of this service.",
    "instance_id": "Only those of this owner.",
    "resource_ids": "Only these, as far as they have an owner. At least one, each once.",
    "resource_type": "Only those of this type, by their metadata.",
    "tags": "Only those that have all of these tags, by their metadata.",
    "prefix": "Only those whose id begins with this.",
}

_BULK = {
    "service_name": "The session's own, or for administrators that of the instance.",
    "instance_id": "The session's own, or for administrators the instance to act for.",
    "batch_size": "Items of a batch, from 1 to 1000.",
    "continue_on_error": "Each batch takes effect by itself, without what fails.",
    "progress_token": "Tell how far it is, with this: a string of up to 256 characters, or an integer.",
}

_BULK_RESULT = {
    "total_requested": "Items.",
    "failed": "In the order of the batches.",
    "batch_results": "In order. None follows a batch that has ended all of it.",
}

# class and member -> meaning
MEMBERS: Mapping[str, str] = {
    "NotifyParams.session_id": "Whom to tell: `caller.session_id` in the `meta` of a call, for instance.",
    "NotifyParams.resource_id": "The resource that it is about, which this instance owns.",
    "NotifyParams.method": "For the session. Must not begin with `rpc.`, `$/`, `session.` or `resource.`.",
    "NotifyParams.params": "For the session. Delivered as the sender's own bytes.",
    "Notified.delivered_to_outbox": "It waits to be sent to that session, behind what was sent to it before. Whether it "
    "arrives, nobody can say.",
    "EndSessionParams.session_id": "As `instance.query` and the log tell it. It may be one's own.",
    "EndSessionParams.reason": "For whoever is ended: as much of it as fits is the reason of the close.",
    "RegisterInstanceParams.service_name": "The service it belongs to.",
    "RegisterInstanceParams.instance_id": "Its own name. Without one the router makes one up.",
    "RegisterInstanceParams.metadata": "Anything, up to `max_metadata_bytes`; administrators see it in "
    "`instance.query`.",
    "RegisterInstanceParams.priority": "Calls by service go to the highest first.",
    "RegisterInstanceParams.max_concurrency": "No more calls than this are with it at a time.",
    "RegisterInstanceParams.plain": "Deliver requests without `meta`, for libraries that refuse unknown members.",
    "RegisterInstanceParams.resume_token": "Of an earlier session of this instance, whose place this one takes. One that is "
    "not good any more does no harm.",
    "RegisterInstanceParams.resume_grace_seconds": "If this session is cut off, keep what it owns for so long, at most "
    "`max_resume_grace_seconds`, for a later session that resumes it.",
    "QueryInstancesParams.service_name": "Only instances of this service.",
    "QueryInstancesParams.instance_id": "Only this one.",
    **{f"QueryInstancesParams.{name}": text for name, text in _PAGE.items()},
    "RegisterResourcesParams.resource_ids": "At least one, each once.",
    "RegisterResourcesParams.service_name": "The session's own, or for administrators that of the instance.",
    "RegisterResourcesParams.instance_id": "The session's own, or for administrators the instance to register for.",
    "RegisterResourcesParams.force": "Take them from whoever owns them. Administrators only.",
    "RegisterResourcesParams.partial": "Take what nobody else owns, instead of all or nothing.",
    "RegisterResourcesParams.wait_seconds": "How long to wait until all of them are to be had. Not with `partial`.",
    "RegisterResourcesParams.metadata": "For each of them that has some. Replaces what is there, as `resource.update` does.",
    "UpdateResourceParams.resource_id": "It has an owner: this instance, or for administrators any.",
    "UpdateResourceParams.metadata": "What a client may give of it; the rest is ignored.",
    "UpdateResourceParams.merge": "Leave what is not mentioned as it is. Of `attributes` the members that are given are set, "
    "those that are null removed.",
    "UpdateResourceParams.expected_version": "Only if that is the version now; 0 if there is no metadata.",
    "ReleaseResourcesParams.resource_ids": "At least one, each once.",
    "ReleaseResourcesParams.partial": "Release what this instance owns of them (administrators: what is owned), not all or "
    "nothing.",
    "BulkRegisterParams.resources": "At least one, at most `max_bulk_items`. Each names its `resource_id`, and may say "
    "something of it (`metadata`). With `force`, which is for administrators, it is taken from whoever owns it.",
    "BulkReleaseParams.resource_ids": "At least one, at most `max_bulk_items`.",
    **{
        f"{kind}.{name}": text
        for kind in ("BulkRegisterParams", "BulkReleaseParams")
        for name, text in _BULK.items()
    },
    **{f"QueryResourcesParams.{name}": text for name, text in _FILTERS.items()},
    "QueryResourcesParams.include_metadata": "Whether to tell the metadata of each.",
    "QueryResourcesParams.cursor": "`next_cursor` of the page before, with the same filters; without `offset`.",
    **{f"QueryResourcesParams.{name}": text for name, text in _PAGE.items()},
    **{f"WatchParams.{name}": text for name, text in _FILTERS.items()},
    "WatchParams.snapshot": "Tell which resources match now, the first page of them.",
    "WatchParams.from_revision": "Go on after this revision, as an earlier watch was told it; without `snapshot`. "
    "Not above the router's own.",
    "UnwatchParams.watch_id": "Of a watch of this session.",
    "StartedWatch.watch_id": "By which its notifications can be told apart.",
    "StartedWatch.resources": "With `snapshot`: how things are, at `revision` or a moment later.",
    "StartedWatch.next_cursor": "If there are more: for `resource.query` with the same filters.",
    "RouteCallParams.method": "For the callee. Must not begin with `rpc.` or `$/`.",
    "RouteCallParams.resource_id": "Call the owner of this.",
    "RouteCallParams.service_name": "Call an instance of this service; with a `resource_id`, its owner must belong "
    "to it.",
    "RouteCallParams.params": "For the callee. Delivered as the caller's own bytes.",
    "RouteCallParams.timeout_seconds": "Above 0, at most `max_timeout_seconds`. Without one: "
    "`default_timeout_seconds`.",
    "RouteCallParams.idempotency_key": "Passed on to the callee in `meta`. The router does nothing with it.",
    "RouteCallParams.wait_for_owner_seconds": "How long to wait for the resource to have an owner, within `timeout_seconds`.",
    "ExplainParams.resource_id": "Explain a call to its owner.",
    "ExplainParams.service_name": "Explain a call to the service; with a `resource_id`, its owner must belong to it. One of "
    "the two is needed.",
    "TopParams.what": "Which ranking.",
    "TopParams.limit": "At most so many, from 1 to 1000.",
    "SessionInfo.session_id": "Never reused.",
    "SessionInfo.router_id": "Another one after each start of the router.",
    "SessionInfo.protocol": "The subprotocol in use.",
    "SessionInfo.features": "What was added since version 1. Empty so far.",
    "SessionInfo.subject": "Who the session is: `anonymous`, as there is no authentication yet.",
    "SessionInfo.roles": "What it may do.",
    "SessionInfo.limits": "The limits in force, by the names in [Limits](#limits).",
    "SessionInfo.instance": "Once the session is an instance.",
    "RegisteredInstance.instance_id": "As given, or made up.",
    "RegisteredInstance.resume_token": "With it a later session takes the place of this one. Keep it to yourself.",
    "RegisteredInstance.resumed_count": "How many resources were taken over.",
    "RegisteredInstance.resumed": "What was taken over, the first 1000 of it, and its epochs.",
    "RegisteredInstance.limits": "As in `session.info`.",
    "RegisteredResources.success": "Whether `conflicts` is empty.",
    "RegisteredResources.registered": "What this instance owns now, of what was asked for.",
    "RegisteredResources.conflicts": "The others, and who owns them. Empty without `partial`.",
    "RegisteredResources.epochs": "The epoch of each registered resource.",
    **{
        f"{kind}.{name}": text
        for kind in ("BulkRegistered", "BulkReleased")
        for name, text in _BULK_RESULT.items()
    },
    "BulkRegistered.total_registered": "How many of them this instance owns now.",
    "BulkRegistered.registered": "Unless it is `complete`: these.",
    "BulkReleased.total_released": "How many of them this instance does not own any more.",
    "BulkReleased.released": "Unless it is `complete`: these.",
    "Failure.reason": "In words.",
    "Failure.current_owner": "Who owns it, or is about to.",
    "BatchResult.success_count": "Items. Of a bulk that is one step: what could be set aside.",
    "BatchResult.failure_count": "Items.",
    "ReleasedResources.success": "Whether `failed` is empty.",
    "ReleasedResources.released": "What nobody owns any more.",
    "ReleasedResources.failed": "The type of error for each of the others. Empty without `partial`.",
    "InstancePage.total_count": "How many match in all.",
    "InstancePage.has_more": "Whether there are more after these.",
    "ResourcePage.total_count": "How many match in all: exactly up to 10 000, at least so many beyond.",
    "ResourcePage.has_more": "Whether there are more after these.",
    "ResourcePage.revision": "The revision that this page shows.",
    "ResourcePage.total_count_is_lower_bound": "There are more than 10 000: `total_count` is at least so many.",
    "ResourcePage.next_cursor": "For the next page, if there is one.",
    "HeartbeatInfo.interval_seconds": "How often the router sends a Ping.",
    "HeartbeatInfo.timeout_seconds": "After how much silence it ends the session.",
    "ResourceInfo.registered_at": "Time.",
    "ResourceInfo.is_healthy": "Whether the owner has shown signs of life lately.",
    "ResourceInfo.calls_total": "Calls to it since it last had no owner.",
    "ResourceInfo.last_called_at": "Time. Not there before the first call.",
    "ResourceInfo.metadata": "If there is any.",
    "ResourceInfo.expires_at": "Time. If it will expire unless it is renewed.",
    "ResourceInfo.suspended_until": "Time. If the owner was cut off: it may come back until then.",
    "DrainInstanceParams.instance_id": "Which. By default this session's own; any other is for administrators.",
    "DrainInstanceParams.hand_over_to": "Who gets what it owns: `service`, all other instances of its service; a list of "
    "their ids; `nobody`, so that all is released; or `keep`: the instance keeps it, to hand it over by itself.",
    "DrainInstanceParams.deadline_seconds": "What has not been handed over by then is released. By default after "
    "`max_timeout_seconds`.",
    "DrainInstanceParams.batch_size": "How many resources go at a time, from 1 to 1000.",
    "DrainInstanceParams.progress_token": "A string or an integer. A `$/progress` with it follows each batch, whose `value` "
    "has `done`, `total`, `handed_over` and `released`.",
    "DrainedInstance.handed_over": "Resources that others own now.",
    "DrainedInstance.released": "Resources that nobody owns now.",
    "DrainedInstance.in_flight": "Calls that it was handed and has not answered.",
    "TransferResourcesParams.resource_ids": "At least one, each once.",
    "TransferResourcesParams.from_instance_id": "Who owns them: this instance, or for administrators any.",
    "TransferResourcesParams.to_instance_id": "Who is to own them. Connected, of the same service, not draining.",
    "TransferResourcesParams.reason": "For people: the earlier owner is told, and it is logged. 1 to 1000 characters.",
    "TransferResourcesParams.service_name": "The service they belong to. For those who want to be sure.",
    "TransferResourcesParams.verify_ownership": "`false`, for administrators: whoever owns them.",
    "TransferResourcesParams.partial": "Hand over what can be, and say of the others why they cannot.",
    "TransferResourcesParams.state": "By resource id: any value, up to `max_state_bytes` each. The new owner gets it in its "
    "`resource.acquired`; the router does not keep it.",
    "RebalanceServiceParams.service_name": "Whose instances.",
    "RebalanceServiceParams.by": "What is to be even. `count`: how many resources an instance owns. `calls`: how many calls "
    "there are for them; those before the last time that this was asked for half as much after each minute.",
    "RebalanceServiceParams.max_moves": "Move at most so many, and never more than `max_bulk_items` at a time.",
    "RebalanceServiceParams.dry_run": "Say what would be moved, and move nothing.",
    "RebalancedService.moves": "In order. What could not be moved any more is not there.",
    "TransferredResources.success": "Whether `failed` is empty.",
    "TransferredResources.transferred": "What the new owner has now.",
    "TransferredResources.failed": "The type of error for each of the others. Empty without `partial`.",
    "TransferredResources.epochs": "The new epoch of each.",
    "TransferredResources.transfer_id": "Both sides are told it, and the log has it.",
    "RenewResourcesParams.resource_ids": "At least one, each once. This instance owns them.",
    "RenewResourcesParams.ttl_seconds": "How long from now on, this once. Without it: as long as each of them says.",
    "RenewedResources.renewed": "What was asked for.",
    "RenewedResources.expires_at": "When each expires, of those that do.",
    "ResourceMetadata.version": "1 at first, and one more with each change. The router's.",
    "ResourceMetadata.created_by": "The instance that owned it when it first had metadata. The router's.",
    "ResourceMetadata.last_modified": "Time. The router's.",
    "ResourceMetadata.ttl_seconds": "The time to live: how long after its registration or renewal the resource expires. "
    "Above 0, at most ten years; null if it does not expire. A change that does not mention it leaves it.",
    "ResourceMetadata.resource_type": "What kind of thing it is. Null if nobody has said so.",
    "ResourceMetadata.tags": "In the order given.",
    "ResourceMetadata.attributes": "Anything, nested up to 128 deep. Numbers are kept as they were written.",
    "ResourceMetadata.priority": "For clients to make something of. 0 if nobody has said so.",
    "InstanceInfo.connected_at": "Time.",
    "InstanceInfo.status": "`unresponsive`: no sign of life for `interval_seconds` + 2. `suspended`: cut off, and may "
    "come back.",
    "InstanceInfo.resources": "How many it owns.",
    "InstanceInfo.in_flight": "How many calls it has to answer.",
    "InstanceInfo.latency_ms": "Of its last Ping.",
    "InstanceInfo.remote_address": "Administrators only.",
    "InstanceInfo.metadata": "Administrators only.",
    "InstanceInfo.suspended_until": "Time. If it is suspended: it may come back until then.",
    "Explanation.status": "`suspended`: the owner was cut off, and may come back. Of a service: whether there is an instance "
    "of it. The last one is not sent yet.",
    "Explanation.candidates": "Who could get the call, best first: the owner, or the first 100 instances of the service.",
    "Explanation.waiters": "How many wait: calls for the resource to have an owner or for room at the candidates, and "
    "registrations for the resource.",
    "Explanation.transitions": "The last 10 of the resource that the router remembers, in order. None for a service.",
    "Explanation.recent_calls": "How calls under the grant in force have ended, or of a service all of its calls: `ok`, "
    "`error` (the callee's own) or the type of the router's error.",
    "Explanation.owner": "If the resource has one.",
    "Explanation.flapping": "The resource has changed its owner more than `flap_threshold` times in the last minute.",
    "TransitionInfo.cause": "`request`, `session_ended`, `heartbeat_lost`, `forced`, `transfer`, `resume`, `expired`, "
    "`admin`, `drain` or `rebalance`.",
    "Ranking.entries": "The highest count first.",
    "RankedResource.count": "Of calls, or of refusals.",
    "Statistics.resources": "Those that have an owner.",
    "Statistics.calls_in_flight": "Routed calls that have no answer yet.",
    "Statistics.services": "By name, those with the most calls first. One that has no instance any more keeps its numbers "
    "until 1000 others have gone after it.",
    "Statistics.services_left_out": "How many services with fewer calls do not fit into one message.",
    "ServiceStatistics.instances": "How many are connected.",
    "ServiceStatistics.resources": "How many they own.",
    "ServiceStatistics.in_flight": "How many calls they have to answer.",
    "ServiceStatistics.calls_total": "Calls that have ended.",
    "ServiceStatistics.errors_total": "Those of them that ended without a result, by how: `error` (the callee's own) or the "
    "type of the router's error; `caller_gone` if nobody waited any more.",
    "ServiceStatistics.p50_ms": "How long half of the calls that were answered in the last minute took at most, within a "
    "tenth. Null if there was none.",
    "ServiceStatistics.p99_ms": "The same for 99 of 100.",
}
