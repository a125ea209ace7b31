"use strict";
// Texts of the data go in as text, never as markup.
const at = (id) => document.getElementById(id);
const COLOURS = { prediction: "warm", truth: "winter" };
const viewer = new niivue.Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, crosshairWidth: 0.3, crosshairColor: [0.42, 0.72, 0.92, 0.8],
  isRadiologicalConvention: true,
  onLocationChange: (found) => { at("place").textContent = found.string; } });
let turn = 0;

async function show(one, button) {
  const mine = ++turn;
  document.querySelectorAll("#cases button").forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
  at("said").textContent = one.said;
  at("problem").textContent = "";
  at("layers").replaceChildren();
  const images = one.layers.filter((layer) => layer.kind === "image");
  const ordered = [...images, ...one.layers.filter((layer) => layer.kind !== "image")];
  try {
    await viewer.loadVolumes(ordered.map((layer, n) => ({ url: layer.url, name: `${n}.nii.gz`,
      ...(layer.kind === "image" ? { colormap: "gray", opacity: n ? 0 : 1 }
                                 : { colormap: COLOURS[layer.kind], opacity: layer.kind === "prediction" ? 0.5 : 0 }) })));
  } catch (failed) {
    if (mine === turn) at("problem").textContent = `This case cannot be shown: ${failed.message ?? failed}`;
    return;
  }
  if (mine === turn) at("layers").replaceChildren(...ordered.map(toggle));
}

function toggle(layer, n) {
  const label = document.createElement("label"), box = document.createElement("input");
  box.type = "checkbox";
  box.checked = viewer.volumes[n].opacity > 0;
  box.addEventListener("change", () => viewer.setOpacity(n, box.checked ? (layer.kind === "image" ? 1 : 0.5) : 0));
  label.append(box, `${layer.kind}${layer.kind === "image" || layer.name !== layer.kind ? `: ${layer.name}` : ""}`);
  return label;
}

async function start() {
  await viewer.attachTo("volume");
  viewer.setSliceType(3);
  const found = await (await fetch("cases.json")).json();
  at("title").textContent = document.title = found.title;
  const buttons = found.cases.map((one) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = one.name;
    button.addEventListener("click", () => show(one, button));
    item.append(button);
    return item;
  });
  at("cases").replaceChildren(...buttons);
  at("find").addEventListener("input", () => buttons.forEach((item) => {
    item.hidden = !item.textContent.toLowerCase().includes(at("find").value.toLowerCase());
  }));
  at("view").addEventListener("change", () => viewer.setSliceType(Number(at("view").value)));
  buttons[0].firstChild.click();
}

start().catch((failed) => { at("problem").textContent = `The viewer does not start: ${failed.message ?? failed}. It needs WebGL 2.`; });
