"""The stage's arguments: added to the host's own dataclasses, checked, and turned into `Settings`.

A key that is left out is None until its owner, the objective, gives it a value; so a key that was written
but would have no effect can be told from one that was not written.
"""

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, make_dataclass
from typing import Any, Literal, get_args

from ..errors import UserError
from ..objectives.settings import Settings
from ..objectives.table import OBJECTIVES
from ..objectives.terms import SCOPES, Objective

STAGE = "fire_mpo"
STAGE_TITLE = "FiRe-MPO"


class WrongValueError(UserError):
    """A key holds a value that it cannot have.

    Attributes:
        key: As written in YAML.
        wanted: What it takes, in words.
        found: What it holds.
        example: A value that it takes; None for none.
    """

    def __init__(self, key: str, wanted: str, found: Any, example: Any = None) -> None:
        more = "" if example is None else f" Write for example `{key}: {example}`."
        super().__init__(f"{key} must be {wanted}, found {found!r}.{more}")
        self.key, self.wanted, self.found, self.example = key, wanted, found, example


@dataclass(frozen=True)
class Option:
    """A key of the stage with a numeric or named value that an objective may use.

    Attributes:
        key: As written in YAML.
        kind: Its type.
        default: Its value where the objective uses it, has no default of its own, and the user does not write it.
        setting: The field of `Settings` that it fills.
        help: What it is, for `--help`, which adds its defaults and the objectives that read it.
    """

    key: str
    kind: Any
    default: Any
    setting: str
    help: str

    def default_of(self, objective: Objective) -> Any:
        """Its value under an objective where the user does not write it."""
        return objective.defaults.get(self.setting, self.default)


OPTIONS = (
    Option("fire_alpha", float, 0.01, "alpha", "Weight of the token-wise KL term (alpha), >= 0."),
    Option("fire_gamma", float, 0.1, "gamma", "Weight of the visual term (gamma), >= 0."),
    Option("fire_lambda", float, 0.5, "kl_lambda", "Share of the forward KL (lambda), in [0, 1]."),
    Option(
        "fire_kl_scope", Literal[SCOPES], "phrase", "kl_scope", "Tokens of the chosen response that the KL sums over."
    ),
    Option(
        "fire_phrase_weight",
        float,
        4.0,
        "phrase_weight",
        "How often a token of a phrase counts (k), > 0.",
    ),
    Option(
        "fire_margin",
        float,
        0.5,
        "target_margin",
        "By how much chosen is to win (gamma of SimPO), >= 0, in units of the margin.",
    ),
    Option(
        "fire_length_weight",
        float,
        0.05,
        "length_weight",
        "What a token of length is worth (a), >= 0.",
    ),
    Option(
        "fire_label_smoothing",
        float,
        0.1,
        "label_smoothing",
        "How often a preference is the wrong way round (e), in [0, 0.5).",
    ),
    Option(
        "fire_sequence_kl_weight",
        float,
        0.5,
        "sequence_kl_weight",
        "Weight of the sequential KLs in the margin (d), >= 0.",
    ),
    Option(
        "fire_floor_weight",
        float,
        50.0,
        "floor_weight",
        "What a reward of the chosen response below 0 costs (f), >= 0.",
    ),
    Option(
        "fire_consistency_weight",
        float,
        1e-4,
        "consistency_weight",
        "Weight of the squared difference of margins (q), >= 0.",
    ),
)

HOST_OPTIONS = (
    Option("pref_beta", float, 0.1, "beta", "The beta parameter in the preference loss."),
    Option("pref_ftx", float, 0.0, "nll_weight", "The supervised fine-tuning loss coefficient in DPO training."),
)
"""Keys of the host that every objective uses; left out, they too are the objective's own."""

OTHER_KEYS = (
    "fire_skip_invalid",
    "fire_pass_tokens",
    "fire_reference_cache",
    "fire_vision_cache",
    "fire_group_by_image",
)
VISION_CACHE_GB = 20.0

IGNORED_HOST_KEYS = {
    "pref_loss": None,
    "pref_bco_weight": None,
    "use_dft_loss": None,
    "use_asft_loss": None,
    "use_eaft_loss": None,
    "dpo_label_smoothing": "fire_label_smoothing",
    "simpo_gamma": "fire_margin",
    "ld_alpha": None,
}
"""Each with the key of the stage that stands for it; None: `fire_objective` chooses the loss."""


def extend_constants(module: Any) -> None:
    """Adds the stage to the host's shared tables, in place, its title behind those of the other preference stages."""
    stages = module.TRAINING_STAGES
    last = {title: stages.pop(title) for title, stage in list(stages.items()) if stage == "pt"}
    stages |= {STAGE_TITLE: STAGE, **last}
    module.STAGES_USE_PAIR_DATA.add(STAGE)


