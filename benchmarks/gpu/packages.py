"""Which packages a run needs, as data: what the machine is taken to have, and what is packed. Standard library only."""

PACKED = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "dill",
    "fsspec",
    "hatchling",
    "llamafactory",
    "multiprocess",
    "omegaconf",
    "peft",
    "pydicom",
    "tokenizers",
    "torchdata",
    "transformers",
    "trl",
    "trove-classifiers",
)
"""What training imports and such a machine lacks, or has in a version that does not fit; hatchling with
trove-classifiers builds this package."""

# fmt: off
PRESENT = frozenset((
    "aiohappyeyeballs", "aiohttp", "aiosignal", "anyio", "attrs", "certifi", "charset-normalizer", "click",
    "cloudpickle", "contourpy", "cycler", "filelock", "fonttools", "frozenlist", "h11", "hf-xet", "httpcore", "httpx",
    "huggingface-hub", "idna", "imageio", "jinja2", "joblib", "kiwisolver", "lazy-loader", "markdown-it-py",
    "markupsafe", "matplotlib", "mdurl", "mpmath", "multidict", "narwhals", "networkx", "ninja", "numpy",
    "opencv-python-headless", "packaging", "pandas", "pathspec", "pillow", "pip", "pluggy", "propcache",
    "protobuf", "psutil", "pyarrow", "pygments", "pyparsing", "python-dateutil", "pyyaml", "regex", "requests",
    "rich", "safetensors", "scikit-image", "scikit-learn", "scipy", "sentencepiece", "setuptools",
    "shellingham", "six", "sympy", "tensorboard", "threadpoolctl", "tifffile", "tiktoken", "torch",
    "torchaudio", "torchvision", "tqdm", "triton", "typer", "typing-extensions", "urllib3", "werkzeug", "wheel",
    "xxhash", "yarl",
))
# fmt: on
"""What the machine is taken to have beside torch, in any version that imports; used as it is."""

LEFT_OUT = {"bitsandbytes": r"libbitsandbytes_(?!cpu\.|cuda130\.)"}
"""By package, the libraries that are left out of its wheel: bitsandbytes has one for every CUDA, ROCm and XPU."""

MOST_BYTES = 55_000_000
"""Of all wheels together."""
PYTHON = (3, 12)
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28)))


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")
