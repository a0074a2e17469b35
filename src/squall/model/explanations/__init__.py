"""The long text of each error code: what happened, why, what to do, an example."""

from __future__ import annotations

from typing import Final

from squall.model.errors import Error, by_code
from squall.model.errors.root import facts_of
from squall.model.explanations.access import ACCESS
from squall.model.explanations.asked import ASKED
from squall.model.explanations.bucket_mounts import BUCKET_MOUNTS
from squall.model.explanations.calls import CALLS
from squall.model.explanations.containers import CONTAINERS
from squall.model.explanations.deploys import DEPLOYS
from squall.model.explanations.explanation import Explanation
from squall.model.explanations.machine import MACHINE
from squall.model.explanations.secrets import SECRETS
from squall.model.explanations.sharing import SHARING
from squall.model.explanations.stores import STORES
from squall.model.explanations.values import VALUES
from squall.model.explanations.volume_mounts import VOLUME_MOUNTS
from squall.model.explanations.volumes import VOLUMES

EXPLANATIONS: Final = {
    **ASKED,
    **DEPLOYS,
    **VALUES,
    **CALLS,
    **CONTAINERS,
    **MACHINE,
    **ACCESS,
    **STORES,
    **SHARING,
    **BUCKET_MOUNTS,
    **SECRETS,
    **VOLUME_MOUNTS,
    **VOLUMES,
}

__all__ = ["EXPLANATIONS", "Explanation", "explain", "page"]


def explain(code: str) -> str | None:
    """The text for a terminal, of a code in any of the forms SQ-1401, sq-1401 and 1401; None for one that is not known."""
    found = _error(code)
    if found is None:
        return None
    explanation = EXPLANATIONS.get(found.code)
    parts = [f"{found.code} {found.__name__}", _what(found)]
    if explanation is not None:
        parts.append("why: " + _flowing(explanation.why))
    parts.append(f"what to do: {found.remedy}")
    if explanation is not None:
        parts.append("example:\n" + "\n".join(f"    {line}" for line in explanation.example.splitlines()))
    parts.append(_for_programs(found, quote=""))
    return "\n\n".join(parts) + "\n"


def page(code: str) -> str:
    """The page of the documentation, in Markdown. Raises KeyError for a code that is not known or not explained."""
    found = _error(code)
    if found is None:
        raise KeyError(code)
    explanation = EXPLANATIONS[found.code]
    language = _language(explanation.example)
    parts = [
        f"# {found.code} {found.__name__}",
        _what(found),
        f"**Why.** {_flowing(explanation.why)}",
        f"**What to do.** {found.remedy[:1].upper()}{found.remedy[1:]}.",
        f"**Example.**\n\n```{language}\n{explanation.example}\n```",
        _for_programs(found, quote="`"),
    ]
    return "\n\n".join(parts) + "\n"


def _language(example: str) -> str:
    """What an example is written in: commands, a file that its first line names, the URL of a bucket, or Python."""
    if example.startswith("$ "):
        return "console"
    return "text" if example.startswith(("# .", "s3://")) else "python"


def _error(code: str) -> type[Error] | None:
    text = code.strip().upper()
    return by_code().get(text if text.startswith("SQ-") else f"SQ-{text}")


def _what(found: type[Error]) -> str:
    return (found.__doc__ or found.__name__).strip().splitlines()[0]


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _for_programs(found: type[Error], *, quote: str) -> str:
    """The name to catch it by, what it is a kind of, and the facts it carries."""
    above = [cls.__name__ for cls in found.__mro__[1:] if issubclass(cls, Exception) and cls is not Exception]
    kinds = f" (a kind of {', '.join(quote + name + quote for name in above)})" if above else ""
    facts = facts_of(found)
    carries = f" It carries {', '.join(quote + name + quote for name in facts)}." if facts else ""
    return f"In Python: {quote}squall.model.errors.{found.__name__}{quote}{kinds}, HTTP status {found.status}.{carries}"
