import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from gamengen.data.encoding import AutoencoderConfig, read_facts, require_same_encoder
from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents
from gamengen.model.autoencoder import Autoencoder, crop, encoder_digest, pad, to_float, to_uint8
from gamengen.model.network import load_pretrained
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from stages import autoencoder, decoder, encode
from tests import tiny
from tests.artifacts import make_autoencoder, make_episodes, make_latents


def facts(height: int, width: int, downsampling: int = 8) -> AutoencoderConfig:
    return AutoencoderConfig(
        kind="small",
        height=height,
        width=width,
        downsampling=downsampling,
        latent_channels=4,
        latent_mean=[0.0] * 4,
        latent_std=[1.0] * 4,
        encoder_sha256="",
    )


def test_padding_is_the_papers() -> None:
    assert facts(240, 320).padded == (256, 320)
    assert facts(240, 320).latent_shape == (4, 32, 40)
    assert facts(120, 160).padded == (128, 160)
    assert facts(240, 320, 16).latent_shape == (4, 16, 20)


def test_cropping_undoes_padding() -> None:
    frames = torch.randn(2, 3, 120, 160)
    padded = pad(frames, facts(120, 160))
    assert padded.shape == (2, 3, 128, 160)
    assert torch.equal(crop(padded, facts(120, 160)), frames)
    assert torch.equal(padded[:, :, 127], frames[:, :, 119])


def test_bytes_survive_floats() -> None:
    frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_uint8(to_float(frames)), frames)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    first = Autoencoder.load(make_autoencoder(tmp_path / "a"))
    first.save(tmp_path / "b")
    second = Autoencoder.load(tmp_path / "b")
    frames = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        latents = first.encode(frames)
        torch.testing.assert_close(second.encode(frames), latents)
        torch.testing.assert_close(second.decode(latents), first.decode(latents))
    assert latents.shape == (1, *first.facts.latent_shape)


def test_a_folder_says_which_networks_its_losses_saw(tmp_path: Path) -> None:
    path = make_autoencoder(tmp_path / "a") / "autoencoder.json"
    facts = read_facts(path.parent)
    assert facts.seen_by([]) == facts
    nothing = facts.model_copy(update={"perceptual": []})
    assert nothing.seen_by(["vgg"]).seen_by(["alex", "vgg"]).perceptual == ["alex", "vgg"]
    older = json.loads(path.read_text())
    del older["perceptual"]
    path.write_text(json.dumps(older))
    assert read_facts(path.parent).perceptual == ["alex", "vgg"], "may have seen both"


