// One threshold that moves through the confusion table, the curves and the decision curve together. What was fixed before
// the test set was opened stays marked; this one is exploratory, and says so.

const SVG = "http://www.w3.org/2000/svg";

function share(part, whole) { return whole ? `${(part / whole).toFixed(2)} (${part} of ${whole})` : "not defined"; }

function marker(svg) {
  const dot = document.createElementNS(SVG, "circle");
  for (const [name, value] of Object.entries({ r: 5, fill: "none", "stroke-width": 2.4, class: "explored" })) dot.setAttribute(name, value);
  svg.append(dot);
  return dot;
}

function put(dot, x, y) {
  // Numbers of the axes to places of the picture: data-box holds where (0, 0) and (1, 1) lie, data-frame the corners of
  // the axes. What lies outside of them is not drawn.
  const [left, bottom, right, top] = dot.ownerSVGElement.dataset.box.split(" ").map(Number);
  const [west, south, east, north] = dot.ownerSVGElement.dataset.frame.split(" ").map(Number);
  const across = left + x * (right - left), down = bottom + y * (top - bottom);
  const seen = across >= west - 1 && across <= east + 1 && down >= north - 1 && down <= south + 1;  // of NaN nothing holds
  dot.setAttribute("visibility", seen ? "visible" : "hidden");
  if (!seen) return;
  dot.setAttribute("cx", across);
  dot.setAttribute("cy", down);
}

document.querySelectorAll(".explore").forEach((root) => {
  const [positive, negative] = ["positive", "negative"].map((name) => root.dataset[name].split(" ").map(Number));
  const cuts = [...new Set([...positive, ...negative])].sort((a, b) => a - b);
  const slider = root.querySelector("input"), said = root.querySelector("output");
  const cells = new Map([...root.querySelectorAll("[data-cell]")].map((cell) => [cell.dataset.cell, cell]));
  const dots = ["roc", "pr", "benefit"].map((name) => document.querySelector(`figure[data-curve=${name}] svg[data-box]`));
  const [roc, pr, benefit] = dots.map((svg) => svg && marker(svg));
  const fixed = Number(root.dataset.threshold);

  function show() {
    const cut = cuts[Number(slider.value)];
    const tp = positive.filter((s) => s >= cut).length, fp = negative.filter((s) => s >= cut).length;
    const fn = positive.length - tp, tn = negative.length - fp, all = positive.length + negative.length;
    for (const [name, value] of Object.entries({ tp, fp, fn, tn })) cells.get(name).firstChild.textContent = value;
    cells.get("sensitivity").textContent = share(tp, tp + fn);
    cells.get("specificity").textContent = share(tn, tn + fp);
    cells.get("ppv").textContent = share(tp, tp + fp);
    cells.get("npv").textContent = share(tn, tn + fn);
    said.textContent = `exploratory threshold ${cut}`;
    slider.setAttribute("aria-valuetext", said.textContent);
    if (roc) put(roc, fp / negative.length, tp / positive.length);
    if (pr) put(pr, tp / positive.length, tp / (tp + fp));
    if (benefit) put(benefit, cut, cut < 1 ? tp / all - (fp / all) * (cut / (1 - cut)) : NaN);
  }

  slider.max = String(cuts.length - 1);
  slider.value = String(Math.max(0, cuts.findIndex((cut) => cut >= fixed)));
  slider.addEventListener("input", show);
  root.hidden = false;
  show();
});
