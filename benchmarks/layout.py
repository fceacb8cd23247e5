"""Memory layout of the segmentation head, whose 512-channel convolutions can take longer than the encoder.

    python benchmarks/layout.py

Token maps (B, L, D) seen as (B, D, h, w) are channels-last views, which the head takes without a copy. The
alternatives are contiguous maps and channels-last weights. Measured are a training step and a forward pass of UPerNet
on the four taps of a 224 px image, the layouts in turns.
"""

from __future__ import annotations

from functools import partial

import torch
from steps import CLASSES, GFMS, PIXELS, interleaved, wait
from torch import Tensor

from deflect.gfms import gfm_card
from deflect.heads import UPerNet

BATCH, ROUNDS = 2, 3
#: Layout of the head's weights, and whether the maps are copied to be contiguous.
LAYOUTS = {
    "as they come": (torch.contiguous_format, False),
    "contiguous maps": (torch.contiguous_format, True),
    "channels-last weights": (torch.channels_last, False),
}


def forward(head: UPerNet, taps: list[Tensor], copy: bool) -> Tensor:
    """A scalar of the head's logits, in bf16 on a GPU."""
    device = taps[0].device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        return head.classify([maps.contiguous() if copy else maps for maps in taps]).float().square().mean()


def train(head: UPerNet, taps: list[Tensor], copy: bool) -> None:
    forward(head.train(), taps, copy).backward()
    wait()


@torch.inference_mode()
def infer(head: UPerNet, taps: list[Tensor], copy: bool) -> None:
    forward(head.eval(), taps, copy)
    wait()


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"UPerNet on {device}, batch {BATCH}\n\n| taps of | layout | step ms | forward ms |")
    print("| --- | --- | ---: | ---: |")
    for name, gfm in GFMS.values():
        shape = gfm_card(name).architecture
        dim, side = shape["embed_dim"], PIXELS // shape["patch_size"]
        taps = [torch.randn(BATCH, side**2, dim, device=device).transpose(1, 2).unflatten(2, (side, side))] * 4
        heads = {
            layout: (UPerNet(dim, CLASSES).to(device, memory_format=weights), taps, copy)
            for layout, (weights, copy) in LAYOUTS.items()
        }
        steps = interleaved({layout: partial(train, *head) for layout, head in heads.items()}, ROUNDS)
        passes = interleaved({layout: partial(infer, *head) for layout, head in heads.items()}, ROUNDS)
        for layout in LAYOUTS:
            print(f"| {gfm} | {layout} | {1e3 * steps[layout]:.0f} | {1e3 * passes[layout]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
