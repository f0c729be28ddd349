"use strict";
// One WebSocket, one canvas. The server sends the newest frame; each is acknowledged on arrival.
const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const pen = canvas.getContext("2d");
const GAP = 4;
const EDIT_COLOURS = {
  black: "#000000",
  white: "#ffffff",
  red: "#b91c1c",
  amber: "#f59e0b",
  green: "#15803d",
  blue: "#1d4ed8",
  brown: "#7c4a21",
  grey: "#6b7280",
};

let socket = null;
let hello = null; // the server's first message
let start = 0;
let beside = false;
let paused = true;
let drawn = 0; // number of the newest frame on the canvas
let shown = []; // its pictures
let editing = null;
let test = null; // a blind test, while there is one
let model = "student";
let ready = false; // whether the start point has been shown
let wanted = false; // whether a key was pressed before it was
let away = false; // whether the server gave the seat back, as nobody played

// ---- Connection

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/play`);
  socket.binaryType = "arraybuffer";
  let full = false;
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return unpack(data);
    const message = JSON.parse(data);
    if (message.type === "full") full = veil("full house", message.message) || true;
    else (heed[message.type] || console.warn)(message);
  };
  socket.onclose = () => {
    stopEditing();
    endTest();
    if (away) return;
    if (!full) veil("connection lost", "trying again");
    setTimeout(connect, full ? 4000 : 1500);
  };
}

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.type === "frame") say({ type: "seen", number: header.number });
  let at = 4 + length;
  const parts = header.sizes.map((size) => new Uint8Array(buffer, at, (at += size) && size));
  heed[header.type](header, parts);
}

const picture = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));

const heed = {
  hello(message) {
    const same = JSON.stringify(message) === JSON.stringify(hello);
    hello = message;
    drawn = 0;
    $("scenario").textContent = hello.scenario.replaceAll("_", " ");
    showKeys();
    showStarts();
    showTests();
    if (same) sendSettings(); // a lost connection changes no slider
    else showModel(hello.model, false);
    [canvas.width, canvas.height] = [hello.width, hello.height];
    enableSaving();
    endTest();
    atFirst();
    prepare("the model is warming up");
  },

  async frame(header, parts) {
    const pictures = await Promise.all(parts.map(picture));
    const begun = header.paused && header.since_real === 0;
    // Sent before the trial or the start that was asked for.
    const stale = test ? test.waiting && !(header.trial > test.number) : !ready && !begun;
    if (header.number <= drawn || stale) return;
    drawn = canvas.dataset.number = header.number;
    if (!ready && !test) startShown();
    // Only a trial's end pauses unasked. After another pause, frames made before it may come.
    if (test && header.paused) setPaused(true);
    if (!header.trial) showStats(header);
    if (editing) return;
    shown = pictures;
    draw(pictures);
    if (test) return showLeft(header);
    const real = header.over ? "real game: over" : "real game";
    const upright = canvas.height > canvas.width;
    const names = [[upright ? `above: ${real}` : real, "real"], [upright ? "below: model" : "model", "neural"]];
    label(pictures.length > 1 ? names : []);
  },

  async clips(header, parts) {
    const pictures = await Promise.all(parts.map(picture));
    if (!test) return;
    const half = pictures.length / 2;
    test.number = header.trial;
    test.clip = { fps: header.fps, left: pictures.slice(0, half), right: pictures.slice(half) };
    watch();
  },

  file(header, parts) {
    const kinds = { mp4: "video/mp4", gif: "image/gif" };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(parts, { type: kinds[header.kind] }));
    link.download = `gamengen.${header.kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    enableSaving();
    notice("");
  },

  error({ message }) {
    enableSaving();
    notice(message);
    if (test && test.waiting) leave();
  },

  idle({ message }) {
    away = true;
    setPaused(true);
    veil("still there?", message);
  },
  failed: ({ message }) => notice(message),
  making: ({ what, share }) => test && veil(what, `${Math.round(100 * share)} %`),
  answered: () => test && pose(),
  time_up() {
    if (test) veil("that was it", "which was it?", true);
  },
  verdict({ verdicts }) {
    endTest();
    showVerdict(verdicts);
  },
};

