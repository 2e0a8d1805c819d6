// Calls of the server: photos with progress, the token, and errors in the server's words.

let token = storage("sessionStorage")?.getItem("facekit-token") ?? "";
let asking = null;

export const KEPT = "It is kept until this tab is closed.";
const MOST_TRIES = 6;
const LONGEST_WAIT_S = 60;

/** Return the browser's storage of this name, or null where it gives none to the page. */
export function storage(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}

export function hasToken() {
  return token !== "";
}

/**
 * Ask for a token in a dialog; the calls that need one meanwhile share the answer.
 *
 * @returns {Promise<boolean>} Whether one was given.
 */
export function askToken(message) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    const text = document.getElementById("token-text");
    const form = dialog.querySelector("form");
    document.getElementById("token-message").textContent = message;
    text.value = "";
    let given = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      given = true;
      token = text.value.trim();
      storage("sessionStorage")?.setItem("facekit-token", token);
      dialog.close();
    };
    document.getElementById("token-close").onclick = () => dialog.close();
    dialog.onclose = () => {
      asking = null;
      resolve(given);
    };
    dialog.showModal();
  });
  return asking;
}

/**
 * Call the server, with a token where it asks for one, and again where it is busy.
 *
 * @param {string} path Relative to the page.
 * @param {Blob} [body] A photo to post; without, the call is a GET.
 * @param {(message: string, part?: number) => void} [tell] Is told what goes on, and which part
 *   of the body is sent.
 * @returns {Promise<object>} The answer; or `{problem}` with `detail` and `status`.
 */
export async function call(path, body, tell = () => {}) {
  for (let tries = 1; ; tries += 1) {
    const used = token;
    const { status, text, retryAfter } = await send(path, body, tell);
    if (status === 200) {
      const detail = `Not an answer of facekit: ${text.slice(0, 200)}`;
      return parsed(text) ?? { problem: { detail, status } };
    }
    if (status === 401) {
      // Another call may have asked for the token while this one was on its way.
      const message = used ? "The server refused this token." : KEPT;
      if (token !== used || await askToken(message)) continue;
    }
    const busy = (status === 429 || status === 503) && retryAfter > 0;
    if (body && busy && tries < MOST_TRIES) {
      const wait = Math.min(retryAfter, LONGEST_WAIT_S);
      tell(`The server is busy: again in ${wait} s`);
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      continue;
    }
    return { problem: problemOf(status, text) };
  }
}

/** Return a command that makes the call which posts this file. */
export function curlOf(path, file) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl -sS --data-binary @${quoted(file.name)}`,
    `-H ${quoted(`Content-Type: ${file.type || "application/octet-stream"}`)}`,
    ...(token ? ['-H "Authorization: Bearer $TOKEN"'] : []),
    quoted(new URL(path, document.baseURI).href),
  ].join(" \\\n  ");
}

function send(path, body, tell) {
  return new Promise((resolve) => {
    // fetch does not tell how much of a body is sent.
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", path);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    if (body) request.setRequestHeader("Content-Type", body.type || "application/octet-stream");
    request.upload.onprogress = (event) => tell("Sending", event.loaded / event.total);
    request.upload.onload = () => tell("Finding faces");
    request.onloadend = () => resolve({
      status: request.status,
      text: request.responseText,
      retryAfter: Number(request.getResponseHeader("Retry-After")),
    });
    request.send(body);
  });
}

function problemOf(status, text) {
  if (status === 0) return { detail: "The server can't be reached.", status };
  const { title, detail } = parsed(text) ?? {};
  return { detail: detail || title || text.slice(0, 200) || `Status ${status}`, status };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
