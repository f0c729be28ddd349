"""The scenario's buttons as keys of a keyboard, and held buttons as one of its actions."""

from collections.abc import Sequence

from pydantic import BaseModel

from gamengen.game.facts import GameFacts

# A browser names a key by its place (KeyboardEvent.code), whatever the layout prints on it.
WANTED = {
    "ATTACK": ["Space", "ControlLeft", "ControlRight"],
    "USE": ["KeyE"],
    "MOVE_FORWARD": ["ArrowUp", "KeyW"],
    "MOVE_BACKWARD": ["ArrowDown", "KeyS"],
    "TURN_LEFT": ["ArrowLeft"],
    "TURN_RIGHT": ["ArrowRight"],
    "MOVE_LEFT": ["KeyA"],
    "MOVE_RIGHT": ["KeyD"],
    "SPEED": ["ShiftLeft", "ShiftRight"],
    "STRAFE": ["AltLeft"],
    "TURN180": ["KeyX"],
    "JUMP": ["KeyJ"],
    "CROUCH": ["KeyC"],
    "RELOAD": ["KeyR"],
    "SELECT_PREV_WEAPON": ["KeyQ"],
    "SELECT_NEXT_WEAPON": ["KeyF"],
    **{f"SELECT_WEAPON{slot}": [f"Digit{slot}", f"Numpad{slot}"] for slot in range(10)},
}
# Where a scenario only turns or only steps aside, arrows and letters do the same.
ALSO = {
    "TURN_LEFT": ["KeyA"],
    "TURN_RIGHT": ["KeyD"],
    "MOVE_LEFT": ["ArrowLeft"],
    "MOVE_RIGHT": ["ArrowRight"],
}
SPARE = [f"Key{letter}" for letter in "GHKLZVBNMTYUIOP"]
LABELS = {
    "ATTACK": "fire",
    "MOVE_FORWARD": "forward",
    "MOVE_BACKWARD": "back",
    "MOVE_LEFT": "step left",
    "MOVE_RIGHT": "step right",
    "SPEED": "run",
    "TURN180": "turn round",
    "SELECT_PREV_WEAPON": "last weapon",
    "SELECT_NEXT_WEAPON": "next weapon",
}
PRINTED = {
    "Space": "Space",
    "ControlLeft": "Ctrl",
    "ShiftLeft": "Shift",
    "AltLeft": "Alt",
    "ArrowUp": "↑",
    "ArrowDown": "↓",
    "ArrowLeft": "←",
    "ArrowRight": "→",
}


class Key(BaseModel, frozen=True):
    """A button of the game as the page shows it."""

    button: str
    label: str
    codes: list[str]  # KeyboardEvent.code of every key that holds it down
    caps: list[str]  # what to print on the key caps


def key_map(buttons: Sequence[str]) -> list[Key]:
    """A key for every button; one that no habit knows gets the next spare letter."""
    codes = {button: list(WANTED.get(button, [])) for button in buttons}
    for button, more in ALSO.items():
        taken = {code for own in codes.values() for code in own}
        if button in codes:
            codes[button] += [code for code in more if code not in taken]
    spare = iter(SPARE)
    for own in codes.values():
        if not own:
            own += [code for code in [next(spare, None)] if code]
    return [_key(button, own) for button, own in codes.items()]


def _key(button: str, codes: list[str]) -> Key:
    label = LABELS.get(button, button.replace("SELECT_WEAPON", "weapon ").replace("_", " ").lower())
    printed = [_cap(code) for code in codes]
    return Key(button=button, label=label, codes=codes, caps=[cap for cap in printed if cap])


def _cap(code: str) -> str | None:
    if code.startswith("Numpad") or code in ("ControlRight", "ShiftRight"):
        return None
    return PRINTED.get(code, code.removeprefix("Key").removeprefix("Digit"))


def action_of(facts: GameFacts, held: Sequence[str]) -> int:
    """The action that fits the held buttons, named from the oldest press to the newest.

    It presses nothing that is not held, and as many as it can of what is; where not all go
    together (left and right, or more at once than the game was recorded with) the newest win.
    """
    rank = {button: place for place, button in enumerate(held)}

    def fit(action: int) -> tuple[int, int]:
        pressed = [b for b, on in zip(facts.buttons, facts.actions[action], strict=True) if on]
        if any(button not in rank for button in pressed):
            return -1, 0
        return len(pressed), sum(1 << rank[button] for button in pressed)

    return max(range(len(facts.actions)), key=fit)
