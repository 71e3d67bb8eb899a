"""How much memory a training needs on one device: an estimate from sizes alone, before anything is loaded.

Weights, gradients and AdamW's moments are exact up to the allocator. Activations follow Korthikanti et al. (arXiv
2205.05198, without the quadratic term, which fused attention does not keep): about 34 bytes per token, block and unit
of width in bfloat16, twice that in float32; with gradient checkpointing 2 bytes, and one block whole.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_UNIT = 34
CHECKPOINT_BYTES = 2
RUNTIME_BYTES = 1_500_000_000  # CUDA context, kernels' workspaces, fragmentation
NF4_BYTES = 0.53  # four bits and the constants of double quantisation


@dataclass(frozen=True, slots=True)
class Workload:
    """What one device holds and computes.

    Args:
        frozen: Values that do not learn.
        quantized: Of these, values kept in NF4.
        learned: Values that learn.
        blocks: Decoder blocks, cross-attentions counted with theirs.
        width: Width of the decoder.
        vocabulary: Its tokens.
        tokens: Tokens of a micro-batch on this device.
        supervised: Of these, tokens with a loss.
        bf16: Compute in bfloat16 and keep frozen weights in it.
        checkpointing: Recompute activations in backward.
        processes: Devices that train together.
        zero: ZeRO stage, 0 to 3.
    """

    frozen: int
    quantized: int
    learned: int
    blocks: int
    width: int
    vocabulary: int
    tokens: int
    supervised: int
    bf16: bool
    checkpointing: bool
    processes: int = 1
    zero: int = 0


def memory(work: Workload) -> dict[str, int]:
    """Bytes per device: ``weights``, ``gradients``, ``optimizer``, ``activations``, ``runtime`` and their ``total``."""
    each = 2 if work.bf16 else 4
    share = [work.processes if work.zero >= stage else 1 for stage in (1, 2, 3)]  # of optimizer, gradients, weights
    frozen = (work.frozen - work.quantized) * each + work.quantized * NF4_BYTES
    per_block = work.tokens * work.width * BYTES_PER_UNIT * (1 if work.bf16 else 2)
    kept = work.tokens * work.width * CHECKPOINT_BYTES * (1 if work.bf16 else 2) * work.blocks
    activations = kept + per_block if work.checkpointing else per_block * work.blocks
    logits = work.supervised * work.vocabulary * 4 * 3  # float32, its softmax and its gradient
    parts = {
        "weights": int((frozen + work.learned * 4) / share[2]),
        "gradients": work.learned * 4 // share[1],
        "optimizer": work.learned * 8 // share[0],
        "activations": int(activations + logits),
        "runtime": RUNTIME_BYTES,
    }
    return {**parts, "total": sum(parts.values())}


def flops_per_token(total: int, learned: int, *, checkpointing: bool) -> float:
    """Floating-point operations per token: forward, backward to the inputs, gradients of what learns, recomputation."""
    return 2.0 * total * (3 if checkpointing else 2) + 2.0 * learned