@pytest.mark.parametrize("seen", [["vgg"], []])
def test_training_tells_which_networks_its_loss_saw(seen: list[str], tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes")
    terms = [{"backbone": name, "weight": 0.1, "share": 0.5, "crop": None} for name in seen]
    schedule = {"steps": 1, "log_every": 1, "checkpoint_every": 1}
    made = tiny.params(autoencoder.Params, "autoencoder", perceptual=terms, schedule=schedule)
    autoencoder.main(made, episodes, tmp_path / "a")
    assert read_facts(tmp_path / "a").perceptual == seen
    latents = make_latents(tmp_path / "latents", episodes, tmp_path / "a")
    terms = [{"backbone": "alex", "weight": 0.1, "share": 0.5, "crop": None}]
    tuned = tiny.params(decoder.Params, "decoder", perceptual=terms, schedule=schedule)
    decoder.main(tuned, episodes, latents, tmp_path / "a", tmp_path / "d")
    assert read_facts(tmp_path / "d").perceptual == ["alex", *seen]


def test_without_validation_nothing_is_trained(tmp_path: Path) -> None:
    path = make_episodes(tmp_path / "episodes") / "index.json"
    path.write_text(path.read_text().replace('"validation"', '"train"'))
    with pytest.raises(InputError, match=r"no episode .* in split 'validation' .*dvc repro"):
        autoencoder.main(
            tiny.params(autoencoder.Params, "autoencoder"), path.parent, tmp_path / "a"
        )
    assert not list(tmp_path.glob(".resume/*"))


def test_latents_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    episodes = Episodes(make_episodes(tmp_path / "episodes"))
    net = Autoencoder.load(make_autoencoder(tmp_path / "autoencoder")).net
    net.encoder[-1].bias.data.fill_(float("nan"))
    with pytest.raises(
        InputError, match=r"not finite.*autoencoder\.optimizer\.learning_rate\.peak"
    ):
        autoencoder.measure(
            net, tiny.params(autoencoder.Params, "autoencoder"), episodes, device.start()
        )


def test_small_autoencoder_is_trained_and_its_scale_measured(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes")
    autoencoder.main(tiny.params(autoencoder.Params, "autoencoder"), episodes, tmp_path / "out")
    latents = tmp_path / "latents"
    settings = tiny.params(encode.Params, "encode")
    encode.main(settings, episodes, tmp_path / "out", latents)
    encoded = Latents(latents)
    rows = np.concatenate([encoded.latents(e, 0, e.length) for e in encoded.of("train")])
    assert np.abs(rows.astype(np.float32).mean((0, 2, 3))).max() < 0.2
    np.testing.assert_allclose(rows.astype(np.float32).std((0, 2, 3)), 1.0, atol=0.2)


def test_a_small_source_is_taken_as_it_is(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes")
    source = make_autoencoder(tmp_path / "source")
    settings = tiny.params(autoencoder.Params, "autoencoder", source=str(source))
    autoencoder.main(settings, episodes, tmp_path / "out")
    ours, theirs = Autoencoder.load(tmp_path / "out"), Autoencoder.load(source)
    assert ours.facts == theirs.facts
    for name, tensor in theirs.net.state_dict().items():
        assert torch.equal(ours.net.state_dict()[name], tensor), name
    other = make_episodes(tmp_path / "others", height=48)
    with pytest.raises(InputError, match=r"made for frames of 32 x 48, .* are 48 x 48"):
        autoencoder.main(settings, other, tmp_path / "other")


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in Stable Diffusion's layout."""
    folder = tmp_path_factory.mktemp("sd")
    net = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    net.save_pretrained(folder / "vae")
    return folder


def test_training_begins_with_given_weights(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes")
    source = make_autoencoder(tmp_path / "source")
    begun = Autoencoder.load(source)
    Autoencoder(begun.net, begun.facts.seen_by(["vgg"])).save(source)
    still = {"learning_rate": {"peak": 1e-12, "warmup_steps": 1, "decay_from": 1.0}}
    sizes = {"widths": [8], "init": str(source), "optimizer": still}
    settings = tiny.params(autoencoder.Params, "autoencoder", **sizes)
    autoencoder.main(settings, episodes, tmp_path / "out")
    ours, theirs = Autoencoder.load(tmp_path / "out"), Autoencoder.load(source)
    for name, weights in theirs.net.state_dict().items():
        torch.testing.assert_close(ours.net.state_dict()[name], weights)
    assert ours.facts.latent_std != theirs.facts.latent_std  # measured anew
    assert ours.facts.perceptual == ["alex", "vgg"], "what a loss saw before is not forgotten"


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes")
    source = str(make_autoencoder(tmp_path / "source"))
    settings = tiny.params(autoencoder.Params, "autoencoder", init=source)
    with pytest.raises(InputError, match=r"autoencoder\.init: .*widths is \[8\].*\[8, 8\]"):
        autoencoder.main(settings, episodes, tmp_path / "out")


def test_stable_diffusions_autoencoder_keeps_its_own_scale(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    episodes = make_episodes(tmp_path / "episodes", height=60, width=64)
    settings = tiny.params(
        autoencoder.Params, "autoencoder", kind="stable-diffusion", source=str(stable_diffusion)
    )
    autoencoder.main(settings, episodes, tmp_path / "out")
    ours = Autoencoder.load(tmp_path / "out")
    theirs = AutoencoderKL.from_pretrained(stable_diffusion / "vae").eval()
    frames = torch.rand(2, 3, 60, 64) * 2 - 1
    with torch.no_grad():
        latents = ours.encode(frames)
        expected = theirs.encode(pad(frames, ours.facts)).latent_dist.mean * 0.18215
        torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)
        picture = theirs.decode(expected / 0.18215).sample[:, :, :60]
        torch.testing.assert_close(ours.decode(expected), picture, atol=1e-5, rtol=1e-4)
    assert len(ours.decoder_modules()) == 2


def test_a_source_that_is_no_autoencoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"autoencoder\.source: '.*nowhere'"):
        load_pretrained(AutoencoderKL, str(tmp_path / "nowhere"), "vae", "autoencoder.source")


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes", height=32, width=32)
    other = make_autoencoder(tmp_path / "a", height=32, width=48)
    with pytest.raises(InputError, match=r"autoencoder\.json: made for frames of 32 x 48"):
        encode.main(tiny.params(encode.Params, "encode"), episodes, other, tmp_path / "out")


def test_digest_tells_encoders_apart_and_ignores_the_decoder(tmp_path: Path) -> None:
    one = Autoencoder.load(make_autoencoder(tmp_path / "1", seed=1))
    two = Autoencoder.load(make_autoencoder(tmp_path / "2", seed=2))
    digest = encoder_digest(one.net)
    assert digest != encoder_digest(two.net)
    with torch.no_grad():
        one.net.decoder[0].weight.add_(1)
    assert encoder_digest(one.net) == digest
    with pytest.raises(InputError, match="dvc repro encode"):
        require_same_encoder("a" * 64, digest, Path("data/latents"), Path("data/autoencoder"))