def extend_model_arguments(module: Any) -> None:
    """Adds the key that names where a checkpoint without a processor takes one from."""
    help_text = (
        "Where to load the image processor from, for a checkpoint that ships none. Defaults to `model_name_or_path`."
    )
    option = ("processor_name_or_path", str | None, field(default=None, metadata={"help": help_text}))
    _rebind(module, "ModelArguments", [option], {})


def extend_finetuning_arguments(module: Any) -> None:
    """Adds the stage and its keys, and checks them after the host's own checks."""
    base = module.FinetuningArguments
    stage = base.__dataclass_fields__["stage"]

    def __post_init__(self: Any) -> None:  # noqa: N807
        for option in HOST_OPTIONS:
            if self.stage != STAGE and vars(self)[option.key] is None:
                setattr(self, option.key, option.default)
        base.__post_init__(self)
        resolve(self)
        if self.stage == STAGE:
            self.use_ref_model = settings_of(self).needs_reference
            _refuse_against_the_reference(self)

    stages = Literal[(*get_args(stage.type), STAGE)]  # type: ignore[valid-type]
    skip_help = f"stage: {STAGE} only. Skip and count rows that cannot be used instead of stopping."
    objective_help = f"stage: {STAGE} only. The objective. Default {STAGE}."
    pass_help = (
        f"stage: {STAGE} only. Most tokens, padding included, that are propagated back at once, as far as the losses "
        "can be separated: less memory, same gradients. Default 1024 on a CPU, and on a GPU what fits its "
        "free memory, at most 16384."
    )
    cache_help = (
        f"stage: {STAGE} only. Folder that keeps what the frozen reference says of every row, for later epochs, "
        "resumed runs and runs with other weights of the terms."
    )
    vision_help = (
        f"stage: {STAGE} only. Folder that keeps the features of images under a frozen vision tower, for later epochs "
        "and runs."
    )
    gb_help = f"stage: {STAGE} only. Gigabytes at which fire_vision_cache stops growing. Default {VISION_CACHE_GB}."
    group_help = (
        f"stage: {STAGE} only. Most rows on one image that are put into one batch, where its tokens are run once for "
        "all. Rows are then no longer drawn independently of each other."
    )
    new_fields = [
        ("stage", stages, field(default=stage.default, metadata=dict(stage.metadata))),
        *((o.key, float | None, _optional(f"{o.help} Default {o.default}.")) for o in HOST_OPTIONS),
        ("fire_objective", Literal[tuple(OBJECTIVES)] | None, _optional(objective_help)),
        *((o.key, o.kind | None, _optional(_help_of(o))) for o in OPTIONS),
        ("fire_skip_invalid", bool, field(default=False, metadata={"help": skip_help})),
        ("fire_pass_tokens", int | None, _optional(pass_help)),
        ("fire_reference_cache", str | None, _optional(cache_help)),
        ("fire_vision_cache", str | None, _optional(vision_help)),
        ("fire_vision_cache_gb", float, field(default=VISION_CACHE_GB, metadata={"help": gb_help})),
        ("fire_group_by_image", int | None, _optional(group_help)),
    ]
    _rebind(module, "FinetuningArguments", new_fields, {"__post_init__": __post_init__})


def _help_of(option: Option) -> str:
    users = {name: option.default_of(row) for name, row in OBJECTIVES.items() if option.setting in row.reads}
    own = "".join(f", of {name} {value}" for name, value in users.items() if value != option.default)
    return f"stage: {STAGE} only. {option.help} Default {option.default}{own}. Read by: {', '.join(users)}."


def _optional(help_text: str) -> Any:
    return field(default=None, metadata={"help": help_text})


def _rebind(module: Any, name: str, fields: list[tuple[str, Any, Any]], namespace: dict[str, Any]) -> None:
    """Puts a subclass with more fields in a host class's place, under its own name so that it pickles."""
    base = getattr(module, name)
    extended = make_dataclass(name, fields, bases=(base,), namespace={"__doc__": base.__doc__, **namespace})
    extended.__module__ = base.__module__
    extended.__qualname__ = base.__qualname__
    setattr(module, name, extended)


