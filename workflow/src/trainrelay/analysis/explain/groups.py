"""The metrics, a section per group and an item per family: what it is, and how it went here."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.case import Case, Family
from trainrelay.analysis.checks.validation_metric import direction
from trainrelay.analysis.explain.trend import trend, validation_trend
from trainrelay.analysis.knowledge.model import Knowledge, Meaning
from trainrelay.analysis.naming import UNSCALED, split
from trainrelay.analysis.numbers import text
from trainrelay.records import Explained, Section

DIRECTIONS = {"down": "lower is better", "up": "higher is better", None: ""}
MOST_VALIDATION_METRICS = 12  # as many as COCO's evaluation has

LabelledText = tuple[str, str]


def groups(case: Case) -> Iterator[Section]:
    """In the file's order, else that of first appearance; validation metrics that only a validation has come
    last in their group."""
    found: dict[str, list[Explained]] = {}
    for family in case.families:
        found.setdefault(family.meaning.group, []).append(_family(case, family))
    validated = [name for name in case.columns["val"] if name not in case.names]
    validation = [name for name in validated if direction(case, name) is not None]
    for name in validation[:MOST_VALIDATION_METRICS]:
        found.setdefault(case.meaning(name).group, []).append(_validated(case, name))
    order = [*case.knowledge.groups, *found]
    for group, items in sorted(found.items(), key=lambda pair: order.index(pair[0])):
        known = case.knowledge.groups.get(group)
        title = "Losses and other metrics" if group == "other" else f"{group} losses"
        yield Section(known.title if known else title, known.text if known else "", tuple(items))


def _family(case: Case, family: Family) -> Explained:
    went = trend(case, family.members)
    shared = [*about(case.knowledge, family.members[0]), *_zero(case, family)]
    facts = [] if case.of_earlier_layers(family) else shared
    if went is not None:
        facts.append(("here", went.words() + _in_range(family.meaning, went.now)))
    elif family.values:
        facts.append(("here", text(family.values[-1])))
    if len(family.members) == 1 and (validated := validation_trend(case, family.members[0])):
        facts.append(("in validation", validated.words()))
    return Explained(family.metric, _text(family.meaning), tuple(facts))


def _text(meaning: Meaning) -> str:
    """Nothing of a metric that no file knows: its name is shown already."""
    known = [part for part in (meaning.label, meaning.meaning) if part and part != meaning.family]
    return ": ".join(known)


def about(knowledge: Knowledge, name: str) -> list[LabelledText]:
    """What is known of a metric without a log."""
    meaning = knowledge.of(name)
    facts = [
        ("unit", _unit(knowledge, name, meaning)),
        ("sign", _sign(meaning)),
        ("direction", DIRECTIONS[meaning.direction]),
        ("typical", meaning.typical.words() if meaning.typical else ""),
        ("known from", meaning.source),
    ]
    return [(word, said) for word, said in facts if said]


def _unit(knowledge: Knowledge, name: str, meaning: Meaning) -> str:
    """A scaled loss has the unit of its unscaled twin, times its coefficient."""
    twin, argument = knowledge.known(name + UNSCALED), knowledge.coefficients.get(split(name).base)
    if meaning.unit or twin is None or twin.pattern == meaning.pattern or not argument:
        return meaning.unit
    return f"{twin.unit}, times {argument}"


def _sign(meaning: Meaning) -> str:
    if meaning.cross_entropy:
        return (
            "a correct cross-entropy is never negative; negative values come from an NLL over raw logits"
            " (without log_softmax), which is the negated logit of the right class, or from a lost sign, and"
            " are a warning"
        )
    if meaning.negative:
        return "may be negative: it is a log-likelihood"
    return "never negative; positive values are normal" if meaning.loss and meaning.source else ""


def _zero(case: Case, family: Family) -> list[LabelledText]:
    """What 0.0 means, if anything, and whether the values are."""
    zero, is_zero = case.zero(family.meaning), bool(family.values) and not any(family.values)
    words = zero_words(family.meaning)
    if is_zero and zero == "by design":
        words = f"0.0 throughout, which is right here: {words}"
    elif is_zero and zero == "never":
        words = f"0.0 throughout, which is not right here: {words}"
    return [("zero", words)] if words else []


def zero_words(meaning: Meaning) -> str:
    """What is zero by design, and what exactly zero means else."""
    match meaning.zero:
        case "always":
            return "0.0 by design"
        case "stage 1":
            return "0.0 by design in stage 1; later, exactly 0.0 is a lost term"
        case "switch":
            name = meaning.switch
            off = f"0.0 by design without {name.replace('_', ' ')} ({name} off)"
            return f"{off}; with them, exactly 0.0 is a lost term"
        case "never":
            return "exactly 0.0 would be a lost term" if meaning.loss else ""
    return ""


def _in_range(meaning: Meaning, now: float) -> str:
    if meaning.cross_entropy and now < 0:
        return "; below zero, which is a warning sign"
    inside = meaning.typical.holds(now) if meaning.typical else None
    return "" if inside is None else f"; {'inside' if inside else 'outside'} the typical range"


def _validated(case: Case, name: str) -> Explained:
    went, meaning = validation_trend(case, name), case.meaning(name)
    here = [("here", went.words())] if went else []
    better = "up" if direction(case, name) == 1 else "down"
    facts = about(case.knowledge, name) if meaning.source else [("direction", DIRECTIONS[better])]
    return Explained(name, _text(meaning), (*facts, *here))
