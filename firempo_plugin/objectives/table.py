"""The methods, one row each: FiRe-MPO (arXiv 2606.12590) and its relatives. Nothing else knows their names.

The symbols of the formulas are those of `terms`.
"""

from dataclasses import replace

from .terms import CC, CR, NC, NR, PHRASES, Cell, KLTerm, Objective, PreferenceTerm, Side, TokenWeights, prefer

_RANK = prefer("rank", CC, CR)
_RANK_PHRASES = prefer("rank", CC, CR, tokens=PHRASES)
_IMAGE = prefer("image", CC, NC)
_ANCHOR = prefer("anchor", CC)
_WEIGHED = TokenWeights("phrase_weight", 1.0)


def _visual(preferred: Cell, other: Cell) -> PreferenceTerm:
    return prefer("visual", preferred, other, tokens=PHRASES, weight="gamma")


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "fire_mpo",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(nr) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, _visual(NR, NC), KLTerm()),
            "arXiv 2606.12590",
        ),
        Objective(
            "fire_mpo_v1",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NC), KLTerm()),
            "arXiv 2606.12590, ablation v1",
        ),
        Objective(
            "fire_mpo_v2",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nr)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NR), KLTerm()),
            "arXiv 2606.12590, ablation v2",
        ),
        Objective(
            "rrpo",
            "L(r_P(cc) - r_P(cr)) + alpha KL with lambda = 1",
            (_RANK_PHRASES, KLTerm(fixed_lambda=1.0)),
            "arXiv 2504.12083",
        ),
        Objective("mask_dpo", "L(r_P(cc) - r_P(cr))", (_RANK_PHRASES,), "arXiv 2503.02846"),
        Objective("dpo", "L(r(cc) - r(cr))", (_RANK,), "arXiv 2305.18290"),
        Objective("copo", "L(r(cc) - r(nc))", (_IMAGE,), "arXiv 2406.11839, its image term alone"),
        Objective(
            "mdpo",
            "L(r(cc) - r(cr)) + L(r(cc) - r(nc)) + L(r(cc))",
            (_RANK, _IMAGE, _ANCHOR),
            "arXiv 2406.11839",
        ),
        Objective(
            "mmedpo",
            "L(r(cc) - r(nr)), or r(cr) without a noised image",
            (prefer("rank", CC, NR, CR),),
            "arXiv 2412.06141, as arXiv 2601.17918 runs it",
        ),
        Objective("ipo", "S(r(cc) - r(cr))", (replace(_RANK, link="square"),), "arXiv 2310.12036"),
        Objective(
            "ipo_mean",
            "S(mr(cc) - mr(cr))",
            (replace(_RANK, link="square", reward="mean"),),
            "arXiv 2310.12036, over the mean of the tokens as TRL 0.24 runs it",
        ),
        Objective(
            "slic", "H(r(cc) - r(cr))", (replace(_RANK, link="hinge"),), "arXiv 2305.10425, hinge on DPO's margin"
        ),
        Objective(
            "cdpo",
            "L_e(r(cc) - r(cr))",
            (replace(_RANK, link="smoothed", smoothing="label_smoothing"),),
            "conservative DPO, as TRL 0.24 runs it",
        ),
        Objective(
            "robust_dpo",
            "R_e(r(cc) - r(cr))",
            (replace(_RANK, link="robust", smoothing="label_smoothing"),),
            "arXiv 2403.00409",
        ),
        Objective(
            "s_dpo",
            "L(r(cc) - lse(r(cr), r(nc), r(nr)))",
            (replace(_RANK, sides=(Side(1.0, (CC,)), *(Side(-1.0, (cell,)) for cell in (CR, NC, NR))), softmax=True),),
            "arXiv 2406.09215, over the cells of a row",
            {"beta": 1.0},
        ),
        Objective(
            "orpo",
            "beta L(o(cc) - o(cr)) + nll_weight NLL",
            (replace(_RANK, reward="odds", reference=False, weight="beta"),),
            "arXiv 2403.07691",
            {"nll_weight": 1.0},
        ),
        Objective(
            "ddpo",
            "L(r_k(cc) - r_k(cr))",
            (prefer("rank", CC, CR, tokens=_WEIGHED),),
            "arXiv 2501.16629, its text part without KL; dense DPO of arXiv 2312.00849",
        ),
        Objective(
            "chip_no_kl",
            "L(2 r_k(cc) - r_k(cr) - r_k(nc))",
            (PreferenceTerm("rank", (Side(2.0, (CC,)), Side(-1.0, (CR,)), Side(-1.0, (NC,))), _WEIGHED),),
            "arXiv 2501.16629 without its sequential KL",
        ),
        Objective(
            "simpo",
            "L(mp(cc) - mp(cr) - margin)",
            (replace(_RANK, reward="mean", reference=False, offset="target_margin"),),
            "arXiv 2405.14734",
            {"beta": 2.0},
        ),
        Objective(
            "r_dpo_length",
            "L(r(cc) - r(cr) + a (|cc| - |cr|))",
            (replace(_RANK, length="length_weight"),),
            "arXiv 2403.19159, with the length weight of CheXalign, arXiv 2410.07025",
        ),
        Objective(
            "dpo_nll",
            "L(r(cc) - r(cr)) + nll_weight NLL",
            (_RANK,),
            "arXiv 2404.19733 (IRPO), the `train_dpo+nll` of arXiv 2601.17918",
            {"nll_weight": 1.0},
        ),
        Objective("mia_dpo", "L(r(cc) - r(cr))", (_RANK,), "arXiv 2410.17637: DPO, on rows of several images"),
        Objective("stllava_med", "L(r(cc) - r(cr))", (_RANK,), "arXiv 2406.19973: DPO, on pairs that a judge ranked"),
        Objective("povid_stage1", "L(r(cc) - r(cr))", (_RANK,), "arXiv 2402.11411, stage 1: DPO, on injected errors"),
        Objective(
            "re_align",
            "L(r(cc) - r(cr)) + L(r(cc) - r(nc))",
            (_RANK, _IMAGE),
            "arXiv 2502.13146 as described, on a retrieved image; its code scores another token there",
        ),
        Objective(
            "mdpo_as_benchmarked",
            "2 L(r(cc) - r(cr)) + L(r(cc))",
            (replace(_RANK, weight=2.0), _ANCHOR),
            "what the released mDPO of arXiv 2601.17918 computes: it never runs the noised image",
        ),
        Objective(
            "ic_vco_single",
            "0.875 L(r_P(cc) - r_P(cr)) + 0.875 L(r_P(nr) - r_P(nc)) + 0.875 L(r_P(cc)) + 0.875 L(r_P(nr))",
            (
                prefer("rank", CC, CR, tokens=PHRASES, weight=0.875),
                prefer("visual", NR, NC, tokens=PHRASES, weight=0.875),
                prefer("anchor", CC, tokens=PHRASES, weight=0.875),
                prefer("anchor_noised", NR, tokens=PHRASES, weight=0.875),
            ),
            "arXiv 2605.31312, its single-image branch, on an edited image for which the rejected response is true",
        ),
        Objective(
            "symmpo_4",
            "1.5 L(r(cc) - r(cr)) + 0.5 L(r(nr) - r(nc)) + L(r(cc)) + L(r(nr))",
            (
                replace(_RANK, weight=1.5),
                prefer("visual", NR, NC, weight=0.5),
                _ANCHOR,
                prefer("anchor_noised", NR),
            ),
            "arXiv 2506.11712 on four cells: the true response of the other image is the rejected one; no consistency",
        ),
    )
}
