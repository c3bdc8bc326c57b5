"""What a response says beside its answer: looking at the image, its quality, all that is left, advice; by tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .grammar import GRAMMARS
from .text import Piece
from .units import Clause, Unit, content, read_clauses
from .vocabulary import FINDINGS, Vocabulary

_NORMAL = frozenset({"normality", "health"})
_SPECIFIC = FINDINGS | {"organ", "lobe"}


@dataclass(frozen=True)
class _Remark:
    """A sort of remark: what marks a clause as one, and the only words that it may have."""

    mark: re.Pattern[str]
    words: re.Pattern[str]


def _english(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b", re.IGNORECASE)


def _chinese(words: str) -> re.Pattern[str]:
    return re.compile("|".join(sorted(words.split(), key=len, reverse=True)))


_SMALL = (
    "a an the this that these those is are was were be been being has have had having i we you me my us our of in on"
    " at to from by with within for as and but through into over here there will let can do go so also its it"
)
_IMAGE = (
    "images? pictures? films? scans? study exam(?:ination)? views? slices? radiographs? x-rays? CT MRI MR ultrasound"
    " frontal lateral axial coronal sagittal PA AP medical radiological chest radiology provided given obtained"
    " acquired taken shown seen visible"
)
_LOOKING = (
    "look(?:ed|ing)? examin(?:e|ed|ing) review(?:ed|ing)? analy[sz](?:e|ed|ing|is) inspect(?:ed|ing|ion)?"
    " assess(?:ed|ing|ment)? evaluat(?:e|ed|ing|ion) consider(?:ed|ing)? answer(?:ing)? need(?:ed)? carefully careful"
    " closely close details? detailed thoroughly thorough systematically step whole full entire complete every each all"
    " parts? structures? anatomy anatomical regions? areas? questions? features? visual based using shows? single"
)
_QUALITY = (
    "quality diagnostic technical(?:ly)? adequate(?:ly)? sufficient(?:ly)? good satisfactory acceptable optimal well"
    " slightly rotated rotation centred centered positioned positioning exposed exposure penetrated penetration"
    " clear(?:ly)? resolution contrast inspiration standard patient upright erect supine"
)
_NEUTRAL = f"{_SMALL} {_IMAGE} {_LOOKING} {_QUALITY}"
_OTHERS = (
    "remaining remainder rest others? otherwise further additional elsewhere no not any none significant acute major"
    " obvious normal unremarkable abnormal(?:ity|ities)? findings? organs? tissues? soft bones? bony osseous note noted"
    " identified detected observed evident present limits appears? demonstrated suspicious pathology lesions?"
)
_ADVICE = (
    "clinical(?:ly)? correlation correlate correlated recommend(?:ed)? advised? suggested consult(?:ation)? please"
    " radiologists? doctors? physicians? specialists? professional definitive diagnosis imaging follow-?up follow up"
    " further additional evaluation work-?up tests? testing may might should could if necessary warranted indicated"
    " history symptoms findings? confirm(?:ation)? not substitute advice healthcare qualified laboratory patient's"
)
_ZH_NEUTRAL = (
    "图像 影像 图片 图 片 这张 这幅 该 此 本 我们 我 您 请 对 从 根据 通过 经过 经 由 基于 进行 仔细 全面 认真 逐步"
    " 首先 观察 分析 检查 阅读 查看 审阅 评估 来看 上看 看 特征 表现 信息 内容 质量 良好 较好 清晰 清楚 合格 的"
    " 了 上 中 后 可知 细节 各 个 部位 结构 整体 可以 是 为 一 张 幅 医学 综合 显示"
)
_ZH_OTHERS = (
    "其余 其他 其它 余 此外 另外 部位 结构 器官 组织 区域 脏器 均 都 也 未见 未发现 没有 无 明显 显著 异常 正常 大致"
    " 改变 征象 病变 所见 表现 范围 内 在"
)
_ZH_ADVICE = (
    "建议 请 需 需要 应 结合 临床 病史 症状 进一步 检查 复查 随访 定期 咨询 医生 医师 专业 仅供 参考 诊断 明确 影像"
    " 必要 时 可 就诊 以 意见 专科 评估 的"
)
_REMARKS = {
    "en": (
        _Remark(_english(f"{_LOOKING} {_QUALITY}"), _english(_NEUTRAL)),
        _Remark(
            _english("remaining remainder rest others? otherwise further additional elsewhere"),
            _english(f"{_NEUTRAL} {_OTHERS}"),
        ),
        _Remark(
            _english("correlat\\w+ recommend(?:ed)? advised? advice consult(?:ation)? follow-?up follow considered"),
            _english(f"{_NEUTRAL} {_ADVICE}"),
        ),
    ),
    "zh": (
        _Remark(re.compile("观察|分析|检查|阅读|查看|审阅|评估|看|质量|清晰|清楚"), _chinese(_ZH_NEUTRAL)),
        _Remark(re.compile("其余|其他|其它|此外|另外|余"), _chinese(f"{_ZH_NEUTRAL} {_ZH_OTHERS}")),
        _Remark(re.compile("建议|请|参考"), _chinese(f"{_ZH_NEUTRAL} {_ZH_ADVICE}")),
    ),
}  # fmt: skip
"""By language: neutral remarks, then what is said of everything else, then advice."""


def without_remarks(text: str, asked: Sequence[Unit], language: str, vocabulary: Vocabulary) -> str:
    """A text of the same length with spaces for what has nothing to do with the answer; as it is, if nothing else is.

    Args:
        text: A response.
        asked: The units of question and ground truth that say something.
        language: "en" or "zh".
        vocabulary: The terms.
    """
    clauses = read_clauses(text, language, vocabulary)
    remarks = [
        Piece(clause.start, clause.end)
        for position, clause in enumerate(clauses)
        if not clause.lead
        and not (position and clauses[position - 1].lead and clauses[position - 1].sentence == clause.sentence)
        and _is_remark(text[clause.start : clause.end], clause, asked, language)
    ]
    quiet = blank(text, remarks)
    return quiet if any(c.isalnum() for c in quiet) else text


def blank(text: str, pieces: Sequence[Piece]) -> str:
    """A text with spaces in the place of some stretches."""
    for piece in pieces:
        text = text[: piece.start] + " " * (piece.end - piece.start) + text[piece.end :]
    return text


def _is_remark(words: str, clause: Clause, asked: Sequence[Unit], language: str) -> bool:
    if GRAMMARS[language].conclusion.search(words):
        return False
    groups = {unit.group for unit in asked if unit.group}
    if any(unit.group in groups or any(unit.means(other) for other in asked) for unit in content(clause.units)):
        return False
    neutral, others, advice = _REMARKS[language]
    general = {unit.group for unit in asked} & _NORMAL and not groups & _SPECIFIC
    kinds = (neutral, advice) if general else (neutral, others, advice)
    return any(kind.mark.search(words) and not any(map(str.isalnum, kind.words.sub("", words))) for kind in kinds)
