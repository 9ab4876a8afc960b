"""The README's copy on a package index, which has no files beside it: hatchling calls this when it builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class IndexReadme(MetadataHookInterface):  # type: ignore[misc] # it carries no types
    """Its links lead to the repository of `[project.urls]`; as long as there is none, they are text."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets the long description."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, address)}


def for_index(text: str, address: str | None) -> str:
    """The text without a link to a file beside it."""

    def link(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        if "://" in target or target.startswith("#"):
            return found[0]
        if address is None:
            return "" if image else words
        return f"{image}[{words}]({address}/{'raw' if image else 'blob'}/HEAD/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)
