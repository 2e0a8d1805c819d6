// The page: photos in, faces drawn over them.

import { askToken, call, hasToken, storage } from "./calls.js";
import { connectCamera } from "./camera.js";
import { thatScore, decimals, drawCrop, drawFaces, element, figuresOf, jsonText, sizeOf } from "./draw.js";
import { connectStatus } from "./status.js";

// Path, query, and what is added to that to find small and turned faces too.
const CLOSER = { tiles: "auto", rotations: "auto" };
const MODELS = {
  faces: ["v1/faces", {}, CLOSER],
  boxes: ["v1/faces", { landmarks: 0 }, CLOSER],
  masks: ["v1/masks", {}, null],
};
const CALLS_AT_A_TIME = 2;
const THUMBNAIL = 72;
const byId = (id) => document.getElementById(id);
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

const settings = {
  model: "faces",
  score: 0.5,
  closer: false,
  // As facekit.draw has them.
  "color-face": "#ffd640",
  "color-mask": "#26d6a0",
  "color-no-mask": "#ff7a48",
};
const photos = [];
let current = null;
let calls = 0;
let shown = [];
let thumbnails = Promise.resolve();

// ---- calls

function asked() {
  const [path, query, closer] = MODELS[settings.model];
  const more = settings.closer ? closer : {};
  return `${path}?${new URLSearchParams({ ...query, ...more, min_score: settings.score })}`;
}

/** What an answer depends on, but for the lowest score, by which the page itself can filter. */
function searched() {
  return `${settings.model} ${settings.closer}`;
}

function found(photo) {
  return photo.found.get(searched());
}

function waits(photo) {
  const there = found(photo);
  return !photo.busy && !(there && (there.problem || there.score <= settings.score));
}

/** Start calls for photos that wait for one, the photo that is shown first. */
function start() {
  while (calls < CALLS_AT_A_TIME) {
    const photo = [current, ...photos].find((each) => each && waits(each));
    if (!photo) break;
    find(photo);
  }
  render();
}

async function find(photo) {
  const [search, score] = [searched(), settings.score];
  calls += 1;
  photo.busy = true;
  tell(photo, "Waiting");
  let answer;
  try {
    await photo.file.slice(0, 1).arrayBuffer();
    answer = await call(asked(), photo.file, (...told) => tell(photo, ...told));
  } catch {
    answer = { problem: { title: "Not readable", detail: "The browser can't read this file." } };
  }
  calls -= 1;
  photo.busy = false;
  const { problem } = answer;
  photo.found.set(search, problem ? { problem } : { answer, score });
  // Without a token the others would only ask for it again, one after the other.
  if (problem?.status === 401) {
    photos.filter(waits).forEach((each) => each.found.set(search, { problem }));
  }
  start();
}

// ---- the list of photos

function add(files) {
  const added = [...files].map((file) => {
    const photo = { file, busy: false, found: new Map() };
    photo.canvas = element("canvas", { width: 0, height: THUMBNAIL });
    photo.state = element("span", { class: "state" }, "Waiting");
    photo.bar = element("progress", { max: 1, "aria-label": "Progress" });
    photo.button = element("button", { type: "button", tabindex: -1 },
      photo.canvas, element("span", { class: "name" }, file.name), photo.state, photo.bar);
    photo.button.onclick = () => show(photo);
    photo.item = element("li", {}, photo.button);
    byId("photos").append(photo.item);
    thumbnails = thumbnails.then(() => drawThumbnail(photo));
    return photo;
  });
  photos.push(...added);
  if (added.length) show(added[0]);
}

async function drawThumbnail({ file, canvas }) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return;
  canvas.width = Math.min(Math.max(bitmap.width / bitmap.height, 0.5), 1.75) * THUMBNAIL;
  const scale = Math.max(canvas.width / bitmap.width, THUMBNAIL / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(
    bitmap, (canvas.width - width) / 2, (THUMBNAIL - height) / 2, width, height);
  bitmap.close();
}

function remove(photo) {
  const at = photos.indexOf(photo);
  photos.splice(at, 1);
  photo.item.remove();
  show(photos[Math.min(at, photos.length - 1)] ?? null);
  (current?.button ?? byId("choose")).focus();
}

/** Tell how far a photo's call is; `part` of the photo is sent. */
function tell(photo, message, part) {
  photo.state.textContent = part === undefined ? message : `${message} ${Math.round(part * 100)} %`;
  if (part === undefined) photo.bar.removeAttribute("value");
  else photo.bar.value = part;
}

function show(photo) {
  current = photo;
  URL.revokeObjectURL(byId("image").src);
  byId("frame").hidden = byId("unseen").hidden = true;
  byId("image").removeAttribute("src");
  if (photo) byId("image").src = URL.createObjectURL(photo.file);
  start();
}

// ---- what is seen