// ---- The picture

function draw(pictures) {
  const { width, height } = hello;
  const upright = pictures.length > 1 && innerWidth < innerHeight;
  const n = pictures.length;
  const size = upright ? [width, n * height + (n - 1) * GAP] : [n * width + (n - 1) * GAP, height];
  if (canvas.width !== size[0] || canvas.height !== size[1]) {
    [canvas.width, canvas.height] = size;
    fit();
  }
  pictures.forEach((one, i) => {
    pen.drawImage(one, upright ? 0 : i * (width + GAP), upright ? i * (height + GAP) : 0);
  });
}

// Every pixel of the game a square of whole screen pixels, unless much room were lost.
function fit() {
  const full = document.fullscreenElement;
  const wide = innerWidth > 860;
  const room = full ? innerHeight - 130 : wide ? Math.max(260, innerHeight - 250) : innerHeight * 0.6;
  const across = (full ? innerWidth - 16 : $("stage").clientWidth) * devicePixelRatio;
  const scale = Math.min(across / canvas.width, (room * devicePixelRatio) / canvas.height);
  const whole = Math.floor(scale);
  const width = (canvas.width * (whole > 0.9 * scale ? whole : scale)) / devicePixelRatio;
  $("frame").style.width = $("labels").style.width = `${width}px`;
}

function label(names) {
  ["label-left", "label-right"].forEach((id, i) => {
    const [text, kind] = names[i] || ["", ""];
    $(id).textContent = text;
    $(id).className = kind;
  });
}

function veil(text, hint = "", inert = false) {
  $("veil").hidden = !text;
  $("veil").disabled = inert;
  $("veil-text").textContent = text;
  $("veil-hint").textContent = hint;
}

let noticed = 0;
function notice(text) {
  $("notice").textContent = text;
  clearTimeout(noticed);
  if (text) noticed = setTimeout(() => notice(""), 8000);
}

function showStats({ fps, ms, factor, since_real: since }) {
  $("fps").textContent = fps ? fps.toFixed(1) : "–";
  $("ms").textContent = ms ? ms.toFixed(0) : "–";
  $("factor").textContent = factor ? `${factor.toFixed(2)}×` : "–";
  $("factor").className = factor && factor < 0.95 ? "late" : "";
  $("since").textContent = since;
}

// ---- Playing

// Where the main pointer is a finger, or one has touched the page.
function byTouch() {
  return matchMedia("(pointer: coarse)").matches || document.body.classList.contains("touch");
}

function toPlay() {
  return byTouch() ? "tap to play" : "press a key to play";
}

function setPaused(now) {
  paused = now;
  document.body.classList.toggle("playing", !now);
  $("pause").textContent = now ? "Play" : "Pause";
  if (!now) veil("");
  else if (!editing && !test && $("veil").hidden) veil("paused", `${toPlay()} on`);
}

function prepare(what) {
  [ready, wanted] = [false, false];
  setPaused(true);
  veil("one moment", what, true);
}

function startShown() {
  ready = true;
  setPaused(true);
  veil(toPlay(), byTouch() ? "" : "or click here");
  if (wanted) resume();
}

function resume() {
  if (away) {
    away = false;
    return connect();
  }
  if (!ready) wanted = true;
  if (!ready && !test) return;
  if (!paused || editing || !hello) return;
  if (test && (test.waiting || test.over || !test.active)) return;
  setPaused(false);
  say({ type: "pause", paused: false });
}

function pause() {
  if (paused || test) return;
  setPaused(true);
  say({ type: "pause", paused: true });
}

// As a session begins, and as it goes on after a blind test.
function atFirst() {
  start = 0;
  beside = $("unlimited").checked = false;
  press($("beside"), false);
  pressStart();
}

