"""What trainers call their numbers: which is a loss, which of an evaluation, which no metric (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

NUMBER = r"(?i:[-+]?(?:(?:\d{1,99}(?:\.\d{0,99})?|\.\d{1,99})(?:e[-+]?\d{1,9})?|nan|inf(?:inity)?))"
NUMBERED = rf"(?P<value>{NUMBER})(?:%|s)?(?![\w./#-]|:\S|,\d)"  # nor half of one with a decimal comma
EVALUATED = r"(?<!/)\b(?:vali?|valid|validat\w{1,4}|dev|test|testing|eval|evaluat\w{1,4}|CV)\b"
LOSS = re.compile(
    r"(?i)loss(?!_?scal)|xent|objf|(?<![a-z])ppl|perplexity|nll|_rew_mean|reward|return(?!ed|_code)"
)
_KNOWN = re.compile(
    r"(?i)(?:.*\W)?(?:\w*loss|loss_\w{1,20}|lr|\w*acc(?:uracy)?|\w*acc@?\d|\w*ppl|\w*psnr|\w*ssim|\w*dice|m(?:AP|IoU)|NDS|gnorm|grad_norm)"
)
_CLOCK = re.compile(
    r"(?i)time|eta$|cost|elapsed|speed|per_|sec|ips$|fps$|tps$|mem|size|bsz|samples|tok|^wp|rank$|seed|number_of"
    r"|frames|^dt(?:_|$)|_pid$|wall$|computation|^(?:collection|total_steps|ups|n_updates|iterations|train|val|valid|test|epochs|steps|update|v_num|images|labels|targets|instances)$"
)
_FILLER = re.compile(r"(?i)info|debug|root|current|cur|average|avg\.?|mean|running|testing|the|and|is")
_SAME = {
    **dict.fromkeys(("learning_rate", "learningrate", "base_lr"), "lr"),
    **{"gnorm": "grad_norm", "xent": "xent_loss"},
}
_EVALUATION = re.compile(
    r"(?i)^(?:vali?|valid|validation|dev|test|eval|metrics)[ _/.-]|[ _/.-](?:val|valid|validation|test|eval)$"
    r"|^(?:val|valid|dev|test|eval)(?=loss|acc|roc|f1)"
    r"|^(?=(?:bbox|segm|keypoints|box_proposals)/A[PR])"  # Detectron2's
)
_TRAINING = re.compile(r"(?i)^(?:train(?:ing)?[ _/.-]|tr(?:ain|_)?(?=loss|acc|roc|f1))|[ _/.-]train(?:ing)?$")


def trained_and_evaluated(numbers: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of training and those of evaluation, without the words that say so."""
    after = sorted(numbers.items(), key=lambda one: one[0].lower().startswith("val"))  # more than a test is
    evaluated = {_EVALUATION.sub("", n, count=1): v for n, v in after if is_of_evaluation(n)}
    trained = {_TRAINING.sub("", n, count=1): v for n, v in numbers.items() if not is_of_evaluation(n)}
    return trained, evaluated


def is_of_evaluation(name: str) -> bool:
    """Whether a metric's name says that it is of an evaluation."""
    return _EVALUATION.search(name) is not None


def is_of_phase(name: str) -> bool:
    """Whether a metric's name says of which phase it is."""
    return is_of_evaluation(name) or _TRAINING.search(name) is not None


@lru_cache(maxsize=4096)
def is_known(printed: str) -> bool:
    """Whether it is a metric, without a sign before its number as well."""
    return _KNOWN.fullmatch(printed) is not None


@lru_cache(maxsize=4096)
def named(printed: str) -> str:
    """`Train Loss` -> train_loss, `ValLoss` -> val_loss, `D_A` -> d_a."""
    words = [word for word in re.split(r"[ \[(]+", printed) if not _FILLER.fullmatch(word)] or [printed]
    parts = re.sub(r"\b(Val|Test|Train)(?=[A-Z])", r"\1_", "_".join(words)).split("_")
    name = "_".join(part.lower() if part.isupper() or part[1:].islower() else part for part in parts)
    name = re.sub(r"^(?:current|cur|average|avg)_", "", name).replace("acc@", "acc")
    return _SAME.get(name.lower(), name)


@lru_cache(maxsize=4096)
def is_aside(name: str) -> bool:
    """Whether it is no metric: a clock, a size, or the best so far."""
    return name.lower().startswith("best") or bool(_CLOCK.search(name) and not LOSS.search(name))
