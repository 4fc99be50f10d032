"""The metadata of a resource as somebody edits it."""

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from resroute.admin.forms import Form
from resroute.admin.pages.desk import Change, pretty
from resroute.admin.pages.fields import json_field, number_field, split_tags
from resroute.protocol import results as r
from resroute.protocol.params import UpdateResourceParams
from resroute.protocol.structure import structure_params
from resroute.router.describing import change_of

_LABELS = {
    "resource_type": "Type",
    "tags": "Tags",
    "priority": "Priority",
    "ttl_seconds": "Time to live in seconds",
    "attributes": "Attributes",
}

_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class Draft:
    """Metadata as it stands in the fields of the form."""

    expected_version: str = "0"
    resource_type: str = ""
    tags: str = ""
    priority: str = "0"
    ttl_seconds: str = ""
    attributes: str = "{}"

    @classmethod
    def of(cls, metadata: r.ResourceMetadata | None) -> "Draft":
        """The metadata that there is."""
        if metadata is None:
            return cls()
        return cls(
            expected_version=str(metadata.version),
            resource_type=metadata.resource_type or "",
            tags=", ".join(metadata.tags),
            priority=str(metadata.priority),
            ttl_seconds="" if metadata.ttl_seconds is None else f"{metadata.ttl_seconds:g}",
            attributes=pretty(metadata.attributes),
        )

    @classmethod
    def read(cls, form: Form) -> "Draft":
        """What somebody wrote."""
        return cls(**{field.name: form.get(field.name).strip() for field in attrs.fields(cls)})

    def params(self) -> dict[str, Any]:
        """As the router takes it.

        Raises:
            NotJson: a field does not hold what it should.
        """
        return {
            "expected_version": number_field(self.expected_version, "version"),
            "metadata": {
                "resource_type": self.resource_type or None,
                "tags": split_tags(self.tags),
                "priority": number_field(self.priority or "0", "priority"),
                "ttl_seconds": number_field(self.ttl_seconds, "time to live") if self.ttl_seconds else None,
                "attributes": json_field(self.attributes or "{}", "attributes"),
            },
        }

    def check(self, resource_id: str) -> None:
        """See whether it can be saved at all, as far as that can be said of it alone.

        Raises:
            NotJson: a field does not hold what it should.
            InvalidParams: likewise.
        """
        text = _encode({"resource_id": resource_id, **self.params()})
        params = structure_params(Raw(text), UpdateResourceParams)
        change_of(params.metadata, "metadata")

    def changes_from(self, before: "Draft") -> Sequence[Change]:
        """What saving it would change of what is there."""
        return [
            Change(label, getattr(before, name), getattr(self, name))
            for name, label in _LABELS.items()
            if _meaning(name, getattr(before, name)) != _meaning(name, getattr(self, name))
        ]


def _meaning(name: str, text: str) -> Any:
    """What a field says, however it is written."""
    match name:
        case "tags":
            return split_tags(text)
        case "attributes":
            return msgspec.json.decode(text or "{}")
        case "priority" | "ttl_seconds":
            return float(text) if text else None
    return text
