"""Work: what a container would do with each package of the corpus, small and with a known answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.server
import importlib
import io
import json
import multiprocessing
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


def load(name: str) -> Any:
    """A module of the package, imported here where the template did not."""
    return importlib.import_module(name)


def expect(got: object, wanted: object) -> None:
    """Raises WrongError unless both are the same."""
    if got != wanted:
        raise WrongError(f"got {got!r}, not {wanted!r}")


def expect_close(got: float, wanted: float, *, within: float = 1e-3) -> None:
    """Raises WrongError unless both are the same but for rounding."""
    if not abs(got - wanted) <= within * max(1.0, abs(wanted)):
        raise WrongError(f"got {got!r}, not {wanted!r}")


class WrongError(Exception):
    """The package gave another result in a fork than it has to."""


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
        load("sklearn.ensemble").HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5),
        load("sklearn.ensemble").RandomForestClassifier(n_estimators=4, n_jobs=2),
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
    expect("integer" in module.json_schema_to_grammar({"type": "integer"}), True)
    expect(module.get_device_info()[0]["name"], "CPU")
    expect("CPU" in module.get_system_info(), True)


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


def grpcio() -> None:
    grpc = load("grpc")
    echo = grpc.unary_unary_rpc_method_handler(lambda asked, _: asked + b"!")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"echo": echo}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            expect(channel.unary_unary("/s/echo")(b"hello", timeout=20), b"hello!")
        server.stop(None).wait()


class _Answers(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        message = {"role": "assistant", "content": "hello"}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "n": 42}
            | {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, *_arguments: object) -> None:
        """Nothing: a thousand children would print it."""


@contextmanager
def _web() -> Iterator[str]:
    """A small web server in a thread of this process; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def openai() -> None:
    with _web() as address, load("openai").OpenAI(api_key="x", base_url=f"{address}/v1") as client:
        got = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        expect(got.choices[0].message.content, "hello")


def httpx() -> None:
    async def again(address: str) -> int:
        async with load("httpx").AsyncClient() as client:
            return int((await client.get(address)).json()["n"])

    with _web() as address:
        expect(load("httpx").get(address).json()["n"], 42)
        expect(asyncio.run(again(address)), 42)


def requests() -> None:
    with _web() as address:
        expect(load("requests").get(address, timeout=20).json()["n"], 42)


def boto3() -> None:
    with _web() as address:
        client = load("boto3").client(
            "sts",
            region_name="eu-west-1",
            endpoint_url=address,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        url = client.generate_presigned_url("get_caller_identity")
        expect("Signature" in url, True)


def aiohttp() -> None:
    web = load("aiohttp.web")

    async def both() -> str:
        async def hello(_request: Any) -> Any:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with (
            load("aiohttp").ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/") as answer,
        ):
            text = str(await answer.text())
        await runner.cleanup()
        return text

    expect(asyncio.run(both()), "hello")


def fastapi() -> None:
    app = load("fastapi").FastAPI()
    app.get("/double")(lambda number: {"n": int(number) * 2})
    uvicorn = load("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        got = load("httpx").get(f"http://127.0.0.1:{port}/double?number=21", timeout=20).json()
        server.should_exit = True
        thread.join()
    expect(got, {"n": 42})


def uvloop() -> None:
    async def answer() -> int:
        with _web() as address:
            port = int(address.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return int(line.split()[1])

    expect(load("uvloop").run(answer()), 200)


def gevent() -> None:
    module = load("gevent")
    jobs = [module.spawn(abs, -number) for number in range(20)]
    module.joinall(jobs, timeout=20)
    expect(sum(job.value for job in jobs), 190)


def psycopg() -> None:
    module = load("psycopg")
    expect(
        load("psycopg.sql").SQL("select {}").format(load("psycopg.sql").Literal(1)).as_string(), "select 1"
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    try:
        module.connect(f"host=127.0.0.1 port={port} connect_timeout=20")
    except module.OperationalError:
        return
    raise WrongError("connected to nobody")


class _Redis(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            if not line.startswith(b"*"):
                return
            words = []
            for _ in range(int(line[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            self.wfile.write(b"$5\r\nvalue\r\n" if words[0] == b"GET" else b"+OK\r\n")


def redis() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Redis) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        client = load("redis").Redis(port=server.server_address[1], protocol=2)
        expect(client.get("key"), b"value")
        client.close()
        server.shutdown()
        thread.join()


def tensorflow() -> None:
    tf = load("tensorflow")
    square = tf.ones((200, 200))
    expect(float((square @ square)[0, 0]), 200.0)


WORK: dict[str, Callable[[], None]] = {
    name: work
    for name, work in list(vars(sys.modules[__name__]).items())
    if callable(work) and getattr(work, "__module__", "") == __name__ and not name.startswith("_")
    if name not in {"load", "expect", "expect_close", "WrongError"}
}
