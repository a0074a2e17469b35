"""Work: what a container would do with each package of the corpus, small and with a known answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import multiprocessing
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import corpus_clients
import corpus_llama
from corpus_answers import expect, expect_close, load

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "and",
    "runs",
    "away",
    "from",
    "all",
    "of",
    "them",
)


def bare() -> None:
    """Threads, processes, an event loop, TLS and a database of the standard library."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        expect(sum(pool.map(abs, range(-100, 0))), 5050)
    expect(subprocess.run(["/bin/echo", "x"], capture_output=True, check=True).stdout, b"x\n")

    async def twice() -> list[int]:
        return await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10)))

    expect(asyncio.run(twice()), list(range(10)))
    expect(len({ssl.RAND_bytes(16) for _ in range(10)}), 10)
    with sqlite3.connect(":memory:") as base:
        expect(base.execute("select sum(value) from json_each('[1, 2, 3]')").fetchone(), (6,))
    with multiprocessing.get_context("fork").Pool(2) as workers:
        expect(workers.map(abs, [-1, -2]), [1, 2])


def numpy() -> None:
    np = load("numpy")
    square = np.ones((300, 300))
    expect(float((square @ square)[0, 0]), 300.0)
    solved = np.linalg.solve(np.eye(100) * 2.0, np.ones(100))
    expect_close(float(solved.sum()), 50.0)
    expect_close(float(np.linalg.svd(np.eye(40))[1].sum()), 40.0)
    expect_close(float(abs(np.fft.fft(np.ones(256))[0])), 256.0)


def numexpr() -> None:
    np = load("numpy")
    got = load("numexpr").evaluate("2*values + 1", {"values": np.arange(200_000.0)})
    expect_close(float(got.sum()), 4e10, within=1e-4)


def scipy() -> None:
    np = load("numpy")
    expect_close(float(load("scipy.linalg").svd(np.eye(40) * 3)[1].sum()), 120.0)
    found = load("scipy.optimize").minimize(lambda x: ((x - 3.0) ** 2).sum(), np.zeros(3))
    expect_close(float(found.x.sum()), 9.0)
    expect(len(load("scipy.signal").welch(np.ones(512))[0]), 129)


def pandas() -> None:
    pd = load("pandas")
    frame = pd.DataFrame({"key": [i % 7 for i in range(7000)], "value": range(7000)})
    sums = frame.groupby("key")["value"].sum()
    expect(int(sums.sum()), sum(range(7000)))
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    expect(int(again.merge(sums.rename("total").reset_index(), on="key")["value"].max()), 6999)


def sklearn() -> None:
    np = load("numpy")
    points = np.vstack([np.zeros((100, 4)), np.ones((100, 4))])
    sides = np.array([0] * 100 + [1] * 100)
    for model in (
        load("sklearn.linear_model").LogisticRegression(),
        load("sklearn.ensemble").HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5),
        load("sklearn.cluster").KMeans(n_clusters=2, n_init=1, random_state=0),
    ):
        answer = model.fit(points, sides).predict(points)
        expect(len(set(answer[:100])), 1)
        expect(answer[0] != answer[-1], True)


def torch() -> None:
    module = load("torch")
    square = module.ones(300, 300, requires_grad=True)
    (square @ square).sum().backward()
    expect_close(float(square.grad[0, 0]), 600.0)
    picture = module.ones(1, 3, 32, 32)
    out = module.nn.functional.conv2d(picture, module.ones(8, 3, 3, 3))
    expect_close(float(out.sum()), 27.0 * 8 * 30 * 30)
    expect_close(float(module.ones(2_000_000).sum()), 2e6)


def transformers() -> None:
    module = load("torch")
    bert = load("transformers.models.bert.modeling_bert")
    config = load("transformers.models.bert.configuration_bert").BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = bert.BertModel(config).eval()
    with module.no_grad():
        out = model(module.tensor([[1, 2, 3, 4]])).last_hidden_state
    expect(tuple(out.shape), (1, 4, 32))
    expect(bool(module.isfinite(out).all()), True)


