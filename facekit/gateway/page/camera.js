// A picture of the camera.

const REASONS = {
  NotAllowedError: "The camera was denied. Allow it in the browser, or choose a photo.",
  NotFoundError: "There is no camera. Choose a photo.",
  NotReadableError: "The camera is used by another program. Close that, or choose a photo.",
};

const byId = (id) => document.getElementById(id);
let stream = null;
let facing = "user";
let count = 0;

/** Connect the buttons; `add` is called with each picture, a File. */
export function connectCamera(add) {
  const dialog = byId("camera");
  byId("camera-open").onclick = () => {
    dialog.showModal();
    start();
  };
  byId("camera-close").onclick = () => dialog.close();
  dialog.onclose = stop;
  byId("camera-turn").onclick = () => {
    facing = facing === "user" ? "environment" : "user";
    start();
  };
  byId("camera-take").onclick = () => {
    const video = byId("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      count += 1;
      add([new File([blob], `camera ${count}.jpg`, { type: "image/jpeg" })]);
      dialog.close();
    }, "image/jpeg", 0.92);
  };
}

async function start() {
  stop();
  say("");
  if (!navigator.mediaDevices) {
    return say("Browsers give the camera only to pages over HTTPS or of localhost.");
  }
  try {
    const wanted = { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    return say(REASONS[error.name] ?? `The camera does not start: ${error.message}`);
  }
  if (!byId("camera").open) return stop();
  const video = byId("video");
  video.srcObject = stream;
  // Only the preview is a mirror; the picture is not.
  const { facingMode } = stream.getVideoTracks()[0].getSettings();
  video.classList.toggle("mirror", facingMode !== "environment");
  video.onloadedmetadata = () => {
    video.hidden = false;
    byId("camera-take").disabled = false;
    byId("camera-take").focus();
  };
  const devices = await navigator.mediaDevices.enumerateDevices();
  byId("camera-turn").hidden = devices.filter((each) => each.kind === "videoinput").length < 2;
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("video").hidden = true;
  byId("camera-take").disabled = true;
}

function say(message) {
  byId("camera-message").textContent = message;
  byId("camera-message").hidden = !message;
  byId("camera-take").hidden = message !== "";
}
