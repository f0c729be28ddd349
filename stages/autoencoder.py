"""Stage 2: the autoencoder of the collected frames, trained here or taken from a source."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import Field, NonNegativeInt, model_validator
from tqdm import tqdm

from gamengen.data.encoding import AutoencoderConfig, read_facts, require_size
from gamengen.data.episodes import Episodes
from gamengen.data.loader import Loader
from gamengen.data.positions import Positions, Share
from gamengen.data.rows import Rows
from gamengen.game.facts import GameFacts
from gamengen.model.autoencoder import Autoencoder, encoder_digest, pad, to_float
from gamengen.model.network import load_pretrained
from gamengen.model.small_autoencoder import SIZES, SmallAutoencoder, warm_start
from gamengen.runtime import device, output
from gamengen.runtime.errors import InputError
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.settings import Depth, Size
from gamengen.runtime.stage import StageParams, run
from gamengen.training.loop import Training, share_of
from gamengen.training.perceptual import (
    PerceptualLoss,
    PerceptualTerm,
    load_lpips,
    perceptual_distance,
)
from gamengen.training.schedule import OptimizerParams, RunLength

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class Params(StageParams):
    """Which network, how large, and how it is trained."""

    kind: Literal["small", "stable-diffusion"]
    source: str | None  # a folder, or a hub model of stable-diffusion: nothing is trained
    init: str | None  # folder of a small autoencoder to begin training with; null: from scratch
    latent_channels: Size
    unshuffle: Size
    widths: list[Size] = Field(min_length=1, max_length=16)
    encoder_blocks: Depth  # per resolution
    decoder_blocks: Depth
    batch_size: Size  # over all processes
    schedule: RunLength
    optimizer: OptimizerParams
    perceptual: list[PerceptualTerm]
    latent_noise: float = Field(ge=0, le=100)  # while training, in units of the latents' std
    precision: device.Precision
    compile: bool
    scale_frames: Size  # how many frames the latents' mean and std are measured on
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> Self:
        if self.kind == "stable-diffusion" and not self.source:
            raise ValueError(
                f"source: {self.source}: name a hub model or a folder: kind stable-diffusion is "
                "not trained here"
            )
        if self.init and self.source:
            raise ValueError(
                f"init: {self.init}: source: {self.source} is taken as it is; to train on, "
                "set source: null"
            )
        return self

    def reads(self) -> list[Path]:
        named = [Path(name) for name in (self.source, self.init) if name]
        return [path for path in named if path.exists()]


def main(params: Params, episodes_path: Path, autoencoder_path: Path) -> None:
    """Train (or fetch) the autoencoder, measure its latents' scale, save both."""
    accelerator = device.start()
    episodes = Episodes(episodes_path)
    unseen = Positions(episodes.of("validation")).draw(Share(32), params.seed, -2)
    resume = resume_folder(params, [episodes_path, *params.reads()], autoencoder_path)
    train = None
    if params.kind == "small" and params.source is not None:
        autoencoder = Autoencoder.load(Path(params.source))
        require_size(autoencoder.facts, Path(params.source), episodes.game)
    elif params.kind == "small":
        net, train = fit(params, episodes, resume, accelerator)
        facts = measure(net, params, episodes, accelerator)
        began = read_facts(Path(params.init)).perceptual if params.init else []
        seen = [*began, *(term.backbone for term in params.perceptual)]
        autoencoder = Autoencoder(net, facts.seen_by(seen))
    else:
        assert params.source is not None
        from diffusers import AutoencoderKL  # seconds, which no other kind needs

        vae = load_pretrained(AutoencoderKL, params.source, "vae", "autoencoder.source")
        autoencoder = Autoencoder(vae, measure(vae, params, episodes, accelerator))
    autoencoder = autoencoder.to(accelerator.device).eval()
    with output.atomic_output(autoencoder_path, accelerator) as folder:
        if accelerator.is_main_process:
            autoencoder.save(folder)
            if train:
                train.write_curve(folder / "loss.csv")  # for dvc plots
    pictures = torch.from_numpy(episodes.batch(unseen))
    report(autoencoder, params, pictures, accelerator)