function begin() {
  if (away) return resume();
  stopEditing();
  say({ type: "begin", start, beside });
  prepare(beside ? "the real game is being started" : "the start point is being encoded");
}

$("veil").onclick = resume;
$("pause").onclick = () => (paused ? resume() : pause());
$("reset").onclick = begin;
$("beside").onclick = () => {
  press($("beside"), (beside = !beside));
  begin();
};
for (const kind of ["mp4", "gif"]) {
  $(kind).onclick = () => {
    say({ type: "save", format: kind });
    $(kind).disabled = true;
    notice("making the file");
  };
}
function enableSaving() {
  for (const id of ["mp4", "gif"]) $(id).disabled = false;
}

$("full").hidden = !document.fullscreenEnabled;
$("full").onclick = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen().catch(() => notice("full screen is not allowed here"));
};

function press(button, on) {
  button.setAttribute("aria-pressed", on);
}

function showStarts() {
  $("starts").replaceChildren(
    ...hello.starts.map((episode, number) => {
      const button = document.createElement("button");
      const image = new Image(hello.width, hello.height);
      image.src = `/starts/${number}.jpg`;
      image.alt = `Start ${number + 1}`;
      button.type = "button";
      button.title = `test episode ${episode}`;
      button.append(image);
      button.onclick = () => {
        start = number;
        pressStart();
        begin();
      };
      return button;
    }),
  );
}

function pressStart() {
  [...$("starts").children].forEach((button, number) => press(button, number === start));
}

// ---- The model's settings

const SLIDERS = {
  steps: "steps",
  guidance: "guidance",
  noise: "context_noise",
  shift: "shift",
  order: "order",
};

function showModel(name, send = true) {
  model = name;
  $("model").hidden = Object.keys(hello.defaults).length < 2;
  for (const button of $("model").children) press(button, button.dataset.model === name);
  for (const [id, field] of Object.entries(SLIDERS)) {
    $(id).max = hello.limits[name][field];
    $(id).value = hello.defaults[name][field];
    $(id).parentElement.hidden = $(id).min === $(id).max; // nothing to choose
  }
  showSettings();
  if (send) sendSettings();
}

function showSettings() {
  $("steps-out").textContent = $("steps").value;
  $("guidance-out").textContent = $("guidance").value === "1" ? "1 (none)" : $("guidance").value;
  $("noise-out").textContent = $("noise").value;
  $("shift-out").textContent = $("shift").value === "1" ? "1 (none)" : $("shift").value;
  $("order-out").textContent = $("order").value === "1" ? "1 (DDIM)" : $("order").value;
}

function sendSettings() {
  const values = Object.entries(SLIDERS).map(([id, field]) => [field, Number($(id).value)]);
  say({ type: "settings", model, ...Object.fromEntries(values) });
}

for (const button of $("model").children) button.onclick = () => showModel(button.dataset.model);
for (const id of Object.keys(SLIDERS)) {
  $(id).oninput = () => {
    showSettings();
    sendSettings();
  };
}
$("unlimited").onchange = (event) => {
  say({ type: "pace", unlimited: event.target.checked });
  event.target.blur();
};

// ---- Keys and touch

const byCode = new Map();
const holding = new Map(); // what holds a button down -> the button, oldest first

function showKeys() {
  byCode.clear();
  holding.clear();
  for (const key of hello.keys) for (const code of key.codes) byCode.set(code, key.button);
  $("keys").replaceChildren(...hello.keys.map(legend));
  const sides = [document.createElement("div"), document.createElement("div")];
  for (const side of sides) side.className = "side";
  for (const key of hello.keys) sides[/TURN|MOVE/.test(key.button) ? 0 : 1].append(padButton(key));
  $("pad").replaceChildren(...sides);
}

function legend(key) {
  const span = document.createElement("span");
  span.dataset.button = key.button;
  for (const cap of key.caps) {
    const printed = document.createElement("kbd");
    printed.textContent = cap;
    span.append(printed);
  }
  span.append(key.label);
  return span;
}

