// The page: photos in, faces drawn over them.

import { KEPT, askToken, call, curlOf, hasToken, storage } from "./calls.js";
import { connectCamera } from "./camera.js";
import { decimals, element, jsonText, withScore } from "./draw.js";
import { connectArrows, connectFaces, pointTo, showFaces } from "./faces.js";
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
let rendered = [];
let thumbnails = Promise.resolve();

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

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
    answer = { problem: { detail: "The browser can't read this file." } };
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
  pointTo(null);
  byId("image").removeAttribute("src");
  if (photo) byId("image").src = URL.createObjectURL(photo.file);
  start();
}

// ---- what is seen

function render() {
  byId("score-shown").textContent = decimals(settings.score);
  for (const label of document.querySelectorAll("[data-of]")) {
    label.hidden = (label.dataset.of === "masks") !== (settings.model === "masks");
  }
  for (const photo of photos) renderThumbnail(photo);
  renderProgress();
  byId("empty").hidden = current !== null;
  for (const id of ["caption", "found", "photos"]) byId(id).hidden = current === null;
  // What is pointed out stays so while other photos are done.
  const now = [current, current && found(current), JSON.stringify(settings)];
  if (now.every((each, index) => each === rendered[index])) return;
  rendered = now;
  renderPhoto(now[1] ?? {});
}

function renderPhoto({ answer, problem }) {
  byId("problem").hidden = byId("again").hidden = !problem;
  byId("problem").textContent = problem ? problem.detail : "";
  if (!current) return;
  byId("name").textContent = byId("image").alt = current.file.name;
  const faces = answer ? withScore(answer.faces, settings.score) : [];
  byId("summary").textContent = answer ? summaryOf(answer, faces.length) : "";
  byId("faces").textContent = answer ? counted(faces.length, "face") : "";
  byId("json").hidden = !answer;
  byId("json-text").textContent = answer ? jsonText({ ...answer, faces }) : "";
  byId("download-all").hidden = photos.length < 2;
  byId("curl-text").textContent = curlOf(asked(), current.file);
  showFaces(faces, answer?.size_wh ?? null,
    (face) => settings[`color-${face.class_name}`] ?? settings["color-face"]);
}

function summaryOf(answer, kept) {
  const some = kept < answer.faces.length ? `${kept} of ` : "";
  const faces = `${some}${counted(answer.faces.length, "face")}`;
  return [`${faces} in ${answer.size_wh.join(" × ")} pixels`, ...(answer.notes ?? [])].join("; ");
}

function renderThumbnail(photo) {
  const { answer, problem } = found(photo) ?? {};
  photo.bar.hidden = !photo.busy;
  if (!photo.busy) {
    const faces = answer && counted(withScore(answer.faces, settings.score).length, "face");
    photo.state.textContent = faces ?? (problem ? "Failed" : "Waiting");
  }
  photo.item.classList.toggle("failed", !photo.busy && problem !== undefined);
  photo.button.tabIndex = photo === current ? 0 : -1;
  photo.button.setAttribute("aria-current", photo === current);
}

function renderProgress() {
  const ended = photos.map(found).filter(Boolean);
  const answers = ended.filter((each) => each.answer).map((each) => each.answer);
  const faces = answers.flatMap((each) => withScore(each.faces, settings.score)).length;
  const failed = ended.length - answers.length;
  const going = photos.some((each) => each.busy || waits(each));
  const all = counted(photos.length, "photo");
  say(!photos.length ? "" : [
    going ? `${ended.length} of ${all} done` : all,
    counted(faces, "face"), ...(failed ? [`${failed} failed`] : []),
  ].join(", "));
}

/** Tell a line to be seen, and to be read aloud where it is new. */
function say(message) {
  if (byId("progress").textContent !== message) byId("progress").textContent = message;
}

// ---- out of the page

async function copy(node) {
  // Browsers give the clipboard's own interface only to pages over HTTPS or of localhost.
  if (navigator.clipboard) await navigator.clipboard.writeText(node.textContent);
  else {
    getSelection().selectAllChildren(node);
    document.execCommand("copy");
  }
  say("Copied");
  setTimeout(renderProgress, 2000);
}

function download(name, value) {
  const url = URL.createObjectURL(new Blob([jsonText(value), "\n"], { type: "application/json" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url));
}

function resultOf(photo) {
  const { answer, problem } = found(photo) ?? {};
  if (!answer) return { photo: photo.file.name, error: problem ?? null };
  return { photo: photo.file.name, ...answer, faces: withScore(answer.faces, settings.score) };
}

// ---- what is heard

function connectSettings() {
  const kept = stored();
  for (const id of Object.keys(settings)) {
    const input = byId(id);
    const own = input.type === "checkbox" ? "checked" : "value";
    const read = () => {
      settings[id] = input.type === "range" ? Number(input.value) : input[own];
    };
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

function connect() {
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
  connectFaces();
  connectArrows(byId("photos"));
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.onclick = () => copy(byId(button.dataset.copy));
  }
  byId("download").onclick = () => {
    download(`${current.file.name}.json`, JSON.parse(byId("json-text").textContent));
  };
  byId("download-all").onclick = () => download("faces.json", { results: photos.map(resultOf) });
  byId("token-change").onclick = () => askToken(KEPT);
  connectStatus(() => { byId("token-change").hidden = !hasToken(); });
}

connectSettings();
connect();
render();
