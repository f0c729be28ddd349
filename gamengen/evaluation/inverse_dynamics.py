"""A network that tells from a few frames which action led to the last of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gamengen.data.episodes import Episodes
from gamengen.runtime import checkpoint, device
from gamengen.runtime.settings import Settings, Size

GRID = (60, 80)  # rows and columns that it sees of any picture
REACH = 8  # how far apart, in columns of its features (half of the grid's), two frames are compared
WIDTH = 16
WARM_UP = 20  # steps


class InverseDynamicsParams(Settings):
    """The network and its training on the recordings; 0 steps: not measured."""

    sees: int = Field(ge=2, le=64)  # frames; the action lies between the last two
    frames: PositiveInt  # of the split "train" it learns from, in whole episodes
    steps: NonNegativeInt
    batch_size: Size
    learning_rate: float = Field(gt=0)


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
        pixels = rearrange(seen(frames), "b k h w c -> (b k) c h w").float() / 127.5 - 1
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


def seen(frames: UInt8[Tensor, "*n h w 3"]) -> UInt8[Tensor, "*n k l 3"]:
    """Pictures averaged down to what the network sees; those of that size as they are."""
    if frames.shape[-3:-1] == GRID:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:]).movedim(-1, 1).float()
    small = F.adaptive_avg_pool2d(flat, GRID).round().to(torch.uint8).movedim(1, -1)
    return small.reshape(*frames.shape[:-3], *GRID, 3)


def learn(
    episodes: Episodes,
    params: InverseDynamicsParams,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
) -> InverseDynamics | None:
    """Train on real recordings, in the first process; all read its weights from ``folder``.

    None where it was not asked for. Raises InputError where there is no episode to train on.
    """
    if params.steps == 0:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = InverseDynamics(len(episodes.game.actions), params.sees)
    path = folder / "inverse_dynamics.safetensors"
    if accelerator.is_main_process and not path.exists():
        frames, windows, actions = recordings(episodes, params, seed)
        net.commonest = actions.mode().values
        _train(net.to(accelerator.device), frames, windows, actions, params, seed)
        checkpoint.save(path, params.steps, {"net": net})
    device.wait(accelerator)
    checkpoint.load(path, {"net": net})
    return net.to(accelerator.device).eval()


def recordings(
    episodes: Episodes, params: InverseDynamicsParams, seed: int
) -> tuple[UInt8[Tensor, "n h w 3"], Int64[Tensor, "m k"], Int64[Tensor, " m"]]:
    """Frames of training episodes, drawn until there are enough; windows of them as rows, with the
    first frame in place of what is before it; the action of each window."""
    entries = episodes.of("train")
    frames, windows, actions, count = [], [], [], 0
    for index in torch.randperm(len(entries), generator=device.generator(seed)).tolist():
        if count >= params.frames:
            break
        entry = entries[index]
        frames.append(seen(torch.from_numpy(episodes.frames(entry))))
        last = torch.arange(1, entry.length)[:, None]
        windows.append(count + (last + torch.arange(1 - params.sees, 1)).clamp(min=0))
        actions.append(torch.from_numpy(episodes.actions(entry)[:-1]).long())
        count += entry.length
    return torch.cat(frames), torch.cat(windows), torch.cat(actions)


def _train(
    net: InverseDynamics,
    frames: Tensor,
    windows: Tensor,
    actions: Tensor,
    params: InverseDynamicsParams,
    seed: int,
) -> None:
    where = next(net.parameters()).device
    optimizer = torch.optim.AdamW(net.parameters(), params.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * (1 - step / params.steps)
    )
    for step in range(params.steps):
        rows = torch.randint(
            len(actions), (params.batch_size,), generator=device.generator(seed, step)
        )
        logits = net(frames[windows[rows]].to(where))
        loss = F.cross_entropy(logits, actions[rows].to(where))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        device.sync()