function render() {
  const there = current && found(current);
  const { answer, problem } = there ?? {};
  const faces = answer?.faces ?? [];
  shown = thatScore(faces, settings.score);
  byId("score-shown").textContent = decimals(settings.score);
  for (const label of document.querySelectorAll("[data-of]")) {
    label.hidden = (label.dataset.of === "masks") !== (settings.model === "masks");
  }
  for (const photo of photos) renderThumbnail(photo);
  renderProgress();
  byId("empty").hidden = current !== null;
  for (const id of ["caption", "found", "photos", "progress"]) byId(id).hidden = current === null;
  byId("problem").hidden = byId("again").hidden = !problem;
  byId("problem").textContent = problem ? `${problem.title}: ${problem.detail}` : "";
  if (!current) return;
  byId("name").textContent = byId("image").alt = current.file.name;
  const some = shown.length < faces.length ? `${shown.length} of ` : "";
  byId("summary").textContent = answer
    ? [`${some}${counted(faces.length, "face")} in ${answer.size_wh.join(" × ")} pixels`,
      ...(answer.notes ?? [])].join("; ")
    : "";
  byId("json-text").textContent = answer ? jsonText({ ...answer, faces: shown }) : "";
  byId("json").hidden = !answer;
  byId("download-all").hidden = photos.length < 2;
  byId("curl-text").textContent = curlOf(current.file);
  renderTable(answer);
  layOut();
}

function renderThumbnail(photo) {
  const { answer, problem } = found(photo) ?? {};
  photo.bar.hidden = !photo.busy;
  if (!photo.busy) {
    const faces = answer && thatScore(answer.faces, settings.score);
    photo.state.textContent = faces ? counted(faces.length, "face") : problem ? problem.title : "Waiting";
  }
  photo.item.classList.toggle("failed", !photo.busy && problem !== undefined);
  photo.button.tabIndex = photo === current ? 0 : -1;
  photo.button.setAttribute("aria-current", photo === current);
}

function renderProgress() {
  const ended = photos.map(found).filter(Boolean);
  const answers = ended.filter((each) => each.answer).map((each) => each.answer);
  const faces = answers.reduce((sum, each) => sum + thatScore(each.faces, settings.score).length, 0);
  const failed = ended.length - answers.length;
  const going = photos.some((each) => each.busy || waits(each));
  say(!photos.length ? "" : [
    going ? `${ended.length} of ${counted(photos.length, "photo")} done` : counted(photos.length, "photo"),
    counted(faces, "face"), ...(failed ? [`${failed} failed`] : []),
  ].join(", "));
}

/** Tell a line to be seen, and to be read aloud where it is new. */
function say(message) {
  if (byId("progress").textContent !== message) byId("progress").textContent = message;
}

function renderTable(answer) {
  const masks = shown.some((face) => face.class_name);
  const points = shown.some((face) => face.pose_deg);
  const heads = ["Face", "Score", ...(masks ? ["Class"] : []), "Size, px", ...(points ? ["Yaw, pitch, roll", "Sharp"] : [])];
  const table = document.querySelector("#found table");
  table.hidden = !shown.length;
  table.caption.textContent = answer && counted(shown.length, "face");
  table.tHead.replaceChildren(element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head))));
  table.tBodies[0].replaceChildren(...shown.map((face, index) => {
    const [width, height] = sizeOf(face).map(Math.round);
    const label = figuresOf(face).map((figure) => figure.join(" ")).join(", ");
    const button = element("button",
      { type: "button", tabindex: index ? -1 : 0, "aria-label": `Face ${index + 1}: ${label}` },
      element("canvas", { width: 56, height: 56 }), String(index + 1));
    const cells = [decimals(face.score), ...(masks ? [face.class_name] : []), `${width} × ${height}`,
      ...(points ? [(face.pose_deg ?? []).map((angle) => decimals(angle, 0)).join(", "), decimals(face.sharpness)] : [])];
    return element("tr", { "data-face": index }, element("th", { scope: "row" }, button),
      ...cells.map((cell) => element("td", {}, cell)));
  }));
}

function layOut() {
  const image = byId("image");
  if (!image.complete) return;
  // A browser can't show some kinds of photos that the server reads, such as TIFF.
  const unseen = !image.naturalWidth;
  byId("unseen").hidden = !unseen;
  byId("actual").hidden = unseen;
  const size = found(current)?.answer?.size_wh ?? [image.naturalWidth, image.naturalHeight];
  const frame = byId("frame");
  frame.hidden = !size[0];
  if (!size[0]) return;
  frame.style.setProperty("--ratio", size[0] / size[1]);
  frame.style.setProperty("--width", size[0]);
  for (const row of document.querySelectorAll("#found tbody tr")) {
    if (!unseen) drawCrop(row.querySelector("canvas"), image, shown[row.dataset.face], image.naturalWidth / size[0]);
  }
  drawFaces(byId("marks"), shown, size, frame.clientWidth / size[0],
    (face) => settings[`color-${face.class_name}`] ?? settings["color-face"]);
  point(null);
}

