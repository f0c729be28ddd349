"""Stage 2: an autoencoder for the collected frames, trained from scratch or Stable Diffusion's."""

from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL
from pydantic import Field, PositiveInt, model_validator
from tqdm import tqdm

from gamengen import artifact, device, training
from gamengen.autoencoder import (
    Autoencoder,
    Facts,
    encoder_digest,
    load_stable_diffusion,
    pad,
    to_float,
)
from gamengen.episodes import Episodes, Frames
from gamengen.errors import InputError
from gamengen.loader import Loader
from gamengen.perceptual import PerceptualTerm, load_lpips, perceptual_distance
from gamengen.small_autoencoder import SmallAutoencoder
from gamengen.stage import StageParams, run


class Params(StageParams):
    """Which network, how large, and how it is trained."""

    kind: Literal["small", "stable-diffusion"]
    source: str | None  # for stable-diffusion: hub name or folder; nothing is trained
    latent_channels: PositiveInt
    fold: PositiveInt
    widths: tuple[PositiveInt, ...]
    encoder_blocks: PositiveInt | None  # per resolution; null: linear, principal components
    whitening: float = Field(ge=0, le=1)  # of these: 0 the pixels' metric, 1 all vary alike
    decoder_blocks: PositiveInt
    batch_size: PositiveInt  # over all processes
    schedule: training.Schedule
    optimizer: training.OptimizerParams
    perceptual: PerceptualTerm
    latent_noise: float  # standard deviation of noise on the latent while training
    latent_penalty: float  # weight of the latents' mean square, which bounds their scale
    precision: Literal["fp32", "bf16"]
    scale_frames: PositiveInt  # how many frames the latents' mean and deviation are measured on
    seed: int

    @model_validator(mode="after")
    def _fewer_components_than_pixels(self) -> Self:
        pixels = 3 * (self.fold * 2 ** (len(self.widths) - 1)) ** 2
        if self.encoder_blocks is None and self.latent_channels > pixels:
            raise ValueError(
                f"latent_channels: {self.latent_channels}: with encoder_blocks null at most "
                f"{pixels}, the numbers under a cell (fold {self.fold}, {len(self.widths)} widths)"
            )
        return self


def main(params: Params, episodes_path: Path, autoencoder_path: Path) -> None:
    """Train (or fetch) the autoencoder, measure its latents' scale, save both."""
    accelerator = device.start()
    episodes = Episodes(episodes_path)
    resume = artifact.resume_folder(params, [episodes_path], autoencoder_path)
    if params.kind == "stable-diffusion":
        if params.source is None:
            raise InputError("params.yaml: autoencoder.source: null: name a hub model or a folder")
        net = load_stable_diffusion(params.source).to(accelerator.device)
        train = None
    else:
        net, train = fit(params, episodes, resume, accelerator)
    facts = measure(net, params, episodes, accelerator)
    autoencoder = Autoencoder(net, facts).to(accelerator.device).eval()
    with artifact.whole(autoencoder_path, accelerator) as folder:
        if accelerator.is_main_process:
            autoencoder.save(folder)
            if train:
                train.publish(folder)
    report(autoencoder, params, episodes, accelerator)


