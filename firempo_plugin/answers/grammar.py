"""The small words of English and Chinese that carry or blur an answer, as tables."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Grammar:
    """What the readers know of a language.

    Attributes:
        negators: Turn a clause around.
        blurs: A clause with one of them decides nothing.
        vetoes: With one of them, an explicit yes or no decides nothing either.
        guesses: Make a clause a guess; an explicit yes or no stays what it is.
        fillers: Say nothing about the answer.
        yes: What an explicit answer says that is no "no".
        lead: Finds an explicit answer at the start of a sentence; group 1 is the word.
        breaks: Ends a clause inside a sentence.
        existential: Finds questions that ask whether something is there.
        counting: Finds questions that ask how many.
        reasoning: Finds questions for reasons, effects or descriptions.
        comparison: Finds where the second half of a comparison or a contrast begins.
        conclusion: Finds where a response begins to say what it concludes.
    """

    negators: tuple[str, ...]
    blurs: tuple[str, ...]
    vetoes: tuple[str, ...]
    guesses: tuple[str, ...]
    fillers: tuple[str, ...]
    yes: frozenset[str]
    lead: re.Pattern[str]
    breaks: re.Pattern[str]
    existential: re.Pattern[str]
    counting: re.Pattern[str]
    reasoning: re.Pattern[str]
    comparison: re.Pattern[str]
    conclusion: re.Pattern[str]


def _table(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


_SUBJECTS = "the|it|this|there|these|that|those|they|i|we|you|based|according|in|neither"
_VERBS = "does|do|is|are|shows?|includes?|contains?|has|confirms?|reveals?"

_HENCE = "therefore|thus|hence|consequently|in conclusion|in summary|to conclude|overall"

ENGLISH = Grammar(
    negators=_table(
        "no|not|isn't|aren't|wasn't|weren't|doesn't|don't|didn't|hasn't|haven't|can't|cannot|couldn't|won't|wouldn't"
        "|never|none|neither|without|absent|absence of|lack|lack of|lacking|free of|devoid of|negative for|non"
        "|fail to|nothing"
    ),
    blurs=_table(
        "excluded|exclude|rule out|ruled out|ruling out|difficult|hard to|determine|determined|confirm|not only"
        "|not just|not merely|not necessarily|not completely|not entirely|not exactly|not fully|not significantly"
        "|not quite|not definitely|no longer|resolved|resolving|previously|previous|prior|formerly|history|unlikely"
        "|except|other than|apart from|aside from|beside|besides|unless|if|whether|doubt|doubtful|hardly|barely"
        "|rarely|almost|nearly|untreated|mimic|rather than|instead of|would|should|versus|vs|either|suspicion"
        "|artifact|artefact|pseudo|removed|no problem|no wonder|no question|no way|matter|not unlike|question of"
        "|healed|differential|partly|partially|unnecessary|unneeded|avoid|avoided|contradict|original answer|instead"
        "|mistaken|so called|not all|not every|assess|assessed|evaluate|evaluated|look for|consider|considered"
    ),
    vetoes=_table(
        "cannot be excluded|can not be excluded|can't be excluded|not excluded|cannot exclude|can't exclude"
        "|cannot be ruled out|can't be ruled out|can not be ruled out|not ruled out|cannot rule out|not be excluded"
        "|not be ruled out|unclear|uncertain|not clear|not sure|unsure|not certain|unable|impossible|not possible"
        "|cannot be determined|can't be determined|cannot determine|can't determine|not be determined|cannot tell"
        "|cannot say|cannot confirm|equivocal|indeterminate|inconclusive|insufficient|not enough|sorry|not only"
        "|not necessarily|difficult to|hard to"
    ),
    guesses=_table(
        "may|might|could|possible|possibly|likely|probable|probably|perhaps|maybe|suspected|suspect|suspicious"
        "|suggest|suggesting|suggestive of|suggestive|potentially|presumably|presumed|concerning for|concern for"
        "|consistent with|compatible with|apparently|believe|think"
    ),
    fillers=_table(
        "is|are|was|were|be|been|being|has|have|had|having|do|does|did|can|will|there|it|this|these|those|they|its"
        "|their|the|a|an|any|some|in|on|at|of|to|from|by|with|within|for|as|into|along|via|through|using|use|used"
        "|show that|located|locate|location|lie|lying|position|positioned|situated|found|seen|see|visible|visualized"
        "|visualised|visualize|appreciate|appreciated|present|presence|presence of|presented|noted|note|observed"
        "|observe|observable"
        "|involving|identified|identify|detected|detect|discernible|apparent|evident|evidence|sign|indication|demonstrated"
        "|appear|appearing|appearance|look|looking|seem|show|showing|shown|depict|depicted|depicting|display"
        "|displayed|reveal|revealed|contain|containing|include|including|included|demonstrate|represent|represented"
        "|indicate|exhibit|feature|consist|exist|belong|image|picture|photo|photograph|figure|scan|scanned|film|view"
        "|slice|section|study|patient|person|subject|side|area|region|portion|part|zone|aspect|given|provided|above"
        "|taken|obtained|acquired|performed|imaging|imaged|medical|answer|correct|final|short|based|according|type"
        "|kind|form|also|primarily|predominantly|mainly|mostly|clearly|clear evidence|definite|definitely|indeed|most"
        "|main|primary|actually|here|body|i|we|you|modality|plane|technique|method|color|colour|weighted|weighting"
        "|sequence|diagnosis|finding|condition|organ|one of|particular|specifically|question|what|where|how|yes"
        "|that there be|that there is|that there are|in fact|obvious|obviously|but|however|although|though|while"
        "|whereas|yet|because|since|therefore|which|so|than|measure|measuring|indicating|indicating that|meaning"
        "|meaning that|mean|mean that|suggesting that|cross sectional|cross section|orientation|oriented|radiological"
        "|radiology|radiologic|radiographic|option|today|hence|thus|overall|consequently|finally|in conclusion"
        "|in summary|to conclude"
    ),
    yes=frozenset({"yes", "yeah", "yep"}),
    lead=re.compile(
        r"\W*(?:(?:and|so|thus|therefore|hence|overall|finally|in conclusion|in summary)\W+)?"
        r"(?:(?:(?:the|my)\s+)?(?:final\s+|correct\s+|short\s+)?answer(?:\s+to\s+(?:the|this|your)\s+question)?"
        r"\s*(?:is\b|would be\b|:)\W*)?"
        rf"\b(yes|yeah|yep|no(?!\.?\s*\d|\s+(?!(?:{_SUBJECTS})\b)\w|[-‐]\w)|nope)\b(?![/’'])",
        re.IGNORECASE,
    ),
    breaks=re.compile(
        r"[;—–]\s*|\s+-\s+|,?\s+(?=(?:but|however|although|though|while|whereas|yet|because|since|therefore|indicating"
        r"|suggesting)\b)|,?\s+(?=and\s+(?:no|there|it|this|that|these|they|the\s+\w+\s+(?:is|are))\b)"
        rf"|,\s+(?=(?:there|it|this|these|they|so|(?:the|my)\s+answer|hence|thus|therefore|which\s+(?:mean|indicate|suggest)s?)\b)|,?\s+(?=and\s+(?:\w+ly\s+)?(?:{_VERBS}|not)\b)",
        re.IGNORECASE,
    ),
    existential=re.compile(
        r"^\W*(?:(?:is|are|was|were|is/are|are/is)\s+there\b|any\b"
        r"|(?:does|do|did)\s+(?:the|this|these|that)\s+(?:\w+\s+){0,3}?"
        r"(?:show|contain|include|have|display|depict|demonstrate|reveal|exhibit)s?\b"
        r"|(?:do|can|could)\s+(?:you|we|i)\s+(?:see|appreciate|identify|notice|observe|detect|visualize)\b"
        r"|(?:can|could)\b.*\bbe\s+(?:seen|observed|identified|detected|found|visualized|visualised|noted|appreciated)\b"
        r"|(?:does|do)\b.*\b(?:appear|exist)\s+in\b"
        r"|(?:is|are|was|were)\b.*\b(?:present|visible|seen|observed|visualized|visualised|noted|identified)\b)",
        re.IGNORECASE,
    ),
    counting=re.compile(r"\bhow many\b|\bnumber of\b", re.IGNORECASE),
    reasoning=re.compile(
        r"\bwhy\b|\bhow (?:can|could|do|does|to|did|should)\b|\b(?:cause|reason|symptom|prevent|treat|describe|explain"
        r"|function|effect|difference|differentiate|deficit|suggest|need|rule out|ruled out|exclude|typical)",
        re.IGNORECASE,
    ),
    comparison=re.compile(
        r",\s*not\b|\b(?:than|rather than|instead of|as opposed to|compared (?:to|with)|relative to|and not"
        r"|distinct from|different from|unlike|separate from|among|out of|between)\b",
        re.IGNORECASE,
    ),
    conclusion=re.compile(
        rf"(?:\b(?:{_HENCE}|so)\b[\s,:]*)?\b(?:(?:the|my)\s+)?(?:(?:final|correct|best|right|short)\s+)*"
        r"(?:answer|option|choice)\b(?:\s+to\s+(?:the|this|your)\s+question)?\W*(?:\b(?:is|would be)\b|(?<=[:*]))"
        rf"|\b(?:{_HENCE})\b[\s,:]+",
        re.IGNORECASE,
    ),
)

_CHINESE_YES = "会的|能的|可以的|是的|是|有的|有|对的|对|正确|存在|包含|可以|能够|能|会|属于"
_CHINESE_HENCE = "综上所述|综上|因此|所以|总之|故"
_CHINESE_NO = "不是的|不是|没有|没|不对|不存在|不包含|不可以|不能|不会|不属于|否|无|不"

CHINESE = Grammar(
    negators=_table("不|没有|没|无|未|非|未见|不是|不包含|不存在|否|并非|并无|并未|缺乏"),
    blurs=_table(
        "不仅|不但|不只|非常|不同|除了|除|以外|之外|是否|既往|曾|已经|已|可能不|几乎|如果|排除|不完全|不太|已消失"
        "|消失|不明显|部分|恐怕|怀疑"
    ),
    vetoes=_table("不能排除|不排除|无法|难以|不确定|不一定|不清楚|不明确|未必"),
    guesses=_table("可能|也许|或许|大概|似乎|疑似|考虑|应该|估计"),
    fillers=_table(
        "是|是的|有|存在|包含|包括|含有|显示|可见|可以|能够|能|会|看到|看见|看出|发现|观察到|出现|属于|位于|图|图中"
        "|图像|图片|图像中|图片中|图里|图像里|图片里|这张|这个|这幅|这|该|此|张|幅|个|中|里|在|的|了|吗|么|呢|着|于"
        "|为|和|对|上面|答案|回答|我们|患者|病人|影像|医学|扫描|部位|位置|成像|明显|确实|也|都|主要|最|其|它|类型"
        "|平面|器官|表现|呈|呈现|看起来|存在着|什么|哪里|哪|哪个|多少|几|属|颜色|使用|拍摄|通过|进行|方式|检查|处|见"
        "|因此|综上所述|综上|总之|故"
        "|像|片|但是|但|然而|不过|因为|由于|所以|而且|加权|模态|面|正确|一张|一个|一幅|一种|一处"
    ),
    yes=frozenset(_CHINESE_YES.split("|")),
    lead=re.compile(
        rf"[\W_]*(?:(?:{_CHINESE_HENCE})[\W_]*)?(?:(?:最终|正确)?(?:答案|回答)(?:是|为)?[\W_]*)?({_CHINESE_YES}|{_CHINESE_NO})(?=[\W_]|$)"
    ),
    breaks=re.compile("[,;\uff0c\uff1b]\\s*|(?=但是?|然而|不过|因为|由于|所以|而且)"),
    existential=re.compile("有|包含|存在|看到|可见"),
    counting=re.compile("多少|几个|几处|几种|数量"),
    reasoning=re.compile("为什么|如何|怎么|怎样|原因|症状|预防|治疗|功能|作用|描述|区别|导致"),
    comparison=re.compile("比|而不是|不是|相比|而非"),
    conclusion=re.compile(
        rf"(?:(?:{_CHINESE_HENCE})[\W_]*)?(?:最终|正确)?(?:答案|回答)[\W_]*(?:是|为|(?<=[:\uff1a*]))|(?:{_CHINESE_HENCE})"
    ),
)

GRAMMARS = {"en": ENGLISH, "zh": CHINESE}
"""By ISO 639-1 code; other languages cannot be read by rules."""
