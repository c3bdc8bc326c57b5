"""Turns a Chinese clause around: a negation goes in, or comes out."""


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Words and what takes their place, from "word>other word>other"."""
    found = (pair.partition(">") for pair in text.split())
    return tuple((word, other) for word, _, other in found)


_NEGATIONS = _pairs(
    "并没有>有 没有>有 不存在>存在 不包含>包含 不是>是 并不> 未见>可见 未显示>显示 未发现>发现 并无>有 并未>"
    " 没>有 无>有 未> 不>"
)
_VERBS = _pairs(
    "显示有>显示没有 可以>不可以 能够>不能 可见>未见 存在>不存在 包含>不包含 包括>不包括 含有>不含有 显示>未显示"
    " 属于>不属于 看起来>看起来不 看到>未看到 发现>未发现 出现>未出现 有>没有 是>不是 能>不能 会>不会 很>不"
    " 健康>不健康 正常>不正常 异常>无异常 规则>不规则 均匀>不均匀 对称>不对称"
)
_DOINGS = (
    "显示", "存在", "包含", "看到", "发现", "出现", "见", "增大", "扩大", "扩张", "偏移", "移位", "破坏", "变形",
    "肿大", "增厚", "受压", "位于", "属于", "强化",
)  # fmt: skip
_QUANTIFIERS = ("都", "全部", "所有", "每", "均", "仅", "只", "大部分", "多数")
_SOME = ("有些", "有的", "一些", "至少", "至多")
LEADS = dict(
    _pairs(
        "会的>不会 能的>不能 可以的>不可以"
        " 是的>不是 是>不是 有的>没有 有>没有 对的>不对 对>不对 正确>不正确 存在>不存在 包含>不包含 可以>不可以"
        " 能够>不能 能>不能 会>不会 属于>不属于 不是的>是的 不是>是 没有>有 没>有 不对>对 不存在>存在 不包含>包含"
        " 不可以>可以 不能>能 不会>会 不属于>属于 否>是 无>有 不>是的"
    )
)
"""An explicit answer, turned around."""


def negate(clause: str) -> str | None:
    """A clause without a negation, negated; None where these rules do not know how."""
    places = [(clause.find(verb), -len(verb), verb, negated) for verb, negated in _VERBS if verb in clause]
    if not places:
        return None
    place, _, verb, negated = min(places)
    if any(word in clause[:place] for word in _QUANTIFIERS) or any(word in clause for word in _SOME):
        return None  # "some are not" and "all are not" deny something else
    return clause[:place] + negated + clause[place + len(verb) :]


def affirm(clause: str) -> str | None:
    """A clause with one negation, without it; None where these rules do not know how."""
    places = [(clause.find(word), -len(word), word, plain) for word, plain in _NEGATIONS if word in clause]
    if not places:
        return None
    place, _, word, plain = min(places)
    rest = clause[place + len(word) :].removeprefix("任何")
    if plain and rest.startswith(_DOINGS):
        plain = ""
    return clause[:place] + plain + rest