def fit(
    params: Params, episodes: Episodes, resume: Path, accelerator: Accelerator
) -> tuple[SmallAutoencoder, training.Training]:
    """Train the small autoencoder on frames: L1 + MSE + LPIPS."""
    torch.manual_seed(params.seed)
    net = SmallAutoencoder(
        params.latent_channels,
        params.fold,
        params.widths,
        params.encoder_blocks,
        params.decoder_blocks,
    )
    frames, facts = Frames(episodes, "train"), geometry(net, params.kind, episodes)
    if params.encoder_blocks is None:
        places = frames.draw(params.scale_frames, params.seed, -3, 0)
        net.fit(pad(to_float(torch.from_numpy(episodes.batch(places))), facts), params.whitening)
    net = net.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    model, optimizer = accelerator.prepare(net, params.optimizer.make(trained))
    net = accelerator.unwrap_model(model)
    lpips = load_lpips(params.perceptual.backbone).to(accelerator.device)
    size = params.batch_size // accelerator.num_processes

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = frames.draw(size, params.seed, step, accelerator.process_index)
        pictures = pad(to_float(torch.from_numpy(episodes.batch(places))), facts)
        random = device.generator(params.seed, step, accelerator.process_index, 1)
        return pictures, torch.randn((size, *facts.latent_shape), generator=random)

    parts = {"net": net, "optimizer": optimizer}
    with training.Training(accelerator, resume, params.schedule, parts) as train:
        loader = Loader(batch_at, train.steps)
        for step, (pictures, noise) in loader:
            params.optimizer.set_rate(optimizer, step, params.schedule.steps)
            x, eps = pictures.to(accelerator.device), noise.to(accelerator.device)
            with device.autocast(accelerator.device, params.precision):
                y, z = model(x, params.latent_noise * eps)
                y, z = y.float(), z.float()
                seen = params.perceptual.rows(len(x), step, accelerator.device)
                perceptual = perceptual_distance(lpips, x[seen], y[seen]).mean()
            pixels = F.l1_loss(y, x) + F.mse_loss(y, x)
            loss = pixels + params.perceptual.weight * perceptual
            accelerator.backward(loss + params.latent_penalty * z.square().mean())
            accelerator.clip_grad_norm_(model.parameters(), params.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad()
            device.sync()
            train.done(step, {"loss": loss, "pixels": pixels, "lpips": perceptual})
    accelerator.print(f"waited for data {loader.waiting_share:.1%} of the time")
    return net, train


def geometry(net: SmallAutoencoder | AutoencoderKL, kind: str, episodes: Episodes) -> Facts:
    """Facts of a network whose latents have not been measured."""
    config = net.config
    if kind == "small":
        channels, downsampling = config["latent_channels"], net.downsampling
    else:
        channels = config["latent_channels"]
        downsampling = 2 ** (len(config["block_out_channels"]) - 1)
    return Facts(
        kind=kind,
        height=episodes.game.height,
        width=episodes.game.width,
        downsampling=downsampling,
        latent_channels=channels,
        latent_mean=[0.0] * channels,
        latent_std=[1.0] * channels,
        encoder=encoder_digest(net),
    )


@torch.no_grad()
def measure(
    net: SmallAutoencoder | AutoencoderKL,
    params: Params,
    episodes: Episodes,
    accelerator: Accelerator,
) -> Facts:
    """The facts, with the latents' mean and deviation over training frames: of each channel, the
    deviation of all together where the encoder is linear.

    Stable Diffusion's U-Net knows latents times its own scaling factor: that is kept.
    """
    facts = geometry(net, params.kind, episodes)
    if params.kind == "stable-diffusion":
        std = 1.0 / net.config["scaling_factor"]
        return facts.model_copy(update={"latent_std": [std] * facts.latent_channels})
    raw = Autoencoder(net, facts).to(accelerator.device).eval()
    places = Frames(episodes, "train").draw(params.scale_frames, params.seed, -1, 0)
    latents = []
    for begin in tqdm(range(0, len(places), 16), "scale", disable=not accelerator.is_main_process):
        pictures = torch.from_numpy(episodes.batch(places[begin : begin + 16]))
        latents.append(raw.encode(to_float(pictures).to(accelerator.device)).cpu())
    per_channel = torch.cat(latents).transpose(0, 1).flatten(1).double()
    variance = per_channel.var(1)
    if params.encoder_blocks is None:  # whitening has said how channels compare
        variance = variance.mean().expand_as(variance)
    scale = {"latent_mean": per_channel.mean(1).tolist(), "latent_std": variance.sqrt().tolist()}
    return facts.model_copy(update=scale)


@torch.no_grad()
def report(
    autoencoder: Autoencoder, params: Params, episodes: Episodes, accelerator: Accelerator
) -> None:
    """Say what was made: size, latent shape, and PSNR and LPIPS on held-out frames."""
    places = Frames(episodes, "heldout").draw(32, params.seed, -2, 0)
    x = to_float(torch.from_numpy(episodes.batch(places))).to(accelerator.device)
    y = autoencoder.decode(autoencoder.encode(x)).clamp(-1, 1)
    lpips = load_lpips(params.perceptual.backbone).to(accelerator.device)
    psnr = 10 * torch.log10(4 / (y - x).square().mean((1, 2, 3)))
    distance = perceptual_distance(lpips, x, y)
    count = sum(p.numel() for p in autoencoder.net.parameters())
    accelerator.print(
        f"autoencoder: {count / 1e6:.2f} M parameters, latents {autoencoder.facts.latent_shape}; "
        f"{len(places)} held-out frames: PSNR {psnr.mean():.2f} dB, "
        f"LPIPS-{params.perceptual.backbone} {distance.mean():.4f}"
    )


def cli() -> None:
    """Run from the command line: see gamengen.stage.run."""
    run("autoencoder", Params, main)


if __name__ == "__main__":
    cli()