function padButton(key) {
  const button = document.createElement("button");
  const arrow = { LEFT: "←", RIGHT: "→", FORWARD: "↑", BACKWARD: "↓" }[key.button.split("_").pop()];
  const big = document.createElement("b");
  big.textContent = arrow || (key.button === "ATTACK" ? "✦" : "");
  button.type = "button";
  button.dataset.button = key.button;
  button.append(...(big.textContent ? [big] : []), key.label);
  if (key.button === "ATTACK" || /FORWARD|BACKWARD/.test(key.button)) button.className = "wide";
  button.onpointerdown = (event) => {
    event.preventDefault();
    button.setPointerCapture(event.pointerId);
    hold(`touch ${event.pointerId}`, key.button);
  };
  button.onpointerup = button.onpointercancel = (event) => release(`touch ${event.pointerId}`);
  button.oncontextmenu = (event) => event.preventDefault();
  return button;
}

function hold(by, button) {
  if (holding.has(by)) return;
  holding.set(by, button);
  if (paused && by.startsWith("Control")) return; // it may begin a shortcut
  sendKeys();
  resume();
}

function release(by) {
  if (holding.delete(by)) sendKeys();
}

function sendKeys() {
  const held = [...new Set(holding.values())];
  for (const shownKey of document.querySelectorAll("[data-button]")) {
    shownKey.classList.toggle("down", held.includes(shownKey.dataset.button));
  }
  say({ type: "keys", held });
}

function releaseAll() {
  holding.clear();
  sendKeys();
}

// Space on a button that was reached by Tab presses it.
function pressesButton({ code, target }) {
  return code === "Space" && target.matches("button:focus-visible");
}

addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.metaKey || editing) return;
  if (pressesButton(event)) return;
  const button = byCode.get(event.code);
  if (!button) return;
  event.preventDefault();
  if (!event.repeat) hold(event.code, button);
});
addEventListener("keyup", (event) => {
  const plays = event.target.tagName !== "INPUT" && !pressesButton(event);
  if (plays && byCode.has(event.code)) event.preventDefault();
  release(event.code);
});
addEventListener("blur", releaseAll);
document.addEventListener("visibilitychange", () => document.hidden && pause());
// Ctrl fires and W walks: together they would close the tab.
addEventListener("beforeunload", (event) => {
  const fires = [...holding.keys()].some((by) => by.startsWith("Control"));
  if (fires && byCode.has("KeyW")) event.preventDefault();
});
addEventListener("pointerdown", (event) => {
  if (event.pointerType === "touch") document.body.classList.add("touch");
});
addEventListener("click", (event) => event.target.closest("button")?.blur());
// A slider that was dragged and kept the focus would take the arrow keys.
addEventListener("pointerup", () => {
  if (document.activeElement.type === "range") document.activeElement.blur();
});

// ---- Editing the picture (the paper's A.4)

$("edit").onclick = () => {
  if (away) return resume();
  if (!shown.length) return;
  say({ type: "pause", paused: true });
  releaseAll();
  veil("");
  const sheet = new OffscreenCanvas(hello.width, hello.height);
  const brush = sheet.getContext("2d", { willReadFrequently: true });
  brush.drawImage(shown.at(-1), 0, 0); // the model's picture is the last
  editing = { sheet, brush, undo: [], colour: EDIT_COLOURS.red, stamp: null, last: null };
  $("brush").value = 5;
  chooseColour(editing.colour);
  document.body.classList.add("editing");
  $("editor").hidden = false;
  label([]);
  paint();
};

function paint(ghost) {
  draw([editing.sheet]);
  if (ghost && editing.stamp) pen.drawImage(editing.stamp, ...stampAt(ghost));
}

function stampAt([x, y]) {
  const width = (hello.width * $("brush").value) / $("brush").max;
  const height = (width * editing.stamp.height) / editing.stamp.width;
  return [Math.round(x - width / 2), Math.round(y - height / 2), Math.round(width), Math.round(height)];
}