def tokenizers() -> None:
    module = load("tokenizers")
    known = {word: number for number, word in enumerate(["[UNK]", *dict.fromkeys(WORDS)])}
    tokenizer = module.Tokenizer(load("tokenizers.models").WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = load("tokenizers.pre_tokenizers").Whitespace()
    found = tokenizer.encode_batch([" ".join(WORDS)] * 300)
    expect([len(one.ids) for one in found], [len(WORDS)] * 300)


def sentencepiece() -> None:
    module = load("sentencepiece")
    model = io.BytesIO()
    module.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 50),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        num_threads=2,
        minloglevel=2,
    )
    reader = module.SentencePieceProcessor(model_proto=model.getvalue())
    expect(reader.decode(reader.encode("the lazy dog")), "the lazy dog")


def tiktoken() -> None:
    ranks = {bytes([number]): number for number in range(256)} | {b"th": 256, b"the": 257}
    encoding = load("tiktoken").Encoding("small", pat_str=r"\w+|\s", mergeable_ranks=ranks, special_tokens={})
    expect(encoding.encode_batch(["the dog"] * 50, num_threads=2)[49][0], 257)


def onnxruntime() -> None:
    np = load("numpy")
    helper, proto = load("onnx.helper"), load("onnx").TensorProto
    shape = [200, 200]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info(name, proto.FLOAT, shape) for name in "ab"],
        [helper.make_tensor_value_info("c", proto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = load("onnxruntime").SessionOptions()
    options.intra_op_num_threads = 2
    session = load("onnxruntime").InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ones = np.ones(shape, dtype="float32")
    expect(float(session.run(None, {"a": ones, "b": ones})[0][0, 0]), 200.0)


def xllamacpp() -> None:
    module = load("xllamacpp")
    parameters = module.CommonParams()
    parameters.model.path = corpus_llama.tiny_model("tiny.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 128, 1, False
    parameters.cpuparams.n_threads = 2
    server = module.Server(parameters)
    answer = server.handle_completions({"prompt": "dog", "max_tokens": 4, "temperature": 0})
    expect(answer["usage"]["completion_tokens"], 4)


def opencv() -> None:
    np, cv2 = load("numpy"), load("cv2")
    picture = np.full((480, 640, 3), 128, dtype="uint8")
    small = cv2.GaussianBlur(cv2.resize(picture, (320, 240)), (5, 5), 0)
    expect(int(small.mean()), 128)
    again = cv2.imdecode(cv2.imencode(".png", small)[1], cv2.IMREAD_COLOR)
    expect(again.shape, (240, 320, 3))


def polars() -> None:
    pl = load("polars")
    frame = pl.DataFrame({"key": [i % 5 for i in range(50_000)], "value": range(50_000)})
    got = frame.lazy().group_by("key").agg(pl.col("value").sum()).sort("key").collect()
    expect(int(got["value"].sum()), sum(range(50_000)))
    expect(pl.read_csv(io.BytesIO(frame.write_csv().encode())).height, 50_000)


def duckdb() -> None:
    base = load("duckdb").connect()
    got = base.execute("select i % 10 as k, sum(i) from range(300000) t(i) group by k order by k").fetchall()
    expect(int(sum(row[1] for row in got)), sum(range(300_000)))
    base.close()


def pyarrow() -> None:
    pa, parquet = load("pyarrow"), load("pyarrow.parquet")
    table = pa.table({"key": [i % 5 for i in range(50_000)], "value": list(range(50_000))})
    sums = table.group_by("key").aggregate([("value", "sum")])
    expect(sum(sums["value_sum"].to_pylist()), sum(range(50_000)))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    expect(parquet.read_table(pa.BufferReader(sink.getvalue()), use_threads=True).num_rows, 50_000)


def pillow() -> None:
    image = load("PIL.Image")
    picture = image.new("RGB", (400, 300), (10, 20, 30)).resize((200, 150), image.Resampling.LANCZOS)
    for kind in ("PNG", "JPEG"):
        data = io.BytesIO()
        picture.save(data, kind)
        expect(image.open(data).convert("RGB").getpixel((5, 5))[0] in range(8, 13), True)


def lxml() -> None:
    etree = load("lxml.etree")
    tree = etree.fromstring("<a>" + "<b n='1'>x</b>" * 500 + "</a>")
    expect(len(tree.xpath("//b[@n='1']")), 500)
    expect(load("lxml.html").fromstring("<p>hello <b>you</b></p>").text_content(), "hello you")


def spacy() -> None:
    language = load("spacy").blank("en")
    language.add_pipe("sentencizer")
    expect(len(list(language("One is here. Two is there. Three.").sents)), 3)


def pydantic() -> None:
    module = load("pydantic")
    model = module.create_model("Point", x=(int, ...), names=(list[str], ...))
    expect(model.model_validate_json('{"x": "3", "names": ["a"]}').model_dump(), {"x": 3, "names": ["a"]})


def cryptography() -> None:
    ec, hashes = (
        load("cryptography.hazmat.primitives.asymmetric.ec"),
        load("cryptography.hazmat.primitives.hashes"),
    )
    key = ec.generate_private_key(ec.SECP256R1())
    key.public_key().verify(key.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
    box = load("cryptography.fernet").Fernet(load("cryptography.fernet").Fernet.generate_key())
    expect(box.decrypt(box.encrypt(b"secret")), b"secret")


def matplotlib() -> None:
    figure = load("matplotlib.figure").Figure(dpi=40)
    figure.subplots().plot([1, 2, 3])
    data = io.BytesIO()
    figure.savefig(data, format="png")
    expect(data.getvalue()[:4], b"\x89PNG")


def numba() -> None:
    compiled = load("numba").njit(lambda number: number * 2 + 1)
    expect(compiled(20), 41)


def jax() -> None:
    jnp = load("jax.numpy")
    square = jnp.ones((64, 64))
    expect(float(load("jax").jit(lambda a: (a @ a).sum())(square)), 64.0**3)


def lightgbm() -> None:
    np, module = load("numpy"), load("lightgbm")
    points, sides = np.arange(400.0).reshape(-1, 1), np.repeat([0.0, 1.0], 200)
    rules = {"objective": "binary", "verbose": -1, "num_threads": 2, "min_data_in_leaf": 5}
    model = module.train(rules, module.Dataset(points, sides), num_boost_round=3)
    expect(bool(model.predict([[399.0]])[0] > model.predict([[0.0]])[0]), True)


def xgboost() -> None:
    np, module = load("numpy"), load("xgboost")
    points, sides = np.arange(400.0).reshape(-1, 1), np.repeat([0.0, 1.0], 200)
    model = module.train({"nthread": 2}, module.DMatrix(points, sides), num_boost_round=3)
    got = model.predict(module.DMatrix(np.array([[399.0], [0.0]])))
    expect(bool(got[0] > got[1]), True)


def faiss() -> None:
    np = load("numpy")
    index = load("faiss").IndexFlatL2(16)
    points = np.repeat(np.arange(2000, dtype="float32").reshape(-1, 1), 16, axis=1)
    index.add(points)
    expect(index.search(points[:100], 1)[1].ravel().tolist(), list(range(100)))


def safetensors() -> None:
    np, module = load("numpy"), load("safetensors.numpy")
    expect(float(module.load(module.save({"w": np.ones(1000)}))["w"].sum()), 1000.0)


def sqlalchemy() -> None:
    module = load("sqlalchemy")
    engine = module.create_engine("sqlite://")
    with engine.begin() as base:
        base.execute(module.text("create table t (x int)"))
        base.execute(module.text("insert into t values (:x)"), [{"x": n} for n in range(100)])
        expect(base.execute(module.text("select sum(x) from t")).scalar(), 4950)
    engine.dispose()


def ray() -> None:
    pack = load("ray.cloudpickle")
    expect(pack.loads(pack.dumps(lambda number: number + 1))(2), 3)
    expect(len(load("ray").ObjectRef.from_random().hex()) > 10, True)


def tensorflow() -> None:
    tf = load("tensorflow")
    square = tf.ones((200, 200))
    expect(float((square @ square)[0, 0]), 200.0)


def _work_in(module: ModuleType) -> dict[str, Callable[[], None]]:
    return {
        name: work
        for name, work in vars(module).items()
        if callable(work) and getattr(work, "__module__", "") == module.__name__ and not name.startswith("_")
    }


WORK = {**_work_in(sys.modules[__name__]), **_work_in(corpus_clients)}
