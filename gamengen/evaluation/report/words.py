"""Names in words, and the paper's numbers, labelled as what they are."""

from typing import Any


def name_in_words(name: str) -> str:
    """``steps_4`` -> ``denoiser, 4 steps``."""
    known = {
        "real": "recorded game",
        "student": "student, 1 step",
        "teacher": "denoiser, as it is played",
        "copy_last": "copy-last",
        "autoencoder": "autoencoder ceiling",
    }
    if name in known:
        return known[name]
    steps = name.removeprefix("steps_")
    return f"denoiser, {steps} step" + ("" if steps == "1" else "s")


def metric_in_words(metric: str, metrics: dict[str, Any]) -> str:
    """``lpips_vgg`` -> ``LPIPS VGG16``, marked where a loss in training saw that network."""
    names = {"alex": "AlexNet", "vgg": "VGG16"}
    network = metric.removeprefix("lpips_")
    if network not in names:
        return "pooled PSNR, dB"
    return f"LPIPS {names[network]}" + (" †" if metrics["lpips_in_a_loss"][network] else "")


MINUS = "\N{MINUS SIGN}"

PAPER_STEPS = {  # PSNR and LPIPS of its table 1
    "student": (31.10, 0.208),
    "steps_1": (25.47, 0.255),
    "steps_2": (31.91, 0.205),
    "steps_4": (32.58, 0.198),
    "steps_8": (32.55, 0.196),
    "steps_16": (32.44, 0.196),
    "steps_32": (32.32, 0.196),
    "steps_64": (32.19, 0.197),
}

PAPER_OTHER: list[tuple[str, str]] = [
    ("one frame ahead, 2,048 held-out trajectories, five levels", "29.43 dB, LPIPS 0.249"),
    ("FVD at 16 and 32 frames, 512 held-out trajectories", "114.02 and 186.23"),
    ("autoregressive, a person's play: first frame, then after 3 s", "25.06, then 19.02 dB"),
    ("raters who told the real game from it, clips of 1.6 s and 3.2 s", "58 % and 60 %"),
]

PAPER_SCALE = (
    "Stable Diffusion 1.4 fine-tuned on 128 TPU-v5e, 320x240, 70 million frames of Doom at "
    "35 frames a second, played at 20"
)


def estimate_in_words(scores: dict[str, Any], key: str, digits: int, sign: str = "") -> str:
    """``28.31 +- 0.42``, or without the interval where there is none; ``sign`` "+" shows both."""
    if key not in scores:
        return ""
    margin = scores.get(f"{key}_95")
    text = f"{scores[key]:{sign}.{digits}f}".replace("-", MINUS)
    return text if margin is None else f"{text} ± {margin:.{digits}f}"
