"""Makes off-policy pairs of on-policy ones: the ground truth, as an annotator wrote it, in the place of the chosen.

    python off_policy.py PAIRS.json RECORDS.jsonl OUT.json

The rejected response stays the model's, or its edit. So the two sides differ in style too, as they do in preference
sets that are made from ground truths: a loss can tell them apart without looking at the image.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any


def off_policy(pairs: list[dict[str, Any]], truths: dict[str, str]) -> list[dict[str, Any]]:
    """The pairs with the ground truth as chosen, without phrases and noised images.

    Reports are written in one style by both, and stay out.

    Args:
        pairs: Rows of `firempo build`.
        truths: Ground truth by record id.
    """
    rows = []
    for pair in pairs:
        truth = truths.get(record_of(pair["id"]))
        if truth is not None:
            chosen = {"from": "gpt", "value": f"{truth[0].upper()}{truth[1:]}."}
            kept = {key: pair[key] for key in ("conversations", "rejected", "images", "weight", "id")}
            rows.append(kept | {"chosen": chosen})
    return rows


def record_of(pair_id: str) -> str:
    """The record's own id in a pair's id, which begins with the source's name."""
    return pair_id.partition(":")[2] or pair_id


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes off-policy pairs.")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    records = [json.loads(line) for line in arguments.records.read_text(encoding="utf-8").splitlines()]
    truths = {row["id"]: row["answer"] for row in records if row["kind"] == "vqa"}
    pairs = json.loads(arguments.pairs.read_text(encoding="utf-8"))
    rows = off_policy(pairs, truths)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for row in rows:
        row["images"] = [os.path.abspath(arguments.pairs.parent / image) for image in row["images"]]
    columns = {"messages": "conversations"} | {name: name for name in ("chosen", "rejected", "images", "weight")}
    entry = {"file_name": arguments.out.name, "formatting": "sharegpt", "ranking": True, "columns": columns}
    info = json.dumps({arguments.out.stem: entry}, indent=2) + "\n"
    (arguments.out.parent / "dataset_info.json").write_text(info, encoding="utf-8")
    arguments.out.write_text(json.dumps(rows), encoding="utf-8")
    print(f"{len(rows)} of {len(pairs)} pairs; the others are reports")


if __name__ == "__main__":
    main()
