"""The same bits of a small training and its answers on processors of two kinds, the older one emulated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polite_flamingo.environment import AVX2, CPUINFO, PINS

ROOT = Path(__file__).parents[2]
OLDER = {  # what these libraries find on an Intel processor of 2013; MKL's variable works on Intel processors only
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
}
SCRIPT = """
import hashlib
from polite_flamingo.environment import pin_instructions
pin_instructions("avx2")
import numpy, torch
from tests.model.families import build_family
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings

torch.set_num_threads({threads})
bundle = build_family("llama", heads=4, dim_head=16)
inject_lora(bundle, LoraSettings(r=8, alpha=8))
set_trainable(bundle, ["lora", "perceiver", "xattn"])
learned = list(trainable_tensors(bundle).values())
optimizer = torch.optim.AdamW(learned, lr=1e-2, fused=True)
draw = torch.Generator().manual_seed(0)
images = torch.randn(4, *bundle.tower.size, generator=draw)
ids = torch.randint(5, 200, (4, 60), generator=draw)
ids[:, 0] = bundle.media_token_id
for _ in range(4):
    loss = bundle.model.supervised_loss(ids, None, ids, images, torch.arange(4)[:, None])
    (loss / ids.numel()).backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimizer.step()
    optimizer.zero_grad()
with torch.no_grad():
    logits = bundle.model(ids, vision_tokens=images, image_index=torch.arange(4)[:, None]).logits
scores = numpy.exp(logits[:, -1].double().numpy()) @ numpy.ones((logits.shape[-1], 3))
digest = hashlib.sha256(logits.numpy().tobytes() + scores.tobytes())
for tensor in learned:
    digest.update(tensor.detach().numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(
    not CPUINFO.is_file() or " avx2 " not in CPUINFO.read_text(encoding="utf-8"), reason="a processor without AVX2"
)
def test_a_training_ends_with_the_same_bits_on_an_older_processor():
    assert digest(threads=1, **OLDER) == digest(threads=1)


def digest(*, threads: int, **more: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in {*AVX2, *PINS["avx2"], *OLDER}}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "HF_HUB_OFFLINE": "1", **more}
    command = [sys.executable, "-c", SCRIPT.format(threads=threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
