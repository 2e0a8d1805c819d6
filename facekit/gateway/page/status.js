// The panel with the server's state.

import { call } from "./calls.js";
import { decimals, element, pairs } from "./draw.js";

const EVERY_MS = 3000;
const EVERY_MS_CLOSED = 30000;
const byId = (id) => document.getElementById(id);
let timer = 0;

/** Connect the panel; `then` is called after each answer. */
export function connectStatus(then) {
  const panel = byId("status");
  const button = byId("status-open");
  const turn = (open) => {
    panel.hidden = !open;
    button.setAttribute("aria-expanded", open);
    if (open) refresh(then);
  };
  button.onclick = () => turn(panel.hidden);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden || document.querySelector("dialog[open]")) return;
    turn(false);
    button.focus();
  });
  refresh(then);
}

async function refresh(then) {
  clearTimeout(timer);
  const answer = await call("v1/status");
  const { problem } = answer;
  const ready = answer.servers?.filter((each) => each.ready).length;
  const state = problem ? (problem.status ? "unknown" : "away") : ready ? "ready" : "away";
  byId("status-open").dataset.state = state;
  byId("status-word").textContent = state === "unknown" ? "Server" : `Server ${state}`;
  const panel = byId("status");
  if (!panel.hidden) panel.replaceChildren(...(problem ? told(problem) : panelOf(answer)));
  // Without a token it would ask for one again and again.
  if (problem?.status !== 401) {
    timer = setTimeout(refresh, panel.hidden ? EVERY_MS_CLOSED : EVERY_MS, then);
  }
  then();
}

function told({ detail }) {
  const time = new Date().toLocaleTimeString();
  return [
    element("p", { class: "failed" }, detail),
    element("p", { class: "muted" }, `Last tried at ${time}.`),
  ];
}

function panelOf({ facekit, servers, requests, refused, since }) {
  const reasons = Object.entries(refused);
  return [
    pairs([
      ["facekit", facekit],
      ["Requests", `${number(requests.total)} since ${new Date(since).toLocaleString()}`],
      ["Requests a second", decimals(requests.per_s, 1)],
      ["Now", `${requests.in_flight} in flight, ${requests.waiting} waiting`],
      ["Refused", reasons.map((each) => each.join(": ")).join(", ") || "none"],
    ]),
    ...servers.flatMap(serverOf),
  ];
}

const COLUMNS = {
  Version: (model) => model.version,
  State: (model) => model.state,
  Requests: (model) => number(model.requests),
  Failed: (model) => number(model.failed),
  "Queue, ms": (model) => decimals(model.queue_ms, 1),
  "Compute, ms": (model) => decimals(model.compute_ms, 1),
};

function serverOf({ url, ready, triton, models }) {
  const heads = ["Model", ...Object.keys(COLUMNS)];
  const rows = models.map((model) => element("tr", {}, element("th", { scope: "row" }, model.name),
    ...Object.values(COLUMNS).map((textOf) => element("td", {}, textOf(model)))));
  const table = element("table", {},
    element("thead", {}, element("tr", {},
      ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows));
  const label = `Models of server ${url}`;
  const region = { class: "scroll", tabindex: 0, role: "region", "aria-label": label };
  return [
    element("h2", {}, `Server ${url}: ${ready ? `ready, Triton ${triton}` : "away"}`),
    ...(rows.length ? [element("div", region, table)] : []),
  ];
}

function number(count) {
  return count.toLocaleString("en");
}