function pixel(event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) * hello.width) / box.width;
  return [x, ((event.clientY - box.top) * hello.height) / box.height];
}

function stroke([x, y]) {
  const [fromX, fromY] = editing.last || [x, y];
  const steps = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY)));
  const size = Number($("brush").value);
  for (let i = 0; i <= steps; i += 1) {
    const left = Math.round(fromX + ((x - fromX) * i) / steps - size / 2);
    const top = Math.round(fromY + ((y - fromY) * i) / steps - size / 2);
    dab(left, top, size);
  }
  editing.last = [x, y];
}

function dab(left, top, size) {
  editing.brush.fillStyle = editing.colour;
  for (let row = 0; row < size; row += 1) {
    const off = row + 0.5 - size / 2;
    const half = Math.sqrt(Math.max(0.3, (size * size) / 4 - off * off));
    const from = Math.round(left + size / 2 - half);
    editing.brush.fillRect(from, top + row, Math.max(1, Math.round(2 * half)), 1);
  }
}

canvas.onpointerdown = (event) => {
  if (!editing) return resume();
  canvas.setPointerCapture(event.pointerId);
  const { brush, undo } = editing;
  undo.push(brush.getImageData(0, 0, hello.width, hello.height));
  if (undo.length > 30) undo.shift();
  if (editing.stamp) brush.drawImage(editing.stamp, ...stampAt(pixel(event)));
  else stroke(pixel(event));
  paint();
};
canvas.onpointermove = (event) => {
  if (!editing) return;
  if (editing.last) stroke(pixel(event));
  paint(pixel(event));
};
canvas.onpointerup = canvas.onpointercancel = () => {
  if (editing) editing.last = null;
};

function chooseColour(colour) {
  editing.colour = colour;
  editing.stamp = null;
  for (const button of $("colours").children) press(button, button.dataset.colour === colour);
}

$("colours").replaceChildren(
  ...Object.entries(EDIT_COLOURS).map(([name, colour]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.colour = colour;
    button.title = name;
    button.style.background = colour;
    button.onclick = () => chooseColour(colour);
    return button;
  }),
);
$("colour").oninput = (event) => chooseColour(event.target.value);
$("undo").onclick = () => {
  const before = editing.undo.pop();
  if (before) editing.brush.putImageData(before, 0, 0);
  paint();
};

async function paste(blob) {
  try {
    const stamp = await createImageBitmap(blob);
    if (!editing) return;
    editing.stamp = stamp;
    $("brush").value = $("brush").max / 2;
    for (const button of $("colours").children) press(button, false);
    notice("click where it belongs; the brush's slider is its size, a colour goes back to painting");
  } catch {
    notice("that is no picture");
  }
}

$("paste").onclick = () => $("file").click();
$("file").onchange = () => {
  if ($("file").files[0]) paste($("file").files[0]);
  $("file").value = "";
};
addEventListener("paste", (event) => {
  const item = [...(event.clipboardData?.items || [])].find((one) => one.type.startsWith("image/"));
  if (editing && item) paste(item.getAsFile());
});

$("edit-apply").onclick = async () => {
  const blob = await editing.sheet.convertToBlob({ type: "image/png" });
  stopEditing();
  socket.send(await blob.arrayBuffer());
  setPaused(true);
  veil(`${toPlay()} on`, "from the edited picture, as the model sees it");
};
$("edit-cancel").onclick = () => {
  stopEditing();
  draw(shown);
  setPaused(true);
};

function stopEditing() {
  if (!editing) return;
  editing = null;
  $("editor").hidden = true;
  document.body.classList.remove("editing");
}

// ---- Blind test

function showTests() {
  $("invitation").textContent = hello.blind.invitation;
  $("tests").replaceChildren(
    ...hello.blind.offers.map(({ text, ...asked }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.onclick = () => startTest(asked);
      return button;
    }),
  );
}

