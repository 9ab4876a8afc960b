"""How much YAML is read: what is more is refused before anything is built of it."""

from __future__ import annotations

from typing import Any

import yaml

FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, if there is one
# Far beyond any config of a user: of thousands of stages, say.
_MOST_VALUES, _DEEPEST, _LONGEST_PLAIN = 100_000, 50, 3000
_TOO_MUCH = (
    f"more than a config may hold: {_MOST_VALUES:,} keys and values (an alias counts as what it stands for),"
    f" {_DEEPEST} levels, or {_LONGEST_PLAIN} characters of a value without quotes"
)


def refuse_too_much(data: bytes | str) -> None:
    """Before anything is built of it: with aliases, a page of YAML stands for more than any memory holds."""
    sizes, names, known = [0], list[Any](), dict[Any, int]()
    for event in yaml.parse(data, Loader=FASTEST):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            names.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size = known[names.pop()] = sizes.pop()
            sizes[-1] += size
        elif isinstance(event, yaml.AliasEvent):
            sizes[-1] += known.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += _MOST_VALUES if event.implicit[0] and len(event.value) > _LONGEST_PLAIN else 1
        if sizes[-1] > _MOST_VALUES or len(sizes) > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=_TOO_MUCH, problem_mark=event.start_mark)  # type: ignore[arg-type]


class _Tagging(yaml.SafeLoader):
    """Builds nothing of a tag that is a trainer's: it stays as text before its value."""


def _tagged(loader: _Tagging, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return {node.tag: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {node.tag: loader.construct_mapping(node, deep=True)}
    return f"{node.tag} {node.value}"


_Tagging.add_constructor(None, _tagged)  # None: each tag that no other takes


def loaded_with_tags(data: bytes | str) -> Any:
    """The same where tags of the trainer's, as `!new:torch.nn.Linear`, are part of the values."""
    refuse_too_much(data)
    return yaml.load(data, _Tagging)  # noqa: S506 - a safe one


def loaded(data: bytes | str) -> Any:
    """The values of YAML that is not too much."""
    refuse_too_much(data)
    return yaml.safe_load(data)
