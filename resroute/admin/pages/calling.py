"""A call that is made from the page of a resource, and what comes of it."""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
from msgspec import UNSET, Raw

from resroute.admin.forms import Form
from resroute.admin.pages.desk import pretty
from resroute.admin.pages.fields import json_field, number_field
from resroute.admin.problems import Problem

_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class CallForm:
    """A call as it stands in the fields of the form."""

    method: str = ""
    params: str = ""
    timeout_seconds: str = "10"

    @classmethod
    def read(cls, form: Form) -> "CallForm":
        """What somebody wrote."""
        return cls(**{field.name: form.get(field.name) for field in attrs.fields(cls)})

    def given(self, resource_id: str) -> dict[str, Any]:
        """The parameters of ``route.call``.

        Raises:
            NotJson: a field does not hold what it should.
        """
        params: dict[str, Any] = {"resource_id": resource_id, "method": self.method.strip()}
        if self.params.strip():
            params["params"] = json_field(self.params, "params")
        if self.timeout_seconds.strip():
            params["timeout_seconds"] = number_field(self.timeout_seconds.strip(), "seconds")
        return params


@attrs.frozen(kw_only=True)
class CallAnswer:
    """What came of a call."""

    is_good: bool
    text: str
    body: str


def refused(problem: Problem) -> CallAnswer:
    """The router has refused it."""
    delivery = problem.members.get("delivery")
    more = f" ({delivery.replace('_', ' ')})" if isinstance(delivery, str) else ""
    return CallAnswer(is_good=False, text=f"The router refused it{more}:", body=problem.detail)


def answered(told: Mapping[str, Any]) -> CallAnswer:
    """The callee has said something: ``result`` or ``error``, and the router's ``meta``."""
    meta = msgspec.json.decode(told["meta"])
    by = f"by {meta.get('instance_id', 'its owner')} in {meta['duration_ms']} ms"
    if told["error"] is UNSET:
        return CallAnswer(is_good=True, text=f"Answered {by}:", body=pretty(told["result"]))
    return CallAnswer(
        is_good=False, text=f"An error of the callee's own, {by}:", body=pretty(Raw(_encode(told["error"])))
    )
