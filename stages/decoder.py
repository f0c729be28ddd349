"""Stage 5: fine-tune only the decoder on real frames (§3.2.2); latents never change."""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt

from gamengen.data.encoding import require_same_encoder
from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents, require_same_games
from gamengen.data.loader import Loader
from gamengen.data.positions import Positions
from gamengen.data.rows import Rows
from gamengen.model.autoencoder import Autoencoder, to_float
from gamengen.runtime import device, output
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.settings import Size
from gamengen.runtime.stage import StageParams, run
from gamengen.training.loop import Training, share_of
from gamengen.training.perceptual import PerceptualLoss, PerceptualTerm
from gamengen.training.schedule import OptimizerParams, RunLength


class Params(StageParams):
    """How the decoder is fine-tuned."""

    batch_size: Size  # over all processes
    schedule: RunLength
    optimizer: OptimizerParams
    perceptual: list[PerceptualTerm]  # none is the paper's plain MSE
    precision: device.Precision
    compile: bool
    seed: NonNegativeInt


def main(
    params: Params,
    episodes_path: Path,
    latents_path: Path,
    autoencoder_path: Path,
    decoder_path: Path,
) -> None:
    """Train the decoder from stored latents to the frames they came from; save the whole."""
    accelerator = device.start()
    episodes, latents = Episodes(episodes_path), Latents(latents_path)
    autoencoder = Autoencoder.load(autoencoder_path)
    facts = autoencoder.facts
    require_same_encoder(
        latents.autoencoder.encoder_sha256, facts.encoder_sha256, latents_path, autoencoder_path
    )
    require_same_games(episodes, latents)
    inputs = [episodes_path, latents_path, autoencoder_path]
    resume = resume_folder(params, inputs, decoder_path)
    tuned = TunedDecoder(autoencoder)
    model, optimizer = accelerator.prepare(tuned, params.optimizer.make(tuned.parameters()))
    autoencoder.to(accelerator.device)
    lpips = PerceptualLoss(params.perceptual).to(accelerator.device)
    if params.compile:
        for part in autoencoder.decoder_modules():
            device.compile_module(part)
    frames = Positions(episodes.of("train"))
    encoded = {entry.id: entry for entry in latents.entries}
    share = share_of(params.batch_size, accelerator, "decoder")
    pictures = Rows(frames.entries, episodes.frames, accelerator.device)
    encodings = Rows([encoded[e.id] for e in frames.entries], latents.latents, accelerator.device)

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = frames.draw(share, params.seed, step)
        theirs = [(encoded[entry.id], i) for entry, i in places]
        return to_float(pictures.at(places)), encodings.at(theirs).float()

    parts = {"decoder": accelerator.unwrap_model(model), "optimizer": optimizer}
    with Training(accelerator, resume, params.schedule, parts) as train:
        loader = Loader(batch_at, train.steps)
        for step, (real, encoding) in loader:
            x = real.to(accelerator.device)
            with device.autocast(accelerator.device, params.precision):
                y = model(encoding.to(accelerator.device)).float()
                distances = lpips(y, x, step)
            mse = F.mse_loss(y, x)
            loss = mse + distances["lpips"]
            accelerator.backward(loss)
            norm = params.optimizer.step(optimizer, accelerator, step, params.schedule.steps)
            device.sync()
            train.done(step, {"loss": loss, "mse": mse, **distances, "gradient_norm": norm})

    autoencoder.facts = facts.seen_by(term.backbone for term in params.perceptual)
    with output.atomic_output(decoder_path, accelerator) as folder:
        if accelerator.is_main_process:
            autoencoder.save(folder)
            train.write_curve(folder / "loss.csv")  # for dvc plots
    accelerator.print(
        f"decoder: {params.schedule.steps} steps of {params.batch_size} frames; "
        f"waited for data {loader.waiting_share:.1%} of the time"
    )


class TunedDecoder(torch.nn.Module):
    """The part of an autoencoder that this stage trains, as a module of its own."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.trained = torch.nn.ModuleList(autoencoder.decoder_modules())
        self.trained.train()
        # Not a submodule: the encoder is neither trained nor checkpointed.
        self.whole = [autoencoder]

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.whole[0].decode(latents)


cli = partial(run, "decoder", Params, main)

if __name__ == "__main__":
    cli()
