"""The machine: what it is, and the two ceilings that everything is held against."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess

import torch
from measure import matrix_throughput
from presets import PRESETS

from gpu.clock import failure, seconds_of
from gpu.stage import Context, Table

PACKAGES = ("torch", "triton", "numpy", "llamafactory", "transformers", "trl")
MORE_PACKAGES = ("peft", "datasets", "accelerate", "tokenizers", "safetensors", "huggingface_hub", "bitsandbytes")
GIGABYTE = 10**9
COPY_BYTES = 4 * GIGABYTE
PINNED_BYTES = GIGABYTE // 2
SMALL = 2**20
"""In a rehearsal."""
RUNS = 10


def run(context: Context) -> None:
    """The stage."""
    known = context.result.table("", "", "")
    known.add("device", torch.cuda.get_device_name() if context.device == "cuda" else f"{platform.machine()} CPU")
    for packages in (PACKAGES, MORE_PACKAGES):
        known.add("versions", ", ".join(f"{name} {_version(name)}" for name in packages))
    known.add("Python, cores, disk", f"{platform.python_version()}, {os.cpu_count()}, {_disk(context)}")
    if context.device == "cuda":
        _card(known)
    preset = PRESETS["qwen3_vl_4b" if context.device == "cuda" else "cpu"]
    rate = matrix_throughput(preset, context.threads, 256 if context.rehearse else None)
    context.result.value("machine/rate", rate)
    known.add("matrix products, TFLOP/s", rate / 1e12)
    _bandwidths(context, known)
    if context.device == "cuda":
        known.add("compiling (Triton)", _compiles())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _disk(context: Context) -> str:
    disk, shared = (shutil.disk_usage(folder).free / GIGABYTE for folder in (context.folder, "/dev/shm"))
    return f"{disk:.0f} GB free, {shared:.1f} GB of shared memory"


def _card(known: Table) -> None:
    card = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    known.add("memory, GB", f"{free / GIGABYTE:.1f} free of {total / GIGABYTE:.1f}")
    known.add("chip", f"{card.multi_processor_count} multiprocessors, capability {card.major}.{card.minor}")
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit", "--format=csv,noheader"]
    try:
        known.add("driver, clocks, power", subprocess.check_output(query, text=True, timeout=10).strip())
    except (OSError, subprocess.SubprocessError) as error:
        known.add("driver, clocks, power", failure(error))
    known.add("CUDA of torch", str(torch.version.cuda))
    for module in ("flash_attn", "liger_kernel", "bitsandbytes"):
        known.add(module, "there" if importlib.util.find_spec(module) else "not there")


def _bandwidths(context: Context, known: Table) -> None:
    size = SMALL if context.rehearse else COPY_BYTES
    source = torch.randint(256, (size,), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    rate = 2 * size / seconds_of(lambda: target.copy_(source), context.device, RUNS)
    context.result.value("machine/bandwidth", rate)
    known.add("copy on the device, GB/s read and written", rate / GIGABYTE)
    if context.device == "cuda":
        for kind, pinned in (("pinned", True), ("pageable", False)):
            host = torch.randint(256, (PINNED_BYTES,), dtype=torch.uint8)
            host = host.pin_memory() if pinned else host
            part = target[:PINNED_BYTES]
            seconds = seconds_of(lambda part=part, host=host: part.copy_(host), context.device, RUNS)
            known.add(f"copy from the host, {kind}, GB/s", PINNED_BYTES / seconds / GIGABYTE)


def _compiles() -> str:
    """Whether a function can be compiled: Triton needs a C compiler and Python's headers."""
    try:
        torch.compile(lambda values: torch.sin(values) + 1)(torch.ones(8, device="cuda"))
    except Exception as error:  # whatever it is, it is the finding
        return failure(error)
    return "yes"
