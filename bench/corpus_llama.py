"""A language model small enough to be written in a moment: random weights, one layer, 259 words."""

from __future__ import annotations

import importlib
import os

_EMBEDDING, _FORWARD, _HEADS, _CONTEXT = 64, 128, 4, 128
# Kinds of tokens, by their numbers in GGUF.
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6


def tiny_model(path: str) -> str:
    """The path of a model in GGUF, written there unless it is there already. Needs the packages gguf and numpy."""
    if not os.path.exists(path):
        mine = f"{path}.{os.getpid()}"
        _write(mine)
        os.replace(mine, path)
    return path


def _write(path: str) -> None:
    gguf, numpy = importlib.import_module("gguf"), importlib.import_module("numpy")
    writer = gguf.GGUFWriter(path, "llama")
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    drawn = numpy.random.default_rng(0)
    for name, shape in _shapes(len(words)).items():
        tensor = drawn.standard_normal(shape) * 0.05 if len(shape) > 1 else numpy.ones(shape)
        writer.add_tensor(f"{name}.weight", tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(words: int) -> dict[str, tuple[int, ...]]:
    square = (_EMBEDDING, _EMBEDDING)
    return {
        "token_embd": (words, _EMBEDDING),
        "output_norm": (_EMBEDDING,),
        "output": (words, _EMBEDDING),
        "blk.0.attn_norm": (_EMBEDDING,),
        "blk.0.ffn_norm": (_EMBEDDING,),
        "blk.0.attn_q": square,
        "blk.0.attn_k": square,
        "blk.0.attn_v": square,
        "blk.0.attn_output": square,
        "blk.0.ffn_gate": (_FORWARD, _EMBEDDING),
        "blk.0.ffn_up": (_FORWARD, _EMBEDDING),
        "blk.0.ffn_down": (_EMBEDDING, _FORWARD),
    }
