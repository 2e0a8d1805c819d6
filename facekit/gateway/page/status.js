// The panel with the server's state.

import { call } from "./calls.js";
import { decimals, element } from "./draw.js";

const EVERY_MS = 3000;
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
  if (!panel.hidden) {
    panel.replaceChildren(...(problem ? told(problem) : panelOf(answer)));
    // Without a token it would ask for one again and again.
    if (problem?.status !== 401) timer = setTimeout(refresh, EVERY_MS, then);
  }
  then();
}

function told({ title, detail }) {
  const time = new Date().toLocaleTimeString();
  return [element("p", { class: "failed" }, `${title}: ${detail}`), element("p", { class: "muted" }, `Last tried at ${time}.`)];
}

function panelOf({ facekit, servers, requests, refused, since }) {
  const reasons = Object.entries(refused);
  return [
    element("dl", {}, ...[
      ["facekit", facekit],
      ["Requests", `${requests.total.toLocaleString("en")} since ${new Date(since).toLocaleString()}`],
      ["Requests a second", decimals(requests.per_s, 1)],
      ["Now", `${requests.in_flight} in flight, ${requests.waiting} waiting`],
      ["Refused", reasons.map(([reason, count]) => `${reason}: ${count.toLocaleString("en")}`).join(", ") || "none"],
    ].flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    ...servers.flatMap(serverOf),
  ];
}

function serverOf({ url, ready, triton, models }) {
  const heads = ["Model", "Version", "State", "Requests", "Failed", "Queue, ms", "Compute, ms"];
  const rows = (models ?? []).map((each) => [each.name, each.version, each.state, each.requests, each.failed, each.queue_ms, each.compute_ms]);
  const cell = (value) => typeof value === "number" ? (Number.isInteger(value) ? value.toLocaleString("en") : decimals(value, 1)) : value ?? "–";
  return [
    element("h2", {}, `Server ${url}: ${ready ? `ready, Triton ${triton}` : "away"}`),
    ...(rows.length ? [element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Models of server ${url}` },
      element("table", {},
        element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...rows.map(([name, ...cells]) => element("tr", {},
          element("th", { scope: "row" }, name), ...cells.map((value) => element("td", {}, cell(value))))))))] : []),
  ];
}