def fit(
    params: Params, episodes: Episodes, resume: Path, accelerator: Accelerator
) -> tuple[SmallAutoencoder, Training]:
    """Train the small autoencoder on frames: L1 + MSE + LPIPS."""
    torch.manual_seed(params.seed)
    net = SmallAutoencoder(**params.model_dump(include=SIZES)).to(memory_format=torch.channels_last)
    if params.init:
        warm_start(net, Path(params.init))
    frames, facts = Positions(episodes.of("train")), geometry(net, episodes.game)
    model, optimizer = accelerator.prepare(net, params.optimizer.make(net.parameters()))
    net = accelerator.unwrap_model(model)
    if params.compile:
        device.compile_module(net.encoder)
        device.compile_module(net.decoder)
    lpips = PerceptualLoss(params.perceptual).to(accelerator.device)
    share = share_of(params.batch_size, accelerator, "autoencoder")

    rows = Rows(frames.entries, episodes.frames, accelerator.device)

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = frames.draw(share, params.seed, step)
        pictures = pad(to_float(rows.at(places)), facts)
        random = device.generator(params.seed, step, 0, 1)
        noise = torch.randn((share.batch, *facts.latent_shape), generator=random)
        return pictures, noise[share.rows]

    parts = {"net": net, "optimizer": optimizer}
    with Training(accelerator, resume, params.schedule, parts) as train:
        loader = Loader(batch_at, train.steps)
        for step, (pictures, noise) in loader:
            x, eps = pictures.to(accelerator.device), noise.to(accelerator.device)
            with device.autocast(accelerator.device, params.precision):
                y = model(x, params.latent_noise * eps).float()
                distances = lpips(y, x, step)
            pixels = F.l1_loss(y, x) + F.mse_loss(y, x)
            loss = pixels + distances["lpips"]
            accelerator.backward(loss)
            norm = params.optimizer.step(optimizer, accelerator, step, params.schedule.steps)
            device.sync()
            losses = {"loss": loss, "pixels": pixels} | distances
            train.done(step, losses | {"gradient_norm": norm})
    accelerator.print(f"waited for data {loader.waiting_share:.1%} of the time")
    return net, train


def geometry(net: "SmallAutoencoder | AutoencoderKL", game: GameFacts) -> AutoencoderConfig:
    """Facts of a network whose latents have not been measured."""
    channels, small = net.config["latent_channels"], isinstance(net, SmallAutoencoder)
    downsampling = net.downsampling if small else 2 ** (len(net.config["block_out_channels"]) - 1)
    return AutoencoderConfig.unmeasured(
        "small" if small else "stable-diffusion",
        game,
        channels,
        downsampling,
        encoder_sha256=encoder_digest(net),
        perceptual=[] if small else ["vgg"],  # Stable Diffusion's own loss
    )


@torch.no_grad()
def measure(
    net: "SmallAutoencoder | AutoencoderKL",
    params: Params,
    episodes: Episodes,
    accelerator: Accelerator,
) -> AutoencoderConfig:
    """The facts, with the mean and std of each latent channel over training frames.

    Stable Diffusion's U-Net knows latents times its own scaling factor: that is kept.
    """
    facts = geometry(net, episodes.game)
    if params.kind == "stable-diffusion":
        std = 1.0 / net.config["scaling_factor"]
        return facts.model_copy(update={"latent_std": [std] * facts.latent_channels})
    raw = Autoencoder(net, facts).to(accelerator.device).eval()
    places = Positions(episodes.of("train")).draw(Share(params.scale_frames), params.seed, -1)
    latents = []
    for begin in tqdm(range(0, len(places), 16), "scale", disable=not accelerator.is_main_process):
        pictures = torch.from_numpy(episodes.batch(places[begin : begin + 16]))
        latents.append(raw.encode(to_float(pictures).to(accelerator.device)).cpu())
    per_channel = torch.cat(latents).transpose(0, 1).flatten(1).double()
    if not per_channel.isfinite().all():
        raise InputError(
            "the trained encoder makes latents that are not finite; params.yaml: lower "
            f"autoencoder.optimizer.learning_rate.peak ({params.optimizer.learning_rate.peak:g})"
        )
    scale = {
        "latent_mean": per_channel.mean(1).tolist(),
        "latent_std": per_channel.std(1).clamp_min(1e-6).tolist(),
    }
    return facts.model_copy(update=scale)


@torch.no_grad()
def report(
    autoencoder: Autoencoder, params: Params, pictures: torch.Tensor, accelerator: Accelerator
) -> None:
    """Say what was made: size, latent shape, and PSNR and LPIPS on validation frames."""
    x = to_float(pictures).to(accelerator.device)
    y = autoencoder.decode(autoencoder.encode(x)).clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (y - x).square().mean((1, 2, 3)))
    distances = ", ".join(
        f"LPIPS-{backbone} "
        f"{perceptual_distance(load_lpips(backbone).to(accelerator.device), x, y).mean():.4f}"
        for backbone in sorted({"alex", *(term.backbone for term in params.perceptual)})
    )
    count = sum(p.numel() for p in autoencoder.net.parameters())
    accelerator.print(
        f"autoencoder: {count / 1e6:.2f} M parameters, latents {autoencoder.facts.latent_shape}; "
        f"{len(pictures)} validation frames: PSNR {psnr.mean():.2f} dB, {distances}"
    )


cli = partial(run, "autoencoder", Params, main)

if __name__ == "__main__":
    cli()