/** Point out one face, by its index, in the photo and the table, with its figures beside it. */
function point(index) {
  for (const node of document.querySelectorAll("[data-face]")) {
    node.classList.toggle("on", Number(node.dataset.face) === index);
  }
  const card = byId("figures");
  card.hidden = index === null;
  if (card.hidden) return;
  const rows = figuresOf(shown[index]).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  card.replaceChildren(element("strong", {}, `Face ${index + 1} of ${shown.length}`), element("dl", {}, ...rows));
  // Right of the box where there is room, else left of it, else over it.
  const stage = byId("stage").getBoundingClientRect();
  const box = document.querySelector(`#marks [data-face="${index}"] .box`).getBoundingClientRect();
  const { width, height } = card.getBoundingClientRect();
  let left = box.right + 8;
  if (left + width > stage.right) left = box.left - width - 8;
  if (left < stage.left) left = Math.min(box.left + 8, stage.right - width);
  const top = Math.max(Math.min(box.top, stage.bottom - height), stage.top);
  card.style.left = `${left - stage.left + byId("stage").scrollLeft}px`;
  card.style.top = `${top - stage.top + byId("stage").scrollTop}px`;
}

// ---- out of the page

function curlOf(file) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl -sS --data-binary @${quoted(file.name)}`,
    `-H ${quoted(`Content-Type: ${file.type || "application/octet-stream"}`)}`,
    ...(hasToken() ? ['-H "Authorization: Bearer $TOKEN"'] : []),
    quoted(new URL(asked(), document.baseURI).href),
  ].join(" \\\n  ");
}

async function copy(node) {
  // Browsers give the clipboard's own interface only to pages over HTTPS or of localhost.
  if (navigator.clipboard) await navigator.clipboard.writeText(node.textContent);
  else {
    getSelection().selectAllChildren(node);
    document.execCommand("copy");
  }
  say("Copied");
}

function download(name, value) {
  const url = URL.createObjectURL(new Blob([jsonText(value), "\n"], { type: "application/json" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url));
}

function resultOf(photo) {
  const { answer, problem } = found(photo) ?? {};
  const named = { photo: photo.file.name };
  return answer ? { ...named, ...answer, faces: thatScore(answer.faces, settings.score) } : { ...named, error: problem ?? null };
}

// ---- what is heard

function connectSettings() {
  const kept = stored();
  for (const id of Object.keys(settings)) {
    const input = byId(id);
    const own = input.type === "checkbox" ? "checked" : "value";
    const read = () => { settings[id] = input.type === "range" ? Number(input.value) : input[own]; };
    input[own] = kept[id] ?? settings[id];
    // What an earlier version of the page kept may be no choice of today.
    if (input[own] === "") input[own] = settings[id];
    read();
    input.oninput = () => {
      read();
      render();
    };
    input.onchange = () => {
      storage("localStorage")?.setItem("facekit", JSON.stringify(settings));
      start();
    };
  }
}

function stored() {
  try {
    return JSON.parse(storage("localStorage")?.getItem("facekit") ?? "{}");
  } catch {
    return {};
  }
}

/** Let the arrow keys go from button to button, of which only one is in the order of Tab. */
function connectArrows(list) {
  list.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const buttons = [...list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    buttons.forEach((each) => { each.tabIndex = each === next ? 0 : -1; });
    next.focus();
  };
}

function connect() {
  const faceOf = (event) => event.target.closest?.("[data-face]")?.dataset.face;
  const pointOut = (event) => {
    const face = faceOf(event);
    const focused = document.activeElement.closest("[data-face]")?.dataset.face;
    point(face === undefined ? (focused === undefined ? null : Number(focused)) : Number(face));
  };
  byId("choose").onclick = () => byId("files").click();
  byId("files").onchange = () => {
    add(byId("files").files);
    byId("files").value = "";
  };
  connectCamera(add);
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  };
  document.ondragleave = (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  };
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    add(event.dataTransfer.files);
  };
  document.onpaste = (event) => add(event.clipboardData.files);
  byId("remove").onclick = () => remove(current);
  byId("again").onclick = () => {
    current.found.delete(searched());
    start();
  };
  byId("actual").onclick = () => {
    const actual = byId("stage").classList.toggle("actual");
    byId("actual").setAttribute("aria-pressed", actual);
  };
  byId("image").onload = byId("image").onerror = layOut;
  new ResizeObserver(() => current && layOut()).observe(byId("frame"));
  const tbody = document.querySelector("#found tbody");
  for (const node of [byId("marks"), tbody]) {
    node.addEventListener("pointerover", pointOut);
    node.addEventListener("pointerleave", pointOut);
  }
  tbody.addEventListener("focusin", pointOut);
  tbody.addEventListener("focusout", () => point(null));
  byId("marks").onclick = (event) => {
    tbody.querySelector(`[data-face="${faceOf(event)}"] button`)?.focus({ preventScroll: true });
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && point(null));
  connectArrows(byId("photos"));
  connectArrows(tbody);
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.onclick = () => copy(byId(button.dataset.copy));
  }
  byId("download").onclick = () => download(`${current.file.name}.json`, JSON.parse(byId("json-text").textContent));
  byId("download-all").onclick = () => download("faces.json", { results: photos.map(resultOf) });
  byId("token-change").onclick = () => askToken("It is kept until this tab is closed.");
  connectStatus(() => { byId("token-change").hidden = !hasToken(); });
}

connectSettings();
connect();
render();