def resolve(args: Any) -> None:
    """Checks the stage's keys of a `FinetuningArguments` and fills in the defaults that have an effect.

    Raises:
        UserError: A value is out of range, or a written key would have no effect; says what to write.
    """
    written = [key for key in ("fire_objective", *(o.key for o in OPTIONS)) if vars(args)[key] is not None]
    if args.stage != STAGE:
        written += [key for key in OTHER_KEYS if vars(args)[key]]
        if written:
            key = written[0]
            raise UserError(f"stage: {args.stage} ignores {key}. Write `stage: {STAGE}`, or remove {key}.")
        return
    args.fire_objective = args.fire_objective or STAGE
    if args.fire_objective not in OBJECTIVES:
        raise UserError(f"fire_objective: {args.fire_objective} is unknown. Write one of: {', '.join(OBJECTIVES)}.")
    if not isinstance(args.fire_skip_invalid, bool):
        raise UserError(f"fire_skip_invalid must be true or false, found {args.fire_skip_invalid!r}.")
    for key, least in (("fire_pass_tokens", 1), ("fire_group_by_image", 2)):
        value = vars(args)[key]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise WrongValueError(key, f"a whole number of at least {least}", value)
    limit = args.fire_vision_cache_gb
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
        raise WrongValueError("fire_vision_cache_gb", "a number above 0", limit)
    _refuse_ignored_host_keys(args)
    objective = OBJECTIVES[args.fire_objective]
    read = [option for option in OPTIONS if option.setting in objective.reads]
    _refuse_ignored(objective, [o for o in OPTIONS if o not in read and vars(args)[o.key] is not None])
    for option in (*HOST_OPTIONS, *read):
        if vars(args)[option.key] is None:
            setattr(args, option.key, option.default_of(objective))
    _check_ranges(args)


def _refuse_against_the_reference(args: Any) -> None:
    """Refuses what stands against the reference of the run, or against its having none."""
    if args.use_ref_model and args.pissa_init:
        raise UserError(f"stage: {STAGE} cannot use pissa_init: the reference is the model without adapter.")
    if not args.use_ref_model and args.ref_model is not None:
        raise UserError(
            f"ref_model has no effect under fire_objective: {args.fire_objective}, which has no reference. "
            "Remove ref_model."
        )


def _refuse_ignored(objective: Objective, ignored: list[Option]) -> None:
    if len(ignored) == 1:
        (option,) = ignored
        raise UserError(
            f"{option.key} has no effect under fire_objective: {objective.name}. "
            f"Remove {option.key}, or write {_an_objective_that_uses(option)}."
        )
    if ignored:
        keys = ", ".join(option.key for option in ignored)
        raise UserError(f"{keys} have no effect under fire_objective: {objective.name}. Remove them.")


def _an_objective_that_uses(option: Option) -> str:
    users = [name for name, objective in OBJECTIVES.items() if option.setting in objective.reads]
    return f"a fire_objective that uses it: {', '.join(users)}"


def _refuse_ignored_host_keys(args: Any) -> None:
    by_key = {option.key: option for option in OPTIONS}
    for key, ours in IGNORED_HOST_KEYS.items():
        default = type(args).__dataclass_fields__[key].default
        if default is not MISSING and vars(args)[key] != default:
            instead = f"the loss is chosen by `fire_objective`: {', '.join(OBJECTIVES)}"
            if ours is not None:
                instead = f"write `{ours}`, with {_an_objective_that_uses(by_key[ours])}"
            raise UserError(f"stage: {STAGE} ignores {key}, found {key}: {vars(args)[key]}. Remove it; {instead}.")


def _check_ranges(args: Any) -> None:
    ranges: dict[str, tuple[str, Callable[[float], bool], float]] = {
        "pref_beta": ("above 0", lambda x: x > 0, 0.1),
        "pref_ftx": (">= 0", lambda x: x >= 0, 0.0),
        "fire_alpha": (">= 0", lambda x: x >= 0, 0.01),
        "fire_gamma": (">= 0", lambda x: x >= 0, 0.1),
        "fire_lambda": ("in [0, 1]", lambda x: 0 <= x <= 1, 0.5),
        "fire_phrase_weight": ("above 0", lambda x: x > 0, 4.0),
        "fire_margin": (">= 0", lambda x: x >= 0, 0.5),
        "fire_length_weight": (">= 0", lambda x: x >= 0, 0.05),
        "fire_label_smoothing": ("in [0, 0.5)", lambda x: 0 <= x < 0.5, 0.1),
        "fire_sequence_kl_weight": (">= 0", lambda x: x >= 0, 0.5),
        "fire_floor_weight": (">= 0", lambda x: x >= 0, 50.0),
        "fire_consistency_weight": (">= 0", lambda x: x >= 0, 1e-4),
    }
    for key, (words, holds, example) in ranges.items():
        value = vars(args)[key]
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not holds(value):
            raise WrongValueError(key, f"a number {words}", value, example)
    if args.fire_kl_scope not in (None, *SCOPES):
        raise UserError(f"fire_kl_scope: {args.fire_kl_scope} is unknown. Write one of: {', '.join(SCOPES)}.")


def settings_of(args: Any) -> Settings:
    """The loss settings of a resolved `FinetuningArguments`; what the objective does not read has the default."""
    written = {o.setting: vars(args)[o.key] for o in (*HOST_OPTIONS, *OPTIONS)}
    defaults = {o.setting: o.default for o in OPTIONS}
    known = {name: defaults[name] if value is None else value for name, value in written.items()}
    return Settings(objective=OBJECTIVES[args.fire_objective], **known)