// ``asked``: kind, seconds, after.
function startTest(asked) {
  if (away) return resume();
  if (!$("rater").reportValidity()) return;
  stopEditing();
  releaseAll();
  const question = hello.blind.questions[asked.kind];
  test = { asked, question, active: asked.kind === "active", number: 0 };
  document.body.classList.add("blind");
  document.body.classList.toggle("clips", !test.active);
  const texts = Object.values(hello.blind.options[asked.kind]);
  $("answer-first").textContent = texts[0];
  $("answer-second").textContent = texts[1];
  label([]);
  fit();
  scrollTo(0, 0);
  pose();
}

function pose() {
  Object.assign(test, { waiting: true, over: false, clip: null });
  $("question").hidden = false;
  showQuestion("");
  veil(test.active ? "one moment" : "making two clips", "", true);
  say({ type: "trial", ...test.asked, rater: $("rater").value });
}

function showQuestion(text) {
  $("question-text").textContent = text;
  $("again").hidden = test.active;
  for (const id of ["again", "answer-first", "answer-second"]) $(id).disabled = !text;
}

function showLeft({ trial, left }) {
  if (!trial) return;
  if (test.waiting) {
    Object.assign(test, { waiting: false, number: trial });
    veil(`trial ${test.number}: ${toPlay()}`, "say which it is as soon as you know");
    showQuestion(test.question);
  }
  $("question-text").textContent = left > 0 ? `${test.question} ${left.toFixed(1)} s left` : "Which was it?";
  test.over = left <= 0;
}

function watch() {
  const { clip } = test;
  const began = performance.now();
  test.waiting = false;
  veil("");
  showQuestion("");
  $("question-text").textContent = `Trial ${test.number}`;
  label([["left", ""], ["right", ""]]);
  const show = () => {
    if (!test || test.clip !== clip) return;
    const at = Math.floor(((performance.now() - began) * clip.fps) / 1000);
    if (at >= clip.left.length) return showQuestion(test.question);
    draw([clip.left[at], clip.right[at]]);
    requestAnimationFrame(show);
  };
  show();
}

function answer(place) {
  const choices = Object.keys(hello.blind.options[test.asked.kind]);
  say({ type: "answer", choice: choices[place] });
  test.waiting = true;
  showQuestion("");
  releaseAll();
}

function leave() {
  endTest();
  atFirst();
  say({ type: "leave" });
  prepare("the start point is being encoded");
}

function endTest() {
  test = null;
  label([]);
  $("question").hidden = true;
  document.body.classList.remove("blind", "clips");
  fit();
}

function showVerdict(verdicts) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  $("verdict").hidden = !verdicts.length;
  $("verdict").replaceChildren(
    ...verdicts.flatMap((one) => {
      const share = document.createElement("b");
      const words = document.createElement("p");
      const out = one.cut_short ? `${one.cut_short} left out: the real game had ended` : "";
      if (!one.count) {
        words.textContent = `played up to ${one.seconds} s: ${out}`;
        return [words];
      }
      share.textContent = percent(one.right / one.count);
      const age = one.after ? ` after ${one.after / 60} minutes of play` : "";
      const what = one.kind === "clips" ? `clips of ${one.seconds} s${age}: real game chosen` : "played: told right";
      words.textContent =
        `${what} ${one.right} of ${one.count} times; 95 % interval ${percent(one.low)} to ${percent(one.high)}` +
        (one.knew_after === null ? "" : `; knew after ${one.knew_after.toFixed(1)} s`) +
        (out && `; ${out}`) +
        (one.paper ? `; the paper's raters: ${one.paper}` : "");
      return [share, words];
    }),
  );
  $("verdict").scrollIntoView({ block: "nearest" });
}

$("again").onclick = watch;
$("answer-first").onclick = () => answer(0);
$("answer-second").onclick = () => answer(1);
$("leave").onclick = leave;

addEventListener("resize", () => (shown.length && !test && !editing ? draw(shown) : 0, fit()));
document.addEventListener("fullscreenchange", fit);
connect();
