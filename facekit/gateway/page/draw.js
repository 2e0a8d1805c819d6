// Boxes, points and figures of faces. Coordinates are pixels of the upright photo.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element: its attributes, and its children, which are nodes or texts. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Return a list of names and their values. */
export function pairs(rows) {
  return element("dl", {}, ...rows.flatMap(([name, value]) => [
    element("dt", {}, name), element("dd", {}, value)]));
}

export function sizeOf(face) {
  const [left, top, right, bottom] = face.box_xyxy;
  return [right - left, bottom - top];
}

/**
 * Draw the faces into an SVG element that lies over the photo.
 *
 * Lines and letters have the same width on the screen at every size of the photo, so this is
 * called again when that changes. A group's `data-face` is the index of its face.
 *
 * @param {SVGElement} svg
 * @param {object[]} faces As the server tells them.
 * @param {number[]} size Width and height of the photo.
 * @param {number} scale Pixels of the screen for one of the photo.
 * @param {(face: object) => string} colorOf
 */
export function drawFaces(svg, faces, size, scale, colorOf) {
  svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  const px = 1 / scale;
  const order = faces.map((_, index) => index);
  const area = (index) => sizeOf(faces[index]).reduce((a, b) => a * b);
  // A small face stays in reach of the pointer where its box lies in a larger one.
  order.sort((a, b) => area(b) - area(a));
  svg.replaceChildren(...order.map((index) => drawn(faces[index], index, size, px, colorOf)));
}

function drawn(face, index, size, px, colorOf) {
  const [left, top] = face.box_xyxy;
  const [width, height] = sizeOf(face);
  const color = colorOf(face);
  const box = { x: left, y: top, width, height, fill: "none" };
  const group = shape("g", { class: "face", "data-face": index },
    shape("rect", { ...box, class: "edge", "stroke-width": 4 * px }),
    shape("rect", { ...box, class: "box", stroke: color, "stroke-width": 2 * px }));
  if (face.points_xy.length) {
    // A line without a length and with round ends is a dot.
    const dots = face.points_xy.map(([x, y]) => `M${x} ${y}h0`).join("");
    const thick = Math.min(Math.max(Math.min(width, height) * 0.022, 0.9 * px), 5 * px);
    // Dots of a face that is small on the screen have no edge, which would darken the face.
    if (thick > 1.5 * px) {
      group.append(shape("path", { d: dots, class: "edge", "stroke-width": thick + px }));
    }
    group.append(shape("path", { d: dots, stroke: color, "stroke-width": thick }));
  }
  const label = [face.class_name, decimals(face.score)].filter(Boolean).join(" ");
  const letters = 12 * px;
  // A tag much wider than its face looks like the next one's; it is shown when that is pointed out.
  const wide = label.length * letters * 0.6 > width * 2.5;
  const above = top > letters * 1.4;
  group.append(shape("text", {
    x: Math.min(left, size[0] - label.length * letters * 0.6),
    y: above ? top - letters * 0.4 : top + letters * 1.2,
    "font-size": letters, "stroke-width": 3 * px, fill: color, class: wide ? "tag wide" : "tag",
  }, label));
  return group;
}

/** Return a number with two decimals, or a dash where it is unknown. */
export function decimals(number, digits = 2) {
  if (number == null) return "–";
  return number.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
}

/** Return names and values of a face's figures. */
export function figuresOf(face) {
  const [width, height] = sizeOf(face).map((side) => Math.round(side));
  const figures = [["Score", decimals(face.score)]];
  if (face.class_name) figures.push(["Class", face.class_name]);
  figures.push(
    ["Box", face.box_xyxy.map((side) => decimals(side, 0)).join(", ")],
    ["Size", `${width} × ${height} px`]);
  if (face.pose_deg) {
    const [yaw, pitch, roll] = face.pose_deg.map((angle) => decimals(angle, 0));
    figures.push(["Pose", `yaw ${yaw}°, pitch ${pitch}°, roll ${roll}°`]);
  }
  if (face.sharpness != null) figures.push(["Sharpness", decimals(face.sharpness)]);
  if (face.points_xy.length) figures.push(["Points", String(face.points_xy.length)]);
  return figures;
}

/**
 * Draw the square around a face into a canvas.
 *
 * @param {number} ratio Pixels of the image for one of the photo.
 */
export function drawCrop(canvas, image, face, ratio) {
  const [left, top] = face.box_xyxy;
  const [width, height] = sizeOf(face);
  const side = Math.max(width, height) * 1.15;
  const [x, y] = [left + (width - side) / 2, top + (height - side) / 2];
  canvas.getContext("2d").drawImage(
    image, x * ratio, y * ratio, side * ratio, side * ratio, 0, 0, canvas.width, canvas.height);
}

/** Return the faces that score at least this. */
export function withScore(faces, score) {
  return faces.filter((face) => face.score >= score);
}

/** Return JSON as text with lists of numbers in one line. */
export function jsonText(value) {
  const inLine = (list) => list.replace(/\s/g, "").replaceAll(",", ", ");
  return JSON.stringify(value, null, 2).replace(/\[[\s\d.,eE+-]+\]/g, inLine);
}
