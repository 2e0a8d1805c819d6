// The faces of the photo that is shown: boxes over it, a table, and the figures of one of them.

import { decimals, drawCrop, drawFaces, element, figuresOf, pairs, sizeOf } from "./draw.js";

const byId = (id) => document.getElementById(id);
const table = document.querySelector("#found table");
const tbody = table.tBodies[0];

let shown = [];
let sizeWh = null;
let colorOf = () => "";
let pointed = null;

/**
 * Show faces in the table, and over the photo as soon as that is loaded.
 *
 * @param {object[]} faces As the server tells them.
 * @param {number[] | null} size Width and height of the upright photo, where the server told them.
 * @param {(face: object) => string} color
 */
export function showFaces(faces, size, color) {
  [shown, sizeWh, colorOf, pointed] = [faces, size, color, null];
  renderTable();
  layOut();
}

/** Connect pointing at a face, by the pointer or by the keyboard, and the size of the photo. */
export function connectFaces() {
  const faceOf = (event) => event.target.closest?.("[data-face]")?.dataset.face;
  const pointOut = (event) => {
    const face = faceOf(event) ?? document.activeElement.closest("[data-face]")?.dataset.face;
    pointTo(face === undefined ? null : Number(face));
  };
  for (const node of [byId("marks"), tbody]) {
    node.addEventListener("pointerover", pointOut);
    node.addEventListener("pointerleave", pointOut);
  }
  tbody.addEventListener("focusin", pointOut);
  tbody.addEventListener("focusout", () => pointTo(null));
  byId("marks").onclick = (event) => {
    tbody.querySelector(`[data-face="${faceOf(event)}"] button`)?.focus({ preventScroll: true });
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && pointTo(null));
  connectArrows(tbody);
  byId("image").onload = byId("image").onerror = layOut;
  new ResizeObserver(layOut).observe(byId("frame"));
  byId("actual").onclick = () => {
    const actual = byId("stage").classList.toggle("actual");
    byId("actual").setAttribute("aria-pressed", actual);
  };
}

/** Let the arrow keys go from button to button, of which only one is in the order of Tab. */
export function connectArrows(list) {
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

function renderTable() {
  const poseOf = (face) => (face.pose_deg ?? []).map((angle) => decimals(angle, 0)).join(", ");
  const columns = {
    "Score": (face) => decimals(face.score),
    ...(shown.some((face) => face.class_name) && { "Class": (face) => face.class_name }),
    "Size, px": (face) => sizeOf(face).map(Math.round).join(" × "),
    ...(shown.some((face) => face.pose_deg) && {
      "Yaw, pitch, roll": poseOf, "Sharp": (face) => decimals(face.sharpness),
    }),
  };
  table.hidden = !shown.length;
  const heads = ["Face", ...Object.keys(columns)];
  table.tHead.replaceChildren(
    element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head))));
  tbody.replaceChildren(...shown.map((face, index) => {
    const label = figuresOf(face).map((figure) => figure.join(" ")).join(", ");
    const button = element("button",
      { type: "button", tabindex: index ? -1 : 0, "aria-label": `Face ${index + 1}: ${label}` },
      element("canvas", { width: 56, height: 56 }), String(index + 1));
    return element("tr", { "data-face": index }, element("th", { scope: "row" }, button),
      ...Object.values(columns).map((textOf) => element("td", {}, textOf(face))));
  }));
}

function layOut() {
  const image = byId("image");
  if (!image.complete || !image.src) return;
  // A browser can't show some kinds of photos that the server reads, such as TIFF.
  const unseen = !image.naturalWidth;
  byId("unseen").hidden = !unseen;
  byId("actual").hidden = unseen;
  const [width, height] = sizeWh ?? [image.naturalWidth, image.naturalHeight];
  const frame = byId("frame");
  frame.hidden = !width;
  if (!width) return;
  frame.style.setProperty("--ratio", width / height);
  frame.style.setProperty("--width", width);
  if (!unseen) {
    tbody.querySelectorAll("canvas").forEach((canvas, index) => {
      drawCrop(canvas, image, shown[index], image.naturalWidth / width);
    });
  }
  drawFaces(byId("marks"), shown, [width, height], frame.clientWidth / width, colorOf);
  pointTo(pointed);
}

/** Point out one face, by its index, in the photo and the table, with its figures beside it. */
export function pointTo(index) {
  pointed = index;
  for (const node of document.querySelectorAll("[data-face]")) {
    node.classList.toggle("on", Number(node.dataset.face) === index);
  }
  const card = byId("figures");
  card.hidden = index === null;
  if (card.hidden) return;
  card.replaceChildren(
    element("strong", {}, `Face ${index + 1} of ${shown.length}`), pairs(figuresOf(shown[index])));
  // Right of the box where there is room, else left of it, else over it.
  const stage = byId("stage");
  const room = stage.getBoundingClientRect();
  const box = document.querySelector(`#marks [data-face="${index}"] .box`).getBoundingClientRect();
  const { width, height } = card.getBoundingClientRect();
  let left = box.right + 8;
  if (left + width > room.right) left = box.left - width - 8;
  if (left < room.left) left = Math.min(box.left + 8, room.right - width);
  const top = Math.max(Math.min(box.top, room.bottom - height), room.top);
  card.style.left = `${left - room.left + stage.scrollLeft}px`;
  card.style.top = `${top - room.top + stage.scrollTop}px`;
}
