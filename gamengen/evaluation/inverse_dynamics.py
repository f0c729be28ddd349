"""A network that tells from a few frames which action led to the last of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor, nn

from gamengen.data.episodes import Episodes
from gamengen.evaluation.learning import (
    LearningParams,
    averaged_to,
    descend,
    learned,
    some_episodes,
)

GRID = (60, 80)  # rows and columns that it sees of any picture
REACH = 8  # how far apart, in columns of its features (half of the grid's), two frames are compared
WIDTH = 16


class InverseDynamicsParams(LearningParams):
    """The network and its training on the recordings."""

    sees: int = Field(ge=2, le=64)  # frames; the action lies between the last two


class InverseDynamics(nn.Module):
    """Frames to logits of actions.

    Features of every frame, and how well those of neighbouring frames match at each horizontal
    shift (a correlation layer: FlowNetC, Dosovitskiy et al. 2015), which is how a turn shows.
    """

    commonest: Tensor  # the action that was taken most often in training

    def __init__(self, actions: int, sees: int) -> None:
        super().__init__()
        self.sees = sees
        self.register_buffer("commonest", torch.tensor(0))
        self.features = nn.Sequential(
            nn.Conv2d(3, WIDTH, 5, 2, 2), nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)
        )
        channels = (sees - 1) * (2 * REACH + 1) + sees * WIDTH
        layers: list[nn.Module] = []
        for before in (channels, 64, 64):
            layers += [nn.Conv2d(before, 64, 3, 2, 1), nn.SiLU()]
        self.judge = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(64 * 4 * 5, 128), nn.SiLU(), nn.Linear(128, actions)
        )

    def forward(self, frames: UInt8[Tensor, "b k h w 3"]) -> Float[Tensor, "b actions"]:
        pixels = (
            rearrange(averaged_to(frames, *GRID), "b k h w c -> (b k) c h w").float() / 127.5 - 1
        )
        # What is alike all over a picture would match at every shift: each channel's mean goes.
        found = F.instance_norm(self.features(pixels))
        features = rearrange(found, "(b k) c h w -> b k c h w", k=self.sees)
        unit = F.normalize(features, dim=2)
        before, after = F.pad(unit[:, :-1], (REACH, REACH)), unit[:, 1:]
        width = after.shape[-1]
        matches = [
            (before[..., shift : shift + width] * after).sum(2) for shift in range(2 * REACH + 1)
        ]
        correlation = rearrange(torch.stack(matches, 2), "b k s h w -> b (k s) h w")
        return self.judge(
            torch.cat([correlation, rearrange(features, "b k c h w -> b (k c) h w")], 1)
        )

    @torch.no_grad()
    def tell(self, video: UInt8[Tensor, "b n h w 3"]) -> Int64[Tensor, "b m"]:
        """The likeliest action between the last two of each ``sees`` successive frames."""
        windows = video.unfold(1, self.sees, 1).movedim(-1, 2)
        # One rollout at a time: all windows of a batch at once would be gigabytes.
        return torch.stack([self(row).argmax(1) for row in windows])


def learn(
    episodes: Episodes,
    params: InverseDynamicsParams,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
) -> InverseDynamics | None:
    """Train on real recordings; the weights are kept in ``folder``.

    None where it was not asked for. Raises InputError where there is no episode to train on.
    """
    if params.steps == 0:
        return None

    def make() -> InverseDynamics:
        return InverseDynamics(len(episodes.game.actions), params.sees)

    def fit(net: InverseDynamics) -> None:
        frames, windows, actions = recordings(episodes, params, seed)
        where = next(net.parameters()).device
        net.commonest = actions.mode().values.to(where)

        def loss_of(rows: Tensor) -> Tensor:
            logits = net(frames[windows[rows]].to(where))
            return F.cross_entropy(logits, actions[rows].to(where))

        descend(net, loss_of, len(actions), params, seed)

    return learned(make, fit, seed, folder / "inverse_dynamics.safetensors", accelerator)


def recordings(
    episodes: Episodes, params: InverseDynamicsParams, seed: int
) -> tuple[UInt8[Tensor, "n h w 3"], Int64[Tensor, "m k"], Int64[Tensor, " m"]]:
    """Frames of training episodes; windows of them as rows, with the first frame in place of what
    is before it; the action of each window."""
    frames, windows, actions, count = [], [], [], 0
    for entry in some_episodes(episodes, params.frames, seed):
        frames.append(averaged_to(torch.from_numpy(episodes.frames(entry)), *GRID))
        last = torch.arange(1, entry.length)[:, None]
        windows.append(count + (last + torch.arange(1 - params.sees, 1)).clamp(min=0))
        actions.append(torch.from_numpy(episodes.actions(entry)[:-1]).long())
        count += entry.length
    return torch.cat(frames), torch.cat(windows), torch.cat(actions)
