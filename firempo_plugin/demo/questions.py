"""The demo's questions, each with a right and a wrong answer that differ in a few clinical words.

The answers say only what the images show or what the files' own headers and sources state.
"""

import re
from dataclasses import dataclass

WHOLE = "the whole image"

_CHOICE = re.compile(r"\{([^{|}]+)\|([^{|}]+)\}")


@dataclass(frozen=True)
class Pair:
    """A question with a right and a wrong answer.

    Attributes:
        name: Short name, unique.
        scans: Names of the scans the question is about; none for a question about text alone.
        noise: Name of the region that is noised, WHOLE, or None for a pair without a noised image.
        question: The question.
        answer: Both answers in one text, with `{chosen|rejected}` wherever they differ.
        marked: Whether the row carries the differing phrases as spans; if not, the stage derives them.
    """

    name: str
    scans: tuple[str, ...]
    noise: str | None
    question: str
    answer: str
    marked: bool = False

    def side(self, number: int) -> tuple[str, list[list[int]]]:
        """One answer and the [start, end) of its phrases in code points; 0 is chosen, 1 is rejected."""
        text, end = "", 0
        spans: list[list[int]] = []
        for choice in _CHOICE.finditer(self.answer):
            text += self.answer[end : choice.start()]
            spans.append([len(text), len(text) + len(choice[1 + number])])
            text += choice[1 + number]
            end = choice.end()
        return text + self.answer[end:], spans


PAIRS: tuple[Pair, ...] = (
    Pair(
        "chest_aorta",
        ("ct_chest",),
        "aorta",
        "On which side of the vertebral body does the descending aorta lie?",
        "The descending aorta lies on the patient's {left|right}, next to the vertebral body.",
        marked=True,
    ),
    Pair(
        "chest_contrast",
        ("ct_chest",),
        "aorta",
        "Was an intravenous contrast agent given?",
        "{Yes|No}, the aorta is {brighter than|as dark as} the muscles, so contrast {was|was not} given.",
    ),
    Pair(
        "chest_canal",
        ("ct_chest",),
        "canal",
        "What is the round grey area enclosed by bone?",
        "The round grey area is the {spinal canal|oesophagus}, {behind|in front of} the vertebral body.",
    ),
    Pair(
        "chest_lung",
        ("ct_chest",),
        "lung",
        "What is the black area at the right edge of the image?",
        "The black area is {air in the left lung|fluid in the right lung}, which lies beside the spine.",
    ),
    Pair(
        "chest_modality",
        ("ct_chest",),
        WHOLE,
        "What kind of image is this, and in which plane?",
        "This is {a CT|an MR} image of the chest in the {axial|sagittal} plane.",
    ),
    Pair(
        "head_cerebellum",
        ("ct_head",),
        "cerebellum",
        "Which part of the brain fills the back of the skull on this slice?",
        "On this slice the back of the skull holds the {cerebellum|occipital lobes}.",
    ),
    Pair(
        "head_sinus",
        ("ct_head",),
        "sinus",
        "Is the frontal sinus clear?",
        "{Yes|No}, the frontal sinus is filled with {air|fluid}, and its bony walls are visible.",
    ),
    Pair(
        "head_mastoid",
        ("ct_head",),
        "mastoid",
        "Does the mastoid bone on the patient's left contain air?",
        "The mastoid cells on the patient's left are {dark and contain air|grey and contain no air}.",
    ),
    Pair(
        "abdomen_liver",
        ("mr_abdomen",),
        "liver",
        "Which large organ lies on the patient's right side?",
        "The large organ on the patient's right side is the {liver|spleen}.",
    ),
    Pair(
        "abdomen_kidneys",
        ("mr_abdomen",),
        "kidneys",
        "How many kidneys are visible?",
        "{Both kidneys are|Only the right kidney is} visible, and the cortex is {bright|dark}.",
        marked=True,
    ),
    Pair(
        "abdomen_left_kidney",
        ("mr_abdomen",),
        "left_kidney",
        "Does the left kidney take up contrast?",
        "The left kidney {is bright, so it takes up|is dark, so it does not take up} contrast.",
    ),
    Pair(
        "abdomen_aorta",
        ("mr_abdomen",),
        "aorta",
        "Where is the aorta, and how does it look?",
        "The aorta is a {bright|dark} circle {in front of|behind} the vertebral body.",
    ),
    Pair(
        "abdomen_modality",
        ("mr_abdomen",),
        WHOLE,
        "Name the imaging modality and the part of the body.",
        "This is an {MR|ultrasound} image of the upper {abdomen|arm}.",
    ),
    Pair(
        "node_flow",
        ("us_node",),
        "node",
        "Is there blood flow within the lymph node?",
        "{Yes|No}, power Doppler shows {branching|no} flow within the lymph node.",
        marked=True,
    ),
    Pair(
        "node_shape",
        ("us_node",),
        "node",
        "What is the shape of the lymph node?",
        "The lymph node is {oval|round}, and its long axis is {parallel|perpendicular} to the skin.",
    ),
    Pair(
        "node_modality",
        ("us_node",),
        WHOLE,
        "How was this image made?",
        "This image was made with {power Doppler ultrasound|positron emission tomography}.",
    ),
    Pair(
        "fundus_eye",
        ("fundus",),
        "disc",
        "Is this a left or a right eye?",
        "The optic disc is {left|right} of the macula in the image, so this is a {left|right} eye.",
        marked=True,
    ),
    Pair(
        "fundus_macula",
        ("fundus",),
        "macula",
        "Where is the macula?",
        "The macula is the {darker|brighter} area {at the centre|at the upper edge} of the photograph.",
    ),
    Pair(
        "fundus_bleeding",
        ("fundus",),
        None,
        "Are there haemorrhages?",
        "The retina shows {no|several} haemorrhages, and the optic disc is {sharply outlined|swollen}.",
    ),
    Pair(
        "gland_stain",
        ("histology",),
        "gland",
        "Which cells carry the brown stain?",
        "The brown stain is in the {epithelium of the glands|connective tissue}; the rest is blue.",
    ),
    Pair(
        "gland_modality",
        ("histology",),
        WHOLE,
        "What kind of image is this, and of which organ?",
        "This is {a light|an electron} micrograph of glands in the {colon|lung}.",
    ),
    Pair(
        "compare_brain",
        ("ct_chest", "ct_head"),
        WHOLE,
        "Which of the two CT images shows the brain?",
        "The {second|first} image shows the brain, and the {first|second} image shows the spine.",
    ),
    Pair(
        "text_radiation",
        (),
        None,
        "Does MR imaging use ionising radiation?",
        "{No|Yes}, MR imaging uses {magnetic fields and radio waves|X-rays} to form an image.",
    ),
    Pair(
        "text_convention",
        (),
        None,
        "On which side of an axial CT image is the patient's right?",
        "By convention the patient's right is on the {left|right} side of an axial CT image.",
    ),
)
