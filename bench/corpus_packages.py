"""Packages: the corpus of what people import, how each is installed, and what its template imports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One template of the corpus: what pip installs, what is imported, and which work its children do."""

    name: str
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...]
    work: str


def _package(name: str, imports: str, *requires: str, work: str = "") -> Package:
    return Package(
        name=name,
        requires=requires or (name,),
        imports=tuple(imports.split()),
        work=work or name.split("[", maxsplit=1)[0],
    )


PACKAGES = (
    Package(name="(standard library)", imports=("asyncio", "ssl", "sqlite3", "multiprocessing"), work="bare"),
    _package("numpy", "numpy numpy.random numpy.linalg numpy.fft"),
    _package("scipy", "scipy.linalg scipy.optimize scipy.signal"),
    _package("pandas", "pandas"),
    _package("scikit-learn", "sklearn.linear_model sklearn.ensemble sklearn.cluster", work="sklearn"),
    _package("torch", "torch torch.nn", "torch==2.13.0", "numpy"),
    _package(
        "transformers",
        "torch transformers.models.bert.modeling_bert transformers.models.bert.configuration_bert",
        "transformers",
        "torch==2.13.0",
    ),
    _package("jax", "jax jax.numpy", "jax[cpu]"),
    _package("onnxruntime", "onnxruntime onnx onnx.helper", "onnxruntime", "onnx"),
    _package("xllamacpp", "xllamacpp numpy gguf", "xllamacpp", "gguf", "numpy"),
    _package("tokenizers", "tokenizers tokenizers.models tokenizers.pre_tokenizers"),
    _package("sentencepiece", "sentencepiece"),
    _package("spacy", "spacy spacy.lang.en spacy.pipeline.factories"),
    _package("openai", "openai openai.resources openai.lib.streaming openai.types.chat.completions"),
    _package("polars", "polars"),
    _package("pyarrow", "pyarrow pyarrow.parquet"),
    _package("duckdb", "duckdb"),
    _package("opencv-python-headless", "numpy cv2", work="opencv"),
    _package("pillow", "PIL.Image PIL.PngImagePlugin PIL.JpegImagePlugin"),
    _package("matplotlib", "matplotlib.figure matplotlib.pyplot matplotlib.backends.backend_agg"),
    _package("lxml", "lxml.etree lxml.html"),
    _package("pydantic", "pydantic"),
    _package(
        "cryptography",
        "cryptography.fernet cryptography.hazmat.primitives.hashes cryptography.hazmat.primitives.asymmetric.ec",
    ),
    _package(
        "fastapi + uvicorn",
        "fastapi uvicorn.loops.auto uvicorn.protocols.http.auto uvicorn.lifespan.off httpx",
        "fastapi",
        "uvicorn",
        "httpx",
        work="fastapi",
    ),
    _package("httpx", "httpx"),
    _package("aiohttp", "aiohttp aiohttp.web"),
    _package("grpcio", "grpc", work="grpcio"),
    _package("sqlalchemy", "sqlalchemy"),
    _package("psycopg[binary]", "psycopg psycopg.sql"),
    _package("redis", "redis"),
    _package("boto3", "boto3"),
    _package("numexpr", "numpy numexpr"),
    _package("numba", "numba"),
    _package("tensorflow-cpu", "tensorflow", work="tensorflow"),
    _package("lightgbm", "numpy lightgbm"),
    _package("xgboost", "numpy xgboost"),
    _package("faiss-cpu", "numpy faiss", work="faiss"),
    _package("tiktoken", "tiktoken"),
    _package("safetensors", "numpy safetensors.numpy", "safetensors", "numpy"),
    _package("requests", "requests"),
    _package("uvloop", "uvloop"),
    _package("gevent", "gevent"),
    _package("ray", "ray ray.cloudpickle"),
)
