"""The methods, one row each: FiRe-MPO (arXiv 2606.12590) and its relatives. Nothing else knows their names.

The symbols of the formulas are those of `terms`.
"""

from dataclasses import replace

from .terms import (
    BC,
    BR,
    CC,
    CR,
    NC,
    NR,
    PHRASES,
    Cell,
    ConsistencyTerm,
    KLTerm,
    Objective,
    PreferenceTerm,
    SequenceKL,
    Side,
    TokenWeights,
    prefer,
)

_RANK = prefer("rank", CC, CR)
_RANK_PHRASES = prefer("rank", CC, CR, tokens=PHRASES)
_IMAGE = prefer("image", CC, NC)
_ANCHOR = prefer("anchor", CC)
_WEIGHED = TokenWeights("phrase_weight", 1.0)
_CHIP = PreferenceTerm("rank", (Side(2.0, (CC,)), Side(-1.0, (CR,)), Side(-1.0, (NC,))), _WEIGHED)
_SYMMPO = (replace(_RANK, weight=1.5), prefer("visual", NR, NC, weight=0.5), _ANCHOR, prefer("anchor_noised", NR))


def _with_sequence_kl(term: PreferenceTerm, detached: bool) -> PreferenceTerm:
    """d (D(cc) - D(cr)) in the margin."""
    kls = (SequenceKL(1.0, CC, detached), SequenceKL(-1.0, CR))
    return replace(term, sequence_kls=kls, sequence_kl_weight="sequence_kl_weight")


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
            "FiRe-MPO and its ablations",
            "Where to start: responses that differ in a few clinical words, with images whose evidence is noised.",
        ),
        Objective(
            "fire_mpo_v1",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NC), KLTerm()),
            "arXiv 2606.12590, ablation v1",
            "FiRe-MPO and its ablations",
            "To see what the reversed preference is worth: here noise is to make the chosen words less likely.",
        ),
        Objective(
            "fire_mpo_v2",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nr)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NR), KLTerm()),
            "arXiv 2606.12590, ablation v2",
            "FiRe-MPO and its ablations",
            "To see what the reversed preference is worth: here the rejected words are scored on the noised image.",
        ),
        Objective(
            "rrpo",
            "L(r_P(cc) - r_P(cr)) + alpha KL with lambda = 1",
            (_RANK_PHRASES, KLTerm(fixed_lambda=1.0)),
            "arXiv 2504.12083",
            "Fine-grained text",
            "Responses that differ in a few words, without noised images; a KL holds the model to its reference.",
        ),
        Objective(
            "mask_dpo",
            "L(r_P(cc) - r_P(cr))",
            (_RANK_PHRASES,),
            "arXiv 2503.02846",
            "Fine-grained text",
            "As rrpo without its KL: nothing but the words that differ, or that the spans name, is scored.",
        ),
        Objective(
            "dpo",
            "L(r(cc) - r(cr))",
            (_RANK,),
            "arXiv 2305.18290",
            "Whole responses",
            "The plain baseline: any pairs, nothing but their responses.",
        ),
        Objective(
            "copo",
            "L(r(cc) - r(nc))",
            (_IMAGE,),
            "arXiv 2406.11839, its image term alone",
            "With images",
            "To teach looking alone: one response is to be likelier on the clean image than on the noised one.",
        ),
        Objective(
            "mdpo",
            "L(r(cc) - r(cr)) + L(r(cc) - r(nc)) + L(r(cc))",
            (_RANK, _IMAGE, _ANCHOR),
            "arXiv 2406.11839",
            "With images",
            "Whole responses with noised images: dpo, copo, and an anchor that keeps chosen from sinking.",
        ),
        Objective(
            "mmedpo",
            "L(r(cc) - r(nr)), or r(cr) without a noised image",
            (prefer("rank", CC, NR, CR),),
            "arXiv 2412.06141, as arXiv 2601.17918 runs it",
            "With images",
            "Rows with a clinical weight; the rejected response is the one to the noised image.",
        ),
        Objective(
            "ipo",
            "S(r(cc) - r(cr))",
            (replace(_RANK, link="square"),),
            "arXiv 2310.12036",
            "Whole responses",
            "Few pairs, or pairs that are never ambiguous, which dpo fits without end: the margin is drawn to 1/2.",
        ),
        Objective(
            "ipo_mean",
            "S(mr(cc) - mr(cr))",
            (replace(_RANK, link="square", reward="mean"),),
            "arXiv 2310.12036, over the mean of the tokens as TRL 0.24 runs it",
            "As other code runs it",
            "To compare with the IPO of TRL, where a long response weighs as much as a short one.",
        ),
        Objective(
            "slic",
            "H(r(cc) - r(cr))",
            (replace(_RANK, link="hinge"),),
            "arXiv 2305.10425, hinge on DPO's margin",
            "Whole responses",
            "A pair that is won by a margin of 1 is to pull no more.",
        ),
        Objective(
            "cdpo",
            "L_e(r(cc) - r(cr))",
            (replace(_RANK, link="smoothed", smoothing="label_smoothing"),),
            "conservative DPO, as TRL 0.24 runs it",
            "Whole responses",
            "A share of the preferences is the wrong way round, as a judge's may be: no pair is to be fitted fully.",
        ),
        Objective(
            "robust_dpo",
            "R_e(r(cc) - r(cr))",
            (replace(_RANK, link="robust", smoothing="label_smoothing"),),
            "arXiv 2403.00409",
            "Whole responses",
            "The share of preferences that are the wrong way round is known: in the mean it is dpo on the true ones.",
        ),
        Objective(
            "s_dpo",
            "L(r(cc) - lse(r(cr), r(nc), r(nr)))",
            (replace(_RANK, sides=(Side(1.0, (CC,)), *(Side(-1.0, (cell,)) for cell in (CR, NC, NR))), softmax=True),),
            "arXiv 2406.09215, over the cells of a row",
            "With images",
            "One chosen response against the rejected one and both noised cells at once, not pair by pair.",
            {"beta": 1.0},
        ),
        Objective(
            "orpo",
            "beta L(o(cc) - o(cr)) + nll_weight NLL",
            (replace(_RANK, reward="odds", reference=False, weight="beta"),),
            "arXiv 2403.07691",
            "Without a reference",
            "Little memory, or a model that was not fine-tuned yet: no reference, the NLL teaches and the odds prefer.",
            {"nll_weight": 1.0},
        ),
        Objective(
            "ddpo",
            "L(r_k(cc) - r_k(cr))",
            (prefer("rank", CC, CR, tokens=_WEIGHED),),
            "arXiv 2501.16629, its text part without KL; dense DPO of arXiv 2312.00849",
            "Fine-grained text",
            "Whole responses in which the words that differ count k times.",
        ),
        Objective(
            "chip_no_kl",
            "L(2 r_k(cc) - r_k(cr) - r_k(nc))",
            (_CHIP,),
            "arXiv 2501.16629 without its sequential KL",
            "With images",
            "ddpo and the image term of copo in one sigmoid; every row has a noised image.",
        ),
        Objective(
            "simpo",
            "L(mp(cc) - mp(cr) - margin)",
            (replace(_RANK, reward="mean", reference=False, offset="target_margin"),),
            "arXiv 2405.14734",
            "Without a reference",
            "Little memory, or responses of unlike length: no reference, the mean log-probability, a margin to win by.",
            {"beta": 2.0},
        ),
        Objective(
            "r_dpo_length",
            "L(r(cc) - r(cr) + a (|cc| - |cr|))",
            (replace(_RANK, length="length_weight"),),
            "arXiv 2403.19159, with the length weight of CheXalign, arXiv 2410.07025",
            "Whole responses",
            "Chosen is longer than rejected, and dpo makes responses longer: the length explains its share.",
        ),
        Objective(
            "dpo_nll",
            "L(r(cc) - r(cr)) + nll_weight NLL",
            (_RANK,),
            "arXiv 2404.19733 (IRPO), the `train_dpo+nll` of arXiv 2601.17918",
            "Whole responses",
            "dpo makes chosen less likely along with rejected: an NLL on chosen holds it up.",
            {"nll_weight": 1.0},
        ),
        Objective(
            "mia_dpo",
            "L(r(cc) - r(cr))",
            (_RANK,),
            "arXiv 2410.17637: DPO, on rows of several images",
            "DPO under another name",
            "By its name: dpo, for rows of several images of which the question asks about one.",
        ),
        Objective(
            "stllava_med",
            "L(r(cc) - r(cr))",
            (_RANK,),
            "arXiv 2406.19973: DPO, on pairs that a judge ranked",
            "DPO under another name",
            "By its name: dpo, for pairs of the model's own responses that a judge ranked.",
        ),
        Objective(
            "povid_stage1",
            "L(r(cc) - r(cr))",
            (_RANK,),
            "arXiv 2402.11411, stage 1: DPO, on injected errors",
            "DPO under another name",
            "By its name: dpo, for true responses against the same with errors injected.",
        ),
        Objective(
            "tgdpo",
            "L(r(cc) - r(cr))",
            (_RANK,),
            "arXiv 2506.14574: DPO, on rows that say what each token counts",
            "DPO under another name",
            "By its name: dpo, for rows with chosen_weights and rejected_weights, as a trained model's rewards give.",
        ),
        Objective(
            "re_align",
            "L(r(cc) - r(cr)) + L(r(cc) - r(nc))",
            (_RANK, _IMAGE),
            "arXiv 2502.13146 as described, on a retrieved image; its code scores another token there",
            "With images",
            "Whole responses where the second image is a similar one, retrieved, instead of a noised one.",
        ),
        Objective(
            "mdpo_as_benchmarked",
            "2 L(r(cc) - r(cr)) + L(r(cc))",
            (replace(_RANK, weight=2.0), _ANCHOR),
            "what the released mDPO of arXiv 2601.17918 computes: it never runs the noised image",
            "As other code runs it",
            "To compare with the mDPO figures of arXiv 2601.17918, which never saw a noised image; else take mdpo.",
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
            "arXiv 2605.31312, its single-image branch, on an image for which the rejected response is true; as its "
            "settings say (its code adds the anchors twice)",
            "With images",
            "The second image is an edited one for which rejected is the true response; scores the words that differ.",
        ),
        Objective(
            "symmpo_4",
            "1.5 L(r(cc) - r(cr)) + 0.5 L(r(nr) - r(nc)) + L(r(cc)) + L(r(nr))",
            _SYMMPO,
            "arXiv 2506.11712 on four cells: the true response of the other image is the rejected one; no consistency",
            "With images",
            "The second image is a similar one for which rejected is the true response; scores whole responses.",
        ),
        Objective(
            "symmpo",
            "1.5 L(r(cc) - r(cr)) + 0.5 L(r(nr) - r(nc)) + L(r(cc)) + L(r(nr))"
            " + q ((r(cc) - r(cr) - r(nr) + r(nc)) / beta)^2",
            (*_SYMMPO, ConsistencyTerm(*_SYMMPO[:2])),
            "arXiv 2506.11712 on four cells: the true response of the other image is the rejected one",
            "With images",
            "As symmpo_4, and both images are to separate the responses by the same margin.",
        ),
        Objective(
            "s_vco",
            "L(r(cc) - r(bc)) + L(r(bc) - r(nc)) + L(r(nr) - r(br)) + L(r(br) - r(cr))",
            (
                prefer("image", CC, BC),
                prefer("no_image", BC, NC),
                prefer("image_noised", NR, BR),
                prefer("no_image_clean", BR, CR),
            ),
            "arXiv 2502.13928, on an image for which the rejected response is true",
            "With images",
            "Pairs of real images that differ in a finding: each response fits its own image, and no image is between.",
        ),
        Objective(
            "tdpo1",
            "L(r(cc) - r(cr) + d (D(cc) - D(cr)))",
            (_with_sequence_kl(_RANK, detached=False),),
            "arXiv 2404.11999, TDPO1",
            "Whole responses",
            "Where dpo strays far from its reference: a KL along both responses stands in the margin.",
            {"sequence_kl_weight": 1.0},
        ),
        Objective(
            "tdpo2",
            "L(r(cc) - r(cr) + d (sg(D(cc)) - D(cr)))",
            (_with_sequence_kl(_RANK, detached=True),),
            "arXiv 2404.11999, TDPO2",
            "Whole responses",
            "The variant of tdpo1 that its paper prefers: the KL along chosen is a constant.",
        ),
        Objective(
            "chip",
            "L(2 r_k(cc) - r_k(cr) - r_k(nc) + d (sg(D(cc)) - D(cr)))",
            (_with_sequence_kl(_CHIP, detached=True),),
            "arXiv 2501.16629, with the noised reference weighed as the policy is, unlike in its code",
            "With images",
            "As chip_no_kl, with the sequential KLs of tdpo2; every row has a noised image.",
            {"sequence_kl_weight": 0.1},
        ),
        Objective(
            "dpop",
            "L(r(cc) - r(cr) - f neg(r(cc)))",
            (replace(_RANK, floor="floor_weight"),),
            "DPO-Positive of arXiv 2402.13228 (Smaug)",
            "Whole responses",
            "Responses that differ in little, where dpo makes chosen less likely: falling below the reference costs.",
            {"beta": 0.3},
        ),
        Objective(
            "rrg_dpo",
            "L(mr_k(cc) - mr_k(cr) - f neg(mr_k(cc)))",
            (replace(_RANK, tokens=_WEIGHED, reward="mean", floor="floor_weight"),),
            "RRG-DPO, MICCAI 2025; its reference does not move here, and the end token counts",
            "Fine-grained text",
            "Reports: means over the tokens in which clinical phrases count k times, and a small floor under chosen.",
            {"phrase_weight": 5.0, "floor_weight": 0.1},
        ),
        Objective(
            "fire_mpo_difference",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(cr) - r_P(nc) + r_P(nr)) + alpha KL",
            (
                _RANK_PHRASES,
                PreferenceTerm(
                    "visual",
                    (Side(1.0, (CC,)), Side(-1.0, (CR,)), Side(-1.0, (NC,)), Side(1.0, (NR,))),
                    PHRASES,
                    weight="gamma",
                ),
                KLTerm(),
            ),
            "of this package: FiRe-MPO, asking that the clean image prefers more than the noised one",
            "FiRe-MPO and its ablations",
            "To see what turning a preference adds to weakening it: noise is to make it smaller.",
        ),
        Objective(
            "fire_mpo_indifferent",
            "L(r_P(cc) - r_P(cr)) + gamma L_h(r_P(nr) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, replace(_visual(NR, NC), link="smoothed", smoothing=0.5), KLTerm()),
            "of this package: FiRe-MPO, asking that the noised image prefers nothing",
            "FiRe-MPO and its ablations",
            "To see what turning a preference adds to losing it: noise is to make both responses as likely.",
        ),
    )
}
