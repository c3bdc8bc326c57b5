"""`llamafactory-cli train` with the sign of FiRe-MPO's visual term flipped: a control, which must do harm.

    python flipped.py train.yaml key=value ...

On the noised image the chosen response is then preferred, as if it could be read off an image without evidence.
"""

import sys
from dataclasses import replace

from firempo_plugin.objectives.table import OBJECTIVES


def flip() -> None:
    """Turns the visual term of `fire_mpo` around, in this process."""
    objective = OBJECTIVES["fire_mpo"]
    rank, visual, kl = objective.terms
    turned = replace(visual, sides=tuple(replace(side, sign=-side.sign) for side in visual.sides))
    OBJECTIVES["fire_mpo"] = replace(objective, terms=(rank, turned, kl))


def main() -> None:
    """The command line of `llamafactory-cli train`."""
    flip()
    from llamafactory.cli import main as train

    sys.argv[1:1] = ["train"]
    train()


if __name__ == "__main__":
    main()
